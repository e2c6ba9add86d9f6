"""Loading: fills a book with what its commands need, a round of queries at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tokenwell.core.account import Book, Needs, RequestFacts
from tokenwell.core.health import Thresholds
from tokenwell.core.instants import NEVER_MICROS, from_micros, to_micros
from tokenwell.core.limits import KeyUsage, window_of
from tokenwell.store import statements
from tokenwell.store.drivers import Driver, Query
from tokenwell.store.rows import Row, account_from, entry_from, growth_from, hold_from, key_usage_from, pack_from

WINDOW = 8
"""How many packs in burn-down order are loaded at first."""

Fill = Callable[[list[Row]], None]


def load_books(driver: Driver, organization_ids: list[str], platform: Thresholds) -> dict[str, Book]:
    """Return the books of the organizations that exist, with the first packs in burn-down order."""
    queries: list[Query] = []
    for organization_id in organization_ids:
        queries.append((statements.ACCOUNT, (organization_id,)))
        queries.append((statements.WINDOW, (organization_id, WINDOW)))
    answers = driver.read(queries) if queries else []
    books: dict[str, Book] = {}
    for accounts, packs in zip(answers[::2], answers[1::2], strict=True):
        if accounts:
            account = account_from(accounts[0])
            book = Book(account=account, thresholds=account.own_thresholds or platform)
            _fill_window(book, packs, WINDOW)
            books[account.organization_id] = book
    return books


def _fill_window(book: Book, rows: list[Row], limit: int) -> None:
    packs = [pack_from(row) for row in rows]
    book.packs.update({pack.id: pack for pack in packs})
    book.window = [pack.burn_order() for pack in packs]
    book.complete = len(packs) < limit


def load_needs(driver: Driver, needed: list[tuple[Book, Needs]]) -> None:
    """Load what several books need, in one round (and another for the lines of the requests that were found)."""
    queries: list[Query] = []
    fills: list[Fill] = []
    for book, needs in needed:
        for query, fill in _plan(book, needs):
            queries.append(query)
            fills.append(fill)
    for rows, fill in zip(driver.read(queries) if queries else [], fills, strict=True):
        fill(rows)
    keys = [(book, key_id, now) for book, needs in needed for key_id, now in needs.key_usages.items()]
    if keys:
        load_key_usages(driver, keys)
    _load_requests(driver, [(book, key) for book, needs in needed for key in needs.keys])


def _plan(book: Book, needs: Needs) -> list[tuple[Query, Fill]]:
    o = book.account.organization_id
    plan: list[tuple[Query, Fill]] = []

    def packs(rows: list[Row]) -> None:
        for row in rows:
            pack = pack_from(row)
            book.packs.setdefault(pack.id, pack)

    def holds(rows: list[Row]) -> None:
        for row in rows:
            if book.holds.get(row[1]) is None:
                book.put_hold(hold_from(row))

    if needs.window:
        plan.append(((statements.WINDOW, (o, needs.window)), lambda rows: _deepen(book, rows, needs.window)))
    for pack_id in sorted(needs.packs):
        book.packs[pack_id] = None
        plan.append(((statements.PACK, (o, pack_id)), lambda rows: book.packs.update({row[1]: pack_from(row) for row in rows})))
    for hold_id in sorted(needs.holds):
        book.holds[hold_id] = None
        book.passing.add(hold_id)
        plan.append(((statements.HOLD, (o, hold_id)), holds))
    for key in sorted(needs.hold_keys):
        plan.append(((statements.HOLD_BY_KEY, (o, key)), _hold_by_key(book, key)))
    for hold_id in sorted(needs.growths):
        plan.append(((statements.GROWTHS, (o, hold_id)), _growths(book, hold_id)))
    if needs.closed_since is not None:
        book.closed_since = needs.closed_since
        plan.append(((statements.PACKS_CLOSED_SINCE, (o, needs.closed_since)), packs))
    if needs.open_holds:
        book.open_holds = True
        plan.append(((statements.HOLDS_OPEN, (o,)), holds))
    if needs.repaid:
        book.repaid = True
        plan.append(((statements.PACKS_REPAID, (o,)), packs))
    for key in sorted(needs.keys):
        plan.append(((statements.ENTRY_BY_KEY, (o, key)), _first_line(book, key)))
    return plan


def _deepen(book: Book, rows: list[Row], limit: int) -> None:
    """Take a deeper window as the database has it, but keep the packs that this batch has already changed."""
    changed = {pack.id: pack for pack in book.known_packs()}
    loaded = [changed.get(row[1]) or pack_from(row) for row in rows]
    last = loaded[-1].burn_order() if len(rows) == limit else None
    for pack in loaded:
        book.packs[pack.id] = pack
    granted = [pack for pack in changed.values() if last is None or pack.burn_order() <= last]
    everything = {pack.id: pack for pack in [*loaded, *granted]}
    book.window = sorted(pack.burn_order() for pack in everything.values() if pack.is_open)
    book.complete = last is None


def _hold_by_key(book: Book, key: bytes) -> Fill:
    def fill(rows: list[Row]) -> None:
        book.hold_keys[key] = None
        for row in rows:
            if book.holds.get(row[1]) is None:
                book.put_hold(hold_from(row))
            book.hold_keys[key] = row[1]

    return fill


def _growths(book: Book, hold_id: str) -> Fill:
    def fill(rows: list[Row]) -> None:
        book.growths[hold_id] = [growth_from(row) for row in rows]

    return fill


def _first_line(book: Book, key: bytes) -> Fill:
    def fill(rows: list[Row]) -> None:
        book.requests[key] = RequestFacts(entries=(entry_from(rows[0]),)) if rows else None

    return fill


def _load_requests(driver: Driver, found: list[tuple[Book, bytes]]) -> None:
    queries: list[Query] = []
    requests: list[RequestFacts] = []
    for book, key in found:
        facts = book.requests[key]
        if facts is not None:
            first = facts.entries[0]
            last = first.seq + first.parts - 1
            queries.append((statements.ENTRIES_BETWEEN, (first.organization_id, first.seq, last)))
            queries.append((statements.RETURNED, (first.organization_id, first.seq, last)))
            requests.append(facts)
    answers = driver.read(queries) if queries else []
    for facts, lines, returned in zip(requests, answers[::2], answers[1::2], strict=True):
        facts.entries = tuple(entry_from(row) for row in lines)
        facts.returned = {seq: int(tokens) for seq, tokens in returned}


def load_key_usages(driver: Driver, needed: list[tuple[Book, str, datetime]]) -> None:
    """Load what passed with keys; of one that had no limits before, what the rollups of the day and the month say it used."""
    found = driver.read([(statements.KEY_USAGE, (book.account.organization_id, key_id)) for book, key_id, _ in needed])
    queries: list[Query] = []
    fresh: list[tuple[Book, str, datetime]] = []
    for rows, (book, key_id, now) in zip(found, needed, strict=True):
        if rows:
            book.key_usages[key_id] = key_usage_from(rows[0])
            continue
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for since in (midnight, midnight.replace(day=1)):
            queries.append((statements.KEY_USED, (book.account.organization_id, key_id, to_micros(since))))
        fresh.append((book, key_id, now))
    used = [int(rows[0][0]) for rows in driver.read(queries)] if queries else []
    for (book, key_id, now), day_tokens, month_tokens in zip(fresh, used[::2], used[1::2], strict=True):
        window = window_of(now)
        book.key_usages[key_id] = KeyUsage(
            organization_id=book.account.organization_id,
            key_id=key_id,
            day=window.day,
            day_tokens=day_tokens,
            month=window.month,
            month_tokens=month_tokens,
        )


def load_due(driver: Driver, book: Book, now: datetime) -> dict[str, Any]:
    """Return what is due in a book at `now`, and when something is due next: the arguments of `decide.advance`."""
    o, micros = book.account.organization_id, to_micros(now)
    expired, lapsed, expiry, lapse = driver.read(
        [
            (statements.PACKS_DUE, (o, micros)),
            (statements.HOLDS_DUE, (o, micros)),
            (statements.NEXT_EXPIRY, (o, micros)),
            (statements.NEXT_LAPSE, (o, micros)),
        ]
    )
    holds = [hold_from(row) for row in lapsed]
    keys = {hold.limited_key_id for hold in holds if hold.limited_key_id is not None} - book.key_usages.keys()
    if keys:
        load_key_usages(driver, [(book, key_id, now) for key_id in sorted(keys)])
    return {
        "expired": [pack_from(row) for row in expired],
        "lapsed": holds,
        "next_expiry_at": _next(expiry),
        "next_lapse_at": _next(lapse),
    }


def _next(rows: list[Row]) -> datetime | None:
    micros = rows[0][0]
    return None if micros is None or micros == NEVER_MICROS else from_micros(micros)
