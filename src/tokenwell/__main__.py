"""`python -m tokenwell` is the command line."""

from __future__ import annotations

from tokenwell.cli import main

main()
