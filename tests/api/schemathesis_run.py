"""Schemathesis from outside, against a real server: what it may do, and how long it may take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.house.sources import ROOT

EXCLUDED = "positive_data_acceptance"
"""What a schema cannot say: that a cursor is one that a page gave, that an instant lies in the past. All else is checked."""

INPUT = ("--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--max-time", "24")
"""Good and bad input to every operation."""


def run_schemathesis(address: str, secret: str, directory: Path, how: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Let it try the operations of a server."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/v1/openapi.json", *how),
        *("--header", f"Authorization: Bearer {secret}", "--exclude-checks", EXCLUDED, "--seed", "7", "--no-color"),
        *("--continue-on-failure", "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"),
    ]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=300)


def follow_links(address: str, secret: str) -> subprocess.CompletedProcess[str]:
    """Let it follow every link of a server's document."""
    command = [sys.executable, "-m", "tests.api.schemathesis_links", address, secret]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
