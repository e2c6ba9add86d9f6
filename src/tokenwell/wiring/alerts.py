"""Alerts, put together: who is told, and what sends."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parseaddr
from urllib.parse import urlsplit

from tokenwell.alerts.deliverer import CLAIM, Deliverer
from tokenwell.alerts.mail import MailServer
from tokenwell.alerts.outbox import Outbox
from tokenwell.alerts.posting import Poster
from tokenwell.alerts.sending import Sending
from tokenwell.config import Settings
from tokenwell.errors import TokenwellError
from tokenwell.service.ports import new_id
from tokenwell.service.suite import Suite
from tokenwell.service.supply.topups import TopupStatus
from tokenwell.wiring.guards import open_guard


def open_outbox(suite: Suite, settings: Settings) -> Outbox:
    """Return what turns events into deliveries."""
    return Outbox(suite.meter.engine, suite.meter.clock, new_id, has_mail=bool(settings.smtp_host))


def open_deliverer(suite: Suite, settings: Settings, *, claim: timedelta = CLAIM) -> Deliverer:
    """Return what sends deliveries."""
    meter = suite.meter

    def stops_at(organization_id: str) -> datetime | None:
        try:
            forecast = meter.forecast(organization_id)
        except TokenwellError:
            return None  # an alert is not held back because something else failed
        return None if forecast is None else forecast.expected.ai_stops_at

    def approval(organization_id: str, topup_id: str, person_id: str) -> str:
        try:
            topup = suite.topups.get(organization_id, topup_id)
        except TokenwellError:
            return ""
        return suite.approval_links.path_of(topup, person_id) if topup.status is TopupStatus.OPEN else ""

    sending = Sending(
        meter.engine,
        meter.clock,
        suite.sealer,
        Poster(open_guard(settings)),
        address=settings.address,
        mail_server=_mail_server(settings),
        stops_at=stops_at,
        approval=approval,
    )
    return Deliverer(meter.engine, meter.clock, new_id, sending, claim=claim)


def _mail_server(settings: Settings) -> MailServer | None:
    if not settings.smtp_host:
        return None
    host = urlsplit(settings.address).hostname or "localhost"
    return MailServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        sender=settings.mail_from if parseaddr(settings.mail_from)[1] else f"Tokenwell <tokenwell@{host}>",
        security=settings.smtp_security,
        username=settings.smtp_username,
        password=settings.smtp_password,
        ca_file=settings.smtp_ca_file,
    )
