"""Payments as the settings say: off without a key, asked over https or where it is allowed, and heard by a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.payments import KEY, SECRET, StripeServer, signature_of, stripe_server, tell
from tests.wiring.processes import running
from tokenwell import wiring
from tokenwell.api.webhooks import PATH
from tokenwell.config import Settings
from tokenwell.core.happenings import SYSTEM
from tokenwell.errors import RequestInvalid, TargetRefused
from tokenwell.service.supply.purchases import PurchaseStatus
from tokenwell.wiring.payments import open_checkout


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    """A stand-in for Stripe."""
    with stripe_server() as server:
        yield server


def test_nothing_is_sold_without_a_key() -> None:
    assert open_checkout(Settings(stripe_webhook_secret=SECRET)) is None


def test_without_a_secret_no_webhook_is_believed() -> None:
    checkout = open_checkout(Settings(stripe_secret_key=KEY))
    assert checkout is not None
    assert not checkout.hears


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("http://api.stripe.com", RequestInvalid),
        ("http://127.0.0.1:9", TargetRefused),
        ("https://127.0.0.1:9", TargetRefused),
        ("https://169.254.169.254", TargetRefused),
        ("https://user:word@api.stripe.com", RequestInvalid),
    ],
)
def test_an_address_that_must_not_be_reached_is_refused(url: str, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        open_checkout(Settings(stripe_secret_key=KEY, stripe_url=url))


def test_keys_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "webhook").write_text(f"whsec_next\n{SECRET}\n")
    files = {
        "TOKENWELL_STRIPE_SECRET_KEY_FILE": str(tmp_path / "key"),
        "TOKENWELL_STRIPE_WEBHOOK_SECRET_FILE": str(tmp_path / "webhook"),
    }
    settings = Settings.from_env(files)
    assert (settings.stripe_secret_key, settings.stripe_webhook_secret) == (KEY, f"whsec_next {SECRET}")
    assert KEY not in repr(settings)
    assert SECRET not in repr(settings)
    with pytest.raises(RequestInvalid) as caught:
        Settings.from_env(files | {"TOKENWELL_STRIPE_WEBHOOK_SECRET_FILE": str(tmp_path / "none")})
    assert caught.value.details == {"field": "TOKENWELL_STRIPE_WEBHOOK_SECRET_FILE"}


def test_a_real_server_hears_a_payment_and_grants_the_pack(tmp_path: Path, stripe: StripeServer) -> None:
    selling = {
        "TOKENWELL_DATABASE_URL": f"sqlite:///{tmp_path / 'tokenwell.db'}",
        "TOKENWELL_STRIPE_SECRET_KEY": KEY,
        "TOKENWELL_STRIPE_WEBHOOK_SECRET": SECRET,
        "TOKENWELL_STRIPE_URL": stripe.url,
        "TOKENWELL_ALERTS_ALLOWED_HOSTS": "127.0.0.1",
    }
    settings = Settings.from_env(selling)
    wiring.open_meter(settings, create=True).close()
    with wiring.open_services(settings) as suite:
        suite.meter.create_organization("acme")
        offer = suite.offers.create("One", "1M", price_minor=100, currency="eur", by=SYSTEM)
        purchase = suite.purchases.start("acme", offer.id, by=SYSTEM)
    body, signature = stripe.event("checkout.session.completed", stripe.pay(str(purchase.session_id)))
    with running("serve", directory=tmp_path, **(dict(os.environ) | selling)) as server:
        with pytest.raises(OSError, match="400"):
            tell(server.address + PATH, body, signature_of(body, secret="whsec_other"))
        assert [tell(server.address + PATH, body, signature) for _ in range(2)] == [200, 200]
        code, _, err = server.stop()
    assert code == 0
    assert SECRET not in err
    assert KEY not in err
    with wiring.open_services(settings) as suite:
        assert suite.purchases.get("acme", purchase.id).status is PurchaseStatus.GRANTED
        assert suite.meter.balance("acme").balance_tokens == 1_000_000
