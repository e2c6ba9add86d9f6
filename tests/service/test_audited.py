"""Everything that somebody does in supply and to channels is an act of theirs in the audit log; what changes nothing is none."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import update

from tests.doubles import FrozenClock
from tests.payments import StripeServer, checkout_at, stripe_server
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import TokenwellError
from tokenwell.service.meter import Meter
from tokenwell.service.notices.subscriptions import ChannelKind, Subscriptions
from tokenwell.service.suite import Suite
from tokenwell.service.supply import approval_links, codes, emergencies, offers, purchases, schedules, topups
from tokenwell.store import schema
from tokenwell.store.notices.deliveries import DeliveryStatus
from tokenwell.store.writer import transaction

MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin", source="192.0.2.7")
ADA = Actor(kind=ActorKind.PERSON, id="per_ada", name="Ada Root", source="192.0.2.8")

COVERED = {
    "Codes.create", "Codes.redeem", "Codes.revoke", "Emergencies.take", "Offers.create", "Offers.withdraw", "Purchases.note",
    "Purchases.start", "Schedules.change", "Schedules.create", "Schedules.end", "Schedules.pause", "Schedules.resume",
    "Subscriptions.add_channel", "Subscriptions.change_channel", "Subscriptions.remove_channel", "Subscriptions.replay",
    "Subscriptions.replay_all", "Subscriptions.rotate", "Topups.approve", "Topups.ask", "Topups.cancel", "Topups.decline",
}  # fmt: skip
"""What somebody can do here. A new method that says `by` whom it is needs its act, and its place below."""


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    """A stand-in for Stripe."""
    with stripe_server() as server:
        yield server


@pytest.fixture
def suite(sqlite_url: str, clock: FrozenClock, stripe: StripeServer) -> Iterator[Suite]:
    """A suite with all that supply has."""
    with Meter(sqlite_url, clock=clock) as meter:
        meter.create_organization("acme")
        suite = Suite(meter, checkout=checkout_at(stripe), emergency_limit_tokens=1_000)
        yield suite
        suite.close()


def acts(suite: Suite, organization_id: str = "acme") -> list[tuple[str, str, str]]:
    """Return who did what to what, the first act first."""
    lines = suite.audit.list(organization_id, limit=1_000).items
    return [(line.act.actor.name, line.act.action, line.act.subject) for line in reversed(lines)]


def test_whatever_says_by_whom_it_is_done_is_looked_at_here() -> None:
    found = {
        f"{kind.__name__}.{name}"
        for module in (approval_links, codes, emergencies, offers, purchases, schedules, topups)
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__ == module.__name__
        for name, method in vars(kind).items()
        if inspect.isfunction(method) or isinstance(method, staticmethod)
        if not name.startswith("_") and "by" in inspect.signature(method).parameters
    }
    found |= {
        f"Subscriptions.{name}"
        for name, method in vars(Subscriptions).items()
        if inspect.isfunction(method) and not name.startswith("_") and "by" in inspect.signature(method).parameters
    }
    assert found == COVERED


def test_requests_for_tokens(suite: Suite) -> None:
    first = suite.topups.ask("acme", "5M", note="Black Friday", by=MEI)
    suite.topups.ask("acme", "5M", by=MEI)  # while one is open, asking gives that one
    suite.topups.approve("acme", first.id, by=ADA)
    suite.topups.approve("acme", first.id, by=ADA)
    second = suite.topups.ask("acme", "1M", by=MEI)
    suite.topups.decline("acme", second.id, reason="No budget", by=ADA)
    suite.topups.decline("acme", second.id, reason="No budget", by=ADA)
    third = suite.topups.ask("acme", "1M", by=MEI)
    suite.topups.cancel("acme", third.id, is_administrator=True, by=MEI)
    with pytest.raises(TokenwellError):
        suite.topups.decline("acme", third.id, reason="Too late", by=ADA)
    (pack,) = suite.meter.packs("acme").items
    assert acts(suite) == [
        ("Mei Lin", "topup.ask", first.id), ("Ada Root", "pack.grant", pack.pack.id), ("Ada Root", "topup.approve", first.id),
        ("Mei Lin", "topup.ask", second.id), ("Ada Root", "topup.decline", second.id),
        ("Mei Lin", "topup.ask", third.id), ("Mei Lin", "topup.cancel", third.id),
    ]  # fmt: skip
    declined = next(line.act for line in suite.audit.list("acme").items if line.act.action == "topup.decline")
    assert (declined.after, declined.actor.source) == ('{"reason":"No budget"}', "192.0.2.8")


def test_recurring_grants(suite: Suite, clock: FrozenClock) -> None:
    made = suite.schedules.create("acme", "1M", unit="day", first_day=date(2027, 2, 1), by=ADA)
    for _ in range(2):
        suite.schedules.pause("acme", made.id, by=ADA)
    for _ in range(2):
        suite.schedules.resume("acme", made.id, by=ADA)
    clock.advance(timedelta(days=1))
    suite.schedules.run_due()
    for _ in range(2):
        suite.schedules.change("acme", made.id, amount="2M", last_day=None, valid_days=None, priority=0, note="", by=ADA)
    for _ in range(2):
        suite.schedules.end("acme", made.id, by=ADA)
    (pack,) = suite.meter.packs("acme").items
    assert acts(suite) == [
        ("Ada Root", "schedule.create", made.id), ("Ada Root", "schedule.pause", made.id), ("Ada Root", "schedule.resume", made.id),
        ("Tokenwell", "pack.grant", pack.pack.id), ("Ada Root", "schedule.change", made.id), ("Ada Root", "schedule.end", made.id),
    ]  # fmt: skip


def test_codes_and_emergencies(suite: Suite) -> None:
    made = suite.codes.create("1k", 2, key="k", by=ADA)
    suite.codes.create("1k", 2, key="k", by=ADA)
    for _ in range(2):
        redeemed = suite.codes.redeem("acme", made.codes[0], by=MEI)
        suite.codes.revoke(made.batch.id, by=ADA)
    assert acts(suite, "") == [("Ada Root", "codes.create", made.batch.id), ("Ada Root", "codes.revoke", made.batch.id)]
    taken = [suite.emergencies.take("acme", 500, key="e", by=MEI) for _ in range(2)]
    assert [(who, what) for who, what, _ in acts(suite)] == [
        ("Mei Lin", "pack.grant"), ("Mei Lin", "code.redeem"), ("Mei Lin", "pack.advance"),
    ]  # fmt: skip
    assert [subject for _, what, subject in acts(suite) if what.startswith("pack")] == [redeemed.pack.id, taken[0].pack.id]


def test_offers_and_purchases(suite: Suite, stripe: StripeServer) -> None:
    offer = suite.offers.create("One", "1M", price_minor=100, currency="eur", key="k", by=ADA)
    suite.offers.create("One", "1M", price_minor=100, currency="eur", key="k", by=ADA)
    purchase, _ = (suite.purchases.start("acme", offer.id, key="p", by=MEI) for _ in range(2))
    for _ in range(2):
        suite.payments.hear(*stripe.event("checkout.session.completed", stripe.pay(str(purchase.session_id))))
        suite.offers.withdraw(offer.id, by=ADA)
    (pack,) = suite.meter.packs("acme").items
    assert acts(suite, "") == [("Ada Root", "offer.create", offer.id), ("Ada Root", "offer.withdraw", offer.id)]
    assert acts(suite) == [
        ("Mei Lin", "purchase.start", purchase.id), ("Tokenwell", "purchase.pay", purchase.id),
        ("Mei Lin", "pack.grant", pack.pack.id), ("Tokenwell", "purchase.grant", purchase.id),
    ]  # fmt: skip


def die(suite: Suite, delivery_id: str) -> None:
    """Let a delivery be one that was given up."""
    with transaction(suite.meter.engine) as connection:
        own = (schema.delivery.c.organization_id == "acme") & (schema.delivery.c.delivery_id == delivery_id)
        connection.execute(update(schema.delivery).where(own).values(status=DeliveryStatus.DEAD.value, finished_at=0))


def test_channels(suite: Suite) -> None:
    channels = suite.subscriptions
    target = "https://hooks.acme.example/ai?token=very-secret"
    made = channels.add_channel("acme", kind=ChannelKind.WEBHOOK, target=target, key="k", by=MEI)
    channels.add_channel("acme", kind=ChannelKind.WEBHOOK, target=target, key="k", by=MEI)
    there = ("acme", made.channel.id)
    channels.change_channel(*there, name="Backend", by=MEI)
    channels.change_channel(*there, name="Backend", by=MEI)  # nothing to change
    secret = channels.rotate(*there, by=MEI).secret
    channels.change_channel(*there, is_disabled=True, by=MEI)
    channels.change_channel(*there, is_disabled=False, by=MEI)
    delivery = channels.test(*there)
    for _ in range(2):
        die(suite, delivery.id)
        channels.replay(*there, delivery.id, by=MEI)
        channels.replay(*there, delivery.id, by=MEI)  # it is not dead any more
    die(suite, delivery.id)
    channels.replay_all(*there, by=MEI)
    channels.replay_all(*there, by=MEI)
    channels.remove_channel(*there, by=MEI)
    told = acts(suite)
    assert {who for who, _, _ in told} == {"Mei Lin"}
    assert {subject for _, what, subject in told if what != "delivery.replay"} == {made.channel.id}
    assert [what for _, what, _ in told] == [
        "channel.add", "channel.change", "channel.rotate", "channel.change", "channel.change", "delivery.replay",
        "delivery.replay", "channel.replay", "channel.remove",
    ]  # fmt: skip
    log = "".join(f"{line.act.before}{line.act.after}" for line in suite.audit.list("acme").items)
    assert "very-secret" not in log
    assert str(secret) not in log
