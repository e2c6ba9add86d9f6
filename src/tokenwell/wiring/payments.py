"""Payments, put together: where purchases are paid, as the settings say."""

from __future__ import annotations

from tokenwell.config import Settings
from tokenwell.service.supply.paying import Checkout
from tokenwell.wiring.guards import open_guard


def open_checkout(settings: Settings) -> Checkout | None:
    """Return where purchases are paid, None where the settings name no key. Raises RequestInvalid, TargetRefused."""
    if not settings.stripe_secret_key:
        return None
    from tokenwell.service.supply.stripe_checkout import StripeCheckout

    return StripeCheckout(
        url=open_guard(settings).check_url(settings.stripe_url),
        secret_key=settings.stripe_secret_key,
        secrets=tuple(settings.stripe_webhook_secret.split()),
        address=settings.address,
    )
