"""The logbook: calls under way, written down where a process that is killed leaves them.

It is a file mapped into memory, a slot for each call. Writing to it is a copy in memory, and the system keeps what was written
whatever becomes of the process; nothing is waited for. A machine that loses power loses the last seconds of it.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from tokenwell.core.usage import Usage
from tokenwell.errors import AmountInvalid
from tokenwell.gateway.calls import Bill, Call

SLOT_BYTES = 4_096
FIRST_SLOTS = 64
MOST_SLOTS = 65_536

_HEAD = struct.Struct("<B3xII")
"""How far the call is, the length of what is written of it, and its checksum."""

_HEARD = struct.Struct("<q")
_SAID = struct.Struct("<qq")
_USED = struct.Struct("<5q?")
_HEARD_AT = 16
_SAID_AT = _HEARD_AT + _HEARD.size
_USED_AT = _SAID_AT + _SAID.size
_TEXT_AT = 128

log = structlog.get_logger("tokenwell.gateway")


class Stage(IntEnum):
    """How far a call is: the slot is free, the provider was not asked yet, was asked, has failed, or has told what was used."""

    FREE = 0
    ADMITTED = 1
    ASKED = 2
    FAILED = 3
    USED = 4


class _Noted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    call: Call
    prompt_tokens: int
    completion_tokens: int


class Left(NamedTuple):
    """A call that a process left behind, and what is to be charged for it; None where nothing was used."""

    call: Call
    bill: Bill | None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Noted).decode
_ZEROS = bytes(_TEXT_AT - _HEAD.size)


class Logbook:
    """The calls that a process has under way. Used by one thread. Without a path nothing of it outlives the process (`is_kept`)."""

    def __init__(self, path: Path | None = None) -> None:
        self.is_kept = path is not None
        if path is None:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._slots = 0
        self._map = self._grown(FIRST_SLOTS)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._places

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._map.close()
        os.close(self._file)

    def begin(self, call: Call, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Write a call down before its provider is asked: what its prompt counts, and what is charged for its answer if nothing
        will be known of that."""
        text = _encode(_Noted(call=call, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))
        if len(text) > SLOT_BYTES - _TEXT_AT or not self._has_room():
            return
        at = self._free.pop()
        book = self._map
        book[at + _HEAD.size : at + _TEXT_AT] = _ZEROS
        book[at + _TEXT_AT : at + _TEXT_AT + len(text)] = text
        _HEAD.pack_into(book, at, Stage.FREE, len(text), zlib.crc32(text))
        book[at] = Stage.ADMITTED
        self._places[call.request_id] = at

    def ask(self, request_id: str) -> None:
        """Note that the provider is asked now."""
        self._step(request_id, Stage.ASKED)

    def hear(self, request_id: str, events: int) -> None:
        """Note how many events of the answer have come so far."""
        at = self._places.get(request_id)
        if at is not None:
            _HEARD.pack_into(self._map, at + _HEARD_AT, events)

    def say(self, request_id: str, tokens: int) -> None:
        """Note how many tokens the events so far have said."""
        at = self._places.get(request_id)
        if at is not None:
            _SAID.pack_into(self._map, at + _SAID_AT, tokens, *_HEARD.unpack_from(self._map, at + _HEARD_AT))

    def use(self, request_id: str, bill: Bill) -> None:
        """Note what a call used: it is to be charged now."""
        at = self._places.get(request_id)
        if at is not None:
            used = bill.usage
            _USED.pack_into(
                self._map,
                at + _USED_AT,
                used.input_tokens,
                used.cache_read_tokens,
                used.cache_write_tokens,
                used.output_tokens,
                used.reasoning_tokens,
                bill.estimated,
            )
            self._map[at] = Stage.USED

    def fail(self, request_id: str) -> None:
        """Note that the provider has failed: nothing is to be charged."""
        self._step(request_id, Stage.FAILED)

    def end(self, request_id: str) -> None:
        """Forget a call: it was charged, or nothing is to be charged, and its hold is closed."""
        at = self._places.pop(request_id, None)
        if at is not None:
            self._map[at] = Stage.FREE
            self._free.append(at)

    def _step(self, request_id: str, stage: Stage) -> None:
        at = self._places.get(request_id)
        if at is not None:
            self._map[at] = stage

    def _has_room(self) -> bool:
        if not self._free and self._slots < MOST_SLOTS:
            try:
                self._map = self._grown(2 * self._slots)
            except OSError as error:
                log.warning("logbook_not_grown", cause=type(error).__name__)
        return bool(self._free)

    def _grown(self, slots: int) -> mmap.mmap:
        # The room is taken from the disk now: a mapped page that the disk has no room for would end the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, 0, slots * SLOT_BYTES)
        else:
            os.ftruncate(self._file, slots * SLOT_BYTES)
        grown = mmap.mmap(self._file, slots * SLOT_BYTES)
        self._free += [slot * SLOT_BYTES for slot in reversed(range(self._slots, slots))]
        self._slots = slots
        return grown


def left_in(path: Path) -> Iterator[Left]:
    """Give the calls that a process left under way in its logbook. What is damaged is skipped, and logged."""
    book = path.read_bytes()
    for at in range(0, len(book) - SLOT_BYTES + 1, SLOT_BYTES):
        stage, length, checksum = _HEAD.unpack_from(book, at)
        if stage == Stage.FREE:
            continue
        text = book[at + _TEXT_AT : at + _TEXT_AT + min(length, SLOT_BYTES - _TEXT_AT)]
        try:
            if zlib.crc32(text) != checksum:
                raise ValueError("checksum")
            noted = _decode(text)
            yield Left(noted.call, _bill_of(book, at, Stage(stage), noted))
        except (ValueError, msgspec.DecodeError, AmountInvalid) as error:
            log.error("logbook_damaged", place=at // SLOT_BYTES, cause=type(error).__name__)


def _bill_of(book: bytes, at: int, stage: Stage, noted: _Noted) -> Bill | None:
    """Return what is to be charged for a call, as far as its process knew."""
    if stage in (Stage.ADMITTED, Stage.FAILED):
        return None
    facts = {"recovered": True}
    if stage is Stage.USED:
        fresh, cache_read, cache_write, output, reasoning, estimated = _USED.unpack_from(book, at + _USED_AT)
        usage = Usage(
            input_tokens=fresh,
            cache_read_tokens=cache_read,
            cache_write_tokens=cache_write,
            output_tokens=output,
            reasoning_tokens=reasoning,
        )
        return Bill(usage=usage, facts=facts, estimated=estimated)
    (heard,) = _HEARD.unpack_from(book, at + _HEARD_AT)
    said, heard_then = _SAID.unpack_from(book, at + _SAID_AT)
    # What came since it was last counted says as much as what came before, and at least a token an event.
    said += max(0, heard - heard_then) * max(1, heard_then, said) // max(1, heard_then)
    # Of an answer that was not streamed nothing had come: it is charged what it was expected to come to.
    counted = Usage(input_tokens=noted.prompt_tokens, output_tokens=max(said, 0) if heard else noted.completion_tokens)
    return Bill(usage=counted, facts=facts, estimated=True)
