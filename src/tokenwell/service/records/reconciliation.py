"""Reconciliation: a provider's usage export beside the ledger, request by request and by day and model.

A request is found by its id, else by its time: a charge of the same model at about that time that belongs to no other request.

A file is read as a stream: what is kept of it is one line for each day and model, so its size does not matter. The same file
(by its SHA-256) is compared once; compared again, it gives the first result.
"""

from __future__ import annotations

import codecs
import csv
import io
from array import array
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from hashlib import sha256
from itertools import chain
from typing import Any, BinaryIO

import msgspec
import sqlalchemy

from tokenwell.core.exports import Usage, form_of, usage_in
from tokenwell.core.happenings import PLATFORM, Actor
from tokenwell.core.identifiers import check_label
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.core.matching import EARLIER, LATER, matched
from tokenwell.errors import NotFound, RequestInvalid
from tokenwell.service.acts import record
from tokenwell.service.meter import Meter
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Page, new_id
from tokenwell.store.reader import reading
from tokenwell.store.records import reconciliations as store
from tokenwell.store.records.reconciliations import DriftLine, Reconciliation
from tokenwell.store.writer import transaction

__all__ = ["Compared", "DriftLine", "Reconciliation", "Reconciliations"]

FILE_LIMIT_BYTES = 2**30
DOCUMENT_LIMIT_BYTES = 64 * 2**20
"""The largest file, and the largest that is one JSON document: that is read whole."""

LINE_LIMIT_CHARACTERS = 2**20
LINES_LIMIT = 50_000
"""The most days times models of one file."""

TIMED_LIMIT = 1_000_000
"""The most single requests of a file that are looked for by their time; in a longer one they are found by their ids alone."""

_BATCH = 200


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison with its lines, by day and model. `replayed` where the file was compared before."""

    reconciliation: Reconciliation
    lines: tuple[DriftLine, ...]
    replayed: bool = False

    @property
    def drift_tokens(self) -> int:
        """What the provider counted more than the ledger, over all lines."""
        return sum(line.drift_tokens for line in self.lines)


class Reconciliations:
    """The comparisons in the meter's database."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._engine = meter.engine

    def compare(self, file: BinaryIO, *, name: str = "", by: Actor) -> Compared:
        """Compare an export with the ledger as it is now; a file that was compared before gives that result.

        Days are those of the file, in UTC; a model that one side alone has stands with zeros for the other. Raises RequestInvalid.
        """
        name = check_label(name, field="name") or ""
        hashed = _Hashed(file)
        sums = _Sums(self._found)
        for each in _records(hashed):
            sums.add(each)
        found = sums.found
        file_hash = hashed.digest()
        if not sums.records:
            raise RequestInvalid("the file has no records", field="file")
        known = self._known(file_hash)
        if known is not None:
            return self.get(known.id, replayed=True)
        reconciliation = Reconciliation(
            id=new_id("rec"),
            file_hash=file_hash,
            name=name,
            form=sums.form,
            records=sums.records,
            named=sums.named,
            found=found,
            timed=self._timed(sums),
            at=self._meter.clock(),
            by=by,
        )
        lines = self._beside(sums)
        try:
            with transaction(self._engine) as connection:
                store.add_reconciliation(connection, reconciliation, lines)
                facts = {"name": name, "records": sums.records, "file_hash": file_hash}
                at, subject = reconciliation.at, reconciliation.id
                record(
                    connection, by=by, at=at, organization_id=PLATFORM, action="reconciliation.run", subject=subject, after=facts
                )
        except sqlalchemy.exc.IntegrityError:
            known = self._known(file_hash)
            if known is None:
                raise
            return self.get(known.id, replayed=True)
        return self.get(reconciliation.id)

    def get(self, reconciliation_id: str, *, replayed: bool = False) -> Compared:
        """Return a comparison with its lines. Raises NotFound."""
        with reading(self._engine) as connection:
            found = store.find_reconciliation(connection, reconciliation_id=reconciliation_id)
            lines = store.drift_lines(connection, reconciliation_id)
        if found is None:
            raise NotFound("there is no such reconciliation", reconciliation_id=reconciliation_id)
        return Compared(reconciliation=found, lines=tuple(lines), replayed=replayed)

    def page(self, *, cursor: str | None = None, limit: int = 50) -> Page[Reconciliation]:
        """Return comparisons without their lines, the latest first."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        with reading(self._engine) as connection:
            found = store.reconciliations(connection, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def _known(self, file_hash: str) -> Reconciliation | None:
        with reading(self._engine) as connection:
            return store.find_reconciliation(connection, file_hash=file_hash)

    def _found(self, request_ids: list[str]) -> dict[str, tuple[str, int]]:
        with reading(self._engine) as connection:
            return store.known_requests(connection, request_ids)

    def _timed(self, sums: _Sums) -> int:
        """Return how many requests that were not found by an id have a charge of their own at their time."""
        if not sums.unfound or sums.is_long:
            return 0
        instants = [at for times in sums.unfound.values() for at in times]
        begin, end, models = from_micros(min(instants)) - EARLIER, from_micros(max(instants)) + LATER, list(sums.unfound)
        ours: dict[str, array[int]] = {model: array("q") for model in models}
        with reading(self._engine) as connection:
            for organization_id in store.users_of(connection, models, begin, end):
                for model, at, seq in store.charges_between(connection, organization_id, models, begin, end):
                    if (organization_id, seq) not in sums.taken:
                        ours[model].append(at)
        return sum(matched(times, sorted(ours[model])) for model, times in sums.unfound.items())

    def _beside(self, sums: _Sums) -> list[DriftLine]:
        """Return the file's lines beside the ledger's of the same days."""
        lines: list[DriftLine] = []
        with reading(self._engine) as connection:
            for day in sorted({day for day, _ in sums.lines}):
                ours = store.our_usage(connection, day)
                theirs = {model: totals for (at, model), totals in sums.lines.items() if at == day}
                for model in sorted({*ours, *theirs}):
                    lines.append(_line(day, model, theirs.get(model, (0, 0, 0)), ours.get(model, (0, 0, 0))))
        return lines


def _line(day: date, model: str, theirs: tuple[int, int, int] | list[int], ours: tuple[int, int, int]) -> DriftLine:
    return DriftLine(
        day=day,
        model=model,
        their_input_tokens=theirs[0],
        their_output_tokens=theirs[1],
        their_requests=theirs[2],
        our_input_tokens=ours[0],
        our_output_tokens=ours[1],
        our_requests=ours[2],
    )


class _Sums:
    """Adds up records by day and model, and counts those whose request id the ledger knows, some at a time.

    `unfound` are the instants (microseconds, by model) of those it does not know, `taken` the lines of those it does.
    """

    def __init__(self, found_of: Callable[[list[str]], dict[str, tuple[str, int]]]) -> None:
        self.lines: dict[tuple[date, str], list[int]] = {}
        self.form = ""
        self.records = self.named = self.requests = 0
        self._found = 0
        self._found_of = found_of
        self._named: list[Usage] = []
        self.unfound: dict[str, array[int]] = {}
        self.taken: set[tuple[str, int]] = set()

    @property
    def found(self) -> int:
        """How many of the named records are in the ledger."""
        if self._named:
            known = self._found_of([usage.request_id for usage in self._named if usage.request_id is not None])
            self._found += len(known)
            for usage in self._named:
                if usage.request_id not in known:
                    self._miss(usage)
            if not self.is_long:
                self.taken.update(known.values())
            self._named = []
        return self._found

    @property
    def is_long(self) -> bool:
        """Whether there are more single requests than are looked for by their time."""
        return self.requests > TIMED_LIMIT

    def _miss(self, usage: Usage) -> None:
        if usage.at is not None and not self.is_long:
            self.unfound.setdefault(usage.model, array("q")).append(to_micros(usage.at))

    def add(self, values: Mapping[str, Any]) -> None:
        """Take one record. Raises RequestInvalid."""
        usage: Usage = usage_in(values)
        self.form = self.form or form_of(values)
        totals = self.lines.setdefault((usage.day, usage.model), [0, 0, 0])
        if len(self.lines) > LINES_LIMIT:
            raise RequestInvalid(f"the file has more than {LINES_LIMIT:,} days and models", field="file")
        for place, amount in enumerate((usage.input_tokens, usage.output_tokens, usage.requests)):
            totals[place] += amount
        self.records += 1
        self.requests += usage.at is not None
        if usage.request_id is None:
            self._miss(usage)
            return
        self.named += 1
        self._named.append(usage)
        if len(self._named) >= _BATCH:
            _ = self.found


class _Hashed:
    """A file that is read once, piece by piece, and hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = sha256()
        self._bytes = 0

    def pieces(self) -> Iterator[bytes]:
        """Give the file's pieces. Raises RequestInvalid for one that is too large."""
        while piece := self._file.read(2**16):
            self._hash.update(piece)
            self._bytes += len(piece)
            if self._bytes > FILE_LIMIT_BYTES:
                raise RequestInvalid(f"a file has at most {FILE_LIMIT_BYTES:,} bytes", field="file")
            yield piece

    def digest(self) -> str:
        """Return the SHA-256 of what was read."""
        return self._hash.hexdigest()


def _records(file: _Hashed) -> Iterator[Mapping[str, Any]]:
    """Give the records of a CSV, of JSON lines, or of one JSON document, by how the file begins."""
    lines = _lines(file)
    first = next((line for line in lines if line.strip()), "")
    beginning = first.lstrip()[:1]
    if beginning == "{" and _is_record(first):
        yield from (_decoded(line) for line in chain([first], lines) if line.strip())
    elif beginning in ("{", "["):
        yield from _document(chain([first], lines))
    else:
        rows = csv.DictReader(chain([first], lines))
        try:
            yield from ({str(name).strip(): value for name, value in row.items()} for row in rows)
        except csv.Error as error:
            raise RequestInvalid(f"the file is no CSV: {error}", field="file") from None


def _lines(file: _Hashed) -> Iterator[str]:
    """Give the file's lines as text. Raises RequestInvalid where it is not UTF-8, or a line is endless."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest = ""
    try:
        for piece in chain(file.pieces(), [b""]):
            rest += decoder.decode(piece, final=not piece)
            *whole, rest = rest.split("\n")
            yield from (line + "\n" for line in whole)
            if len(rest) > DOCUMENT_LIMIT_BYTES:
                raise RequestInvalid("a line of the file is too long", field="file")
    except UnicodeDecodeError:
        raise RequestInvalid("the file is not UTF-8", field="file") from None
    if rest:
        yield rest


def _is_record(line: str) -> bool:
    try:
        values = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return isinstance(values, dict) and "data" not in values


def _decoded(line: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        raise RequestInvalid("a line of the file is no JSON object", field="file") from None


def _document(lines: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    """Give the results of a document: a list of records, or `data` with buckets whose time their results take over."""
    text = io.StringIO()
    for line in lines:
        text.write(line)
        if text.tell() > DOCUMENT_LIMIT_BYTES:
            raise RequestInvalid(f"a JSON document has at most {DOCUMENT_LIMIT_BYTES:,} bytes", field="file")
    try:
        document = msgspec.json.decode(text.getvalue())
    except (msgspec.DecodeError, RecursionError):
        raise RequestInvalid("the file is no JSON", field="file") from None
    items = document.get("data") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise RequestInvalid("the file has no list of records", field="file")
    for item in items:
        if not isinstance(item, dict):
            raise RequestInvalid("a record of the file is no object", field="file")
        results = item.get("results")
        if not isinstance(results, list):
            yield item
            continue
        for result in results:
            if not isinstance(result, dict):
                raise RequestInvalid("a record of the file is no object", field="file")
            yield {name: value for name, value in item.items() if name != "results"} | result
