"""Killing: a process that charges is ended in the middle of it, and what it had acknowledged is compared with what the books say.

Whoever makes the load tells each call before it is made and each answer after it was given, one JSON line each. What is killed is
another matter: the process that makes the load, or a server that it calls.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from tokenwell import Entry, EntryKind, Meter, Receipt

ROOT = Path(__file__).parents[2]


class Told(msgspec.Struct):
    """One line of a load. `amount` None is a call that is about to be made, else what its answer said was charged."""

    method: str
    key: str
    kwargs: dict[str, Any]
    amount: int | None = None


class Memory:
    """What a load has told so far: its calls by key, and which of them were answered."""

    def __init__(self) -> None:
        self.tried: dict[str, Told] = {}
        self.acknowledged: dict[str, Told] = {}

    def hear(self, lines: IO[bytes], *, until: Callable[[], bool] = lambda: False) -> None:
        """Read lines until the condition holds, or to the end."""
        while not until() and (line := lines.readline()):
            if not line.endswith(b"\n"):
                return  # killed in the middle of it
            told = msgspec.json.decode(line, type=Told)
            (self.tried if told.amount is None else self.acknowledged)[told.key] = told


def start_victim(url: str, organization_id: str, name: str) -> subprocess.Popen[bytes]:
    """Start a process that charges from threads and coroutines until it is killed."""
    command = [sys.executable, "-m", "tests.store.victim", url, organization_id, name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process at once; it does not get to do anything any more."""
    process.kill()
    process.wait()


def assert_nothing_lost(meter: Meter, organization_id: str, memory: Memory) -> None:
    """Every acknowledged charge is there, nothing is there twice or that nobody tried, and the books balance."""
    (verified,) = meter.verify(organization_id)
    assert verified.problems == ()
    charged, requests = Counter[str](), Counter[str]()
    for entry in journal_of(meter, organization_id):
        if entry.request_id is not None:
            charged[entry.request_id] += entry.amount_tokens
            requests[entry.request_id] += entry.part == 1
    assert {key: charged[key] for key in memory.acknowledged} == {key: told.amount for key, told in memory.acknowledged.items()}
    assert {key for key, count in requests.items() if count != 1} == set()
    assert set(requests) <= set(memory.tried)


def assert_retries_charge_once(meter: Meter, organization_id: str, memory: Memory, *, sample: int = 50) -> None:
    """Repeat every call that was not acknowledged, and some that were: after it everything that was tried was charged once."""
    in_doubt = [told for key, told in memory.tried.items() if key not in memory.acknowledged]
    for told in [*in_doubt, *(memory.tried[key] for key in [*memory.acknowledged][-sample:])]:
        if told.method == "settle":
            answer: Receipt = meter.settle(organization_id, told.kwargs["hold_id"], told.kwargs["amount"])
        else:
            answer = getattr(meter, told.method)(organization_id, **told.kwargs, key=told.key)
        assert answer.replayed or told.key not in memory.acknowledged
    entries = journal_of(meter, organization_id)
    charged = sum(entry.amount_tokens for entry in entries if entry.kind is EntryKind.DEBIT)
    refunded = sum(entry.amount_tokens for entry in entries if entry.kind is EntryKind.REFUND)
    assert charged == sum(told.kwargs["amount"] for told in memory.tried.values() if told.method in ("debit", "settle"))
    assert refunded == sum(told.kwargs["amount"] for told in memory.tried.values() if told.method == "refund")


def journal_of(meter: Meter, organization_id: str) -> list[Entry]:
    """Return the whole journal."""
    entries: list[Entry] = []
    while page := meter.journal(organization_id, after_seq=len(entries)).items:
        entries.extend(page)
    return entries
