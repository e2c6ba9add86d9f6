"""Providers: what each kind of AI provider wants to be told, and where. Keys, versions, addresses, the model's name in the body."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from tokenwell.errors import RequestInvalid
from tokenwell.gateway.bodies import set_member
from tokenwell.gateway.models import Kind, Provider, resolve
from tokenwell.gateway.multipart import MULTIPART, set_field
from tokenwell.gateway.upstream import HttpAnswer, HttpUpstream

ANTHROPIC_VERSION = b"2023-06-01"
"""The version of Anthropic's API that is asked for where the client names none."""

MESSAGES = "/messages"
_AZURE_DEPLOYED = ("/chat/completions", "/completions", "/embeddings", "/audio/", "/images/")


def speaks(kind: Kind, path: str) -> bool:
    """Return whether providers of a kind understand what is sent under a path."""
    if path.startswith(MESSAGES):
        return kind in (Kind.ANTHROPIC, Kind.OPENAI_COMPATIBLE)
    return kind is not Kind.ANTHROPIC or path.startswith(("/chat/completions", "/models"))


def _renamed(body: bytes, content_type: bytes, model: str) -> bytes:
    """Return a body with another model's name in it."""
    if content_type.lower().startswith(MULTIPART):
        return set_field(body, content_type, "model", model.encode())
    return set_member(body, "model", msgspec.json.encode(model))


class AiProvider:
    """A provider and the connections to it. Raises RequestInvalid where its key cannot be had or its address not be read."""

    def __init__(self, name: str, provider: Provider, environ: Mapping[str, str] = os.environ) -> None:
        self.name = name
        self.kind = provider.kind
        self.drains = provider.on_disconnect == "drain"
        try:
            key = resolve(provider.api_key, environ)
            headers = {each: resolve(value, environ) for each, value in provider.headers.items()}
        except RequestInvalid as error:
            raise RequestInvalid(f"providers.{name}: {error.message}", field=f"providers.{name}") from None
        if self.kind is Kind.AZURE and key:
            headers["api-key"] = key
        self._version = provider.api_version
        self._anthropic_key = b"x-api-key: %s\r\n" % key.encode() if key else b""
        self._anthropic_bearer = b"Authorization: Bearer %s\r\n" % key.encode() if key else b""
        self._anthropic_version = b"anthropic-version: %s\r\n" % (provider.api_version.encode() or ANTHROPIC_VERSION)
        self._http = HttpUpstream(
            provider.url,
            key if self.kind in (Kind.OPENAI, Kind.OPENAI_COMPATIBLE) else "",
            timeout_seconds=provider.silence_seconds,
            first_byte_seconds=provider.first_byte_seconds,
            connect_seconds=provider.connect_seconds,
            connection_limit=provider.connections,
            fixed_headers=headers,
        )

    def __repr__(self) -> str:
        """Show which one it is."""
        return f"AiProvider({self.name!r}, {self.kind.value!r})"

    async def open(self) -> None:
        """Get ready, on the event loop that will use it."""
        await self._http.open()

    async def close(self) -> None:
        """Close every connection that is kept."""
        await self._http.close()

    async def send(
        self, method: str, path: str, *, body: bytes | None, headers: Mapping[bytes, bytes], model: str | None
    ) -> HttpAnswer:
        """Send a request; `model` is the name to put into the body, None if it has that already. Raises UpstreamError."""
        if body and model is not None:
            body = _renamed(body, headers.get(b"content-type", b""), model)
        extra = b""
        if self.kind is Kind.ANTHROPIC:
            extra = self._anthropic_bearer if path.startswith("/chat/completions") else self._anthropic_key
            if b"anthropic-version" not in headers:
                extra += self._anthropic_version
        answer = await self._http.send(method, path, body=body, headers=headers, extra=extra)
        answer.drains = self.drains
        return answer

    def path_of(self, path: str, model: str) -> str:
        """Return the path that stands here for one of the gateway's; `model` is the model's name there."""
        if self.kind is not Kind.AZURE or not self._version:
            return path
        path, _, query = path.partition("?")
        version = f"api-version={self._version}" + (f"&{query}" if query else "")
        deployed = f"/deployments/{quote(model, safe='')}" if path.startswith(_AZURE_DEPLOYED) else ""
        return f"/openai{deployed}{path}?{version}"
