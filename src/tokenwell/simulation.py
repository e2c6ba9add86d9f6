"""The simulation: answers like an OpenAI-compatible model where no model is installed, and says in every reply that it is none."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

SIMULATED = "simulated"
REPLY = "This is a simulated reply: no model is installed here and no AI provider is configured."

_CREATED = 1_700_000_000
_CHARACTERS_PER_TOKEN = 4

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Simulation:
    """An ASGI app with `/v1/models`, `/v1/chat/completions` (plain and streaming) and `/health`. `address` is where it listens."""

    def __init__(self, *, api_key: str, address: str = "") -> None:
        self.listening_address = address
        self._authorization = f"Bearer {api_key}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if dict(scope["headers"]).get(b"authorization") != self._authorization:
            await _send_json(send, 401, _error("the key is not valid", "invalid_api_key"))
        elif scope["path"] == "/v1/models":
            models = [{"id": SIMULATED, "object": "model", "created": _CREATED, "owned_by": "tokenwell"}]
            await _send_json(send, 200, {"object": "list", "data": models})
        elif scope["path"] == "/v1/chat/completions" and scope["method"] == "POST":
            await _complete(await _read(receive), send)
        else:
            await _send_json(send, 404, _error("there is no such thing here", "not_found"))


def serve_simulation(port: int, api_key: str) -> Simulation:
    """Serve a simulation on a loopback port (0: any free one) from a thread; returns once it listens."""
    listener = socket.create_server(("127.0.0.1", port))
    app = Simulation(api_key=api_key, address=f"http://127.0.0.1:{listener.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="tokenwell-simulation", daemon=True).start()
    return app


async def _complete(body: bytes, send: Send) -> None:
    try:
        request = json.loads(body)
        prompt = "".join(json.dumps(message["content"]) for message in request["messages"])
        limit = int(request.get("max_completion_tokens") or request.get("max_tokens") or 1_000)
    except (ValueError, KeyError, TypeError):
        await _send_json(send, 400, _error("messages must be a list of messages", "invalid_request_error"))
        return
    words = REPLY.split(" ")
    spoken = [word if number == 0 else " " + word for number, word in enumerate(words[:limit])]
    finish = "stop" if len(spoken) == len(words) else "length"
    prompt_tokens = 1 + len(prompt) // _CHARACTERS_PER_TOKEN
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": len(spoken),
        "total_tokens": prompt_tokens + len(spoken),
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    if not request.get("stream"):
        message = {"role": "assistant", "content": "".join(spoken)}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        await _send_json(send, 200, _completion("chat.completion", [choice]) | {"usage": usage})
        return
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    await _send_start(send, 200, b"text/event-stream")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": word} for word in spoken)]
    for delta in deltas:
        await _send_event(send, _completion("chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": None}]))
    await _send_event(send, _completion("chat.completion.chunk", [{"index": 0, "delta": {}, "finish_reason": finish}]))
    if wants_usage:
        await _send_event(send, _completion("chat.completion.chunk", []) | {"usage": usage})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _completion(kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "chatcmpl-simulated", "object": kind, "created": _CREATED, "model": SIMULATED, "choices": choices}


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _send_json(send: Send, status: int, body: dict[str, Any]) -> None:
    await _send_start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _send_start(send: Send, status: int, content_type: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})


async def _send_event(send: Send, event: dict[str, Any]) -> None:
    await send({"type": "http.response.body", "body": b"data: " + json.dumps(event).encode() + b"\n\n", "more_body": True})
