"""What is told: an event, or a test, with all that any channel says of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec
from standardwebhooks import Webhook

from tokenwell.alerts.mail import Mail, Part
from tokenwell.alerts.phrases import Sentence
from tokenwell.alerts.sentences import sentence_of
from tokenwell.alerts.words import Words
from tokenwell.core.happenings import Event

TEST_KIND = "test"
"""The type of a webhook that was asked for to see whether it arrives."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery's content. `event` is None for a test; `stops_at` is when AI is expected to stop."""

    delivery_id: str
    organization_id: str
    organization_name: str
    at: datetime
    event: Event | None = None
    event_id: str | None = None
    stops_at: datetime | None = None

    def sentence(self, words: Words) -> Sentence:
        """Return what it says in the reader's language."""
        if self.event is not None:
            return sentence_of(self.event, words, stops_at=self.stops_at)
        _ = words.gettext
        return Sentence(title=_("This is a test."), text=_("Alerts of %(name)s arrive here.") % {"name": self.organization_name})

    def payload(self, words: Words) -> dict[str, Any]:
        """Return the content of a webhook."""
        sentence = self.sentence(words)
        data: dict[str, Any] = {
            "organization_id": self.organization_id,
            "organization_name": self.organization_name,
            "event_id": self.event_id,
            "title": sentence.title,
            "text": sentence.text,
        }
        if self.event is not None:
            data["detail"] = msgspec.json.decode(self.event.detail)
            data["ai_stops_at"] = None if self.stops_at is None else words.utc(self.stops_at)
        kind = TEST_KIND if self.event is None else self.event.kind.value
        return {"type": kind, "timestamp": self.at.isoformat().replace("+00:00", "Z"), "data": data}


def page_of(address: str, told: Told) -> str:
    """Return the address of the page where a reader sees more."""
    if not told.organization_id:
        return f"{address}/"
    return f"{address}/o/{quote(told.organization_id, safe='')}"


def webhook_of(told: Told, words: Words, keys: tuple[str, ...], *, now: datetime) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a webhook, signed with every key (Standard Webhooks)."""
    body = msgspec.json.encode(told.payload(words)).decode()
    signatures = [Webhook(key).sign(told.delivery_id, now, body) for key in keys]
    headers = {
        "content-type": "application/json",
        "webhook-id": told.delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return body.encode(), headers


def slack_of(told: tuple[Told, ...], words: Words, address: str) -> bytes:
    """Return a message for Slack, and for what understands the same (Mattermost, Rocket.Chat)."""
    lines = [f"*{_plain(each.organization_name)}* {_plain(each.sentence(words).whole)}" for each in told]
    lines.append(f"<{page_of(address, told[0])}|{words.gettext('Open AI resources')}>")
    return msgspec.json.encode({"text": "\n".join(lines)})


def chat_of(told: tuple[Told, ...], words: Words, address: str) -> bytes:
    """Return a message for other chats: the whole of it in `text` and in `content`, and its pieces."""
    lines = [f"{each.organization_name}: {each.sentence(words).whole}" for each in told]
    text = "\n".join([*lines, page_of(address, told[0])])
    events = [each.payload(words) | {"delivery_id": each.delivery_id} for each in told]
    return msgspec.json.encode({"text": text, "content": text[:2_000], "events": events})


def alert_of(told: tuple[Told, ...], words: Words, *, to: str, address: str, unsubscribe: str, approve: str = "") -> Mail:
    """Return the e-mail of one event, or of several together. Its button leads to `approve` where there is something to approve."""
    _, first = words.gettext, told[0]
    sentences = [each.sentence(words) for each in told]
    if len(told) == 1:
        subject = f"{first.organization_name}: {sentences[0].title}"
    else:
        subject = _("%(count)s alerts of %(name)s") % {"count": len(told), "name": first.organization_name}
    parts = [
        Part(title=said.title, text=said.text, when=f"{each.organization_name} · {words.when(each.at)}")
        for each, said in zip(told, sentences, strict=True)
    ]
    why = _("Times are those of %(zone)s. You are told of this because of what is set on the alerts page.")
    own = (_("The link approves in your name: do not pass this e-mail on."),) if approve else ()
    return Mail(
        id=first.delivery_id,
        to=to,
        subject=subject,
        parts=tuple(parts),
        button=_("Approve the request") if approve else _("Open AI resources"),
        link=approve or page_of(address, first),
        foot=(*own, why % {"zone": words.zone_name}),
        unsubscribe=unsubscribe,
    )


def _plain(text: str) -> str:
    """Return text with what Slack would read as a command or a link written out."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
