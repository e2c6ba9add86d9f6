"""The spool: what is to be charged and the database has not taken, in a file that outlives the process and the machine's power.

Lines are appended, each with its checksum, and are on the disk before anybody relies on them. What was charged is struck out by a
line of its own; that one may be lost, for charging the same again changes nothing.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from tokenwell.core.usage import Usage
from tokenwell.gateway.calls import Bill, Call

SPOOL_LIMIT_BYTES = 64 * 2**20
"""How large a spool may become; then nothing more is taken."""

_sync = getattr(os, "fdatasync", os.fsync)
"""Not every system can leave out what is known of a file beside its content."""

log = structlog.get_logger("tokenwell.gateway")


class SpoolFull(Exception):
    """The spool takes no more."""


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """A call that was let through although the database could not be reached. It counts as `tokens` until it is known what it used,
    and is charged `usage` if that will never be known."""

    call: Call
    tokens: int
    usage: Usage


class Due(msgspec.Struct, frozen=True, kw_only=True, tag="due"):
    """What a call used, to be charged. `tokens` is what it counts as where it was let through without the database, else 0."""

    call: Call
    bill: Bill
    tokens: int = 0


class _Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """A call that is charged, or has nothing to be charged for."""

    request_id: str


class Kept(NamedTuple):
    """What is in a spool, by the id of the request."""

    opened: dict[str, Opened]
    due: dict[str, Due]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Opened | Due | _Done).decode


class Spool:
    """The spool of this process. Safe to use from several threads; what writes may wait for the disk, and raises OSError and
    SpoolFull."""

    def __init__(self, path: Path, *, limit_bytes: int = SPOOL_LIMIT_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._file = _create(path)
        self._size = self._synced = self._generation = 0
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._kept = Kept({}, {})
        self._tokens: Counter[str] = Counter()
        self._old: list[int] = []

    def __len__(self) -> int:
        return len(self._kept.opened) + len(self._kept.due)

    def close(self) -> None:
        """Close the file; what is in it stays."""
        for file in (*self._old, self._file):
            os.close(file)

    def tokens(self) -> dict[str, int]:
        """Return how many tokens of each organization were let through and are not charged yet."""
        with self._lock:
            return {each: tokens for each, tokens in self._tokens.items() if tokens}

    def due(self, limit: int) -> list[Due]:
        """Return what is to be charged, the first that came first."""
        with self._lock:
            return list(self._kept.due.values())[:limit]

    def open(self, call: Call, *, tokens: int, usage: Usage) -> None:
        """Let a call through. It is on the disk as this returns."""
        self._write(Opened(call=call, tokens=tokens, usage=usage))

    def owe(self, call: Call, bill: Bill, *, tokens: int = 0) -> None:
        """Note what a call used. It is on the disk as this returns."""
        self._write(Due(call=call, bill=bill, tokens=tokens if not call.hold_id else 0))

    def done(self, request_ids: Iterable[str]) -> None:
        """Strike calls out. A spool with nothing left in it begins anew."""
        with self._lock:
            for request_id in request_ids:
                if request_id in self._kept.opened or request_id in self._kept.due:
                    self._append(_Done(request_id=request_id))
            if not len(self) and self._size:
                os.ftruncate(self._file, 0)
                self._size = self._synced = 0
                self._generation += 1

    def _write(self, note: Opened | Due) -> None:
        with self._lock:
            self._append(note)
            end, generation = self._size, self._generation
        with self._syncing:
            # Whoever waited for another's turn finds its own line on the disk already.
            if generation == self._generation and self._synced < end:
                with self._lock:
                    size, file, generation = self._size, self._file, self._generation
                _sync(file)
                if generation == self._generation:
                    self._synced = size

    def _append(self, note: Opened | Due | _Done) -> None:
        line = _line_of(note)
        if self._size + len(line) > self._limit_bytes and not isinstance(note, _Done):
            self._compact()
            if self._size + len(line) > self._limit_bytes:
                raise SpoolFull
        try:
            if os.write(self._file, line) < len(line):
                raise OSError("the disk is full")
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        before, after = _take(self._kept, note)
        for each, sign in ((before, -1), (after, 1)):
            if each is not None and each.tokens:
                self._tokens[each.call.organization_id] += sign * each.tokens

    def _compact(self) -> None:
        """Write anew what is left, without what was struck out."""
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        file = _create(fresh)
        lines = b"".join(_line_of(note) for notes in self._kept for note in notes.values())
        os.write(file, lines)
        os.fsync(file)
        fresh.replace(self._path)
        self._old.append(self._file)  # somebody may wait for the disk on it
        self._file, self._size = file, len(lines)
        self._synced = self._size
        self._generation += 1


def kept_in(path: Path) -> Kept:
    """Return what is left in a spool. A damaged line, as the last one of a process that was killed may be, does not count."""
    kept = Kept({}, {})
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        if not line:
            continue
        checksum, _, text = line.partition(b" ")
        try:
            if int(checksum, 16) != zlib.crc32(text):
                raise ValueError("checksum")
            _take(kept, _decode(text))
        except (ValueError, msgspec.DecodeError):
            log.error("spool_damaged", file=path.name)
    return kept


def _take(kept: Kept, note: Opened | Due | _Done) -> tuple[Opened | Due | None, Opened | Due | None]:
    """Take a note in; return what stood for its call before, and what does now."""
    request_id = note.request_id if isinstance(note, _Done) else note.call.request_id
    before = kept.opened.pop(request_id, None) or kept.due.pop(request_id, None)
    if isinstance(note, Opened):
        kept.opened[request_id] = note
    elif isinstance(note, Due):
        kept.due[request_id] = note
    return before, None if isinstance(note, _Done) else note


def _line_of(note: Opened | Due | _Done) -> bytes:
    text = _encode(note)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
