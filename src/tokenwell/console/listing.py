"""Listing: what an address asks of the packs page, and the packs that are read to answer it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams

from tokenwell.core.packs import Pack, PackStatus
from tokenwell.errors import RequestInvalid
from tokenwell.service.packs import Outstanding
from tokenwell.service.shapes import PackLine
from tokenwell.service.suite import Suite

PACKS_A_PAGE = 25

ALL = "all"

USAGE_RANGES = {"7d": 7, "30d": 30, "90d": 90}
"""The ranges of the usage chart, in days of the zone on show."""

USAGE_RANGE = "30d"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The address of a packs page: which packs, and from where on either list. Unless a status is chosen the page decides."""

    is_status_chosen: bool = False
    status: PackStatus | None = None
    packs_cursor: str | None = None
    ledger_cursor: str | None = None
    usage_range: str | None = None

    @classmethod
    def of(cls, query: QueryParams) -> Asked:
        """Read the query of an address. Raises RequestInvalid for a status there is not."""
        chosen = query.get("packs")
        try:
            status = None if chosen in (None, ALL) else PackStatus(chosen)
        except ValueError:
            raise RequestInvalid("there is no such status", field="packs") from None
        usage_range = query.get("usage")
        if usage_range not in (None, *USAGE_RANGES):
            raise RequestInvalid("there is no such range", field="usage")
        return cls(
            is_status_chosen=chosen is not None,
            status=status,
            packs_cursor=query.get("packs_after"),
            ledger_cursor=query.get("before"),
            usage_range=usage_range,
        )

    def link(self, **changes: str | None) -> str:
        """Return the address of this page with some of it changed: the other list stays where it is."""
        now = {
            "packs": (self.status.value if self.status else ALL) if self.is_status_chosen else None,
            "packs_after": self.packs_cursor,
            "before": self.ledger_cursor,
            "usage": self.usage_range,
        }
        query = {name: value for name, value in (now | changes).items() if value is not None}
        return f"?{urlencode(query)}" if query else "?"


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The packs a page shows: the active ones in burn-down order, then the others, the newest first. `outstanding` is what stands
    out among all that are active, which are `active` unless they are too many to look at; `is_in_burn_order` says that there are
    active ones in `lines`."""

    lines: tuple[PackLine, ...]
    next_cursor: str | None
    is_in_burn_order: bool
    status: PackStatus | None
    counts: Mapping[PackStatus, int]
    outstanding: Outstanding
    active: tuple[Pack, ...] | None = None

    @property
    def total(self) -> int:
        """How many packs there are of every status."""
        return sum(self.counts.values())


def read_listing(suite: Suite, organization_id: str, asked: Asked) -> Listing:
    """Return the packs that `asked` is about, in one read where all of them fit one page."""
    newest = suite.meter.packs(organization_id, limit=PACKS_A_PAGE)
    if newest.next_cursor is None and asked.packs_cursor is None:
        return _whole(newest.items, asked.status)
    status = asked.status if asked.is_status_chosen else PackStatus.ACTIVE
    if status is PackStatus.ACTIVE:
        page = suite.packs.in_burn_order(organization_id, cursor=asked.packs_cursor, limit=PACKS_A_PAGE)
    else:
        page = suite.meter.packs(organization_id, status=status, cursor=asked.packs_cursor, limit=PACKS_A_PAGE)
    return Listing(
        lines=page.items,
        next_cursor=page.next_cursor,
        is_in_burn_order=status is PackStatus.ACTIVE,
        status=status,
        counts=suite.meter.pack_counts(organization_id),
        outstanding=suite.packs.outstanding(organization_id),
    )


def _whole(newest: tuple[PackLine, ...], status: PackStatus | None) -> Listing:
    """Return all packs of an organization, or those of one status."""
    active = sorted((line for line in newest if line.status is PackStatus.ACTIVE), key=lambda line: line.pack.burn_order())
    ordered = (*active, *(line for line in newest if line.status is not PackStatus.ACTIVE))
    return Listing(
        lines=tuple(line for line in ordered if status in (None, line.status)),
        next_cursor=None,
        is_in_burn_order=bool(active) and status in (None, PackStatus.ACTIVE),
        status=status,
        counts=Counter(line.status for line in newest),
        outstanding=Outstanding.among([line.pack for line in active]),
        active=tuple(line.pack for line in active),
    )
