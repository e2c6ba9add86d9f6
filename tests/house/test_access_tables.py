"""The tables of who may do what have a row for everything there is: a page that is new is walked, too."""

from __future__ import annotations

from starlette.routing import Route

from tests.api.requests import operations
from tests.api.test_who_may_what import ROWS as OPERATIONS
from tests.console.test_who_may_what import ACTS
from tests.console.test_who_may_what import ROWS as PAGES
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite


def test_every_page_of_the_console_has_a_row(sqlite_url: str) -> None:
    with Meter(sqlite_url) as meter:
        app = create_console(Suite(meter), Settings())
    routes = {route.path for route in app.routes if isinstance(route, Route)} - {"/static/{name}"}
    assert routes == set(PAGES)
    assert {path for path in routes if "{act}" in path} == set(ACTS)


def test_every_operation_of_the_api_has_a_row() -> None:
    assert {operation.id for operation in operations()} == set(OPERATIONS)
