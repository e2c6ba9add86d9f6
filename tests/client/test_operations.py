"""The SDK has every operation of the OpenAPI document, as the document has it, plain and for coroutines."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from tokenwell.api.app import openapi
from tokenwell.client import AsyncTokenwell, BatchDebit, Tokenwell
from tokenwell.client.calls import Calls, Request

DOCUMENT = openapi()
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
_SAMPLES: dict[str, Any] = {
    "amount": 5, "warning": 5, "reserve": 5, "expires_at": None, "debits": [BatchDebit(amount=5)],
    "since": datetime(2027, 1, 1, tzinfo=UTC), "until": datetime(2027, 2, 1, tzinfo=UTC),
    "effective_at": datetime(2027, 1, 1, tzinfo=UTC), "first_day": date(2027, 1, 1), "unit": "month", "count": 2,
    "scopes": ["packs:read"], "price_minor": 4_900, "currency": "eur",
}  # fmt: skip


def built(name: str, **given: Any) -> Request[Any]:
    """Return the request of an operation, with sample values for what it needs."""
    call = getattr(Calls(), name)
    needed = {
        parameter.name: _SAMPLES.get(parameter.name, f"some-{parameter.name}".replace("_", "-"))
        for parameter in inspect.signature(call).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    request: Request[Any] = call(**(needed | given))
    return request


def schema_name(answer: Any) -> str:
    """Return the name that a type has in the document."""
    (schema,), _ = msgspec.json.schema_components([answer])
    return str(schema["$ref"]).rpartition("/")[2]


def test_the_document_has_operations() -> None:
    assert len(OPERATIONS) > 25


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_in_the_sdk_as_the_document_has_it(name: str) -> None:
    method, path, operation = OPERATIONS[name]
    assert callable(getattr(Tokenwell, name, None))
    assert inspect.iscoroutinefunction(getattr(AsyncTokenwell, name, None))
    request = built(name)
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))
    assert (request.method.lower(), bool(re.fullmatch(pattern, request.path))) == (method, True)
    assert (request.key is not None) is any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    done = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    assert done["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2] == schema_name(request.answer)
    assert (request.content is not None) is ("requestBody" in operation)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_parameter_of_an_address_can_be_given(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    known = inspect.signature(getattr(Calls, name)).parameters
    asked = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    assert [each for each in asked if each not in known] == []
    given = {each: _SAMPLES.get(each, "x") for each in asked}
    assert set(built(name, **given).query) == set(asked)


@pytest.mark.parametrize("name", [name for name, (_, _, operation) in OPERATIONS.items() if "requestBody" in operation])
def test_every_field_of_a_body_can_be_given(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    fields = set(DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
    parameters = inspect.signature(getattr(Calls, name)).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    assert takes_any or fields - set(parameters) <= {"id"}


def test_the_sdk_has_nothing_the_document_lacks() -> None:
    more = {"close", "send", "stream_ledger", "export_ledger"}
    for client in (Tokenwell, AsyncTokenwell):
        public = {name for name in dir(client) if not name.startswith(("_", "each_"))}
        assert public - set(OPERATIONS) == more


def test_a_list_can_be_walked() -> None:
    pages = {name for name, (_, _, operation) in OPERATIONS.items() if "cursor" in str(operation.get("parameters", ""))}
    walked = {name for name in dir(Tokenwell) if name.startswith("each_")}
    assert walked == {name for name in dir(AsyncTokenwell) if name.startswith("each_")}
    assert len(walked) >= len(pages)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_does(name: str) -> None:
    assert (inspect.getdoc(getattr(Tokenwell, name)) or "").endswith(".")
    assert OPERATIONS[name][2]["description"].endswith(".")
    assert OPERATIONS[name][2]["summary"]
