"""Document: the OpenAPI 3.1 document, made from the routes and the shapes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args, get_type_hints

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tokenwell.api.hot import HotOperation
from tokenwell.api.operations import described_types
from tokenwell.client.bodies import Body
from tokenwell.client.shapes import Shape

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
    kinds = _structs()
    components = document.setdefault("components", {})
    components["schemas"] = {name: _told(schema, kinds.get(name)) for name, schema in sorted(schemas.items())}
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "A platform key or a gateway key."}}
    return document


def _told(schema: dict[str, Any], kind: type[msgspec.Struct] | None) -> dict[str, Any]:
    """Return a schema with what msgspec leaves out: tokens may be text, instants have a format."""
    hints = {} if kind is None else get_type_hints(kind)
    for name, field in schema.get("properties", {}).items():
        is_instant = datetime in (hints.get(name), *get_args(hints.get(name)))
        for each in field.get("anyOf", [field]):
            if each.get("type") == "integer" and name.endswith("_tokens") and "minimum" not in each:
                each.update({"type": ["integer", "string"], "pattern": "^-?[0-9]+$"})
            elif is_instant and each.get("type") == "string":
                each["format"] = "date-time"
            elif is_instant and each.get("type") == "array":
                each["items"] = {"type": "string", "format": "date-time"}
        if field.get("default", ...) == ():
            field["default"] = []
    return schema


def _structs() -> dict[str, type[msgspec.Struct]]:
    """Return every shape and body by its name."""
    waiting: list[type[msgspec.Struct]] = [Shape, Body]
    found = {}
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found
