"""The pages about the API are true: their examples run against a server, and print what they say; every operation is on a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.platform import Platform
from tests.api.requests import operations
from tests.api.serving import served
from tests.doubles import FrozenClock
from tests.house.sources import ROOT
from tests.payments import checkout_at, stripe_server

PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(sqlite_url: str, clock: FrozenClock) -> Iterator[dict[str, str]]:
    """What the examples find in their environment."""
    with stripe_server() as stripe:
        platform = Platform(sqlite_url, clock, checkout=checkout_at(stripe))
        with served(platform.app) as address:
            yield os.environ | {"TOKENWELL_URL": address, "TOKENWELL_KEY": platform.secrets["platform"]}
        platform.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_and_print_what_they_say(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shell, python = "".join(_SHELL.findall(text)), "".join(_PYTHON.findall(text))
    assert shell
    assert python
    run = subprocess.run(["bash", "-euc", shell], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", python], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == re.findall(r"print\(.*\)  # (.+)$", python, re.MULTILINE)


def test_every_operation_is_on_a_page() -> None:
    told = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [operation.id for operation in operations() if f"`{operation.id}`" not in told] == []
