"""The sources the house's rules look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tokenwell"


class Module(msgspec.Struct, frozen=True):
    """One module: its path below the package, its text and its tree."""

    path: str
    text: str
    tree: ast.Module


def parse(path: str, text: str) -> Module:
    """Return a module from its text."""
    return Module(path, text, ast.parse(text))


def modules() -> list[Module]:
    """Return every module of the package."""
    return [parse(str(file.relative_to(PACKAGE)), file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))]


def texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Give every text file of the project with one of the suffixes, by its path below the root; what others wrote is left out."""
    for place in ("src", "tests", "bench", "docs", "requirements", "scripts", ".ci"):
        for file in sorted((ROOT / place).rglob("*")):
            path = file.relative_to(ROOT)
            if file.is_file() and file.suffix in suffixes and not {"vendor", "__pycache__"} & set(path.parts):
                yield str(path), file.read_text(encoding="utf-8")
    for file in sorted(ROOT.glob("*")):
        is_ours = file.is_file() and file.name != ".git"  # in a worktree that is a file, about this machine
        if is_ours and (file.suffix in suffixes or file.name in ("Makefile", ".gitignore")):
            yield file.name, file.read_text(encoding="utf-8")
