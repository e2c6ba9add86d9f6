"""Embeddings, as OpenAI and most other providers have them: a prompt is all that is charged."""

from __future__ import annotations

import msgspec

from tokenwell.gateway.asking import (
    NOTHING,
    UNLABELLED,
    AiRequest,
    BodyReader,
    Labels,
    Metadata,
    named_model,
    prompt_of,
    reason_of,
    session_of,
)
from tokenwell.gateway.chat import ChatDialect


class _Body(msgspec.Struct):
    """The fields of a request that matter here; the provider judges the rest."""

    model: str
    input: msgspec.Raw = NOTHING
    metadata: Metadata | None = None
    user: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_reader = BodyReader("model", "input")


class EmbeddingsDialect(ChatDialect):
    """POST /embeddings. The usage has a completion's shape."""

    path = "/embeddings"

    def parse(self, body: bytes, labels: Labels = UNLABELLED, content_type: bytes = b"") -> AiRequest:
        """Return what a body asks for. The labels given go before the body's own. Raises RequestInvalid."""
        asked = _reader.read(body, _decode_body)
        return AiRequest(
            body=body,
            model=named_model(asked.model),
            prompt=prompt_of(asked.input),
            output_limit_tokens=0,
            session=session_of(labels, asked.metadata, asked.user),
            reason=reason_of(labels, asked.metadata),
        )


EMBEDDINGS = EmbeddingsDialect()
