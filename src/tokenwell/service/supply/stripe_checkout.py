"""Checkout: how a purchase is paid at Stripe. Sessions are made and asked for with Stripe's own library, and what Stripe tells by
itself is believed only by its signature.

Only one address is ever asked, the operator's, which must be https unless it is allowed; no redirect is followed, and no answer is
read past a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import quote

import httpx2
import msgspec
import stripe

from tokenwell.errors import PaymentUnavailable, RequestInvalid
from tokenwell.service.supply.paying import SIGNATURE_HEADER, Session, Told
from tokenwell.store.supply.purchases import Purchase

TIMEOUT_SECONDS = 10.0
ANSWER_LIMIT_BYTES = 512 * 1024
TOLERANCE_SECONDS = 300
"""How old a signature may be."""

stripe.enable_telemetry = False  # how long our requests took is nobody's business


class StripeCheckout:
    """Stripe's hosted page. `address` is the console's, where people come back to; `secrets` sign the webhooks.

    Its methods block, and raise PaymentUnavailable where Stripe cannot be asked.
    """

    def __init__(self, *, url: str, secret_key: str, secrets: tuple[str, ...], address: str) -> None:
        self._address = address
        self._secrets = secrets
        self._schemes = ("https://", "http://") if url.startswith("http://") else ("https://",)
        self._client = stripe.StripeClient(
            secret_key, base_addresses={"api": url.rstrip("/")}, http_client=_Http(), max_network_retries=1
        )

    @property
    def hears(self) -> bool:
        """Whether webhooks can be believed: there is a secret that they are signed with."""
        return bool(self._secrets)

    def open(self, purchase: Purchase) -> Session:
        """Return the session in which a purchase is paid, with its address; opened again, it is the same."""
        own = {"organization_id": purchase.organization_id, "purchase_id": purchase.id}
        back = f"{self._address}/o/{quote(purchase.organization_id)}/purchases/{quote(purchase.id)}"
        price = {"currency": purchase.currency, "unit_amount": purchase.price_minor, "product_data": {"name": purchase.name}}
        asked: Any = {
            "mode": "payment",
            "client_reference_id": purchase.id,
            "metadata": own,
            "payment_intent_data": {"metadata": own},
            "line_items": [{"quantity": 1, "price_data": price}],
            "adaptive_pricing": {"enabled": False},
            "success_url": f"{back}?back=paid",
            "cancel_url": f"{back}?back=cancelled",
        }
        with _told_as_ours():
            made = self._client.v1.checkout.sessions.create(params=asked, options={"idempotency_key": purchase.id})
        return self._read(made)

    def find(self, session_id: str) -> Session:
        """Return a session as it is now."""
        with _told_as_ours():
            return self._read(self._client.v1.checkout.sessions.retrieve(session_id))

    def believe(self, body: bytes, signature: str | None) -> Told:
        """Return what a webhook tells, if Stripe signed it a moment ago. Raises RequestInvalid."""
        if not any(_is_signed(body, signature, secret) for secret in self._secrets):
            raise RequestInvalid("the signature is not Stripe's, or too old", field=SIGNATURE_HEADER)
        try:
            return msgspec.json.decode(body, type=Told)
        except msgspec.DecodeError:
            raise RequestInvalid("the event cannot be read") from None

    def _read(self, made: Any) -> Session:
        try:
            session = msgspec.convert(made.to_dict(), Session)
        except msgspec.ValidationError:
            raise PaymentUnavailable("Stripe's answer cannot be read") from None
        if session.url is not None and not session.url.startswith(self._schemes):
            raise PaymentUnavailable("Stripe's page is not behind https")
        return session


def _is_signed(body: bytes, signature: str | None, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_SECONDS))
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except stripe.StripeError as error:
        # Stripe's own words may hold a part of the key: they are not handed on.
        raise PaymentUnavailable(reason=type(error).__name__, status=error.http_status) from None


_unreachable: Callable[..., stripe.StripeError] = stripe.APIConnectionError


class _Http(stripe.HTTPClient):
    """The one HTTP client of this house, for Stripe's library."""

    name: ClassVar[str] = "tokenwell"

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        try:
            with httpx2.stream(
                method, url, headers=headers, content=post_data, timeout=TIMEOUT_SECONDS, follow_redirects=False
            ) as answer:
                body = b""
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > ANSWER_LIMIT_BYTES:
                        raise _unreachable("the answer is too long")
                return body.decode("utf-8", "replace"), answer.status_code, answer.headers
        except httpx2.HTTPError as error:
            raise _unreachable(type(error).__name__, should_retry=True) from None
