"""Listing: what an address asks of the packs page, and the packs that are read to answer it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams

from tokenwell.core.packs import Pack, PackStatus
from tokenwell.errors import RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.shapes import PackLine

PACKS_A_PAGE = 25
ACTIVE_LIMIT = 200
"""How many active packs are read for the gauge and the next expiry; where there are more, neither tells them apart."""

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
    """The packs a page shows. `active` are all that are active, in burn-down order, or None where they are too many to read;
    `is_whole` says that `lines` are all of the status on show."""

    lines: tuple[PackLine, ...]
    next_cursor: str | None
    is_whole: bool
    status: PackStatus | None
    counts: Mapping[PackStatus, int]
    active: tuple[Pack, ...] | None

    @property
    def total(self) -> int:
        """How many packs there are of every status."""
        return sum(self.counts.values())


def read_listing(meter: Meter, organization_id: str, asked: Asked) -> Listing:
    """Return the packs that `asked` is about, in one read where all of them fit one page."""
    newest = meter.packs(organization_id, limit=PACKS_A_PAGE)
    if newest.next_cursor is None and asked.packs_cursor is None:
        return Listing(
            lines=tuple(line for line in newest.items if asked.status in (None, line.status)),
            next_cursor=None,
            is_whole=True,
            status=asked.status,
            counts=Counter(line.status for line in newest.items),
            active=_in_burn_order(newest.items),
        )
    status = asked.status if asked.is_status_chosen else PackStatus.ACTIVE
    page = meter.packs(organization_id, status=status, cursor=asked.packs_cursor, limit=PACKS_A_PAGE)
    active = meter.packs(organization_id, status=PackStatus.ACTIVE, limit=ACTIVE_LIMIT)
    return Listing(
        lines=page.items,
        next_cursor=page.next_cursor,
        is_whole=asked.packs_cursor is None and page.next_cursor is None,
        status=status,
        counts=meter.pack_counts(organization_id),
        active=_in_burn_order(active.items) if active.next_cursor is None else None,
    )


def _in_burn_order(lines: Sequence[PackLine]) -> tuple[Pack, ...]:
    packs = [line.pack for line in lines if line.status is PackStatus.ACTIVE]
    return tuple(sorted(packs, key=lambda pack: pack.burn_order()))
