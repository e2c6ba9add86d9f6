"""Pages: how every list is asked for and cut. One more than the page is read, which shows whether there is a next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from tokenwell.errors import RequestInvalid
from tokenwell.service.ports import Page

PAGE_LIMIT = 1_000
"""The most items of one page."""

CURSOR_INVALID = "the cursor is not one that a page gave"


class Listed(Protocol):
    """What has an id can be listed by it."""

    @property
    def id(self) -> str:
        """What its cursor is."""


T = TypeVar("T", bound=Listed)


def check_limit(limit: int) -> int:
    """Return how many items are asked for. Raises RequestInvalid outside 1 ≤ limit ≤ PAGE_LIMIT."""
    if type(limit) is not int or not 1 <= limit <= PAGE_LIMIT:
        raise RequestInvalid(f"limit must be between 1 and {PAGE_LIMIT}", field="limit")
    return limit


def number_in(cursor: str | None) -> int | None:
    """Return the number that a cursor holds, None without a cursor. Raises RequestInvalid."""
    if cursor is None:
        return None
    if not (isinstance(cursor, str) and cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise RequestInvalid(CURSOR_INVALID, field="cursor")
    return int(cursor)


def page_of(found: Sequence[T], limit: int) -> Page[T]:
    """Return the page of what was found for it, `limit` + 1 where there is more; its cursor is the id of the last one on it."""
    return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)
