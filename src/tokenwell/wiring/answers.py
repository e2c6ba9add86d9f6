"""Answers: what every part's answers have in common. They are counted, timed, and carry a request id."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from prometheus_client import Counter

from tokenwell.observability import HTTP_OPEN, HTTP_REQUESTS, HTTP_SECONDS, request_id_in
from tokenwell.service.ports import new_id

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_log = structlog.get_logger("tokenwell.server")
_std_log = logging.getLogger("tokenwell.server")


_SECRET = re.compile(r"(?<=/embed/).+|(?<=tw_live_)\w+|(?<=tw_plat_)\w+")
"""What of a path opens something: a signed address, and a key that somebody put in the wrong place."""


def shown(path: str) -> str:
    """Return a path as the log may show it, without what opens something."""
    return _SECRET.sub("…", path)


class Observed:
    """A part of the application, counted and timed, its answers with a request id; a failure before an answer began is a 500."""

    def __init__(self, part: str, app: App) -> None:
        self._part = part
        self._app = app
        self._open = HTTP_OPEN.labels(part)
        self._seconds = HTTP_SECONDS.labels(part)
        self._answered: dict[int, Counter] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        request_id = request_id_in(scope["headers"])
        status = 0

        async def send_known(message: Message) -> None:
            nonlocal request_id, status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message["headers"])
                request_id = headers.get(b"x-tokenwell-request-id") or request_id or new_id("req").encode()
                if b"x-request-id" not in headers:
                    message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        self._open.inc()
        try:
            await self._app(scope, receive, send_known)
        except ConnectionAbortedError:
            raise  # an answer that broke off midway: the server closes the connection, so that the client sees it
        except Exception:
            request_id = request_id or new_id("req").encode()
            _log.exception("request_failed", part=self._part, path=shown(scope["path"]), request_id=request_id.decode())
            if not status:
                await answer(send_known, 500, "text/plain; charset=utf-8", b"Something went wrong; the log says what.\n")
        finally:
            self._open.dec()
            self._count(scope, status, time.perf_counter() - began, request_id or b"")

    def _count(self, scope: Message, status: int, seconds: float, request_id: bytes) -> None:
        answered = self._answered.get(status)
        if answered is None:
            answered = self._answered[status] = HTTP_REQUESTS.labels(self._part, str(status))
        answered.inc()
        self._seconds.observe(seconds)
        if _std_log.isEnabledFor(logging.DEBUG):
            what = {"part": self._part, "method": scope["method"], "path": shown(scope["path"]), "status": status}
            _log.debug("answered", **what, request_id=request_id.decode(), seconds=round(seconds, 6))


async def not_open(scope: Message, receive: Receive, send: Send) -> None:
    """Answer while there is nothing to answer with."""
    await answer(send, 503, "text/plain; charset=utf-8", b"Tokenwell is not open.\n", retry=True)


async def answer(send: Send, status: int, content_type: str, body: bytes, *, retry: bool = False) -> None:
    """Send a whole answer; `retry` says that it is worth asking again soon."""
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    if retry:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
