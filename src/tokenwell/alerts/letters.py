"""Letters: the words of what is written to one person because they asked for it, or were asked in."""

from __future__ import annotations

from tokenwell.alerts.mail import Mail, Part
from tokenwell.alerts.words import Words
from tokenwell.core.letters import Letter, LetterKind


def mail_of(letter: Letter, words: Words, *, mail_id: str) -> Mail:
    """Return a letter as an e-mail."""
    title, text, button = _invitation(letter, words) if letter.kind is LetterKind.INVITATION else _reset(letter, words)
    return Mail(
        id=mail_id,
        to=letter.to,
        subject=title,
        parts=(Part(title=title, text=" ".join([text, *_lasts(letter, words)])),),
        button=button,
        link=letter.link,
        foot=(words.gettext("Nothing happens unless you open the link. Did you not expect this e-mail? Then delete it."),),
    )


def _invitation(letter: Letter, words: Words) -> tuple[str, str, str]:
    _, facts = words.gettext, letter.facts
    where = facts.get("organization", "")
    title = _("You are invited to %(organization)s.") % {"organization": where} if where else _("You are invited.")
    by = facts.get("inviter", "")
    text = _("%(name)s invites you to see the AI resources there.") % {"name": by} if by else _("See the AI resources there.")
    return title, text, _("Accept the invitation")


def _reset(letter: Letter, words: Words) -> tuple[str, str, str]:
    _ = words.gettext
    return _("Choose a new password."), _("Somebody asked for a new password for this address."), _("Choose a password")


def _lasts(letter: Letter, words: Words) -> list[str]:
    hours = letter.facts.get("hours", "")
    return [words.gettext("The link works once, for %(hours)s hours.") % {"hours": hours}] if hours else []
