"""The page on security names tests that exist."""

from __future__ import annotations

import ast
import re

from tests.house.sources import ROOT

PAGE = ROOT / "docs" / "operating" / "security.md"


def test_every_test_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 25
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not name or name in functions, f"{path}::{name}"


def test_every_point_names_its_tests() -> None:
    points = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:11]
    for point in points:
        named = re.findall(r"`tests/[\w/]+\.py(::\w+)?`", point)
        assert len(named) >= 2, point[:40]
        assert all(named), point[:40]  # a file is no test


def test_the_page_goes_through_the_whole_list() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [f"API{number}:2023" in text for number in range(1, 11)] == [True] * 10
