"""The banner: what the top of the packs page has to say, in the sentences of e-mails and webhooks, marked up for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from jinja2.filters import do_mark_safe
from markupsafe import Markup

from tokenwell.alerts import phrases
from tokenwell.alerts.phrases import Sentence
from tokenwell.alerts.words import Words
from tokenwell.console.formats import Formats
from tokenwell.console.presenters import BalanceView, Banner, pack_label
from tokenwell.console.supply.topuppages import RequestState
from tokenwell.core.alerts import STAGES, stage_of
from tokenwell.core.forecast import Forecast
from tokenwell.core.packs import Pack

EXPIRIES = 3
"""How many packs that will expire unused are told of at most."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the banner says. `code` says what, for what can be done about it; `tone` is low, stop, ok or info."""

    code: str
    tone: str
    icon: str
    said: Sentence
    is_state: bool = False


class Expiring(msgspec.Struct, frozen=True, kw_only=True):
    """A pack that will expire unused, and what is foreseen to be left in it."""

    number: int
    at: datetime
    tokens: int

    @property
    def label(self) -> str:
        """How the pack is called."""
        return pack_label(self.number)


class MarkedWords(Words):
    """Writes for a page: the number a sentence is about is bold, instants are time elements, all that is filled in is escaped."""

    def __init__(self, formats: Formats) -> None:
        super().__init__(formats.language, formats.zone_name, formats.now)
        self._formats = formats
        plain = self.gettext
        self.gettext = lambda message: do_mark_safe(plain(message))

    def lead(self, amount: int) -> str:
        """Return a number in bold."""
        return Markup('<b class="num">{}</b>').format(self.tokens(amount))

    def when(self, at: datetime, to: str = "minute") -> str:
        """Return a time element."""
        return self._formats.when(at, to)

    def join(self, parts: Iterable[str]) -> str:
        """Return sentences one after the other."""
        return do_mark_safe(self.space).join(part for part in parts if part)


def notices(
    balance: BalanceView,
    *,
    stops_at: datetime | None,
    stopped_at: datetime | None,
    request: RequestState | None,
    expiring: Sequence[Expiring],
    formats: Formats,
) -> tuple[Notice, ...]:
    """Return what the banner says: how the organization stands, what became of a request for tokens, what will expire unused."""
    words = MarkedWords(formats)
    found = [_state(balance, words, stops_at, stopped_at), _request(request, words), _expiry(expiring, words)]
    return tuple(each for each in found if each is not None)


def _state(balance: BalanceView, words: Words, stops_at: datetime | None, stopped_at: datetime | None) -> Notice | None:
    left = words.lead(balance.balance_tokens)
    if balance.banner is Banner.RUNNING_LOW:
        said = phrases.running_low(words, balance=left, warning=words.tokens(balance.warning_tokens), stops_at=stops_at)
        return Notice(code="running_low", tone="low", icon="triangle-alert", said=said, is_state=True)
    if balance.banner is Banner.NOT_STARTED:
        return Notice(code="not_started", tone="info", icon="info", said=phrases.not_started(words), is_state=True)
    if balance.banner is Banner.NONE:
        return None
    shown = left if balance.balance_tokens else ""
    said = phrases.ai_stopped(words, balance=shown, reserve=words.tokens(balance.reserve_tokens), since=stopped_at)
    return Notice(code="stopped", tone="stop", icon="octagon-pause", said=said, is_state=True)


def _request(state: RequestState | None, words: Words) -> Notice | None:
    if state is None:
        return None
    topup = state.topup
    if state.said == "requested":
        name, tokens = topup.asked_by.name, words.lead(topup.amount_tokens)
        said = phrases.requested(words, name=name, tokens=tokens, note=topup.note, at=topup.asked_at)
        return Notice(code="requested", tone="info", icon="inbox", said=said)
    if state.said == "declined":
        name = topup.decided_by.name if topup.decided_by else ""
        said = phrases.declined(words, reason=topup.reason, name=name, at=topup.decided_at)
        return Notice(code="declined", tone="low", icon="info", said=said)
    granted = words.lead(state.granted_tokens)
    said = phrases.running_again(words, granted=granted) if state.said == "resumed" else phrases.approved(words, granted=granted)
    return Notice(code=state.said, tone="ok", icon="circle-check", said=said)


def _expiry(expiring: Sequence[Expiring], words: Words) -> Notice | None:
    if not expiring:
        return None
    first, *others = [
        phrases.expiring(
            words,
            tokens=words.compact(each.tokens),
            exact=words.tokens(each.tokens),
            pack=each.label,
            day=words.when(each.at, "date"),
            at=words.when(each.at),
        )
        for each in expiring
    ]
    said = phrases.said(words, first.title, first.text, *(other.title for other in others))
    return Notice(code="expiring", tone="low", icon="clock", said=said)


def expiring_soon(active: Sequence[Pack] | None, told: Forecast | None, now: datetime) -> tuple[Expiring, ...]:
    """Return the packs that are told of, at most EXPIRIES, the soonest first: those within the stages of `core.alerts` that hold
    something the forecast says will be left; with no forecast, all that is in them. `active` is None where they are too many to
    look at one by one."""
    forfeits = () if told is None else told.expected.forfeits
    left = {each.pack_number: each.tokens for each in forfeits}
    if active is None:
        until = now + timedelta(days=max(STAGES))
        found = [Expiring(number=each.pack_number, at=each.at, tokens=each.tokens) for each in forfeits if now < each.at <= until]
    else:
        found = [
            Expiring(number=pack.number, at=pack.expires_at, tokens=left.get(pack.number, 0 if told else pack.remaining_tokens))
            for pack in active
            if pack.expires_at is not None and stage_of(pack.granted_at, pack.expires_at, now)
        ]
    found.sort(key=lambda each: (each.at, each.number))
    return tuple(each for each in found if each.tokens)[:EXPIRIES]
