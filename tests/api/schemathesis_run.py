"""Schemathesis from outside, against a real server: what it may do, and how long it may take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXCLUDED = "positive_data_acceptance"
"""What a schema cannot say: that a cursor is one that a page gave, that an instant lies in the past. All else is checked."""

CONFIG = """
[phases.stateful]
max-steps = 4
inference.algorithms = []
"""
"""Of the links between operations those of the document are followed: what is guessed besides would crowd them out."""


INPUT = ("--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--max-time", "24")
LINKED = (
    "create_organization", "balance", "list_packs", "grant_pack", "get_pack", "extend_pack", "revoke_pack", "open_hold",
    "extend_hold", "settle_hold", "release_hold", "create_service", "get_service", "create_key", "revoke_key", "request_topup",
    "decline_topup",
)  # fmt: skip
LINKS = (
    *("--phases", "stateful", "--mode", "positive", "--max-examples", "60", "--max-time", "20"),
    *(word for name in LINKED for word in ("--include-operation-id", name)),
)
"""`INPUT`: good and bad input to every operation. `LINKS`: good input, along the links from one operation to the next."""


def run_schemathesis(address: str, secret: str, directory: Path, how: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Let it try the operations of a server."""
    config = directory / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{address}/v1/openapi.json", *how),
        *("--header", f"Authorization: Bearer {secret}", "--exclude-checks", EXCLUDED, "--seed", "7", "--no-color"),
        *("--continue-on-failure", "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"),
    ]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=300)
