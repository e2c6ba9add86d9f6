"""The packs page in somebody else's product: read-only, by a signed address, framed only where it may be."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenwell.console import security
from tokenwell.console.acting import Done, Sent, acting, form_of
from tokenwell.console.catalogue import LANGUAGES
from tokenwell.console.formats import zone_named
from tokenwell.console.frame import frame_of, organization_of, path_of
from tokenwell.console.pages import packs_context
from tokenwell.console.visits import Visit, console_of
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope


async def show(request: Request) -> Response:
    """Show the page that an address was signed for; any other does not exist."""
    visit = Visit(console_of(request), request, None)
    visit.is_embedded = True
    context, origins = await run_in_threadpool(_read, visit)
    response = visit.page("embed", **context)
    response.headers["Content-Security-Policy"] = security.policy_framed_by(origins)
    return response


def _read(visit: Visit) -> tuple[dict[str, Any], tuple[str, ...]]:
    embedding = visit.console.suite.embedding
    shown = embedding.open(visit.request.path_params["token"])
    if shown.language in LANGUAGES:
        visit.language = shown.language
    if zone_named(shown.zone) is not None:
        visit.zone_name = shown.zone
    organization = visit.console.meter.organization(shown.organization_id)
    return packs_context(visit, organization) | {"theme": shown.theme}, embedding.origins(organization.id)


def embedding(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show or set who may frame an organization's page."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    service, formats = visit.console.suite.embedding, visit.formats(visit.console.meter.clock())
    if "origins" not in sent.fields:
        sent = Sent(fields={"origins": "\n".join(service.origins(organization.id)), **sent.fields}, is_final=False, problems={})
    if sent.is_final:
        try:
            service.set_origins(organization.id, sent.text("origins").split(), by=visit.principal.actor)
        except RequestInvalid:
            sent.problems["origins"] = "origins"
        else:
            return Done(path=path_of(organization.id), said="embedding")
    return frame_of(visit, organization) | form_of(sent, formats) | {"f": formats}


ROUTES = [
    Route("/embed/{token}", show, methods=["GET"]),
    *acting("/o/{organization}/embedding", "embedding", embedding),
]
