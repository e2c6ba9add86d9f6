"""Guards: where this server may reach to, as the settings say."""

from __future__ import annotations

from tokenwell.alerts.addresses import Guard
from tokenwell.config import Settings


def open_guard(settings: Settings) -> Guard:
    """Return what decides where alerts may be sent."""
    return Guard(settings.alerts_allowed_hosts.replace(",", " ").split())
