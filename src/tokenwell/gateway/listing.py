"""Listing: the gateway's own answer to which models there are, in the shape of the dialect that is spoken."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenwell.gateway.exchange import Headers


class WholeAnswer:
    """An answer that is there at once, where no provider is asked."""

    served_by = ""
    drains = False
    is_stream = False

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: Headers = [(b"content-type", b"application/json")]
        self._body = body

    async def read(self) -> bytes:
        """Return the body."""
        return self._body

    async def read_some(self) -> bytes:
        """Return the body, then nothing."""
        body, self._body = self._body, b""
        return body

    async def finish(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def models_page(names: list[str], *, is_anthropic: bool) -> WholeAnswer:
    """Return the list of models."""
    items = [_model(name, is_anthropic=is_anthropic) for name in names]
    if is_anthropic:
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
        return _answer({"data": items, "has_more": False, **ends})
    return _answer({"object": "list", "data": items})


def model_page(name: str, *, is_anthropic: bool) -> WholeAnswer:
    """Return one model."""
    return _answer(_model(name, is_anthropic=is_anthropic))


def _model(name: str, *, is_anthropic: bool) -> dict[str, Any]:
    # Nobody knows when an alias was made; both dialects want an instant.
    if is_anthropic:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "tokenwell"}


def _answer(body: dict[str, Any]) -> WholeAnswer:
    return WholeAnswer(200, msgspec.json.encode(body))
