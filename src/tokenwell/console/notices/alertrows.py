"""Rows of alerts: an event as the alerts page, the bell's panel and its stream show it, in the words of e-mails and webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tokenwell.alerts.sentences import sentence_of
from tokenwell.alerts.words import Words
from tokenwell.console.formats import Formats
from tokenwell.console.frame import path_of
from tokenwell.console.presenters import pack_label
from tokenwell.console.visits import Visit
from tokenwell.core.alerts import ABOUT
from tokenwell.core.happenings import Event, EventKind
from tokenwell.service.notices.inbox import KnownEvent


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event as lists show it: how it looks (`tone` is ok, low, stop or nothing), what it says, the page it is about, and whose
    it is where there are many organizations."""

    id: str
    at: datetime
    title: str
    text: str
    path: str
    icon: str
    tone: str
    is_unread: bool
    whose: str = ""


def row_of(known: KnownEvent, words: Words) -> AlertRow:
    """Return an event in the reader's words: those of e-mails and webhooks."""
    event = known.event
    said = sentence_of(event, words)
    icon, tone = _LOOKS.get(event.kind, ("info", ""))
    return AlertRow(
        id=known.id,
        at=event.at,
        title=said.title,
        text=said.text,
        path=_REQUESTS if known.organization_name and event.kind is EventKind.TOPUP_REQUESTED else _page_about(event),
        icon=icon,
        tone=tone,
        is_unread=ABOUT[event.kind].rings and not known.is_read,
        whose=known.organization_name,
    )


_REQUESTS = "/admin/requests"
"""Where the platform decides on requests."""

_LOOKS = {
    EventKind.STATE_AI_STOPPED: ("octagon-pause", "stop"),
    EventKind.STATE_RUNNING_LOW: ("triangle-alert", "low"),
    EventKind.STATE_RECOVERED: ("circle-check", "ok"),
    EventKind.PACK_EXPIRING: ("triangle-alert", "low"),
    EventKind.PACK_GRANTED: ("layers", ""),
    EventKind.PACK_EXPIRED: ("calendar-x", ""),
    EventKind.PACK_REVOKED: ("ban", ""),
    EventKind.KEY_LIMIT_REACHED: ("key-round", "low"),
    EventKind.USAGE_UNUSUAL: ("triangle-alert", "low"),
    EventKind.TOPUP_APPROVED: ("circle-check", "ok"),
}
"""The icon and the tone of what is not plain information."""


def _page_about(event: Event) -> str:
    """Return the page where a reader sees more of what happened."""
    number = msgspec.json.decode(event.detail, type=dict[str, Any]).get("pack_number")
    if event.kind.startswith("pack.") and isinstance(number, int):
        return path_of(event.organization_id, "packs", pack_label(number))
    part = {EventKind.KEY_LIMIT_REACHED: "services", EventKind.USAGE_UNUSUAL: "usage"}.get(event.kind)
    return path_of(event.organization_id, *([part] if part else []))


def words_of(visit: Visit, formats: Formats) -> Words:
    """Return how this visitor reads sentences."""
    return Words(visit.language, formats.zone_name, formats.now)
