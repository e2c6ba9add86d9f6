"""Tables: what was measured, printed as it comes and kept for `--json`; and the targets, at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

Cell = str | int | float | None


class Target(NamedTuple):
    """A figure to reach, and what was reached."""

    name: str
    wanted: str
    measured: str
    met: bool


class Report:
    """Prints tables side by side with their notes, and remembers them."""

    def __init__(self) -> None:
        self._tables: list[dict[str, Any]] = []
        self._targets: list[Target] = []

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, note: str = "") -> None:
        """Print a table; numbers are aligned to the right."""
        print(f"\n{title}", flush=True)
        for line in _aligned(columns, rows):
            print(f"  {line}")
        if note:
            print(f"  {note}", flush=True)
        self._tables.append({"title": title, "columns": list(columns), "rows": [list(row) for row in rows], "note": note})

    def target(self, name: str, wanted: str, measured: str, *, met: bool) -> None:
        """Keep a target for the last table."""
        self._targets.append(Target(name, wanted, measured, met))

    def targets(self) -> None:
        """Print every target beside what was measured."""
        if self._targets:
            rows = [(target.name, target.wanted, target.measured, "met" if target.met else "NOT MET") for target in self._targets]
            self.table("Targets", ("", "wanted", "measured", ""), rows)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        content = {"tables": self._tables, "targets": [target._asdict() for target in self._targets]}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:,.1f}" if abs(cell) >= 10 else f"{cell:,.2f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    shown = [[_shown(cell) for cell in row] for row in rows]
    if any(columns):
        shown.insert(0, list(columns))
    lines = [""] * len(shown)
    for place in range(len(columns) if rows else 0):
        cells = [row[place] for row in shown]
        width = max(len(cell) for cell in cells)
        numbers = any(not isinstance(row[place], str) for row in rows)
        lines = [f"{line}  {cell.rjust(width) if numbers else cell.ljust(width)}" for line, cell in zip(lines, cells, strict=True)]
    return [line[2:].rstrip() for line in lines]
