"""Operations: how a route of the API is written. One call says who may use it, what it takes and answers, and describes it.

    router = Operations(prefix="/v1/organizations/{organization_id}", tags=["Packs"])

    @router.post("/packs", **writes(Scope.PACKS_WRITE, "Grant a pack", body=NewPack, answer=PackGranted, status=201))
    def grant_pack(call: CurrentCall, organization_id: OrganizationId) -> Response:
        body = call.read(NewPack)
        …
        return call.answer(shape, status=201, replayed=granted.replayed)

The name of the function is the operation's id, and the SDK's method. Who may not is refused before anything is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.models import Dependant
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tokenwell.api.auth import Caller
from tokenwell.api.wire import decode, encode
from tokenwell.client.shapes import Page, Problem, Shape
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.suite import Suite

SCOPE_FIELD = "x-tokenwell-scope"
"""Where an operation of the OpenAPI document says which scope it needs."""

KEY_HEADER = "Idempotency-Key"
_KEY_PATTERN = "^[!-~]{1,200}$"
_KEY = re.compile(_KEY_PATTERN)
PROBLEMS = {
    400: "What was sent cannot be used; `details.field` names it.",
    401: "No key, or one that is not valid.",
    403: "The key does not allow this.",
    404: "There is no such thing, or it is out of the key's reach.",
    409: "The present state, or an earlier use of the idempotency key, does not allow it.",
    429: "Too many requests, or the tokens are held by requests in progress. `Retry-After` says when to try again.",
    503: "The database cannot take it now. Try again, with the same idempotency key.",
}
_WITH_BODY = {413: "The body is too large.", 415: "The body is not said to be JSON."}
_STOPPED = {402: "AI is stopped: the balance is below the minimum reserve."}

B = TypeVar("B")

OrganizationId = Annotated[str, Path(description="The organization's id.", examples=["acme"])]
Cursor = Annotated[str | None, Query(description="The `next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1_000, description="The longest page wanted.")]


class Call:
    """One request to the API: who calls, what was sent, and how it is answered.

    Of a write that `is_kept` the answer is, by its idempotency key. What only reads is answered with a tag. `address` is where
    people reach the server.
    """

    def __init__(
        self,
        suite: Suite,
        caller: Caller,
        headers: Mapping[str, str],
        body: bytes,
        kind: type[Any] | None = None,
        *,
        is_read: bool = False,
        is_kept: bool = False,
        address: str = "",
    ) -> None:
        self.suite = suite
        self.caller = caller
        self.is_kept = is_kept
        self.address = address
        self._is_read = is_read
        self.kept = b""
        self._headers = headers
        self._body = body
        self._kind = kind

    @property
    def key(self) -> str:
        """The idempotency key. Raises RequestInvalid where it is missing."""
        key = self._headers.get(KEY_HEADER.lower())
        if not key:
            raise RequestInvalid(f"a write needs the header {KEY_HEADER}", field=KEY_HEADER)
        if not _KEY.fullmatch(key):
            raise RequestInvalid(f"{KEY_HEADER} must be 1 to 200 letters, digits and signs of ASCII", field=KEY_HEADER)
        return key

    def read(self, kind: type[B]) -> B:
        """Return the body. Raises RequestInvalid that names the field."""
        return decode(self._body, kind)

    def given(self) -> dict[str, Any]:
        """Return the fields of the body, the same however they are written. Raises RequestInvalid that names the field."""
        fields = {} if self._kind is None else msgspec.structs.asdict(self.read(self._kind))
        return {name: value for name, value in fields.items() if value is not msgspec.UNSET}

    def answer(self, shape: Shape, *, status: int = 200, replayed: bool = False, untagged: str = "") -> Response:
        """Return an answer. A write that was done before says so, and what may be kept of it is `kept`; what was read has an ETag
        of all its fields but `untagged`."""
        if self._is_read:
            return self._answer_tagged(shape, untagged)
        content = encode(shape)
        if self.is_kept:
            again = shape.told_again()
            self.kept = content if again is shape else encode(again)
        return answer_with(content, status=status, replayed=replayed)

    def _answer_tagged(self, shape: Shape, untagged: str) -> Response:
        """Return what was read, or 304 without a body to whoever has it already."""
        content = encode(shape)
        tagged = encode(msgspec.structs.replace(shape, **{untagged: None})) if untagged else content
        tag = f'W/"{blake2b(tagged, digest_size=12).hexdigest()}"'
        known = [each.strip() for each in self._headers.get("if-none-match", "").split(",")]
        headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "authorization"}
        if tag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")


def answer_with(content: bytes, *, status: int = 200, replayed: bool = False) -> Response:
    """Return JSON as an answer that nobody keeps."""
    headers = {"cache-control": "no-store"} | ({"idempotent-replayed": "true"} if replayed else {})
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def page_of(items: list[Any] | tuple[Any, ...], next_cursor: str | None) -> Page[Any]:
    """Return a page of shapes."""
    return Page(items=tuple(items), next_cursor=next_cursor)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Return a JSON body. Raises HTTPException for one that is too large or not said to be JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON, with Content-Type: application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise HTTPException(413, f"a body may be at most {limit_bytes:,} bytes")
    return bytes(body)


def reads(
    scope: Scope, summary: str, *, answer: Any, anywhere: bool = False, links: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return how a route that only reads is declared; `anywhere`, where the address names no organization, that
    the scope in any is enough."""
    more = {
        "parameters": [
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": "The `ETag` of an answer that is known: if it is still so, 304 without a body.",
                "schema": {"type": "string"},
            }
        ]
    }
    declared = _declared(
        scope, summary, body=None, answer=answer, status=200, anywhere=anywhere, links=links, more=more, is_kept=False
    )
    declared["responses"][200]["headers"] |= {"ETag": {"schema": {"type": "string"}}}
    declared["responses"][304] = {"description": "It is still as it is known."}
    return declared


def writes(
    scope: Scope,
    summary: str,
    *,
    answer: Any,
    body: type[Any] | None = None,
    status: int = 200,
    example: Any = None,
    anywhere: bool = False,
    charges: bool = False,
    is_kept: bool = True,
    links: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return how a route that writes is declared: it needs an idempotency key. `example` is a body that could be sent.

    Its answer is kept by that key, unless the journal already does (`is_kept` false).
    """
    more: dict[str, Any] = {
        "parameters": [
            {
                "name": KEY_HEADER,
                "in": "header",
                "required": True,
                "description": "Names this write. The same key with the same input gives the first answer again.",
                "schema": {"type": "string", "pattern": _KEY_PATTERN},
                "example": "order-7f3a",
            }
        ]
    }
    if body is not None:
        content: dict[str, Any] = {"schema": reference_to(body)}
        if example is not None:
            content["example"] = example
        more["requestBody"] = {"required": True, "content": {"application/json": content}}
    return _declared(
        scope, summary, body=body, answer=answer, status=status, anywhere=anywhere, links=links, more=more, charges=charges,
        is_kept=is_kept,
    )  # fmt: skip


def _declared(
    scope: Scope,
    summary: str,
    *,
    body: type[Any] | None,
    answer: Any,
    status: int,
    anywhere: bool,
    links: Mapping[str, Any] | None,
    more: dict[str, Any],
    is_kept: bool,
    charges: bool = False,
) -> dict[str, Any]:
    return {
        "summary": summary,
        "status_code": status,
        "response_class": Response,
        "responses": described(answer, status=status, has_body=body is not None, charges=charges, links=links),
        "openapi_extra": {SCOPE_FIELD: scope.value, "security": [{"key": []}], **more},
        "dependencies": [Depends(_Allowed(scope, anywhere=anywhere)), Depends(_entered(body, is_kept=is_kept))],
    }


def described(
    answer: Any, *, status: int, has_body: bool = False, charges: bool = False, links: Mapping[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Return the answers of an operation as the OpenAPI document describes them."""
    told: dict[int | str, dict[str, Any]] = {
        status: {
            "description": "Done.",
            "content": {"application/json": {"schema": reference_to(answer)}},
            "headers": {name: {"schema": {"type": "string"}} for name in ("RateLimit", "RateLimit-Policy")},
        }
    }
    if links:
        told[status]["links"] = dict(links)
    problems = PROBLEMS | (_STOPPED if charges else {}) | (_WITH_BODY if has_body else {})
    for code, text in sorted(problems.items()):
        told[code] = {"description": text, "content": {"application/problem+json": {"schema": reference_to(Problem)}}}
    return told


_described: dict[str, Any] = {}


def reference_to(kind: Any) -> dict[str, Any]:
    """Return a reference to a type's schema, and remember the type for the document."""
    (schema,), _ = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    _described[str(schema["$ref"]).rpartition("/")[2]] = kind
    return dict(schema)


def described_types() -> list[Any]:
    """Return every type that an operation refers to."""
    return list(_described.values())


class _Allowed:
    """Lets a request pass whose caller may do this in the organization of its address."""

    def __init__(self, scope: Scope, *, anywhere: bool) -> None:
        self._scope = scope
        self._anywhere = anywhere

    async def __call__(self, request: Request) -> None:
        """Return, or raise OrganizationNotFound or ScopeMissing."""
        caller: Caller = request.state.caller
        scopes = caller.principal.organization_scopes.values()
        if not (self._anywhere and any(self._scope in each for each in scopes)):
            caller.principal.require(self._scope, request.path_params.get("organization_id"))
        _check_query(request)


def _check_query(request: Request) -> None:
    """Refuse what the operation does not know: a filter that is misspelt would otherwise let everything pass."""
    known = _known_query(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            raise RequestInvalid(f"there is no parameter {name}"[:200], field=name[:100])


def _known_query(dependant: Dependant) -> set[str]:
    known = {field.alias for field in dependant.query_params}
    return known.union(*(_known_query(each) for each in dependant.dependencies))


def _entered(kind: type[Any] | None, *, is_kept: bool) -> Any:
    async def enter(request: Request) -> None:
        body = b"" if kind is None else await read_body(request, request.app.state.body_limit_bytes)
        request.state.call = Call(
            request.app.state.suite,
            request.state.caller,
            request.headers,
            body,
            kind,
            is_read=request.method == "GET",
            is_kept=is_kept,
            address=request.app.state.address,
        )

    return enter


def _call_of(request: Request) -> Call:
    call: Call = request.state.call
    return call


CurrentCall = Annotated[Call, Depends(_call_of)]
