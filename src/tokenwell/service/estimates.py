"""Estimates: what a request is likely to come to, learned from the organization's own history.

Kept in memory by each process, for each model and reason of an organization: how many tokens a byte of its prompts makes, and how
many tokens its answers have. An organization is seeded from its latest lines of the ledger the first time it is asked about, in the
background. A quantile of the last requests is what is expected, so that a hold is tight and yet rarely too small.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import structlog

from tokenwell.core.journal import ESTIMATED, Entry, EntryKind
from tokenwell.errors import TokenwellError
from tokenwell.service.reading import Reading

WINDOW_REQUESTS = 200
"""How many requests of a kind are remembered."""

LEAST_REQUESTS = 20
"""Fewer than this are no history."""

SEED_LINES = 500
"""How many lines of the ledger an organization is seeded from."""

KINDS_LIMIT = 20_000
"""How many kinds of requests are remembered; the ones longest unused go first."""

QUANTILE_PERCENT = 95
_RECKON_EVERY = 16
_THOUSAND = 1_000

Kind = tuple[str, str, str | None]
"""An organization, a model, a reason."""

log = structlog.get_logger()


class _Window:
    """The last values of something, and their quantile, reckoned anew now and then."""

    __slots__ = ("_latest", "_since", "quantile")

    def __init__(self) -> None:
        self._latest: deque[int] = deque(maxlen=WINDOW_REQUESTS)
        self._since = 0
        self.quantile: int | None = None

    def add(self, value: int) -> None:
        self._latest.append(value)
        self._since += 1
        if len(self._latest) >= LEAST_REQUESTS and (self.quantile is None or self._since >= _RECKON_EVERY):
            self._since = 0
            ordered = sorted(self._latest)
            self.quantile = ordered[-(-QUANTILE_PERCENT * len(ordered) // 100) - 1]


class _History:
    __slots__ = ("completions", "millitokens_per_byte")

    def __init__(self) -> None:
        self.completions = _Window()
        self.millitokens_per_byte = _Window()


class Estimates:
    """Learns from what requests came to. Safe to use from several threads."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._seeding = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenwell-estimates")
        self._histories: OrderedDict[Kind, _History] = OrderedDict()
        self._seeded: set[str] = set()
        self._lock = threading.Lock()

    def completion_tokens(self, kind: Kind) -> int | None:
        """Return what QUANTILE_PERCENT of 100 answers of this kind stay within, None where too little is known."""
        if kind[0] not in self._seeded:
            self._seeded.add(kind[0])
            self._seeding.submit(self._seed, kind[0])
        history = self._histories.get(kind)
        return None if history is None else history.completions.quantile

    def prompt_tokens(self, kind: Kind, text_bytes: int) -> int | None:
        """Return what a prompt of so many bytes stays within, QUANTILE_PERCENT of 100 times; None where too little is known."""
        history = self._histories.get(kind)
        ratio = None if history is None else history.millitokens_per_byte.quantile
        return None if ratio is None else -(-text_bytes * ratio // _THOUSAND)

    def learn(self, kind: Kind, *, prompt_tokens: int, completion_tokens: int, text_bytes: int) -> None:
        """Take what a request came to; `text_bytes` is 0 where its prompt was not only text."""
        with self._lock:
            history = self._histories.get(kind)
            if history is None:
                history = self._histories[kind] = _History()
                if len(self._histories) > KINDS_LIMIT:
                    self._histories.popitem(last=False)
            else:
                self._histories.move_to_end(kind)
            history.completions.add(completion_tokens)
            if text_bytes:
                history.millitokens_per_byte.add(-(-prompt_tokens * _THOUSAND // text_bytes))

    def close(self) -> None:
        """Finish reading the organization at hand; those that wait are not read any more."""
        self._seeding.shutdown(wait=True, cancel_futures=True)

    def _seed(self, organization_id: str) -> None:
        """Learn from the ledger, the oldest line first."""
        try:
            lines = self._reading.ledger(organization_id, limit=SEED_LINES).items
        except TokenwellError as error:
            self._seeded.discard(organization_id)
            log.warning("estimates_not_seeded", organization_id=organization_id, cause=error.code)
            return
        for line in reversed(lines):
            self._learn_from(line.entry)

    def _learn_from(self, entry: Entry) -> None:
        # A request that drew from several packs is not whole on any of its lines; what was counted here says nothing of the model.
        if entry.kind is not EntryKind.DEBIT or entry.parts != 1 or entry.flags & ESTIMATED or entry.model is None:
            return
        self.learn(
            (entry.organization_id, entry.model, entry.reason),
            prompt_tokens=entry.prompt_tokens or 0,
            completion_tokens=entry.completion_tokens or 0,
            text_bytes=_bytes_in(entry.detail),
        )


class _Expected(msgspec.Struct, frozen=True):
    bytes: int = 0


class _Facts(msgspec.Struct, frozen=True):
    expected: _Expected = _Expected()


class _Detail(msgspec.Struct, frozen=True):
    facts: _Facts = _Facts()


_decode = msgspec.json.Decoder(_Detail).decode


def _bytes_in(detail: str | None) -> int:
    try:
        return _decode(detail).facts.expected.bytes if detail else 0
    except msgspec.DecodeError:
        return 0


def expected_fact(*, prompt_tokens: int, completion_tokens: int, text_bytes: int) -> dict[str, Any]:
    """Return what is kept with a line of what was expected, from which the next process learns."""
    return {"prompt": prompt_tokens, "completion": completion_tokens, "bytes": text_bytes}
