"""Calls of the SDK on an organization's embedded page: its addresses, and who may frame it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tokenwell.client import bodies, managed
from tokenwell.client.requests import Request, at, read, write


class EmbeddingCalls:
    """Builds requests, as `Calls` does."""

    def create_embedding_link(
        self,
        organization_id: str,
        *,
        ttl_seconds: int = 900,
        theme: Literal["light", "dark"] | None = None,
        language: Literal["en", "zh"] | None = None,
        zone: str = "",
        key: str | None = None,
    ) -> Request[managed.EmbeddingLink]:
        """Make an address of the packs page that opens without signing in, for at most a day. It is told only in the first
        answer."""
        body = bodies.NewEmbeddingLink(ttl_seconds=ttl_seconds, theme=theme, language=language, zone=zone)
        return write("POST", at(organization_id, "embedding", "links"), managed.EmbeddingLink, key, body)

    def get_embedding_origins(self, organization_id: str) -> Request[managed.EmbeddingOrigins]:
        """Return the origins that may frame the embedded page."""
        return read(at(organization_id, "embedding", "origins"), managed.EmbeddingOrigins)

    def set_embedding_origins(
        self, organization_id: str, origins: Iterable[str], *, key: str | None = None
    ) -> Request[managed.EmbeddingOrigins]:
        """Set the origins that may frame the embedded page, such as `https://app.example.com`. Raises RequestInvalid."""
        body = bodies.NewEmbeddingOrigins(origins=tuple(origins))
        return write("PUT", at(organization_id, "embedding", "origins"), managed.EmbeddingOrigins, key, body)
