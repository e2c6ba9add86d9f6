"""The lock files pin everything by hash and name no place."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.house.sources import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"]
MODEL = PROJECT["project"]["optional-dependencies"]["model"]
NEEDED = {"run.txt": RUN, "dev.txt": RUN + PROJECT["dependency-groups"]["dev"], "model.txt": MODEL}
_PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==([\w.!+]+)(?: ; .+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Return the version, and the number of hashes, of each package in a lock file."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return {match[1]: (match[2], match[0].count("--hash=")) for match in _PIN.finditer(text)}


def name_of(requirement: str) -> str:
    """Return the normalized name of what is required."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


@pytest.mark.parametrize("name", NEEDED)
def test_a_lock_has_nothing_but_pins_with_hashes(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    rest = _PIN.sub("", text)
    assert [line for line in rest.splitlines() if line and not line.startswith("#")] == []
    assert not re.search(r"://|--(?:index|extra|find|trusted)|file:/|@ ", text)


@pytest.mark.parametrize("name", NEEDED)
def test_a_lock_has_all_that_is_required(name: str) -> None:
    assert {name_of(requirement) for requirement in NEEDED[name]} <= set(pins(name))


def test_the_locks_agree() -> None:
    run, dev = pins("run.txt"), pins("dev.txt")
    assert {name: pin for name, pin in run.items() if dev.get(name) != pin} == {}


@pytest.mark.parametrize("package", ["msgspec", "sqlalchemy", "uvloop", "httptools", "argon2-cffi-bindings"])
def test_compiled_packages_are_locked_for_every_platform(package: str) -> None:
    """A lock made from one machine's own wheel would have one hash or two."""
    assert pins("run.txt")[package][1] > 10


def test_the_model_is_locked_alone() -> None:
    """Its dependencies are for another runtime and are compiled as they are installed."""
    assert set(pins("model.txt")) == {name_of(requirement) for requirement in MODEL}
