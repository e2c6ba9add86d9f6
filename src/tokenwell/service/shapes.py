"""Shapes: what the meter's readers give."""

from __future__ import annotations

import msgspec

from tokenwell.core.journal import Entry
from tokenwell.core.packs import Pack, PackStatus


class PackLine(msgspec.Struct, frozen=True, kw_only=True):
    """A pack and its status at the time of reading."""

    pack: Pack
    status: PackStatus


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the Usage Ledger, with the number of its pack (`PK-7` on screen); None for overage."""

    entry: Entry
    pack_number: int | None


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a span of time, from the rollups; prompt and completion are those of the debit lines."""

    debited_tokens: int = 0
    refunded_tokens: int = 0
    overage_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found in one organization; no problems means that every law holds."""

    organization_id: str
    lines: int
    problems: tuple[str, ...] = ()
    problem_count: int = 0
