"""Schemathesis tries every operation with good and bad input and follows links between them: no 5xx, no broken promise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.platform import Platform
from tests.api.schemathesis_run import INPUT, follow_links, run_schemathesis
from tests.api.serving import served
from tests.doubles import FrozenClock
from tests.payments import StripeServer, checkout_at
from tokenwell.api.app import openapi
from tokenwell.config import Settings


@pytest.fixture
def address(database_url: str, clock: FrozenClock, stripe: StripeServer) -> Iterator[tuple[str, Platform]]:
    """A server on each database that does not limit how often it is asked."""
    platform = Platform(database_url, clock, Settings(api_requests_per_minute=1_000_000), checkout=checkout_at(stripe))
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


def test_every_link_from_one_operation_to_the_next_can_be_followed(address: tuple[str, Platform]) -> None:
    url, platform = address
    run = follow_links(url, platform.secrets["platform"])
    assert run.returncode == 0, run.stdout + run.stderr
    links = sum(
        len(answer.get("links", {}))
        for methods in openapi()["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
    )
    assert run.stdout.splitlines()[-1] == f"followed {links} of {links} links", run.stdout
    assert links > 30
