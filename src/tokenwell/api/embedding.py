"""Embedding: addresses of an organization's packs page for a platform's own product, and the origins that may frame it."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, OrganizationId, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.client import bodies, managed
from tokenwell.core.instants import from_micros
from tokenwell.service.access.scopes import Scope

router = Operations(prefix="/v1/organizations/{organization_id}/embedding", tags=["Embedding"])


@router.post(
    "/links",
    **writes(
        Scope.PACKS_WRITE, "Make an embedded address", body=bodies.NewEmbeddingLink, answer=managed.EmbeddingLink, status=201,
        example={"ttl_seconds": 900, "theme": "dark", "zone": "Asia/Shanghai"},
    ),
)  # fmt: skip
def create_embedding_link(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Make an address of the packs page that opens without signing in, read-only, for `ttl_seconds`. It is in this answer and
    nowhere else; whoever holds it reads that page."""
    body = call.read(bodies.NewEmbeddingLink)
    embedding = call.suite.embedding
    path = embedding.link(
        organization_id,
        ttl=timedelta(seconds=body.ttl_seconds),
        theme=body.theme or "",
        language=body.language or "",
        zone=body.zone,
    )
    expires_at = from_micros(embedding.open(path.rpartition("/")[2]).expires)
    return call.answer(managed.EmbeddingLink(address=f"{call.address}{path}", expires_at=expires_at), status=201)


@router.get("/origins", **reads(Scope.PACKS_READ, "Get who may frame the page", answer=managed.EmbeddingOrigins))
def get_embedding_origins(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Return the origins that may frame the embedded page; none unless they were set."""
    call.suite.meter.organization(organization_id)
    return call.answer(managed.EmbeddingOrigins(origins=call.suite.embedding.origins(organization_id)))


@router.put(
    "/origins",
    **writes(
        Scope.PACKS_WRITE, "Set who may frame the page", body=bodies.NewEmbeddingOrigins, answer=managed.EmbeddingOrigins,
        example={"origins": ["https://app.example.com"]},
    ),
)  # fmt: skip
def set_embedding_origins(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Set the origins that may frame the embedded page; an empty list lets nobody."""
    body = call.read(bodies.NewEmbeddingOrigins)
    origins = call.suite.embedding.set_origins(organization_id, body.origins, by=call.caller.actor)
    return call.answer(managed.EmbeddingOrigins(origins=origins))
