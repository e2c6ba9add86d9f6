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

import structlog

from tokenwell.gateway.logbook import Logbook
from tokenwell.service.ports import new_id

_DOOR = "door.lock"
_LOCK = ".lock"
_CALLS = ".calls"
_ENDINGS = (_CALLS, _LOCK)
"""What files a process has; the lock is the last to go."""

log = structlog.get_logger("tokenwell.gateway")


class Keeping:
    """The files of this process, in a directory that it may share with others; without one nothing outlives the process."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self._id = new_id("gw")
        self._lock = -1
        if directory is None:
            self.logbook = Logbook()
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _door(directory):
            self._lock = _locked(directory / (self._id + _LOCK))
            self.logbook = Logbook(directory / (self._id + _CALLS))

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
        is_done = len(self.logbook) == 0
        self.logbook.close()
        if self.directory is not None:
            if is_done:
                _remove(self.directory, self._id)
            os.close(self._lock)


class Orphan:
    """The files of a process that is gone, held by whoever found them."""

    def __init__(self, directory: Path, name: str, lock: int) -> None:
        self._directory = directory
        self._name = name
        self._lock = lock
        self.calls = directory / (name + _CALLS)

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
