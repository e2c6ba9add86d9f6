"""Charging: holds, debits one by one or in batches, and refunds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from starlette.responses import Response

from tokenwell.api.hot import HotOperation
from tokenwell.api.operations import Call, CurrentCall, OrganizationId, writes
from tokenwell.api.problems import problem_of
from tokenwell.api.repeating import Operations
from tokenwell.api.views import hold_view, receipt_view
from tokenwell.api.wire import shaped
from tokenwell.client import bodies, shapes
from tokenwell.core.amounts import parse_amount
from tokenwell.core.limits import KeyLimits
from tokenwell.core.receipts import Receipt
from tokenwell.core.usage import Usage
from tokenwell.errors import TokenwellError
from tokenwell.service.access.keys import KeyScope, check_use
from tokenwell.service.access.scopes import Scope
from tokenwell.service.access.services import Lane

TAG = "Holds and debits"
router = Operations(prefix="/v1/organizations/{organization_id}", tags=[TAG])

_PREFIX = "/v1/organizations/{organization_id}"
_HOLD_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "hold_id": "$response.body#/id"}
_AFTER_OPENING = ("extend_hold", "settle_hold", "release_hold")
_REQUEST_OF_THE_NEW = {"organization_id": "$request.path.organization_id"}


async def open_hold(call: Call, organization_id: str, _thing: str) -> Response:
    """Reserve tokens before an AI request. Refused with 402 while AI is stopped, with 429 while too much is held."""
    body = call.read(bodies.NewHold)
    ttl = timedelta(seconds=body.ttl_seconds)
    held = await call.suite.meter.aio.open_hold(
        organization_id, body.amount, ttl=ttl, key=call.key, key_id=_key_id(call), limits=_limits(call), **_lane(call, body)
    )
    return call.answer(hold_view(held), status=201, replayed=held.replayed)


async def extend_hold(call: Call, organization_id: str, hold_id: str) -> Response:
    """Let a hold reserve more tokens, last longer, or both. What is added is admitted as a hold of so many."""
    body = call.read(bodies.HoldExtension)
    ttl = None if body.ttl_seconds is None else timedelta(seconds=body.ttl_seconds)
    held = await call.suite.meter.aio.extend_hold(
        organization_id, hold_id, body.more_tokens, ttl=ttl, key=call.key, limits=_limits(call), **_lane(call, body)
    )
    return call.answer(hold_view(held), replayed=held.replayed)


async def settle_hold(call: Call, organization_id: str, hold_id: str) -> Response:
    """Charge what a held request used, more or less than was held; 0 is allowed. A hold is settled once."""
    body = call.read(bodies.Charge)
    _ = call.key
    receipt = await call.suite.meter.aio.settle(organization_id, hold_id, **_charge(call, body))
    return _answer(call, receipt)


async def release_hold(call: Call, organization_id: str, hold_id: str) -> Response:
    """Give a hold back unused. Releasing it twice gives the first answer again."""
    _ = call.key
    released = await call.suite.meter.aio.release(organization_id, hold_id)
    return call.answer(shaped(shapes.HoldReleased, released, state=released.state.value), replayed=released.replayed)


async def debit(call: Call, organization_id: str, _thing: str) -> Response:
    """Charge a request without a hold. Tokens that are `already_used` are charged whatever the state is."""
    body = call.read(bodies.Debit)
    receipt = await _debit(call, organization_id, body, call.key)
    return _answer(call, receipt, status=201)


async def debit_batch(call: Call, organization_id: str, _thing: str) -> Response:
    """Charge up to 1,000 requests, each by itself, with an answer for each in their order."""
    batch, key = call.read(bodies.Batch), call.key
    taken = [_batched(call, each, each.key or f"{key}:{index}") for index, each in enumerate(batch.debits)]
    items = [each for each in taken if not isinstance(each, TokenwellError)]
    charged = iter(await call.suite.meter.aio.debit_many(organization_id, items) if items else ())
    outcomes = [each if isinstance(each, TokenwellError) else next(charged) for each in taken]
    answers = tuple(_batch_answer(index, outcome) for index, outcome in enumerate(outcomes))
    return call.answer(shapes.BatchAnswers(items=answers), replayed=all(answer.replayed for answer in answers))


def _batched(call: Call, body: bodies.BatchDebit, key: str) -> dict[str, Any] | TokenwellError:
    """Return a debit as the meter takes it, or why this one cannot be taken."""
    try:
        terms = {"already_used": body.already_used, "key": key, "limits": _limits(call)}
        return _charge(call, body) | terms | _lane(call, body)
    except TokenwellError as error:
        return error


def _batch_answer(index: int, outcome: Receipt | TokenwellError) -> shapes.BatchAnswer:
    if isinstance(outcome, TokenwellError):
        return shapes.BatchAnswer(index=index, replayed=False, receipt=None, problem=problem_of(outcome))
    return shapes.BatchAnswer(index=index, replayed=outcome.replayed, receipt=receipt_view(outcome), problem=None)


async def _debit(call: Call, organization_id: str, body: bodies.Debit, key: str) -> Receipt:
    charge = _charge(call, body)
    return await call.suite.meter.aio.debit(
        organization_id, **charge, already_used=body.already_used, key=key, limits=_limits(call), **_lane(call, body)
    )


def _charge(call: Call, body: bodies.Charge) -> dict[str, Any]:
    """Return a charge as the meter takes it. What a gateway key charges is marked as its own."""
    charge = {name: getattr(body, name) for name in bodies.Charge.__struct_fields__}
    if body.usage is not None:
        charge["usage"] = Usage(**msgspec.structs.asdict(body.usage))
    key = call.caller.key
    if key is not None:
        check_use(key, KeyScope.GENERATE, body.model)
        charge |= {"key_id": key.id, "service_id": key.service_id or body.service_id}
    return charge


def _key_id(call: Call) -> str | None:
    return None if call.caller.key is None else call.caller.key.id


def _limits(call: Call) -> KeyLimits | None:
    """Return what limits the caller: those of a gateway key."""
    key = call.caller.key
    return None if key is None else KeyLimits(**{name: getattr(key, name) for name in KeyLimits.__struct_fields__})


def _lane(call: Call, body: bodies.Laned | bodies.Debit) -> dict[str, Any]:
    """Return what a request leaves to others: what its body says, and at least what the AI service of its key does."""
    reserve, name = body.reserve_tokens, body.lane
    service = None if call.caller.key is None else call.caller.key.service
    if service is not None and service.lane is Lane.BACKGROUND and service.reserve_tokens is not None:
        said = 0 if reserve is None else parse_amount(reserve, field="reserve_tokens", least=0)
        if said <= service.reserve_tokens:
            reserve, name = service.reserve_tokens, service.name
    return {"reserve_tokens": reserve, "lane": name}


def _answer(call: Call, receipt: Receipt, *, status: int = 200) -> Response:
    return call.answer(receipt_view(receipt), status=status, replayed=receipt.replayed)


@router.post(
    "/refunds",
    **writes(
        Scope.PACKS_WRITE,
        "Refund a request",
        body=bodies.NewRefund,
        answer=shapes.Receipt,
        is_kept=False,
        status=201,
        example={"request_id": "req-1", "note": "The answer was empty"},
    ),
)
def refund(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Give tokens of a charged request back to the packs they came from: all that is left of it, unless less is said."""
    body = call.read(bodies.NewRefund)
    receipt = call.suite.meter.refund(
        organization_id, body.request_id, body.amount, note=body.note, key=call.key, by=call.caller.actor
    )
    return _answer(call, receipt, status=201)


HOT = (
    HotOperation(
        path=f"{_PREFIX}/holds", scope=Scope.USAGE_WRITE, handler=open_hold, summary="Open a hold", body=bodies.NewHold,
        answer=shapes.Hold, status=201, example={"amount": 2_000, "ttl_seconds": 120},
        links={each: {"operationId": each, "parameters": _HOLD_OF_THE_NEW} for each in _AFTER_OPENING},
    ),
    HotOperation(
        path=f"{_PREFIX}/holds/{{hold_id}}/extend", scope=Scope.USAGE_WRITE, handler=extend_hold, summary="Extend a hold",
        body=bodies.HoldExtension, answer=shapes.Hold, thing="hold_id", example={"more_tokens": 500, "ttl_seconds": 120},
    ),
    HotOperation(
        path=f"{_PREFIX}/holds/{{hold_id}}/settle", scope=Scope.USAGE_WRITE, handler=settle_hold, summary="Settle a hold",
        body=bodies.Charge, answer=shapes.Receipt, thing="hold_id",
        example={"model": "gpt-5", "prompt_tokens": 900, "completion_tokens": 150, "session": "chat-17"},
    ),
    HotOperation(
        path=f"{_PREFIX}/holds/{{hold_id}}/release", scope=Scope.USAGE_WRITE, handler=release_hold, summary="Release a hold",
        body=None, answer=shapes.HoldReleased, thing="hold_id",
    ),
    HotOperation(
        path=f"{_PREFIX}/debits", scope=Scope.USAGE_WRITE, handler=debit, summary="Debit a request", body=bodies.Debit,
        answer=shapes.Receipt, status=201,
        example={"model": "gpt-5", "prompt_tokens": 900, "completion_tokens": 150, "session": "chat-17", "reason": "answer"},
        links={
            "refund": {
                "operationId": "refund",
                "parameters": _REQUEST_OF_THE_NEW,
                "requestBody": {"request_id": "$response.body#/request_id"},
            },
            "open_dispute": {
                "operationId": "open_dispute",
                "parameters": _REQUEST_OF_THE_NEW,
                "requestBody": {"request_id": "$response.body#/request_id", "note": "Why was this charged?"},
            },
        },
    ),
    HotOperation(
        path=f"{_PREFIX}/debits/batch", scope=Scope.USAGE_WRITE, handler=debit_batch, summary="Debit many requests",
        body=bodies.Batch, answer=shapes.BatchAnswers,
        example={"debits": [{"amount": 1_200, "key": "req-1"}, {"amount": 800, "key": "req-2"}]},
    ),
)  # fmt: skip
