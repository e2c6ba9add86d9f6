"""Keeping: the files in which each process of the gateway writes down what it has under way, and whose process is gone.

A process holds a lock as long as it lives, however it ends. What it leaves behind is taken by whoever finds the lock free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
import structlog

from tokenwell.core.usage import Usage
from tokenwell.gateway.calls import Bill, Call
from tokenwell.gateway.logbook import Logbook
from tokenwell.gateway.spool import Spool
from tokenwell.service.ports import new_id

_DOOR = "door.lock"
_LOCK = ".lock"
_CALLS = ".calls"
_CHARGES = ".charges"
_OPEN = ".open"
_ENDINGS = (_CALLS, _CHARGES, ".new", ".fresh", _OPEN, _LOCK)
"""What files a process has; the lock is the last to go."""

_decode_waiting = msgspec.json.Decoder(dict[str, int]).decode

log = structlog.get_logger("tokenwell.gateway")


class Keeping:
    """The files of this process, in a directory that it may share with others; without one nothing outlives the process."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self._id = new_id("gw")
        self._lock = -1
        self.spool: Spool | None = None
        if directory is None:
            self.logbook = Logbook()
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _door(directory):
            self._lock = _locked(directory / (self._id + _LOCK))
            self.logbook = Logbook(directory / (self._id + _CALLS))
            self.spool = Spool(directory / (self._id + _CHARGES))

    @classmethod
    def opened(cls, directory: Path | None) -> Self:
        """Return the files of this process. Where the directory cannot be written to nothing outlives it, and that is logged."""
        try:
            return cls(directory)
        except OSError as error:
            log.error("spool_directory_unusable", directory=str(directory), cause=str(error))
            return cls()

    def close(self) -> None:
        """Close the files; those in which nothing is left are removed."""
        is_done = not len(self.logbook) and not (self.spool and len(self.spool))
        self.logbook.close()
        if self.spool is not None:
            self.spool.close()
        if self.directory is not None:
            if is_done:
                _remove(self.directory, self._id)
            os.close(self._lock)

    def let_through(self, call: Call, *, tokens: int, usage: Usage, most_tokens: int) -> bool:
        """Write down that a call goes on without the database, unless more of its organization would wait to be charged than
        `most_tokens`, in all processes of this directory. Raises OSError and SpoolFull. It waits for the disk."""
        if self.directory is None or self.spool is None:
            return False
        with _door(self.directory):
            own = self.spool.tokens()
            waiting = own.get(call.organization_id, 0) + self._waiting_elsewhere(call.organization_id)
            if waiting + tokens > most_tokens:
                return False
            own[call.organization_id] = own.get(call.organization_id, 0) + tokens
            # First the sum and then the call: a kill in between lets too little through, and never too much.
            self._tell(own)
            self.spool.open(call, tokens=tokens, usage=usage)
        return True

    def owe(self, call: Call, bill: Bill, *, tokens: int) -> None:
        """Write down what a call used, which is `tokens`. Raises OSError and SpoolFull. It waits for the disk."""
        assert self.spool is not None
        self.spool.owe(call, bill, tokens=tokens)
        if not call.hold_id:
            self.tell_waiting()

    def tell_waiting(self) -> None:
        """Tell the other processes how many tokens still wait to be charged here."""
        if self.directory is not None and self.spool is not None:
            with _door(self.directory):
                self._tell(self.spool.tokens())

    def _tell(self, tokens: dict[str, int]) -> None:
        assert self.directory is not None
        fresh = self.directory / (self._id + ".fresh")
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.encode(tokens))
        fresh.replace(self.directory / (self._id + _OPEN))

    def _waiting_elsewhere(self, organization_id: str) -> int:
        assert self.directory is not None
        others = (file for file in self.directory.glob("*" + _OPEN) if file.name != self._id + _OPEN)
        return sum(_decode_waiting(file.read_bytes()).get(organization_id, 0) for file in others)


class Orphan:
    """The files of a process that is gone, held by whoever found them."""

    def __init__(self, directory: Path, name: str, lock: int) -> None:
        self._directory = directory
        self._name = name
        self._lock = lock
        self.calls = directory / (name + _CALLS)
        self.charges = directory / (name + _CHARGES)

    def done(self) -> None:
        """Remove the files: nothing in them is left to be done."""
        _remove(self._directory, self._name)

    def close(self) -> None:
        """Let go of the files; those that are still there will be found again."""
        os.close(self._lock)


def orphans(directory: Path) -> Iterator[Orphan]:
    """Give the files of processes that are gone, each held by the caller until it closes them."""
    for lock_file in sorted(directory.glob("*" + _LOCK)):
        if lock_file.name == _DOOR:
            continue
        with _door(directory):
            try:
                lock = _locked(lock_file, creates=False)
            except OSError:
                continue  # its process lives, or somebody else was faster
        yield Orphan(directory, lock_file.name.removesuffix(_LOCK), lock)


def _locked(path: Path, *, creates: bool = True) -> int:
    """Return a file that is locked for as long as it is open. Raises OSError where somebody else has it."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if creates else 0), 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink == 0:
            raise FileNotFoundError(path)
    except OSError:
        os.close(file)
        raise
    return file


@contextlib.contextmanager
def _door(directory: Path) -> Iterator[None]:
    """Let one process at a time make files or look whose are left: none is taken for an orphan while it is being made."""
    file = os.open(directory / _DOOR, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _remove(directory: Path, name: str) -> None:
    for ending in _ENDINGS:
        (directory / (name + ending)).unlink(missing_ok=True)
