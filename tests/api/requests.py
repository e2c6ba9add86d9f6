"""Requests made from the OpenAPI document: each operation with its own examples, for whichever organization."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec

from tests.api.platform import key
from tokenwell.api.app import openapi

DOCUMENT = openapi()


class Operation(msgspec.Struct, frozen=True):
    """An operation of the document."""

    id: str
    method: str
    path: str
    scope: str
    is_of_organization: bool
    body: Any
    query: dict[str, str]

    async def ask(self, client: httpx2.AsyncClient, organization_id: str, **names: str) -> httpx2.Response:
        """Send the operation's example for an organization; what else its address names is `names`, or nothing there is."""
        path = self.path.replace("{organization_id}", organization_id)
        for name in (part.strip("{}") for part in path.split("/") if part.startswith("{")):
            path = path.replace(f"{{{name}}}", names.get(name, "nothing"))
        headers = key() if self.method != "GET" else {}
        return await client.request(self.method, path, params=self.query, json=self.body, headers=headers)


def operations() -> list[Operation]:
    """Return every operation of the document."""
    return [
        Operation(
            id=operation["operationId"],
            method=method.upper(),
            path=path,
            scope=operation["x-tokenwell-scope"],
            is_of_organization="{organization_id}" in path,
            body=operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example"),
            query={
                each["name"]: each["schema"]["examples"][0]
                for each in operation.get("parameters", ())
                if each["in"] == "query" and each["required"]
            },
        )
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]
