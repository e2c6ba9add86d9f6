"""An organization with a ledger of several blocks, and what a reader who looks at every line makes of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from tests.doubles import FrozenClock
from tokenwell import Entry, Meter
from tokenwell.core.journal import EntryKind
from tokenwell.service.records.browsing import LedgerFilter

ROUNDS = 16
LINES_A_ROUND = 100
_COLUMNS = {
    "model": "model", "session": "session", "reason": "reason", "pack": "pack_id", "service": "service_id", "key": "key_id",
    "kind": "kind",
}  # fmt: skip


async def fill(meter: Meter, organization_id: str, clock: FrozenClock) -> None:
    """Write about 1,700 lines over some 20 hours: charges of all sorts, refunds, overage, packs that run out."""
    meter.create_organization(organization_id)
    for amount in (40_000, 400_000, 10_000_000):
        meter.grant(organization_id, amount)
    for turn in range(ROUNDS):
        await asyncio.gather(*(debit(meter, organization_id, turn * LINES_A_ROUND + n) for n in range(LINES_A_ROUND)))
        meter.refund(organization_id, f"r-{turn * LINES_A_ROUND + 7}", 5, key=f"refund-{turn}")
        clock.advance(timedelta(minutes=77))
    held = meter.open_hold(organization_id, 100, key="held")
    meter.settle(organization_id, held.hold.id, 60, model="model-0", session="rare")
    meter.debit(organization_id, 50_000_000, already_used=True, session="rare", reason="bulk", key="over")
    meter.refund(organization_id, "over", 70_000_000 - 50_000_000)
    meter.grant(organization_id, 90_000_000)


async def debit(meter: Meter, organization_id: str, number: int) -> None:
    """Charge request number so and so: every value turns up in a pattern of its own."""
    about: dict[str, Any] = {
        "model": f"model-{number % 3}",
        "session": f"session-{number // 9}" if number % 5 else None,
        "reason": "answer" if number % 2 else "tagging",
        "service_id": f"svc-{number % 4}" if number % 7 else None,
        "key_id": "key-rare" if number in (20, 1_200) else f"key-{number // 600}",
    }
    await meter.aio.debit(
        organization_id, prompt_tokens=100 + number, completion_tokens=number % 11, **about, key=f"r-{number}", already_used=True
    )


def every_line(meter: Meter, organization_id: str) -> list[Entry]:
    """Return the whole journal."""
    entries: list[Entry] = []
    while True:
        page = meter.journal(organization_id, after_seq=entries[-1].seq if entries else 0)
        entries += page.items
        if page.next_cursor is None:
            return entries


def passing(entries: list[Entry], asked: LedgerFilter) -> list[Entry]:
    """Return the ledger lines that pass a filter, the latest first, by looking at each."""
    return [
        entry
        for entry in reversed(entries)
        if entry.kind in (EntryKind.DEBIT, EntryKind.REFUND)
        and all(getattr(asked, name) in (None, getattr(entry, column)) for name, column in _COLUMNS.items())
        and (asked.since is None or entry.at >= asked.since)
        and (asked.until is None or entry.at < asked.until)
        and asked.request in (None, entry.request_id)
    ]
