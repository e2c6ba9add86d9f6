"""Letters: what is written to one person, because they asked for it or were asked in. Alerts are written from events instead."""

from __future__ import annotations

from enum import StrEnum

import msgspec

LETTER_PURPOSE = "letter"
"""What letters are sealed for."""


class LetterKind(StrEnum):
    """What a letter is about; each has its words in every language."""

    INVITATION = "invitation"
    RESET = "reset"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter to an e-mail address. `link` is where it leads; `facts` are what its words name, by the kind's own names.

    An invitation names `organization` and `inviter`, both may be empty; every kind may name `hours`, for how long the link works.
    """

    kind: LetterKind
    to: str
    language: str = "en"
    link: str = ""
    facts: dict[str, str] = {}
