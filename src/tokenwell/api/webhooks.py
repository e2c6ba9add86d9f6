"""Webhooks: what Stripe tells of payments. They come without a key; they are believed by their signature."""

from __future__ import annotations

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from tokenwell.api.problems import answer_error, answer_problem, plain_problem
from tokenwell.api.wire import encode
from tokenwell.errors import TokenwellError
from tokenwell.service.suite import Suite
from tokenwell.service.supply.paying import SIGNATURE_HEADER

PATH = "/webhooks/stripe"
BODY_LIMIT_BYTES = 1024 * 1024

log = structlog.get_logger("tokenwell.webhooks")


def create_webhooks(suite: Suite) -> Router:
    """Return what hears webhooks, as an ASGI app. Whatever is understood is answered 200, so that it is not told again; a database
    that fails is answered 503, so that it is."""

    async def hear(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_LIMIT_BYTES:
                return answer_problem(plain_problem(413, "body_too_large", f"an event has at most {BODY_LIMIT_BYTES:,} bytes"))
        try:
            kind = await run_in_threadpool(suite.payments.hear, bytes(body), request.headers.get(SIGNATURE_HEADER))
        except TokenwellError as error:
            log.warning("webhook_refused", code=error.code, reason=error.message)
            return answer_error(error)
        log.info("webhook_heard", kind=kind)
        return Response(encode({"received": True}), media_type="application/json")

    return Router([Route(PATH, hear, methods=["POST"])], redirect_slashes=False)
