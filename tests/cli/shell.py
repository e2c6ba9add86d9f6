"""A shell: runs commands in this process and keeps how they ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tokenwell import cli
from tokenwell.cli.terminal import run_command


class Ended(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """What it complained of, as JSON."""
        return json.loads(self.err)["error"]


class Shell:
    """Runs commands in this process, in a directory of its own."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capture = capture

    def __call__(self, *words: str) -> Ended:
        """Run one command."""
        self._capture.readouterr()
        code = run_command(cli.root, words)
        out, err = self._capture.readouterr()
        return Ended(code, out, err)
