"""Limiting: a key's limits in the decision of a command. A limit that is reached is told once in its window."""

from __future__ import annotations

from datetime import datetime

from tokenwell.core import limits as rules
from tokenwell.core.account import Book, Decision, Needs
from tokenwell.core.draft import Draft
from tokenwell.core.happenings import EventKind
from tokenwell.core.limits import KeyLimits
from tokenwell.errors import TokenwellError


def refusal_of(
    book: Book, key_id: str, limits: KeyLimits, tokens: int, now: datetime, *, requests: int = 1
) -> Decision | TokenwellError | Needs | None:
    """Return why a request does not pass with its key, None if it does.

    The first refusal of a window is a decision: its answer is the refusal, and all it changes is what was told.
    """
    usage = book.key_usages.get(key_id)
    if usage is None:
        return Needs(key_usages={key_id: now})
    usage = usage.at(now)
    refusal = rules.refusal_of(usage, limits, tokens, now, requests=requests)
    if refusal is None:
        return None
    limit = refusal.details["limit"]
    if usage.was_told(limit):
        return refusal
    draft = Draft(book, now)
    draft.key_usages[key_id] = usage.with_told(limit)
    draft.tell(EventKind.KEY_LIMIT_REACHED, key_id=key_id, limit=limit, most=refusal.details["most"])
    return draft.decision(refusal, last_at=book.account.last_at)
