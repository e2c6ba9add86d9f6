"""The rules of the house. Each takes a module and gives what breaks it, as `path:line: what`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.sources import Module

LONGEST_MODULE = 400
LONGEST_FUNCTION = 70

CLOCK_OWNERS = ("service/ports.py", "wiring/answers.py", "wiring/opening.py")
MIGRATIONS = "store/migrations/"
COMMIT_OWNERS = ("store/writer.py", "store/drivers.py", "store/migration.py")

_CLOCKS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now", "datetime.datetime.utcnow",
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.monotonic", "time.perf_counter",
}  # fmt: skip
_RANDOM = ("random", "secrets", "uuid1", "uuid4", "uuid7", "urandom")
_FORBIDDEN_WORDS = re.compile(r"\b(?:" + "|".join(("vo" + "id", "wal" + "lets?", "co" + "ins?")) + r")\b", re.IGNORECASE)
_FOREIGN_WORDS = re.compile(
    "|".join(
        (r"py" + r"pi\.", r"python" + r"hosted", r"registry\." + "npm", r"npm" + r"js\.", r"file:" + "///", r"deb\." + "debian")
    ),
    re.IGNORECASE,
)
_MACHINE_PATH = re.compile(r"(?<![\w.:/~$}])/(?:work|root|home|Users|opt)/\w")
_UNFINISHED = re.compile(
    r"#.*\b(?:TO" + "DO|FIX" + "ME|XX" + "X)|no" + "qa|pytest\\.mark\\.(?:skip|xf" + "ail)|pytest\\.(?:skip|importor" + "skip)"
)


def long_modules(module: Module) -> Iterator[str]:
    """A module has at most LONGEST_MODULE lines."""
    count = module.text.count("\n")
    if count > LONGEST_MODULE:
        yield f"{module.path}:1: {count} lines"


def long_functions(module: Module) -> Iterator[str]:
    """A function has at most LONGEST_FUNCTION lines, its decorators and docstring left out; a migration is one list of steps."""
    if module.path.startswith(MIGRATIONS):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            count = (node.end_lineno or 0) - first.lineno + 1
            if count > LONGEST_FUNCTION:
                yield f"{module.path}:{node.lineno}: {node.name} has {count} lines"


def floats(module: Module) -> Iterator[str]:
    """The core counts in whole numbers: no float, no division that gives one."""
    if not module.path.startswith("core/"):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield f"{module.path}:{node.lineno}: the float {node.value}"
        elif isinstance(node, ast.Name) and node.id in ("float", "Decimal", "Fraction"):
            yield f"{module.path}:{node.lineno}: {node.id}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield f"{module.path}:{node.lineno}: a division; // gives a whole number"
        elif isinstance(node, ast.Attribute) and node.attr in ("total_seconds", "timestamp", "fromtimestamp"):
            yield f"{module.path}:{node.lineno}: {node.attr} is a float"


def clocks(module: Module) -> Iterator[str]:
    """Only the services' ports and the composition root ask what time it is."""
    if module.path in CLOCK_OWNERS:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _CLOCKS:
            yield f"{module.path}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield f"{module.path}:{node.lineno}: from time import …"


def randomness(module: Module) -> Iterator[str]:
    """Nothing in the core is left to chance."""
    if not module.path.startswith("core/"):
        return
    for node in ast.walk(module.tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        for each in {name, *imported} & set(_RANDOM):
            yield f"{module.path}:{getattr(node, 'lineno', 1)}: {each}"


def commits(module: Module) -> Iterator[str]:
    """Only the store's writer, its drivers and the migration commit."""
    if module.path in COMMIT_OWNERS:
        return
    for node in ast.walk(module.tree):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
        is_statement = isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip().upper() == "COMMIT"
        if is_call or is_statement:
            yield f"{module.path}:{node.lineno}: commits"


def missing_docstrings(module: Module) -> Iterator[str]:
    """A module, and what is public in it, says what it promises, in a first line that ends as a sentence does.

    What implements a protocol of the same module is described there.
    """
    if not module.text.strip() or module.path.startswith(MIGRATIONS):
        return
    described = set(_methods_of_protocols(module.tree))
    named: list[tuple[str, int, str | None]] = [(module.path, 1, ast.get_docstring(module.tree))]
    scopes: list[ast.Module | ast.ClassDef] = [module.tree]
    while scopes:
        scope = scopes.pop()
        for node in scope.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            if isinstance(scope, ast.Module) or node.name not in described or ast.get_docstring(node):
                named.append((node.name, node.lineno, ast.get_docstring(node)))
            if isinstance(node, ast.ClassDef):
                scopes.append(node)
    for name, line, docstring in named:
        first = (docstring or "").split("\n\n")[0].strip()
        if not first:
            yield f"{module.path}:{line}: {name} has no docstring"
        elif not first.endswith((".", "…", ":", ")")):
            yield f"{module.path}:{line}: the docstring of {name} does not begin with a sentence"


def _methods_of_protocols(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases):
            yield from (
                each.name
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(each)
            )


def forbidden_words(path: str, text: str) -> Iterator[str]:
    """Some words are never used: each has a better one in the glossary."""
    yield from _found(path, text, _FORBIDDEN_WORDS)


def foreign_words(path: str, text: str) -> Iterator[str]:
    """No file names a package registry or a place on somebody's machine."""
    yield from _found(path, text, _FOREIGN_WORDS)
    yield from _found(path, text, _MACHINE_PATH)


def unfinished(path: str, text: str) -> Iterator[str]:
    """Nothing is put off, skipped or hushed."""
    yield from _found(path, text, _UNFINISHED)


def _found(path: str, text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        for match in pattern.finditer(line):
            yield f"{path}:{number}: {match[0]}"
