"""Access: an organization's AI services and gateway keys, and the platform's keys for backends."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Path, Query
from msgspec import UNSET
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import bodies, managed, shapes
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.keys import GatewayKey
from tokenwell.service.access.scopes import Scope
from tokenwell.service.access.services import ServiceLine

services = Operations(prefix="/v1/organizations/{organization_id}/services", tags=["AI services"])
keys = Operations(prefix="/v1/organizations/{organization_id}/keys", tags=["Gateway keys"])
platform_keys = Operations(prefix="/v1/platform-keys", tags=["Platform keys"])

ServiceId = Annotated[str, Path(description="The service's id.", examples=["support-agent"])]
KeyId = Annotated[str, Path(description="The key's id.")]

_SERVICE_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "service_id": "$response.body#/id"}
_KEY_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "key_id": "$response.body#/key/id"}


def _service(line: ServiceLine) -> managed.AiService:
    return shaped(managed.AiService, line.service, status=line.status.value, lane=line.service.lane.value)


def _key(key: GatewayKey) -> managed.GatewayKey:
    return shaped(managed.GatewayKey, key)


def _changes(body: Any) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}


@services.post(
    "",
    **writes(
        Scope.SERVICES_WRITE, "Create an AI service", body=bodies.NewService, answer=managed.AiService, status=201, charges=True,
        example={"name": "Support agent", "id": "support-agent"},
        links={each: {"operationId": each, "parameters": _SERVICE_OF_THE_NEW} for each in ("get_service", "disable_service")},
    ),
)  # fmt: skip
def create_service(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Create an AI service. Refused with 402 while AI is stopped."""
    body = call.read(bodies.NewService)
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if name != "id"}
    line = call.suite.services.create(organization_id, service_id=body.id, **given, key=call.key, by=call.caller.actor)
    return call.answer(_service(line), status=201, replayed=line.replayed)


@services.get("", **reads(Scope.SERVICES_READ, "List AI services", answer=shapes.Page[managed.AiService]))
def list_services(call: CurrentCall, organization_id: OrganizationId, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the organization's AI services, the oldest first."""
    page = call.suite.services.list(organization_id, cursor=cursor, limit=limit)
    return call.answer(page_of([_service(line) for line in page.items], page.next_cursor))


@services.get("/{service_id}", **reads(Scope.SERVICES_READ, "Get an AI service", answer=managed.AiService))
def get_service(call: CurrentCall, organization_id: OrganizationId, service_id: ServiceId) -> Response:
    """Return an AI service with its status now."""
    return call.answer(_service(call.suite.services.get(organization_id, service_id)))


@services.patch(
    "/{service_id}",
    **writes(
        Scope.SERVICES_WRITE, "Change an AI service", body=bodies.ServiceChanges, answer=managed.AiService,
        example={"name": "Support"},
    ),
)  # fmt: skip
def change_service(call: CurrentCall, organization_id: OrganizationId, service_id: ServiceId) -> Response:
    """Change what is sent of an AI service; the rest stays."""
    changes = _changes(call.read(bodies.ServiceChanges))
    return call.answer(_service(call.suite.services.update(organization_id, service_id, by=call.caller.actor, **changes)))


@services.post("/{service_id}/disable", **writes(Scope.SERVICES_WRITE, "Disable an AI service", answer=managed.AiService))
def disable_service(call: CurrentCall, organization_id: OrganizationId, service_id: ServiceId) -> Response:
    """Refuse the service's requests from now on."""
    return call.answer(_service(call.suite.services.disable(organization_id, service_id, by=call.caller.actor)))


@services.post("/{service_id}/enable", **writes(Scope.SERVICES_WRITE, "Enable an AI service", answer=managed.AiService))
def enable_service(call: CurrentCall, organization_id: OrganizationId, service_id: ServiceId) -> Response:
    """Let a disabled service go on."""
    return call.answer(_service(call.suite.services.enable(organization_id, service_id, by=call.caller.actor)))


@keys.post(
    "",
    **writes(
        Scope.SERVICES_WRITE, "Issue a gateway key", body=bodies.NewKey, answer=managed.GatewayKeyCreated, status=201,
        example={"name": "Staging", "requests_per_minute": 60, "tokens_per_day": "1M"},
        links={each: {"operationId": each, "parameters": _KEY_OF_THE_NEW} for each in ("get_key", "revoke_key")},
    ),
)  # fmt: skip
def create_key(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Issue a gateway key. Its secret is in this answer and nowhere else, not even in this answer given again."""
    body = call.read(bodies.NewKey)
    created = call.suite.keys.create(organization_id, **msgspec.structs.asdict(body), key=call.key, by=call.caller.actor)
    answer = managed.GatewayKeyCreated(key=_key(created.key), secret=created.secret)
    return call.answer(answer, status=201, replayed=created.replayed)


@keys.get("", **reads(Scope.SERVICES_READ, "List gateway keys", answer=shapes.Page[managed.GatewayKey]))
def list_keys(
    call: CurrentCall,
    organization_id: OrganizationId,
    service_id: Annotated[str | None, Query(description="Only keys of this AI service.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the organization's gateway keys, the newest first."""
    call.suite.meter.organization(organization_id)
    page = call.suite.keys.list(organization_id, cursor, limit, service_id=service_id)
    return call.answer(page_of([_key(key) for key in page.items], page.next_cursor))


@keys.get("/{key_id}", **reads(Scope.SERVICES_READ, "Get a gateway key", answer=managed.GatewayKey))
def get_key(call: CurrentCall, organization_id: OrganizationId, key_id: KeyId) -> Response:
    """Return a gateway key."""
    return call.answer(_key(call.suite.keys.get(organization_id, key_id)))


@keys.patch(
    "/{key_id}",
    **writes(
        Scope.SERVICES_WRITE, "Change a gateway key", body=bodies.KeyChanges, answer=managed.GatewayKey,
        example={"tokens_per_day": "2M"},
    ),
)  # fmt: skip
def change_key(call: CurrentCall, organization_id: OrganizationId, key_id: KeyId) -> Response:
    """Change what is sent of a key; the rest stays."""
    changes = _changes(call.read(bodies.KeyChanges))
    return call.answer(_key(call.suite.keys.update(organization_id, key_id, by=call.caller.actor, **changes)))


@keys.post("/{key_id}/revoke", **writes(Scope.SERVICES_WRITE, "Revoke a gateway key", answer=managed.GatewayKey))
def revoke_key(call: CurrentCall, organization_id: OrganizationId, key_id: KeyId) -> Response:
    """Revoke a key; one that was revoked before stays as it is."""
    return call.answer(_key(call.suite.keys.revoke(organization_id, key_id, by=call.caller.actor)))


@platform_keys.post(
    "",
    **writes(
        Scope.PLATFORM_WRITE, "Issue a platform key", body=bodies.NewPlatformKey, answer=managed.PlatformKeyCreated, status=201,
        example={"name": "Billing", "scopes": ["packs:write", "packs:read"]},
    ),
)  # fmt: skip
def create_platform_key(call: CurrentCall) -> Response:
    """Issue a platform key, which may do no more than the key that issues it. Its secret is in this answer and nowhere else."""
    body = call.read(bodies.NewPlatformKey)
    for scope in body.scopes:
        if scope not in list(Scope):
            raise RequestInvalid("there is no such scope", field="scopes")
        call.caller.principal.require(Scope(scope))
    created = call.suite.platform_keys.create(**msgspec.structs.asdict(body), key=call.key, by=call.caller.actor)
    answer = managed.PlatformKeyCreated(key=shaped(managed.PlatformKey, created.key), secret=created.secret)
    return call.answer(answer, status=201, replayed=created.replayed)


@platform_keys.get("", **reads(Scope.PLATFORM_WRITE, "List platform keys", answer=shapes.Page[managed.PlatformKey]))
def list_platform_keys(call: CurrentCall, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the platform keys, the newest first."""
    page = call.suite.platform_keys.list(cursor, limit)
    return call.answer(page_of([shaped(managed.PlatformKey, key) for key in page.items], page.next_cursor))


@platform_keys.post("/{key_id}/revoke", **writes(Scope.PLATFORM_WRITE, "Revoke a platform key", answer=managed.PlatformKey))
def revoke_platform_key(call: CurrentCall, key_id: KeyId) -> Response:
    """Revoke a platform key; one that was revoked before stays as it is."""
    return call.answer(shaped(managed.PlatformKey, call.suite.platform_keys.revoke(key_id, by=call.caller.actor)))
