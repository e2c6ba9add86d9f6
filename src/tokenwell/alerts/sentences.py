"""Sentences: what each kind of event says, in the reader's language. E-mails, webhooks, chats and the console say the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from tokenwell.alerts import phrases
from tokenwell.alerts.phrases import Sentence, said
from tokenwell.alerts.words import Words
from tokenwell.core.happenings import Event, EventKind
from tokenwell.core.instants import parse_instant
from tokenwell.core.money import written_price
from tokenwell.errors import RequestInvalid


def sentence_of(event: Event, words: Words, *, stops_at: datetime | None = None) -> Sentence:
    """Return what an event says. `stops_at` is when AI is expected to stop, where that is known."""
    facts = _Facts(event, words)
    return _SENTENCES[event.kind](facts, words, stops_at)


class _Facts:
    """The detail of an event, written for a reader. What is missing is written as a dash: an alert is never held back by it."""

    def __init__(self, event: Event, words: Words) -> None:
        self.event = event
        self._words = words
        try:
            self._detail: dict[str, Any] = msgspec.json.decode(event.detail, type=dict[str, Any])
        except msgspec.DecodeError:
            self._detail = {}

    def number(self, name: str) -> int:
        value = self._detail.get(name)
        return value if isinstance(value, int) else 0

    def tokens(self, name: str) -> str:
        return self._words.tokens(self.number(name)) if isinstance(self._detail.get(name), int) else "–"

    def text(self, name: str) -> str:
        value = self._detail.get(name)
        return value.strip() if isinstance(value, str) else ""

    def instant(self, name: str) -> datetime | None:
        try:
            return parse_instant(self.text(name), field=name) if self.text(name) else None
        except RequestInvalid:
            return None

    def when(self, name: str, to: str = "minute") -> str:
        at = self.instant(name)
        return "–" if at is None else self._words.when(at, to)

    def price(self, name: str) -> str:
        return written_price(self.number(name), self.text("currency")) if isinstance(self._detail.get(name), int) else "–"

    @property
    def pack(self) -> str:
        return f"PK-{self.number('pack_number')}"


def _running_low(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    balance, warning = facts.tokens("balance_tokens"), facts.tokens("warning_tokens")
    return phrases.running_low(words, balance=balance, warning=warning, stops_at=stops_at)


def _ai_stopped(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    balance = facts.tokens("balance_tokens") if facts.number("balance_tokens") else ""
    return phrases.ai_stopped(words, balance=balance, reserve=facts.tokens("reserve_tokens"), since=facts.event.at)


def _recovered(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    balance = _("The balance is %(balance)s tokens.") % {"balance": facts.tokens("balance_tokens")}
    if facts.text("before") == "ai_stopped":
        low = _("It is still below the warning threshold.") if facts.text("state") == "running_low" else ""
        granted = facts.tokens("granted_tokens") if facts.number("granted_tokens") else ""
        return phrases.running_again(words, granted=granted, text=words.join([balance, low]))
    return said(words, _("The balance has recovered."), balance)


def _granted(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    if facts.instant("expires_at") is None:
        text = _("%(pack)s never expires.") % {"pack": facts.pack}
    else:
        text = _("%(pack)s expires on %(at)s.") % {"pack": facts.pack, "at": facts.when("expires_at")}
    return said(words, _("%(tokens)s tokens granted.") % {"tokens": facts.tokens("total_tokens")}, text)


def _advanced(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    owed = _("%(tokens)s tokens are owed; the next pack repays them first.") % {"tokens": facts.tokens("overage_tokens")}
    balance = _("The balance is %(balance)s tokens.") % {"balance": facts.tokens("balance_tokens")}
    return said(words, _("%(tokens)s emergency tokens were taken.") % {"tokens": facts.tokens("total_tokens")}, balance, owed)


def _depleted(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    total = _("Its %(tokens)s tokens are fully consumed.") % {"tokens": facts.tokens("total_tokens")}
    return said(words, _("%(pack)s is depleted.") % {"pack": facts.pack}, total)


def _expired(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    lost = _("%(tokens)s tokens expired unused.") % {"tokens": facts.tokens("forfeited_tokens")}
    return said(words, _("%(pack)s has expired.") % {"pack": facts.pack}, lost)


def _revoked(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    lost = _("%(tokens)s tokens no longer count.") % {"tokens": facts.tokens("forfeited_tokens")}
    return said(words, _("%(pack)s was revoked.") % {"pack": facts.pack}, lost)


def _extended(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    if facts.instant("expires_at") is None:
        text = _("It never expires now.")
    else:
        text = _("It now expires on %(at)s.") % {"at": facts.when("expires_at")}
    return said(words, _("%(pack)s was extended.") % {"pack": facts.pack}, text)


def _expiring(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    return phrases.expiring(
        words,
        tokens=words.compact(facts.number("forfeit_tokens")) if facts.number("forfeit_tokens") else "–",
        exact=facts.tokens("forfeit_tokens"),
        pack=facts.pack,
        day=facts.when("expires_at", "date"),
        at=facts.when("expires_at"),
    )


def _overage_incurred(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    text = _("%(tokens)s tokens of overage are repaid first, out of the next pack.") % {"tokens": facts.tokens("overage_tokens")}
    return said(words, _("More was used than any pack covers."), text)


def _overage_repaid(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    left = _("%(tokens)s tokens of overage are left.") % {"tokens": facts.tokens("overage_tokens")}
    repaid = _("%(tokens)s tokens of overage were repaid.") % {"tokens": facts.tokens("repaid_tokens")}
    return said(words, repaid, left if facts.number("overage_tokens") else "")


def _restricted(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    again = _("They become active again by themselves when a new pack is granted.")
    return said(words, _("AI services are restricted."), again)


def _restored(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    return said(words, words.gettext("AI services are active again."))


def _key_limit(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    name = facts.text("key_name") or facts.text("name") or facts.text("key_id") or "–"
    used = _("It has used its limit of %(tokens)s tokens.") % {"tokens": facts.tokens("limit_tokens")}
    title = _("The key %(name)s has reached its limit.") % {"name": name}
    return said(words, title, used if facts.number("limit_tokens") else "")


def _unusual(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    used = {"used": facts.tokens("used_tokens"), "usual": facts.tokens("usual_tokens"), "at": words.when(facts.event.at)}
    text = _("%(used)s tokens were used today until %(at)s; by this time it is usually about %(usual)s.")
    return said(words, _("AI uses more than usual today."), text % used)


def _requested(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    return phrases.requested(words, name=facts.text("by"), tokens=facts.tokens("amount_tokens"), note=facts.text("note"))


def _approved(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    return phrases.approved(words, granted=facts.tokens("granted_tokens"))


def _declined(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    return phrases.declined(words, reason=facts.text("reason"))


def _bought(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    tokens = _("%(tokens)s tokens granted.") % {"tokens": facts.tokens("amount_tokens")}
    return Sentence(
        title=_("%(name)s was bought.") % {"name": facts.text("name") or "–"},
        text=words.join([facts.price("price_minor") + ".", tokens]),
    )


def _not_paid(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    nothing = _("Nothing was charged, and no tokens were granted.")
    return said(words, _("The payment for %(name)s failed.") % {"name": facts.text("name") or "–"}, nothing)


def _unresolved(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    about = {"name": facts.text("name") or "–", "price": facts.price("price_minor")}
    wait = _("No pack could be granted for it; a platform admin looks into it.")
    return Sentence(
        title=_("%(name)s was paid, but no tokens were granted.") % about,
        text=words.join([_("The price is %(price)s.") % about, wait]),
    )


def _paid_back(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    about = {"name": facts.text("name") or "–", "price": facts.price("price_minor"), "back": facts.price("refunded_minor")}
    keeps = _("Its pack is kept until a platform admin revokes it.")
    return Sentence(
        title=_("A payment for %(name)s was refunded.") % about,
        text=words.join([_("%(back)s of %(price)s were given back.") % about, keeps]),
    )


def _charged_back(facts: _Facts, words: Words, stops_at: datetime | None) -> Sentence:
    _ = words.gettext
    about = {"name": facts.text("name") or "–", "price": facts.price("price_minor")}
    outcome = facts.text("chargeback")
    if outcome == "won":
        return Sentence(
            title=_("A chargeback of %(name)s was won.") % about, text=words.join([_("The payment of %(price)s stays.") % about])
        )
    keeps = _("Its pack is kept until a platform admin revokes it.")
    if outcome == "lost":
        return Sentence(
            title=_("A chargeback of %(name)s was lost.") % about,
            text=words.join([_("The payment of %(price)s is gone.") % about, keeps]),
        )
    return Sentence(
        title=_("A bank takes back a payment for %(name)s.") % about, text=words.join([_("The price is %(price)s.") % about, keeps])
    )


_SENTENCES: dict[EventKind, Callable[[_Facts, Words, datetime | None], Sentence]] = {
    EventKind.STATE_RUNNING_LOW: _running_low,
    EventKind.STATE_AI_STOPPED: _ai_stopped,
    EventKind.STATE_RECOVERED: _recovered,
    EventKind.PACK_GRANTED: _granted,
    EventKind.PACK_ADVANCED: _advanced,
    EventKind.PACK_DEPLETED: _depleted,
    EventKind.PACK_EXPIRED: _expired,
    EventKind.PACK_REVOKED: _revoked,
    EventKind.PACK_EXTENDED: _extended,
    EventKind.PACK_EXPIRING: _expiring,
    EventKind.OVERAGE_INCURRED: _overage_incurred,
    EventKind.OVERAGE_REPAID: _overage_repaid,
    EventKind.SERVICE_RESTRICTED: _restricted,
    EventKind.SERVICE_RESTORED: _restored,
    EventKind.KEY_LIMIT_REACHED: _key_limit,
    EventKind.USAGE_UNUSUAL: _unusual,
    EventKind.TOPUP_REQUESTED: _requested,
    EventKind.TOPUP_APPROVED: _approved,
    EventKind.TOPUP_DECLINED: _declined,
    EventKind.PURCHASE_COMPLETED: _bought,
    EventKind.PURCHASE_FAILED: _not_paid,
    EventKind.PURCHASE_UNRESOLVED: _unresolved,
    EventKind.PURCHASE_REFUNDED: _paid_back,
    EventKind.PURCHASE_CHARGED_BACK: _charged_back,
}
