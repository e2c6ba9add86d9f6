"""The API's app: its routes behind the gate, its errors as problems, and its own description at /v1/openapi.json."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

import tokenwell
from tokenwell.api import (
    access,
    alerts,
    charging,
    codes,
    disputes,
    embedding,
    invitations,
    ledger,
    organizations,
    packs,
    people,
    platform,
    purchases,
    schedules,
    topups,
)
from tokenwell.api.auth import Authenticator, Gate, Limiter
from tokenwell.api.document import describe
from tokenwell.api.hot import HotOperation
from tokenwell.api.problems import answer_error, answer_problem, plain_problem
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import encode
from tokenwell.config import Settings
from tokenwell.errors import RequestInvalid, TokenwellError
from tokenwell.service.suite import Suite

ROUTERS = (
    organizations.router, packs.router, charging.router, ledger.router, topups.router, schedules.router, codes.router,
    purchases.router, disputes.router, invitations.router, embedding.router, access.services, access.keys, access.platform_keys,
    people.members, people.records, alerts.router, alerts.members, platform.router,
)  # fmt: skip
"""The routes of every resource. A new resource adds its router here, which is an `Operations`."""

HOT: dict[str, tuple[HotOperation, ...]] = {charging.TAG: charging.HOT}

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "content_type_unsupported"}


def create_api(suite: Suite, settings: Settings) -> ASGIApp:
    """Return the API as an ASGI app."""
    app = build(suite, settings)
    return Gate(app, Authenticator(suite.keys, suite.platform_keys), Limiter(settings.api_requests_per_minute, suite.meter.clock))


def build(suite: Suite | None, settings: Settings) -> FastAPI:
    """Return the app behind the gate: whoever it answers has been let in. Without a suite it can only describe itself."""
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.suite = suite
    app.state.body_limit_bytes = settings.body_limit_bytes
    app.state.address = settings.address
    for router in ROUTERS:
        assert isinstance(router, Operations), "the writes of other routers would not be done once for each key"
        app.include_router(router)
    hot = [operation.route() for operations in HOT.values() for operation in operations]
    app.router.routes.extend(hot)
    app.state.routes = [
        route for route in (*hot, *(each for router in ROUTERS for each in router.routes)) if isinstance(route, Route)
    ]
    app.add_exception_handler(TokenwellError, _tell_error)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(Exception, _tell_defect)

    @cache
    def document() -> bytes:
        return encode(describe(app, HOT, tokenwell.__version__))

    async def tell_document(_request: Request) -> Response:
        return Response(document(), headers={"cache-control": "no-cache"}, media_type="application/json")

    app.add_route("/v1/openapi.json", tell_document, methods=["GET"], include_in_schema=False)
    return app


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return describe(build(None, Settings()), HOT, tokenwell.__version__)


async def _tell_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TokenwellError)
    return answer_error(error)


async def _tell_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    return answer_error(RequestInvalid(f"{field}: {first['msg'][0].lower()}{first['msg'][1:]}", field=field))


async def _tell_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {404: "There is nothing at this address.", 405: "The address does not know this method."}.get(error.status_code)
    problem = plain_problem(error.status_code, _CODES.get(error.status_code, "request_invalid"), detail or error.detail)
    return answer_problem(problem, {"allow": _methods_at(request)} if error.status_code == 405 else None)


def _methods_at(request: Request) -> str:
    """Return the methods that an address knows: more than one route may have it."""
    routes: list[Route] = request.app.state.routes
    known = [route.methods or set() for route in routes if route.path_regex.match(request.url.path)]
    return ", ".join(sorted(set().union(*known) - {"HEAD"}))


async def _tell_defect(_request: Request, _error: Exception) -> Response:
    return answer_problem(plain_problem(500, "internal_error", "Something went wrong; the log says what."))
