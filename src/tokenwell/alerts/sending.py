"""Sending: what a delivery says, and through which channel it goes out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

import msgspec
import sqlalchemy

from tokenwell.alerts import letters, mail, told
from tokenwell.alerts.mail import Mail, MailServer
from tokenwell.alerts.posting import Outcome, Poster
from tokenwell.alerts.told import Told
from tokenwell.alerts.words import Words
from tokenwell.core.alerts import CHANNEL_PURPOSE, UNSUBSCRIBE_PURPOSE, Secret, Subscription
from tokenwell.core.happenings import PLATFORM, EventKind
from tokenwell.core.letters import LETTER_PURPOSE, Letter
from tokenwell.store.notices import channels, events
from tokenwell.store.notices.channels import Channel, ChannelKind
from tokenwell.store.notices.deliveries import Delivery, DeliveryKind
from tokenwell.store.reader import reading


class Seal(Protocol):
    """Opens what is sealed, and signs."""

    def open(self, sealed: bytes, *, purpose: str) -> str:
        """Return what was sealed."""

    def sign(self, text: str, *, purpose: str) -> str:
        """Return a signature."""


class Dropped(Exception):
    """Nobody is to get it any more."""


class Sending:
    """Sends deliveries. `address` is where people reach the console; `stops_at` tells when AI is expected to stop in an
    organization; `approval` gives the path on which a person approves a request of an organization, empty where none waits."""

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        clock: Callable[[], datetime],
        seal: Seal,
        poster: Poster,
        *,
        address: str,
        mail_server: MailServer | None,
        stops_at: Callable[[str], datetime | None] = lambda organization_id: None,
        approval: Callable[[str, str, str], str] = lambda organization_id, topup_id, person_id: "",
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._seal = seal
        self._poster = poster
        self._address = address
        self._mail_server = mail_server
        self._stops_at = stops_at
        self._approval = approval

    def prepare(self, deliveries: list[Delivery]) -> Prepared:
        """Read what is to be said and to whom; blocks. Raises Dropped."""
        first = deliveries[0]
        if first.kind is DeliveryKind.LETTER:
            return Prepared(letter=msgspec.json.decode(self._seal.open(first.sealed or b"", purpose=LETTER_PURPOSE), type=Letter))
        with reading(self._engine) as connection:
            channel = channels.find_channel(connection, first.channel_home, first.channel_id)
            if channel is not None and channel.disabled_at is not None and first.kind is not DeliveryKind.TEST:
                raise Dropped
            recipient, language, zone = None, None, None
            if channel is None or channel.kind is ChannelKind.OWN:
                recipient = channels.reader_of(connection, first.channel_home, first.channel_id)
                if recipient is None:
                    raise Dropped
                language, zone = channels.preference_of(connection, recipient.person_id)
            found = [self._read(connection, each) for each in deliveries]
            approve = "" if recipient is None else self._approve_link(connection, recipient.person_id, found)
        secret = None
        if recipient is None and channel is not None:
            secret = msgspec.json.decode(self._seal.open(channel.sealed, purpose=CHANNEL_PURPOSE), type=Secret)
        to = recipient.email if recipient is not None else secret.target if secret is not None else ""
        keys = () if secret is None else secret.keys_at(self._clock())
        reads = (language or "en", zone or "UTC") if channel is None else (channel.language, channel.zone)
        return Prepared(channel=channel, to=to, keys=keys, told=tuple(found), approve=approve, reads=reads)

    def _read(self, connection: sqlalchemy.Connection, delivery: Delivery) -> Told:
        name = channels.organization_name(connection, delivery.organization_id) if delivery.organization_id else "Tokenwell"
        event = None
        if delivery.event_id is not None:
            event = events.find_event(connection, delivery.organization_id, delivery.event_id)
            if event is None:
                raise Dropped
        is_low = event is not None and event.kind is EventKind.STATE_RUNNING_LOW
        return Told(
            delivery_id=delivery.id,
            organization_id=delivery.organization_id,
            organization_name=name,
            at=event.at if event is not None else delivery.created_at,
            event=event,
            event_id=delivery.event_id,
            stops_at=self._stops_at(delivery.organization_id) if is_low else None,
        )

    async def send(self, deliveries: list[Delivery], prepared: Prepared) -> Outcome:
        """Send what was prepared. Never raises but when cancelled."""
        first, now = deliveries[0], self._clock()
        if prepared.letter is not None:
            words = Words(prepared.letter.language, "UTC", now)
            written = letters.mail_of(prepared.letter, words, mail_id=first.id)
            return await self._send_mail(written, words, shown=f"To: {prepared.letter.to}\n{prepared.letter.kind.value}")
        channel = prepared.channel
        words = Words(*prepared.reads, now)
        if channel is None or channel.kind in (ChannelKind.OWN, ChannelKind.EMAIL):
            stop = self._unsubscribe_link(first, prepared)
            written = told.alert_of(
                prepared.told, words, to=prepared.to, address=self._address, unsubscribe=stop, approve=prepared.approve
            )
            said = "\n".join(each.sentence(words).whole for each in prepared.told)
            return await self._send_mail(written, words, shown=f"To: {written.to}\nSubject: {written.subject}\n\n{said}")
        headers = {"content-type": "application/json"}
        if channel.kind is ChannelKind.WEBHOOK:
            body, headers = told.webhook_of(prepared.told[0], words, prepared.keys, now=now)
        elif channel.kind is ChannelKind.SLACK:
            body = told.slack_of(prepared.told, words, self._address)
        else:
            body = told.chat_of(prepared.told, words, self._address)
        return await self._poster.post(prepared.to, body, headers, shown=channel.shown)

    async def _send_mail(self, written: Mail, words: Words, *, shown: str) -> Outcome:
        if self._mail_server is None:
            return Outcome(is_delivered=False, request=shown, answer="no mail server is configured: TOKENWELL_SMTP_HOST names one")
        message = mail.compose(written, words, self._mail_server, at=self._clock())
        return await mail.send(message, self._mail_server, shown=shown)

    def _approve_link(self, connection: sqlalchemy.Connection, person_id: str, found: list[Told]) -> str:
        """Return where a platform administrator approves the one request that is told of, empty for everybody else."""
        event = found[0].event if len(found) == 1 else None
        if event is None or event.kind is not EventKind.TOPUP_REQUESTED:
            return ""
        topup_id = msgspec.json.decode(event.detail).get("topup_id")
        if topup_id is None or channels.reader_of(connection, PLATFORM, person_id) is None:
            return ""
        path = self._approval(event.organization_id, topup_id, person_id)
        return path and self._address + path

    def _unsubscribe_link(self, first: Delivery, prepared: Prepared) -> str:
        kinds = {each.event.kind for each in prepared.told if each.event is not None}
        # Several kinds in one e-mail: the link stops none by itself, it leads to the choice among them.
        kind = kinds.pop() if len(kinds) == 1 else None
        wanted = Subscription(home=first.channel_home, channel_id=first.channel_id, kind=kind).text
        signature = self._seal.sign(wanted, purpose=UNSUBSCRIBE_PURPOSE)
        return f"{self._address}/unsubscribe?to={quote(wanted, safe='')}&sig={signature}"


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said, and to whom. `approve` is where this reader, and nobody else, approves what was
    asked for; `reads` is their language and their time zone."""

    channel: Channel | None = None
    to: str = ""
    keys: tuple[str, ...] = ()
    told: tuple[Told, ...] = ()
    letter: Letter | None = None
    approve: str = ""
    reads: tuple[str, str] = ("en", "UTC")
