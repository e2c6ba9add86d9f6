"""Views: the core's objects as the shapes of the API."""

from __future__ import annotations

from tokenwell.api.wire import shaped
from tokenwell.client import shapes
from tokenwell.core.journal import ESTIMATED, LATE, Entry
from tokenwell.core.receipts import Held, Receipt
from tokenwell.service.records.browsing import UsageBuckets
from tokenwell.service.shapes import LedgerLine, PackLine, UsageTotals


def pack_view(line: PackLine) -> shapes.Pack:
    """Return a pack with its status."""
    return shaped(shapes.Pack, line.pack, status=line.status.value)


def hold_view(held: Held) -> shapes.Hold:
    """Return a hold that was opened or extended."""
    hold = held.hold
    return shapes.Hold(
        id=hold.id,
        organization_id=held.organization_id,
        request_id=hold.request_id,
        held_tokens=hold.tokens,
        opened_at=hold.opened_at,
        lapses_at=hold.lapses_at,
        balance_tokens=held.balance_tokens,
        state=held.state.value,
    )


def receipt_view(receipt: Receipt) -> shapes.Receipt:
    """Return the receipt of a debit, a settled hold or a refund."""
    return shaped(
        shapes.Receipt,
        receipt,
        drawn=tuple(shaped(shapes.Drawn, drawn) for drawn in receipt.drawn),
        state=receipt.state.value,
    )


def ledger_view(line: LedgerLine) -> shapes.LedgerLine:
    """Return a line of the Usage Ledger."""
    entry = line.entry
    return shaped(
        shapes.LedgerLine,
        entry,
        kind=entry.kind.value,
        change_tokens=entry.balance_change_tokens,
        pack_number=line.pack_number,
        estimated=bool(entry.flags & ESTIMATED),
        late=bool(entry.flags & LATE),
    )


def journal_view(entry: Entry) -> shapes.JournalLine:
    """Return a line of the journal."""
    return shaped(
        shapes.JournalLine,
        entry,
        kind=entry.kind.value,
        change_tokens=entry.balance_change_tokens,
        state_after=entry.state_after.value,
        hash=entry.hash.hex(),
    )


def usage_view(usage: UsageBuckets) -> shapes.UsageReport:
    """Return usage by buckets."""

    def sums(totals: tuple[UsageTotals, ...]) -> tuple[shapes.UsageSums, ...]:
        return tuple(shaped(shapes.UsageSums, each) for each in totals)

    return shaped(
        shapes.UsageReport,
        usage,
        width=usage.width.value,
        total=sums((usage.total,))[0],
        buckets=sums(usage.buckets),
        series=tuple(
            shapes.UsageSeries(
                value=series.value, is_rest=series.is_rest, total=sums((series.total,))[0], buckets=sums(series.buckets)
            )
            for series in usage.series
        ),
    )
