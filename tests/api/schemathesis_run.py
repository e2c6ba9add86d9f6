"""Schemathesis from outside, against a real server: what it may do, and how long it may take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXCLUDED = "positive_data_acceptance"
"""What a schema cannot say: that a cursor is one that a page gave, that an instant lies in the past. All else is checked."""

SECONDS = 30


def run_schemathesis(address: str, secret: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Let it try every operation with good and bad input, and follow the links from one to the next."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {secret}", "--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-time", str(SECONDS), "--max-examples", "15", "--exclude-checks", EXCLUDED, "--seed", "7", "--no-color"),
        *("--continue-on-failure", "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"),
    ]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=SECONDS * 5)
