"""Repeating: every write of the API is done once for each idempotency key, in one place for all of them.

What writes to the ledger has its key in the journal, in the transaction of its lines; everything else is begun and closed around
its handler here. See decision 60.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.responses import Response

from tokenwell.api.operations import Call, answer_with
from tokenwell.core.identifiers import is_organization_id
from tokenwell.errors import StoreError, TokenwellError
from tokenwell.service.access.writes import OPERATION, FirstAnswer

Handler = Callable[..., Response]


class Operations(APIRouter):
    """A router whose writes are done once for each idempotency key. Every resource has one."""

    def __init__(self, *, prefix: str, tags: list[str]) -> None:
        super().__init__(prefix=prefix, tags=list(tags), route_class=_Operation)


class _Operation(APIRoute):
    """A route whose handler is asked once for each idempotency key."""

    def __init__(self, path: str, endpoint: Handler, **declared: Any) -> None:
        super().__init__(path, once(endpoint), **declared)


def once(handler: Handler) -> Handler:
    """Return a handler that gives the first answer again where its write was done before. What only reads is asked as it is."""

    @functools.wraps(handler)
    def answer(*, call: Call, **named: Any) -> Response:
        if not call.is_kept:
            return handler(call=call, **named)
        organization_id = str(named.get("organization_id", ""))
        if organization_id and not is_organization_id(organization_id):
            return handler(call=call, **named)  # it says that there is no such organization
        return _once(call, organization_id, {OPERATION: handler.__name__, **named}, lambda: handler(call=call, **named))

    return answer


def _once(call: Call, organization_id: str, address: dict[str, Any], act: Callable[[], Response]) -> Response:
    writes, key = call.suite.writes, call.key
    first = writes.begin(organization_id, key, address | call.given())
    if first is not None:
        return answer_with(first.content, status=first.status, replayed=True)
    try:
        response = act()
    except StoreError:
        raise  # perhaps it was done, wholly or in part: only the same input may come again
    except TokenwellError:
        writes.forget(organization_id, key)
        raise
    writes.close(organization_id, key, FirstAnswer(status=response.status_code, content=call.kept))
    return response
