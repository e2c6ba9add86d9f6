"""The command line: `tokenwell`, with examples in every command's help that run."""

from __future__ import annotations

import sys

from tokenwell.cli import (
    access,
    accounts,
    alerts,
    codes,
    disputes,
    embedding,
    emergencies,
    forecasts,
    jobs,
    models,
    operations,
    policies,
    purchases,
    rates,
    rehearsals,
    schedules,
    topups,
)
from tokenwell.cli.terminal import root, run_command

__all__ = [
    "access",
    "accounts",
    "alerts",
    "codes",
    "embedding",
    "disputes",
    "emergencies",
    "forecasts",
    "jobs",
    "main",
    "models",
    "operations",
    "policies",
    "purchases",
    "rates",
    "rehearsals",
    "root",
    "schedules",
    "topups",
]


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run_command(root, sys.argv[1:]))
