"""Hot: operations that are asked for many times a second. They skip the framework's machinery but are described like all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenwell.api.auth import Caller
from tokenwell.api.operations import Call, read_body, writes
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope

Handler = Callable[[Call, str, str], Awaitable[Response]]
"""What answers: given the call, the organization, and the thing that the address names (or nothing)."""


class HotOperation(msgspec.Struct, frozen=True, kw_only=True):
    """A write that is asked for often. `thing` is the name of the address's last parameter, if it has one."""

    path: str
    scope: Scope
    handler: Handler
    summary: str
    body: type[Any] | None
    answer: type[Any]
    status: int = 200
    thing: str = ""
    example: Any = None
    links: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The operation's id."""
        return self.handler.__name__

    def route(self) -> Route:
        """Return the route that answers it."""

        async def endpoint(request: Request) -> Response:
            caller: Caller = request.state.caller
            organization_id: str = request.path_params["organization_id"]
            caller.principal.require(self.scope, organization_id)
            for name in request.query_params:
                raise RequestInvalid(f"there is no parameter {name}"[:200], field=name[:100])
            body = b"" if self.body is None else await read_body(request, request.app.state.body_limit_bytes)
            call = Call(request.app.state.suite, caller, request.headers, body)
            return await self.handler(call, organization_id, request.path_params.get(self.thing, ""))

        return Route(self.path, endpoint, methods=["POST"], name=self.name)

    def description(self, tag: str) -> dict[str, Any]:
        """Return how the OpenAPI document describes it."""
        declared = writes(
            self.scope,
            self.summary,
            body=self.body,
            answer=self.answer,
            status=self.status,
            example=self.example,
            charges=True,
            is_kept=False,
            links=self.links,
        )
        extra = dict(declared["openapi_extra"])
        names = ["organization_id", *([self.thing] if self.thing else [])]
        parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
        return {
            "tags": [tag],
            "summary": self.summary,
            "description": (self.handler.__doc__ or "").strip(),
            "operationId": self.name,
            **extra,
            "parameters": [*parameters, *extra["parameters"]],
            "responses": {str(status): told for status, told in declared["responses"].items()},
        }
