"""Streams: a streamed answer on its way through. Cuts server-sent events without changing a byte of them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from contextlib import suppress
from copy import copy
from typing import Generic, Self, TypeVar

import msgspec

from tokenwell.core.usage import Usage
from tokenwell.errors import UpstreamError
from tokenwell.gateway.counting import spoken_tokens
from tokenwell.gateway.dialects import UNREADABLE, Reported

EVENT_LIMIT_BYTES = 32 * 2**20
"""The largest single event that is taken from a provider."""

_COUNT_EVERY_BYTES = 65_536

_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
EVENT_END = re.compile(_LINE_END + rb"{2}")
"""Where an event ends: at an empty line."""
_LINES = re.compile(_LINE_END)
_DATA = re.compile(rb"^data: ?(.*)", re.MULTILINE)
"""The data of events of the plain kind: of one line each, which does not end with a carriage return alone."""


class EventCutter:
    """Cuts bytes into whole events, wherever they are broken up on the way."""

    __slots__ = ("_rest", "_searched")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0

    @property
    def is_between_events(self) -> bool:
        """Whether nothing of an unfinished event is waiting."""
        return not self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events `data` completes, each with the empty line that ends it. Raises UpstreamError for an endless one."""
        rest = self._rest
        rest += data
        events = []
        begin = 0
        for match in EVENT_END.finditer(rest, self._searched):
            events.append(bytes(rest[begin : match.end()]))
            begin = match.end()
        del rest[:begin]
        # An end may lie across the border to what comes next, by three bytes at most.
        self._searched = max(0, len(rest) - 3)
        if len(rest) > EVENT_LIMIT_BYTES:
            raise UpstreamError("the AI provider sent an event without an end")
        return events


def data_of(event: bytes) -> bytes:
    """Return the data of an event: its data lines, joined."""
    lines = (line for line in _LINES.split(event) if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


class Tally(msgspec.Struct):
    """What a stream has said: its bytes of text, and the pieces they came in. What a dialect adds is how they are read."""

    pieces: int = 0
    text_bytes: int = 0

    @property
    def tokens(self) -> int:
        """What that is charged when the provider reports nothing."""
        return spoken_tokens(self.text_bytes, self.pieces)

    def after(self, events: bytes) -> Self:
        """Return what has been said with these events, too; this one stays as it is."""
        counted = copy(self)
        counted.count(events)
        return counted

    def count(self, events: bytes) -> None:
        """Add what these events say."""
        try:
            # All of them at once: reading one by one costs several times as much.
            self._read(_DATA.findall(events))
        except UNREADABLE:
            for event in EVENT_END.split(events):
                with suppress(*UNREADABLE):
                    self._read([data_of(event)])

    def _read(self, datas: list[bytes]) -> None:
        """Count what is said in the data of events. Raises one of UNREADABLE, with nothing changed, where any cannot be read."""
        raise NotImplementedError

    def _add(self, text_bytes: int) -> None:
        """Add a piece; one without text is none."""
        if text_bytes:
            self.pieces += 1
            self.text_bytes += text_bytes


T = TypeVar("T", bound=Tally)


def array_of(datas: list[bytes]) -> bytes:
    """Return the JSON array of these."""
    return b"[%s]" % b",".join(datas)


class EventStream(ABC, Generic[T]):
    """Reads a streamed answer as it passes. What a dialect adds: `_border`, `_look` and how it is tallied."""

    __slots__ = ("_cutter", "_tally", "_uncounted", "_uncounted_bytes", "answer_id", "closing", "passed_bytes")

    def __init__(self, tally: T) -> None:
        self.answer_id = ""
        self.closing = b""
        self.passed_bytes = 0
        self._cutter = EventCutter()
        self._tally = tally
        self._uncounted: list[bytes] = []
        self._uncounted_bytes = 0

    @property
    @abstractmethod
    def reported(self) -> Reported | None:
        """The usage that has been reported so far."""

    @property
    def begun(self) -> Reported | None:
        """A usage that was reported before the answer ended; most providers report none."""
        return None

    def feed(self, data: bytes) -> bytes:
        """Take what came from the provider and return what goes on. Raises UpstreamError if an event has no end."""
        passing = b""
        if not self._cutter.is_between_events:
            end = data.find(b"\n\n") + 2
            begun, data = (data[:end], data[end:]) if end > 1 else (data, b"")
            passing = self._sift(begun)
        if data and not self.closing and self._cutter.is_between_events:
            end = self._end_of_plain(data)
            passing += data[:end]
            data = data[end:]
        if data:
            passing += self._sift(data)
        if passing:
            self._uncounted.append(passing)
            self._uncounted_bytes += len(passing)
            self.passed_bytes += len(passing)
            if self._uncounted_bytes > _COUNT_EVERY_BYTES:
                self._count()
        return passing

    def end(self) -> bytes:
        """Return what goes on when the provider has ended without the empty line that ends its last event."""
        return b"" if self._cutter.is_between_events else self.feed(b"\n\n")

    @abstractmethod
    def cut(self, used: Usage) -> bytes:
        """End the answer as the provider does where its length is at a limit: return what goes on, and set `closing`."""

    def spoken(self) -> tuple[int, int]:
        """Return how much of the answer has passed: its bytes of text, and the pieces they came in."""
        tally = self._count()
        return tally.text_bytes, tally.pieces

    def plain_bytes(self, data: bytes) -> int:
        """Return how much of what came from the provider is whole events that only say something, from its beginning on."""
        return self._end_of_plain(data) if self._cutter.is_between_events and not self.closing else 0

    def take(self, data: bytes, most_tokens: int) -> int | None:
        """Take events that only say something, which go on as they are, if no more than so many tokens have been said with them.

        Returns how many have been said then; None where they were not taken.
        """
        tally = self._count().after(data)
        if tally.tokens > most_tokens:
            return None
        self._tally = tally
        self.passed_bytes += len(data)
        return tally.tokens

    @abstractmethod
    def _border(self, data: bytes) -> int:
        """Return up to where nothing in `data` can matter, at a glance."""

    @abstractmethod
    def _look(self, event: bytes) -> bool:
        """Look at an event that may matter; return whether it goes on. The last one is kept in `closing` instead."""

    def _sift(self, data: bytes) -> bytes:
        """Look at every event that `data` completes and return those that go on."""
        return b"".join([event for event in self._cutter.feed(data) if self._passes(event)])

    def _passes(self, event: bytes) -> bool:
        if self.closing:
            self.closing += event
            return False
        # Data over several lines may be broken within what is looked for.
        return (self._border(event) == len(event) and event.count(b"data:") < 2) or self._look(event)

    def _end_of_plain(self, data: bytes) -> int:
        """Return up to where `data` is nothing but whole events, in lines of the plain kind, of which none matters here.

        That is all of it but for the end of a stream, and found out at a glance: most events are never looked at one by one.
        """
        if b"\r" in data:
            return 0
        end = data.rfind(b"\n\n", 0, self._border(data)) + 2
        return end if end > 1 and data.count(b"data:", 0, end) <= data.count(b"\n\n", 0, end) else 0

    def _count(self) -> T:
        """Count the text that has passed. Done seldom: where the provider reports the usage in time, it is never needed."""
        if self._uncounted:
            self._tally.count(b"".join(self._uncounted))
            self._uncounted.clear()
            self._uncounted_bytes = 0
        return self._tally
