"""The console as an application: its routes, and how errors become pages."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from tokenwell.config import Settings
from tokenwell.console import live, operations, pages, security
from tokenwell.console.access import embedpage, servicespage
from tokenwell.console.identity import doorpages, memberspage, profile, signin
from tokenwell.console.notices import alertspage, bellpage
from tokenwell.console.records import admin, auditpage, disputespage, ledgerpage, packpage, reconcilingpage, usagepage
from tokenwell.console.supply import changes, codespage, emergencypage, granting, grantspage, policypage, purchasepages, topuppages
from tokenwell.console.visits import Console, Visit, console_of
from tokenwell.errors import NotFound, RequestInvalid, StoreError
from tokenwell.service.suite import Suite

_PAGES = (
    signin,
    pages,
    granting,
    grantspage,
    codespage,
    changes,
    policypage,
    packpage,
    ledgerpage,
    disputespage,
    reconcilingpage,
    emergencypage,
    usagepage,
    live,
    embedpage,
    admin,
    operations,
    topuppages,
    purchasepages,
    alertspage,
    bellpage,
    servicespage,
    memberspage,
    auditpage,
    profile,
    doorpages,
)
"""The modules of pages; each has its routes in `ROUTES`."""

RETRY_SECONDS = 5
"""After how long a page is worth asking for again when the database could not be reached."""

_GZIP_LEVEL = 5


def create_console(suite: Suite, settings: Settings) -> Starlette:
    """Return the web console: the pages people read, behind sign-in. It neither opens nor closes what it is given."""
    console = Console(suite, settings)
    app = Starlette(
        routes=[
            *(route for module in _PAGES for route in module.ROUTES),
            Route("/static/{name}", console.assets.serve),
        ],
        middleware=[
            Middleware(security.SecurityHeaders, is_secure=settings.secure_cookies),
            Middleware(GZipMiddleware, minimum_size=1024, compresslevel=_GZIP_LEVEL),
            Middleware(RequestBodyLimitMiddleware, max_body_size=security.BODY_LIMIT_BYTES),
        ],
        exception_handlers=_HANDLERS,
    )
    app.router.redirect_slashes = False  # an address with a slash too many names nothing
    app.state.console = console
    app.state.hub = live.Hub(live.pulses_of(suite))
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error_page(request, error.status_code, headers=dict(error.headers or {}))


async def _not_found(request: Request, error: Exception) -> Response:
    return _error_page(request, 404)


async def _invalid(request: Request, error: Exception) -> Response:
    return _error_page(request, 400)


async def _store_failed(request: Request, error: Exception) -> Response:
    return _error_page(request, 503, headers={"Retry-After": str(RETRY_SECONDS)})


async def _defect(request: Request, error: Exception) -> Response:
    """Answer a defect of ours. The error goes on to the server, which logs it; this answer passes no middleware any more."""
    response = _error_page(request, 500)
    security.protect(response.headers, is_secure=console_of(request).settings.secure_cookies)
    return response


def _error_page(request: Request, status: int, headers: dict[str, str] | None = None) -> Response:
    """Return a page that reads nothing from the database: it may be what failed."""
    return Visit(console_of(request), request, None).page("message", status=status, headers=headers, code=str(status))


_HANDLERS: dict[type[Exception] | int, ExceptionHandler] = {
    HTTPException: _http_error,
    NotFound: _not_found,
    RequestInvalid: _invalid,
    StoreError: _store_failed,
    Exception: _defect,
}
