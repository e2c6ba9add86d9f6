"""The laws that hold whatever was commanded, checked on what Tokenwell shows: the journal's sums and chain, and all other views."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from tests.doubles import START
from tests.oracle.projection import line_of
from tests.oracle.shapes import BALANCE_SIGN, Line
from tests.oracle.side_by_side import SideBySide
from tokenwell import Meter
from tokenwell.core.journal import GENESIS, Entry, hash_of
from tokenwell.core.packs import Pack, PackStatus


def total(lines: Sequence[Line], kind: str, pack: str | None = None) -> int:
    """Return the sum of the lines of a kind, of one pack or of all."""
    return sum(line.amount for line in lines if line.kind == kind and pack in (None, line.pack))


def check_journal(entries: Sequence[Entry]) -> None:
    """Numbered without a gap, never back in time, chained by hash, each balance the one before plus the change, none below zero."""
    previous, before = GENESIS, 0
    for seq, entry in enumerate(entries, start=1):
        line = line_of(entry)
        assert entry.seq == seq
        assert entry.hash == hash_of(entry, previous)
        assert line.balance == before + BALANCE_SIGN[line.kind] * line.amount >= 0
        assert line.remaining is None or line.remaining >= 0
        assert seq == 1 or entry.at >= entries[seq - 2].at
        previous, before = entry.hash, line.balance


def check_packs(entries: Sequence[Entry], packs: Sequence[tuple[Pack, PackStatus]], overage: int) -> None:
    """Total = remaining + debited − refunded + repaid for every pack, and overage = what was incurred less what was repaid."""
    lines = [line_of(entry) for entry in entries]
    for pack, _ in packs:
        debited, refunded = total(lines, "debit", pack.id), total(lines, "refund", pack.id)
        repaid = total(lines, "overage_repaid", pack.id)
        assert pack.total_tokens == pack.remaining_tokens + debited - refunded + repaid == total(lines, "grant", pack.id)
    assert overage == total(lines, "overage") + total(lines, "advance") - total(lines, "overage_repaid") >= 0


def check_views(side: SideBySide, meter: Meter) -> None:
    """The Usage Ledger, the lines of a request, the counts and the totals all say what the journal says."""
    lines = side.written()
    organization_id = side.organization_id
    ledger = [line_of(shown.entry) for shown in meter.ledger(organization_id, limit=200).items]
    assert ledger == [line for line in reversed(lines) if line.kind in ("debit", "refund")][:200]
    for request_id in {line.request for line in lines if line.kind in ("debit", "overage")}:
        assert request_id is not None
        shown = [line_of(line.entry) for line in meter.request(organization_id, request_id)]
        assert shown == [line for line in lines if line.request == request_id]
    statuses = [pack["status"] for pack in side.oracle.packs_at(side.now())]
    assert {status: count for status, count in meter.pack_counts(organization_id).items() if count} == {
        status: statuses.count(status) for status in set(statuses)
    }
    check_totals(side, meter, lines)


def check_totals(side: SideBySide, meter: Meter, lines: Sequence[Line]) -> None:
    """The totals over all time are the sums of the lines."""
    year = timedelta(days=365)
    totals = meter.usage_totals(side.organization_id, since=START - year, until=START + year)
    debits = [line for line in lines if line.kind == "debit"]
    requests = {line.request for line in lines if line.kind in ("debit", "overage") and line.amount > 0}
    assert totals.debited_tokens == total(lines, "debit")
    assert totals.refunded_tokens == total(lines, "refund")
    assert totals.overage_tokens == total(lines, "overage")
    assert totals.prompt_tokens == sum(line.prompt or 0 for line in debits)
    assert totals.completion_tokens == sum(line.completion or 0 for line in debits)
    assert totals.requests == len(requests)


def check_laws(side: SideBySide) -> None:
    """Every law holds, by every Meter, and verification finds nothing."""
    for meter in side.meters:
        packs = meter.packs(side.organization_id, limit=200).items
        check_journal(side.entries)
        check_packs(side.entries, [(line.pack, line.status) for line in packs], meter.balance(side.organization_id).overage_tokens)
        check_views(side, meter)
    (verified,) = side.meters[0].verify(side.organization_id)
    assert (verified.problems, verified.lines) == ((), len(side.entries))
