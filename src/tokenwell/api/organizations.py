"""Organizations: tenants, their thresholds and their balance."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Query
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import bodies, managed, shapes
from tokenwell.core.instants import parse_instant
from tokenwell.core.receipts import ThresholdsSet
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.policies import Policy

router = Operations(prefix="/v1/organizations", tags=["Organizations"])

_OF_THE_NEW = {"organization_id": "$response.body#/id"}


@router.post(
    "",
    **writes(
        Scope.ORGANIZATIONS_WRITE,
        "Create an organization",
        body=bodies.NewOrganization,
        answer=shapes.Organization,
        status=201,
        example={"id": "acme", "name": "Acme"},
        links={
            "balance": {"operationId": "balance", "parameters": _OF_THE_NEW},
            "packs": {"operationId": "list_packs", "parameters": _OF_THE_NEW},
        },
    ),
)
def create_organization(call: CurrentCall) -> Response:
    """Create an organization. Creating it again with the same name changes nothing."""
    body = call.read(bodies.NewOrganization)
    organization = call.suite.meter.create_organization(body.id, name=body.name, by=call.caller.actor)
    return call.answer(shaped(shapes.Organization, organization), status=201)


@router.get("", **reads(Scope.ORGANIZATIONS_READ, "List organizations", answer=shapes.Page[shapes.Organization], anywhere=True))
def list_organizations(call: CurrentCall, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the organizations within reach of the key, by id."""
    principal = call.caller.principal
    if principal.may(Scope.ORGANIZATIONS_READ):
        page = call.suite.meter.organizations(cursor=cursor, limit=limit)
        return call.answer(page_of([shaped(shapes.Organization, each) for each in page.items], page.next_cursor))
    own = sorted(each for each in principal.organization_scopes if principal.may(Scope.ORGANIZATIONS_READ, each))
    if cursor is not None and cursor not in own:
        raise RequestInvalid("the cursor is not one that a page gave", field="cursor")
    rest = [each for each in own if cursor is None or each > cursor]
    items = [shaped(shapes.Organization, call.suite.meter.organization(each)) for each in rest[:limit]]
    return call.answer(page_of(items, rest[limit - 1] if len(rest) > limit else None))


@router.get("/{organization_id}", **reads(Scope.ORGANIZATIONS_READ, "Get an organization", answer=shapes.Organization))
def get_organization(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Return an organization."""
    return call.answer(shaped(shapes.Organization, call.suite.meter.organization(organization_id)))


@router.put(
    "/{organization_id}/thresholds",
    **writes(
        Scope.ORGANIZATIONS_WRITE,
        "Set thresholds",
        body=bodies.NewThresholds,
        answer=shapes.ThresholdsInForce,
        example={"warning": "5M", "reserve": "1M"},
    ),
)
def set_thresholds(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Set an organization's own warning threshold and minimum reserve."""
    body = call.read(bodies.NewThresholds)
    told = call.suite.meter.set_thresholds(organization_id, warning=body.warning, reserve=body.reserve, by=call.caller.actor)
    return _thresholds(call, told)


@router.delete(
    "/{organization_id}/thresholds",
    **writes(Scope.ORGANIZATIONS_WRITE, "Clear thresholds", answer=shapes.ThresholdsInForce),
)
def clear_thresholds(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Return an organization to the platform's thresholds."""
    return _thresholds(call, call.suite.meter.clear_thresholds(organization_id, by=call.caller.actor))


@router.get("/{organization_id}/policy", **reads(Scope.ORGANIZATIONS_READ, "Get the policy", answer=managed.Policy))
def get_policy(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Return what the gateway does where the balance affords too little, and while the database cannot be reached."""
    return call.answer(_policy(call.suite.policies.of(organization_id)))


@router.patch(
    "/{organization_id}/policy",
    **writes(
        Scope.ORGANIZATIONS_WRITE,
        "Change the policy",
        body=bodies.NewPolicy,
        answer=managed.Policy,
        example={"when_short": "clamp", "when_away": "serve", "away_seconds": 900, "away_tokens": "200k"},
    ),
)
def set_policy(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Change an organization's policy; what is not sent stays as it is."""
    body = call.read(bodies.NewPolicy)
    return call.answer(_policy(call.suite.policies.set(organization_id, **msgspec.structs.asdict(body), by=call.caller.actor)))


@router.get("/{organization_id}/balance", **reads(Scope.PACKS_READ, "Read the balance", answer=shapes.Balance))
def balance(
    call: CurrentCall,
    organization_id: OrganizationId,
    as_of: Annotated[str | None, Query(description="A past instant, such as 2027-01-31T00:00:00Z. Without it: now.")] = None,
) -> Response:
    """Read balance, what is held, overage and state, now or as of a past instant (the state then by today's thresholds)."""
    at = None if as_of is None else parse_instant(as_of, field="as_of")
    found = call.suite.meter.balance(organization_id, as_of=at)
    return call.answer(shaped(shapes.Balance, found, state=found.state.value), untagged="as_of")


def _policy(policy: Policy) -> managed.Policy:
    return shaped(managed.Policy, policy, when_short=policy.when_short.value, when_away=policy.when_away.value)


def _thresholds(call: CurrentCall, answer: ThresholdsSet) -> Response:
    return call.answer(shaped(shapes.ThresholdsInForce, answer, state=answer.state.value), replayed=answer.replayed)
