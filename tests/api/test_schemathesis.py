"""Schemathesis tries every operation with good and bad input and follows links between them: no 5xx, no broken promise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.platform import Platform
from tests.api.schemathesis_run import INPUT, LINKS, run_schemathesis
from tests.api.serving import served
from tests.doubles import FrozenClock
from tokenwell.config import Settings


@pytest.fixture
def address(database_url: str, clock: FrozenClock) -> Iterator[tuple[str, Platform]]:
    """A server on each database that does not limit how often it is asked."""
    platform = Platform(database_url, clock, Settings(api_requests_per_minute=1_000_000))
    with served(platform.app) as address:
        yield address, platform
    for verified in platform.meter.verify():
        assert verified.problems == ()
    platform.close()


def test_the_server_keeps_what_the_document_promises(address: tuple[str, Platform], tmp_path: Path) -> None:
    url, platform = address
    run = run_schemathesis(url, platform.secrets["platform"], tmp_path, INPUT)
    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"Tested: (\d+)", run.stdout)
    assert tested is not None
    assert int(tested[1]) > 25
    run = run_schemathesis(url, platform.secrets["platform"], tmp_path, LINKS)
    assert run.returncode == 0, run.stdout + run.stderr
    followed = re.search(r"API Links:\s+(\d+) covered", run.stdout)
    assert followed is not None
    assert int(followed[1]) > 0
