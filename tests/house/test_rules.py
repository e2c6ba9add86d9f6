"""The rules of the house hold, and each catches what it is there for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.house import rules
from tests.house.sources import Module, modules, parse, texts

MODULE_RULES = (
    rules.long_modules,
    rules.long_functions,
    rules.floats,
    rules.clocks,
    rules.randomness,
    rules.commits,
    rules.missing_docstrings,
)
TEXT_RULES = (rules.forbidden_words, rules.foreign_words, rules.unfinished)

PLANTED_MODULES = [
    (rules.long_modules, "core/packs.py", "\n" * 401),
    (rules.long_functions, "core/packs.py", "def count():\n" + "    pass\n" * 71),
    (rules.floats, "core/packs.py", "RATE = 0.5"),
    (rules.floats, "core/packs.py", "share = amount / total"),
    (rules.floats, "core/packs.py", "total /= 2"),
    (rules.floats, "core/packs.py", "tokens = float(text)"),
    (rules.floats, "core/packs.py", "seconds = ttl.total_seconds()"),
    (rules.clocks, "service/meter.py", "import datetime\nnow = datetime.datetime.now()"),
    (rules.clocks, "core/packs.py", "now = datetime.now(UTC)"),
    (rules.clocks, "gateway/app.py", "import time\nbegan = time.time()"),
    (rules.clocks, "store/writer.py", "from time import time"),
    (rules.randomness, "core/identifiers.py", "from uuid import UUID, uuid4"),
    (rules.randomness, "core/identifiers.py", "import secrets"),
    (rules.randomness, "core/identifiers.py", "raw = os.urandom(10)"),
    (rules.commits, "service/meter.py", "connection.commit()"),
    (rules.commits, "store/reader.py", "connection.execute('COMMIT')"),
    (rules.missing_docstrings, "core/packs.py", "x = 1"),
    (rules.missing_docstrings, "core/packs.py", '"""Packs."""\n\ndef grant():\n    pass'),
    (
        rules.missing_docstrings,
        "core/packs.py",
        '"""Packs."""\n\nclass Pack:\n    """A pack."""\n    def status(self):\n        pass',
    ),
    (rules.missing_docstrings, "core/packs.py", '"""Packs"""'),
    (
        rules.missing_docstrings,
        "core/packs.py",
        '"""Packs."""\n\nclass P(Protocol):\n    """A protocol."""\n    def read(self):\n        pass',
    ),
]
PLANTED_TEXTS = [
    (rules.forbidden_words, "Your " + "wal" + "let is empty"),
    (rules.forbidden_words, "vo" + "id the pack"),
    (rules.foreign_words, "https://py" + "pi.org/simple"),
    (rules.foreign_words, "--find-links file:" + "///wheels"),
    (rules.foreign_words, "see /wo" + "rk/main"),
    (rules.foreign_words, "cd /ro" + "ot/project"),
    (rules.unfinished, "x = 1  # TO" + "DO later"),
    (rules.unfinished, "import x  # no" + "qa"),
    (rules.unfinished, "@pytest.mark.sk" + "ip"),
]
INNOCENT_TEXTS = [
    (rules.forbidden_words, "avoid coincidences"),
    (rules.foreign_words, "tests/work/x and https://example.com/root/a and sqlite:////tmp/x and ${HOME}/home/x"),
    (rules.unfinished, "nothing is skipped"),
]


def names(value: object) -> str:
    """Return a short name for a parameter of a test."""
    return value.__name__ if callable(value) else "…"


@pytest.mark.parametrize("rule", MODULE_RULES, ids=names)
def test_every_module_keeps_the_rule(rule: Callable[[Module], Iterator[str]]) -> None:
    assert [problem for module in modules() for problem in rule(module)] == []


@pytest.mark.parametrize("rule", TEXT_RULES, ids=names)
def test_every_text_keeps_the_rule(rule: Callable[[str, str], Iterator[str]]) -> None:
    suffixes = (".py", ".md", ".toml", ".txt", ".html", ".j2", ".css", ".js", ".po", ".mako", ".svg", ".json", "")
    assert [problem for path, text in texts(*suffixes) for problem in rule(path, text)] == []


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED_MODULES, ids=names)
def test_a_rule_of_modules_catches_what_is_planted(rule: Callable[[Module], Iterator[str]], path: str, text: str) -> None:
    assert list(rule(parse(path, text)))


@pytest.mark.parametrize(("rule", "text"), PLANTED_TEXTS, ids=names)
def test_a_rule_of_texts_catches_what_is_planted(rule: Callable[[str, str], Iterator[str]], text: str) -> None:
    assert list(rule("page.md", text))


@pytest.mark.parametrize(("rule", "text"), INNOCENT_TEXTS, ids=names)
def test_a_rule_of_texts_lets_the_innocent_pass(rule: Callable[[str, str], Iterator[str]], text: str) -> None:
    assert list(rule("page.md", text)) == []


def test_the_rules_see_the_whole_house() -> None:
    """A rule that looks at nothing would always hold."""
    assert {"core/decide.py", "store/writer.py", "service/meter.py", "wiring/__init__.py", "cli/__init__.py"} <= {
        m.path for m in modules()
    }
    seen = {path for path, _ in texts(".md", ".py", ".txt", "")}
    assert {"README.md", "Makefile", "docs/concepts.md", "requirements/run.txt", ".ci/run", "tests/conftest.py"} <= seen
