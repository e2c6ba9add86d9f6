"""Reading: balances, packs, ledger, usage and proofs, from the store's snapshots.

The methods of `Reading` are the signatures of the library's reads: `Meter` calls them, `AsyncMeter` calls them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import sqlalchemy

from tokenwell.core.health import Thresholds, state_of
from tokenwell.core.identifiers import check_key, is_organization_id, request_keys, settle_key
from tokenwell.core.instants import from_micros, to_micros, to_utc
from tokenwell.core.journal import Entry
from tokenwell.core.packs import PackStatus
from tokenwell.core.receipts import Balance
from tokenwell.core.refunds import is_charge
from tokenwell.errors import PackNotFound, RequestInvalid, RequestNotFound
from tokenwell.service.pages import CURSOR_INVALID, PAGE_LIMIT, check_limit, number_in
from tokenwell.service.ports import Clock, Organization, Page
from tokenwell.service.shapes import LedgerLine, PackLine, UsageTotals, Verified
from tokenwell.store import reader
from tokenwell.store.reader import reading
from tokenwell.store.records import history
from tokenwell.store.records.auditing import audit
from tokenwell.store.rows import BUCKET_MICROS


class Reading:
    """Reads without locks; each answer comes from one snapshot."""

    def __init__(self, engine: sqlalchemy.Engine, *, platform: Thresholds, clock: Clock) -> None:
        self._engine = engine
        self._platform = platform
        self._clock = clock

    def ping(self) -> None:
        """Return if the database answers. Raises StoreUnavailable."""
        with reading(self._engine) as connection:
            connection.exec_driver_sql("SELECT 1")

    def organization(self, organization_id: str) -> Organization:
        """Return an organization."""
        with reading(self._engine, organization_id) as connection:
            return _organization(reader.organization(connection, organization_id))

    def organizations(self, *, cursor: str | None = None, limit: int = 50) -> Page[Organization]:
        """Return organizations by id."""
        if cursor is not None and not is_organization_id(cursor):
            raise RequestInvalid(CURSOR_INVALID, field="cursor")
        with reading(self._engine) as connection:
            rows = reader.organizations(connection, after=cursor or "", limit=check_limit(limit) + 1)
        items = tuple(_organization(row) for row in rows[:limit])
        return Page(items, items[-1].id if len(rows) > limit else None)

    def balance(self, organization_id: str, *, as_of: datetime | None = None) -> Balance:
        """Return balance, held, overage and state, now or as of a past instant (the state then by today's thresholds)."""
        now = self._clock()
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            at = max(now, account.last_at) if as_of is None else _past(as_of, max(now, account.last_at))
            if at < account.last_at:
                totals = history.totals_at(connection, account, at)
            else:
                expired, lapsed = reader.due_tokens(connection, organization_id, at)
                active, total = reader.active_packs(connection, organization_id, at)
                totals = history.Totals(
                    seq=account.seq,
                    head_hash=account.head_hash,
                    balance_tokens=account.balance_tokens - expired,
                    held_tokens=account.held_tokens - lapsed,
                    overage_tokens=account.overage_tokens,
                    active_packs=active,
                    active_total_tokens=total,
                )
        thresholds = account.own_thresholds or self._platform
        return Balance(
            organization_id=organization_id,
            as_of=at,
            balance_tokens=totals.balance_tokens,
            held_tokens=totals.held_tokens,
            overage_tokens=totals.overage_tokens,
            state=state_of(totals.balance_tokens, thresholds),
            active_packs=totals.active_packs,
            active_total_tokens=totals.active_total_tokens,
            warning_tokens=thresholds.warning_tokens,
            reserve_tokens=thresholds.reserve_tokens,
            seq=totals.seq,
            head_hash=totals.head_hash.hex(),
        )

    def organizations_due(self, *, limit: int = 50) -> list[str]:
        """Return the ids of organizations in which a pack has expired or a hold has lapsed and nobody has written it yet."""
        with reading(self._engine) as connection:
            return reader.accounts_due(connection, self._clock(), limit=check_limit(limit))

    def packs(
        self,
        organization_id: str,
        *,
        status: PackStatus | None = None,
        as_of: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[PackLine]:
        """Return packs, the latest grant first, all or those of one status, now or as of a past instant."""
        if status is not None and status not in list(PackStatus):
            raise RequestInvalid(f"status must be one of {', '.join(PackStatus)}", field="status")
        check_limit(limit)
        before, now = number_in(cursor), self._clock()
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            at = max(now, account.last_at) if as_of is None else _past(as_of, max(now, account.last_at))
            if at < account.last_at:
                found = history.packs_at(connection, account, at)
                found = [pack for pack in found if status is None or pack.status(at) is status]
                found = [pack for pack in found if before is None or pack.number < before][: limit + 1]
            else:
                found = reader.packs(connection, organization_id, now=at, status=status, before=before, limit=limit + 1)
        items = tuple(PackLine(pack=pack, status=pack.status(at)) for pack in found[:limit])
        return Page(items, str(items[-1].pack.number) if len(found) > limit else None)

    def pack_counts(self, organization_id: str) -> dict[PackStatus, int]:
        """Return how many packs have each status now."""
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            return reader.pack_counts(connection, organization_id, max(self._clock(), account.last_at))

    def pack_id_of(self, organization_id: str, number: int) -> str:
        """Return the id of the pack with a number. Raises PackNotFound."""
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            pack_id = reader.pack_id_of(connection, organization_id, number)
        if pack_id is None:
            raise PackNotFound(number=number)
        return pack_id

    def ledger(self, organization_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[LedgerLine]:
        """Return the Usage Ledger: debit and refund lines, the latest first."""
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            rows = reader.ledger(connection, organization_id, before=number_in(cursor), limit=check_limit(limit) + 1)
        items = tuple(LedgerLine(entry=entry, pack_number=number) for entry, number in rows[:limit])
        return Page(items, str(items[-1].entry.seq) if len(rows) > limit else None)

    def request(self, organization_id: str, request_id: str) -> tuple[LedgerLine, ...]:
        """Return all lines of one request, known by its key or its hold. Raises RequestNotFound."""
        keys = request_keys(check_key(request_id, field="request_id"))
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            hold_id = reader.hold_id_of(connection, organization_id, keys[-1])
            candidates = keys if hold_id is None else (*keys, settle_key(hold_id))
            found = [rows for key in candidates if (rows := reader.request_lines(connection, organization_id, key))]
        # A charge goes before whatever else carries the same key, such as a grant.
        rows = min(found, key=lambda rows: not is_charge(rows[0][0]), default=[])
        if not rows:
            raise RequestNotFound(request_id=request_id)
        return tuple(LedgerLine(entry=entry, pack_number=number) for entry, number in rows)

    def journal(self, organization_id: str, *, after_seq: int = 0, limit: int = PAGE_LIMIT) -> Page[Entry]:
        """Return journal lines of every kind, in order, those after line `after_seq`; the cursor is the last line's number."""
        if type(after_seq) is not int or not 0 <= after_seq < 2**63:
            raise RequestInvalid("after_seq is the number of a line, or 0", field="after_seq")
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            rows = reader.lines(connection, organization_id, after=after_seq, limit=check_limit(limit) + 1)
        return Page(tuple(rows[:limit]), str(rows[limit - 1].seq) if len(rows) > limit else None)

    def incurred_since_advance(self, organization_id: str) -> int | None:
        """Return how many tokens of overage were incurred since the last advance; None where there never was one."""
        with reading(self._engine, organization_id) as connection:
            return reader.incurred_since_advance(connection, organization_id)

    def usage_totals(self, organization_id: str, *, since: datetime, until: datetime) -> UsageTotals:
        """Return the sums over [since, until), both on quarters of an hour, which every time zone's days begin on."""
        since_micros, until_micros = (to_micros(to_utc(at, field="since")) for at in (since, until))
        if since_micros % BUCKET_MICROS or until_micros % BUCKET_MICROS:
            raise RequestInvalid("usage is summed by quarters of an hour", field="since")
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            sums = reader.usage_sums(connection, organization_id, since_micros=since_micros, until_micros=until_micros)
        return UsageTotals(**dict(zip(UsageTotals.__struct_fields__, sums, strict=True)))

    def verify(
        self, organization_id: str | None = None, *, progress: Callable[[str, int], None] = lambda organization_id, lines: None
    ) -> Iterator[Verified]:
        """Recompute one or every organization from its journal and compare; yields what was found, organization by organization.

        `progress` is told an organization and the lines read so far.
        """
        for each in self._each(organization_id):
            auditor = audit(self._engine, each, lambda lines, each=each: progress(each, lines))  # type: ignore[misc]
            yield Verified(
                organization_id=each,
                lines=auditor.lines,
                problems=tuple(auditor.problems),
                problem_count=auditor.problem_count,
            )

    def _each(self, organization_id: str | None) -> Iterator[str]:
        if organization_id is not None:
            yield organization_id
            return
        cursor: str | None = None
        while True:
            page = self.organizations(cursor=cursor, limit=100)
            yield from (organization.id for organization in page.items)
            cursor = page.next_cursor
            if cursor is None:
                return


def _organization(row: tuple[str, str, int]) -> Organization:
    return Organization(id=row[0], name=row[1], created_at=from_micros(row[2]))


def _past(at: datetime, now: datetime) -> datetime:
    at = to_utc(at, field="as_of")
    if at > now:
        raise RequestInvalid("as_of must not lie in the future", field="as_of")
    return at
