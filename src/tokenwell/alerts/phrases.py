"""Phrases: what more than one place says of how an organization stands: e-mails, webhooks, and the banner of the console."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tokenwell.alerts.words import Words


class Sentence(msgspec.Struct, frozen=True, kw_only=True):
    """What is said: a title of a few words, and a text that may be empty."""

    title: str
    text: str

    @property
    def whole(self) -> str:
        """Title and text in one."""
        return f"{self.title} {self.text}".strip()


def said(words: Words, title: str, *parts: str) -> Sentence:
    """Return what is said in a title and in sentences, those left out that are empty."""
    return Sentence(title=title, text=words.join(parts))


def running_low(words: Words, *, balance: str, warning: str, stops_at: datetime | None) -> Sentence:
    """Return that AI is running low; `stops_at` is when it is expected to stop, where that is known. Amounts come written."""
    _ = words.gettext
    below = _("The balance is %(balance)s tokens, below the warning threshold of %(warning)s.")
    pause = _("At the current rate, AI replies pause around %(at)s.") % {"at": words.when(stops_at)} if stops_at else ""
    ask = _("Ask your platform admin to top up before it runs out.")
    return Sentence(title=_("AI is running low."), text=words.join([below % {"balance": balance, "warning": warning}, pause, ask]))


def ai_stopped(words: Words, *, balance: str, reserve: str, since: datetime | None) -> Sentence:
    """Return that AI is stopped, since when where that is known. An empty `balance` says that it is used up."""
    _ = words.gettext
    if balance:
        below = _("The balance is %(balance)s tokens, below the minimum reserve of %(reserve)s.")
        why = below % {"balance": balance, "reserve": reserve}
    else:
        why = _("The balance is used up.")
    if since is None:
        paused = _("AI replies are paused and resume by themselves when a new pack is granted.")
    else:
        lasting = _("AI replies have been paused since %(at)s and resume by themselves when a new pack is granted.")
        paused = lasting % {"at": words.when(since)}
    return Sentence(title=_("AI is stopped."), text=words.join([why, paused]))


def not_started(words: Words) -> Sentence:
    """Return that no pack was granted yet."""
    _ = words.gettext
    return Sentence(title=_("AI has not started yet."), text=_("AI replies start as soon as your platform admin grants a pack."))


def running_again(words: Words, *, granted: str, text: str = "") -> Sentence:
    """Return that AI runs again, and which grant did it, where it was one."""
    _ = words.gettext
    tokens = _("%(tokens)s tokens granted.") % {"tokens": granted} if granted else ""
    return Sentence(title=_("AI is running again."), text=words.join([tokens, text]))


def expiring(words: Words, *, tokens: str, exact: str, pack: str, day: str, at: str) -> Sentence:
    """Return what will expire unused and when. `tokens` is written short, since it is foreseen; `exact` is not."""
    _ = words.gettext
    title = _("%(tokens)s tokens will expire unused on %(at)s.") % {"tokens": tokens, "at": day}
    text = _("%(pack)s expires on %(at)s with about %(tokens)s tokens left.") % {"pack": pack, "at": at, "tokens": exact}
    return Sentence(title=title, text=text)


def requested(words: Words, *, name: str, tokens: str, note: str = "", at: datetime | None = None) -> Sentence:
    """Return who asked for how many tokens, and how long ago where `at` is given."""
    _ = words.gettext
    if at is not None:
        title = _("Top-up requested by %(name)s, %(ago)s.") % {"name": name or _("Somebody"), "ago": words.ago(at)}
    else:
        title = _("Top-up requested by %(name)s.") % {"name": name} if name else _("Top-up requested.")
    return Sentence(title=title, text=words.join([_("%(tokens)s tokens.") % {"tokens": tokens}, note]))


def approved(words: Words, *, granted: str) -> Sentence:
    """Return that a request was approved, and what was granted."""
    _ = words.gettext
    return Sentence(title=_("Request approved."), text=_("%(tokens)s tokens granted.") % {"tokens": granted})


def declined(words: Words, *, reason: str, name: str = "", at: datetime | None = None) -> Sentence:
    """Return that a request was declined and why, and by whom and how long ago where `at` is given."""
    _ = words.gettext
    title = _("Request declined: %(reason)s") % {"reason": reason} if reason else _("Request declined.")
    by = _("By %(name)s, %(ago)s.") % {"name": name or _("Somebody"), "ago": words.ago(at)} if at is not None else ""
    return said(words, title, by)
