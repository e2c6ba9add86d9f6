"""Document: the OpenAPI 3.1 document, made from the routes and the shapes."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tokenwell.api.hot import HotOperation
from tokenwell.api.operations import described_types

_INSTANTS = ("since", "until", "as_of", "at")
_PREAMBLE = """Prepaid AI tokens: packs, balance, holds, debits, ledger.

Send a key as `Authorization: Bearer …`: a platform key (`tw_plat_…`) or an organization's gateway key (`tw_live_…`).
Every write needs the header `Idempotency-Key`; an answer given again carries `Idempotent-Replayed: true`.
Errors are problem details (RFC 9457) with a stable `code`. Numbers of tokens beyond 2^53 are text. Instants are UTC."""


def describe(app: FastAPI, hot: dict[str, tuple[HotOperation, ...]], version: str) -> dict[str, Any]:
    """Return the document of an application and its hot operations, which are given by tag."""
    document = get_openapi(
        title="Tokenwell",
        version=version,
        openapi_version="3.1.0",
        description=_PREAMBLE,
        routes=app.routes,
        servers=[{"url": "/"}],
    )
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for tag, operations in hot.items():
        for operation in operations:
            document["paths"].setdefault(operation.path, {})["post"] = operation.description(tag)
    _, schemas = msgspec.json.schema_components(described_types(), ref_template="#/components/schemas/{name}")
    components = document.setdefault("components", {})
    components["schemas"] = {name: _told(schema) for name, schema in sorted(schemas.items())}
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "A platform key or a gateway key."}}
    return document


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with what types alone do not say: tokens may be text, instants have a format."""
    for name, field in schema.get("properties", {}).items():
        kinds = field.get("anyOf", [field])
        for kind in kinds:
            if kind.get("type") == "integer" and name.endswith("_tokens") and "minimum" not in kind:
                kind.update({"type": ["integer", "string"], "pattern": "^-?[0-9]+$"})
            elif kind.get("type") == "string" and (name.endswith("_at") or name in _INSTANTS):
                kind["format"] = "date-time"
            elif kind.get("type") == "array" and name == "starts":
                kind["items"] = {"type": "string", "format": "date-time"}
        if field.get("default", ...) == ():
            field["default"] = []
    return schema
