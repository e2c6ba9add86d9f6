"""The writer: the one place that commits.

A batch of commands is one transaction: open the books of its organizations, decide each command in turn, write all changes with a
fixed number of statements, commit. Books are kept from batch to batch and guarded by their version, so that a batch that
nobody else got in the way of reads nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import cast

import msgspec
import sqlalchemy
from sqlalchemy.exc import DBAPIError

from tokenwell.core import decide
from tokenwell.core.account import Account, Book, Decision, Needs
from tokenwell.core.commands import CloseDue, Command
from tokenwell.core.happenings import Act, Event
from tokenwell.core.health import Thresholds
from tokenwell.core.holds import Growth, Hold
from tokenwell.core.journal import Entry
from tokenwell.core.limits import KeyUsage
from tokenwell.core.needs import needs_of
from tokenwell.core.packs import Pack
from tokenwell.core.receipts import Answer
from tokenwell.core.replays import replay_of
from tokenwell.errors import CommitUnknown, OrganizationNotFound, StoreBusy, StoreError, StoreUnavailable
from tokenwell.store import schema
from tokenwell.store.dialects import Database, translate
from tokenwell.store.drivers import Driver, is_conflict, open_driver
from tokenwell.store.isolation import enter
from tokenwell.store.loading import load_books, load_due, load_needs
from tokenwell.store.rows import (
    Row,
    account_row,
    act_row,
    entry_rows,
    event_row,
    growth_row,
    hold_row,
    is_only_moved,
    is_only_spent,
    key_usage_row,
    pack_row,
    rollup_rows,
)

_ATTEMPTS = 5
_CAREFUL_BATCHES = 16  # after somebody else got in the way, so many batches lock before they decide


class Stale(Exception):
    """Somebody else wrote to an organization after its book was read."""


@contextmanager
def transaction(engine: sqlalchemy.Engine, organization_id: str | None = None) -> Iterator[sqlalchemy.Connection]:
    """Run a transaction off the hot path: committed when the block ends, rolled back when it raises.

    With an organization it is bound to that one where the engine names a role for it: it neither sees nor changes another's rows,
    whatever is asked. Without one it may be about several, or about the platform. Raises StoreBusy, StoreUnavailable, and
    CommitUnknown if the connection is lost while committing.
    """
    try:
        connection = engine.connect()
    except Exception as error:
        raise translate(error) or error from error
    with connection:
        try:
            if organization_id is not None:
                enter(connection, organization_id)
            yield connection
        except Exception as error:
            connection.rollback()
            raise translate(error) or error from error
        try:
            connection.commit()
        except Exception as error:
            raise CommitUnknown() if isinstance(error, DBAPIError) else error from error


class Writer:
    """Commits batches of commands. Not thread-safe: one thread at a time holds it."""

    def __init__(
        self,
        database: Database,
        *,
        thresholds: Thresholds,
        clock: Callable[[], datetime],
        new_id: Callable[[str], str],
        most_books: int = 20_000,
    ) -> None:
        self._database = database
        self._thresholds = thresholds
        self._clock = clock
        self._new_id = new_id
        self._most_books = most_books
        self._driver: Driver | None = None
        self._books: dict[str, Book] = {}
        self._careful = 0

    def close(self) -> None:
        """Close the connection."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def commit(self, commands: Sequence[Command]) -> list[Answer | Exception]:
        """Decide the commands in order and commit all their changes in one transaction; returns an answer or an error for each.

        No two commands of a batch may have the same key or subject. Raises StoreBusy and StoreUnavailable where nothing was
        changed, CommitUnknown where the connection was lost while committing.
        """
        if self._open().one_organization:
            return self._commit_apart(commands)
        return self._commit_together(commands)

    def _commit_apart(self, commands: Sequence[Command]) -> list[Answer | Exception]:
        answers: dict[int, Answer | Exception] = {}
        by_organization: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            by_organization.setdefault(command.organization_id, []).append(place)
        for places in by_organization.values():
            try:
                group = self._commit_together([commands[place] for place in places])
            except StoreError as error:
                group = [error] * len(places)
            answers.update(zip(places, group, strict=True))
        return [answers[place] for place in range(len(commands))]

    def _commit_together(self, commands: Sequence[Command]) -> list[Answer | Exception]:
        organization_ids = sorted({command.organization_id for command in commands})
        for attempt in range(_ATTEMPTS):
            driver = self._open()
            # What somebody else wrote in between shows at the latest when the batch is written. Then it is decided again under
            # locks, with its keys looked up first: nothing can come in between any more.
            certain = driver.verifies_first or attempt > 0 or self._careful > 0
            batch = Batch(driver, self._books, self._thresholds, organization_ids, certain=certain, check_keys=attempt > 0)
            try:
                answers = batch.run(commands, self._clock, self._new_id)
                self._careful = _CAREFUL_BATCHES if attempt else max(0, self._careful - 1)
                self._trim()
                return answers
            except Stale:
                self._forget(driver, organization_ids)
            except Exception as error:
                in_doubt, driver.committing = driver.committing, False
                self._forget(driver, organization_ids)
                meaning = translate(error)
                if in_doubt:
                    self.close()
                    raise CommitUnknown from error
                # What an uncertain book led to says nothing: only a certain attempt shows a defect.
                if is_conflict(error) or (meaning is None and not certain):
                    continue
                if isinstance(meaning, StoreBusy) and attempt + 1 < _ATTEMPTS and not driver.verifies_first:
                    continue
                if isinstance(meaning, StoreUnavailable):
                    self.close()
                if meaning is None:
                    # Nobody knows what state the connection is in: the next batch starts on a new one.
                    self.close()
                raise meaning or error from error
        raise StoreBusy("other writers were faster, again and again")

    def _open(self) -> Driver:
        if self._driver is None:
            self._books.clear()
            try:
                self._driver = open_driver(self._database)
            except Exception as error:
                raise translate(error) or error from error
        return self._driver

    def _forget(self, driver: Driver, organization_ids: list[str]) -> None:
        for organization_id in organization_ids:
            self._books.pop(organization_id, None)
        try:
            driver.rollback()
        except Exception:
            self.close()

    def _trim(self) -> None:
        while len(self._books) > self._most_books:
            self._books.pop(next(iter(self._books)))


class Batch:
    """One attempt to commit a batch."""

    def __init__(
        self,
        driver: Driver,
        books: dict[str, Book],
        platform: Thresholds,
        organization_ids: list[str],
        *,
        certain: bool,
        check_keys: bool,
    ) -> None:
        self._driver = driver
        self._books = books
        self._platform = platform
        self._organization_ids = organization_ids
        self._certain = certain
        self._check_keys = check_keys
        self._entries: list[Entry] = []
        self._packs: dict[str, Pack] = {}
        self._packs_before: dict[str, Pack | None] = {}
        self._accounts_before: dict[str, Account] = {}
        self._holds: dict[str, Hold] = {}
        self._growths: list[Growth] = []
        self._key_usages: dict[tuple[str, str], KeyUsage] = {}
        self._events: list[Event] = []
        self._acts: list[Act] = []
        self._written: set[str] = set()

    def run(
        self, commands: Sequence[Command], clock: Callable[[], datetime], new_id: Callable[[str], str]
    ) -> list[Answer | Exception]:
        """Open the books, decide, write and commit. Raises Stale where somebody else wrote since the books were read."""
        self._open_books()
        now = clock()
        self._advance(now)
        self._prefetch(commands, now, check_keys=self._check_keys)
        answers: list[Answer | Exception] = []
        doubtful: set[str] = set()
        for command in commands:
            book = self._books.get(command.organization_id)
            answer = (
                OrganizationNotFound(organization_id=command.organization_id) if book is None else self._decide(book, command, now)
            )
            if isinstance(answer, Exception) or isinstance(command, CloseDue):
                doubtful.add(command.organization_id)
            answers.append(answer)
        if doubtful and not self._check_keys:
            self._replay(commands, answers, now)
        self._verify(doubtful - self._written)
        self._write(new_id)
        return answers

    def _open_books(self) -> None:
        driver, books = self._driver, self._books
        unknown = [organization_id for organization_id in self._organization_ids if organization_id not in books]
        if self._certain:
            versions = driver.begin(self._organization_ids)
            if versions is not None:
                self._drop_stale(versions)
            unknown = [organization_id for organization_id in self._organization_ids if organization_id not in books]
        if unknown:
            books.update(load_books(driver, unknown, self._platform))

    def _drop_stale(self, versions: dict[str, int]) -> None:
        """Drop the books that somebody else has changed, and those that nobody will notice later to have been changed."""
        books = self._books
        current = [o for o in versions if o in books and books[o].account.version == versions[o]]
        if self._driver.verifies_first:
            kept = {organization_id: books[organization_id] for organization_id in current}
            books.clear()
            books.update(kept)
        else:
            for organization_id in set(self._organization_ids).difference(current):
                books.pop(organization_id, None)

    def _advance(self, now: datetime) -> None:
        for organization_id in self._organization_ids:
            book = self._books.get(organization_id)
            if book is not None:
                at = max(now, book.account.last_at)
                if decide.is_due(book, at):
                    self._take(book, decide.advance(book, at, **load_due(self._driver, book, at)))

    def _prefetch(self, commands: Sequence[Command], now: datetime, *, check_keys: bool) -> None:
        """Load what all commands together need, in as few rounds as it takes."""
        while True:
            needed: dict[str, tuple[Book, Needs]] = {}
            for command in commands:
                book = self._books.get(command.organization_id)
                if book is None:
                    continue
                needs = needs_of(book, command, max(now, book.account.last_at), check_key=check_keys)
                if needs is not None:
                    needed.setdefault(command.organization_id, (book, Needs()))[1].merge(needs)
            if not needed:
                return
            load_needs(self._driver, list(needed.values()))

    def _decide(self, book: Book, command: Command, now: datetime) -> Answer | Exception:
        at = max(now, book.account.last_at)
        while True:
            outcome = decide.decide(book, command, at)
            if isinstance(outcome, Needs):
                load_needs(self._driver, [(book, outcome)])
            elif isinstance(outcome, Decision):
                self._take(book, outcome)
                return cast(Answer, outcome.answer)
            else:
                return outcome

    def _take(self, book: Book, decision: Decision) -> None:
        organization_id = book.account.organization_id
        self._accounts_before.setdefault(organization_id, book.account)
        for pack_id in decision.packs:
            if pack_id not in self._packs_before:
                self._packs_before[pack_id] = book.packs.get(pack_id)
        decision.apply(book)
        self._entries.extend(decision.entries)
        self._packs.update(decision.packs)
        self._holds.update(decision.holds)
        self._growths.extend(decision.growths)
        for key_id, usage in decision.key_usages.items():
            self._key_usages[usage.organization_id, key_id] = usage
        self._events.extend(decision.events)
        self._acts.extend(decision.acts)
        self._written.add(organization_id)

    def _replay(self, commands: Sequence[Command], answers: list[Answer | Exception], now: datetime) -> None:
        """Look the keys of refused commands up: a command that was done before is answered as it was then."""
        refused = [place for place, answer in enumerate(answers) if isinstance(answer, Exception)]
        self._prefetch([commands[place] for place in refused], now, check_keys=True)
        for place in refused:
            book = self._books.get(commands[place].organization_id)
            replay = None if book is None else replay_of(book, commands[place])
            if replay is not None:
                answers[place] = replay

    def _verify(self, organization_ids: set[str]) -> None:
        """Make sure that a refusal, or that nothing is due, was not decided on a book that somebody else has changed since."""
        if self._certain or not organization_ids:
            return
        versions = self._driver.versions(sorted(organization_ids))
        for organization_id in organization_ids:
            book = self._books.get(organization_id)
            if versions.get(organization_id) != (None if book is None else book.account.version):
                raise Stale

    def _write(self, new_id: Callable[[str], str]) -> None:
        if not self._written:
            self._driver.rollback()
            self._tidy()
            return
        rows = entry_rows(self._entries)
        spent: list[Row] = []
        packs: list[Row] = []
        for pack in self._packs.values():
            before = self._packs_before[pack.id]
            if before is not None and is_only_spent(before, pack):
                spent.append((pack.remaining_tokens, pack.organization_id, pack.id))
            else:
                packs.append(pack_row(pack))
        changes: list[tuple[sqlalchemy.Table, list[Row]]] = [
            (schema.pack, packs),
            (schema.hold, [hold_row(hold) for hold in self._holds.values()]),
            (schema.growth, [growth_row(growth) for growth in self._growths]),
            (schema.key_usage, [key_usage_row(usage) for usage in self._key_usages.values()]),
            (schema.entry, rows),
            (schema.rollup, rollup_rows(rows)),
            (schema.event, [event_row(event, new_id("evt")) for event in self._events]),
            (schema.act, [act_row(act, new_id("act")) for act in self._acts]),
        ]
        accounts = [self._books[organization_id].account for organization_id in sorted(self._written)]
        only_moved = all(is_only_moved(self._accounts_before[account.organization_id], account) for account in accounts)
        rows = [account_row(account) for account in accounts]
        self._driver.write(rows, spent, changes, begun=self._certain, only_moved=only_moved)
        for organization_id in self._written:
            book = self._books[organization_id]
            book.account = msgspec.structs.replace(book.account, version=book.account.version + 1)
        self._tidy()

    def _tidy(self) -> None:
        for organization_id in self._organization_ids:
            book = self._books.get(organization_id)
            if book is not None:
                book.forget()
