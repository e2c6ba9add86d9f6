"""What the package exports, and what it is made of, is listed once."""

from __future__ import annotations

import tomllib
from types import ModuleType

import tokenwell
from tests.house.sources import PACKAGE, ROOT


def test_every_exported_name_exists() -> None:
    assert [name for name in tokenwell.__all__ if not hasattr(tokenwell, name)] == []


def test_every_public_name_is_listed_once_and_in_order() -> None:
    public = {name for name, value in vars(tokenwell).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    assert public - {"annotations"} == set(tokenwell.__all__) - {"__version__"}
    assert tokenwell.__all__ == sorted(set(tokenwell.__all__))


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_every_file_that_is_not_code_is_packaged() -> None:
    """A template or a stylesheet that is left out would be missed only once it is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["tokenwell"]
    packaged = {file for pattern in patterns for file in PACKAGE.glob(pattern) if file.is_file()}
    files = {file for file in PACKAGE.rglob("*") if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts}
    assert sorted(str(file.relative_to(PACKAGE)) for file in files - packaged) == []
