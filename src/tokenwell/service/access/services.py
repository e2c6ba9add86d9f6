"""AI services: the consumers of an organization's tokens, each with keys of its own.

A service is Active or Disabled. While the organization's AI is stopped those that are active show as Restricted, and none can be
created; nothing is stored for it, so that they are active again by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy

from tokenwell.core.amounts import parse_amount
from tokenwell.core.happenings import SYSTEM, Actor
from tokenwell.core.health import State
from tokenwell.core.identifiers import check_key, check_label, check_organization_id, is_organization_id
from tokenwell.errors import AiStopped, RequestInvalid, ServiceExists, ServiceNotFound
from tokenwell.service import acts
from tokenwell.service.meter import Meter
from tokenwell.service.pages import check_limit
from tokenwell.service.ports import Page, new_id
from tokenwell.store.access import creations
from tokenwell.store.access import services as store
from tokenwell.store.access.services import AiService, Lane
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["AiService", "Lane", "ServiceLine", "ServiceStatus", "Services"]

NAME_LIMIT = 100


class ServiceStatus(StrEnum):
    """What a service shows. Restricted is computed from the state of the balance; Disabled goes before it."""

    ACTIVE = "active"
    DISABLED = "disabled"
    RESTRICTED = "restricted"


class ServiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A service with its status now. `replayed` marks one that an earlier call with the same key had created."""

    service: AiService
    status: ServiceStatus
    replayed: bool = False


class Services:
    """The AI services in one database. Its methods block."""

    def __init__(self, meter: Meter, *, changed: Callable[[str, str], None] = lambda organization_id, service_id: None) -> None:
        self._meter = meter
        self._engine = meter.engine
        self._clock = meter.clock
        self._changed = changed

    def create(
        self,
        organization_id: str,
        *,
        name: str,
        service_id: str | None = None,
        lane: Lane | str = Lane.CUSTOMER_FACING,
        reserve: int | str | None = None,
        default_session: str | None = None,
        default_reason: str | None = None,
        key: str | None = None,
        by: Actor = SYSTEM,
    ) -> ServiceLine:
        """Create a service, under an id of the caller's own where one is given; again with the same idempotency key, the same
        one is returned.

        Raises AiStopped while AI is stopped, ServiceExists where the name is taken, OrganizationNotFound, RequestInvalid.
        """
        now = self._clock()
        given = {
            "name": name, "lane": lane, "reserve": reserve, "default_session": default_session, "default_reason": default_reason,
        }  # fmt: skip
        service = AiService(
            id=new_id("svc") if service_id is None else _checked_id(service_id),
            organization_id=check_organization_id(organization_id),
            created_at=now,
            **_checked(given),
        )
        balance = self._meter.balance(organization_id)
        with _named(service), transaction(self._engine, organization_id) as connection:
            if key is not None:
                told = {"what": "service", "service_id": service_id, **msgspec.to_builtins(given)}
                first = creations.claim(connection, organization_id, check_key(key), service.id, told, now)
                if first is not None:
                    return self._line(_found(connection, organization_id, first), balance.state, replayed=True)
            if balance.state is State.AI_STOPPED:
                raise AiStopped(
                    "AI is stopped: no AI service can be created until a new pack resumes it.",
                    balance_tokens=balance.balance_tokens,
                    reserve_tokens=balance.reserve_tokens,
                )
            store.add_service(connection, service)
            self._record(connection, "service.create", service, by, after=_public(service))
        return self._line(service, balance.state)

    def update(self, organization_id: str, service_id: str, *, by: Actor = SYSTEM, **changes: Any) -> ServiceLine:
        """Change a service's name, lane, reserve, default_session or default_reason; what is not given stays.

        Raises ServiceNotFound, ServiceExists, RequestInvalid.
        """
        return self._change(organization_id, service_id, "service.update", by, changes)

    def disable(self, organization_id: str, service_id: str, *, by: Actor = SYSTEM) -> ServiceLine:
        """Refuse the service's requests from now on; one that is disabled stays as it is. Raises ServiceNotFound."""
        return self._change(organization_id, service_id, "service.disable", by, {"disabled_at": self._clock()})

    def enable(self, organization_id: str, service_id: str, *, by: Actor = SYSTEM) -> ServiceLine:
        """Let a disabled service go on. Raises ServiceNotFound."""
        return self._change(organization_id, service_id, "service.enable", by, {"disabled_at": None})

    def _change(self, organization_id: str, service_id: str, action: str, by: Actor, changes: dict[str, Any]) -> ServiceLine:
        balance = self._meter.balance(organization_id)
        with transaction(self._engine, organization_id) as connection:
            before = _found(connection, organization_id, service_id)
            if "disabled_at" in changes:
                is_same = (before.disabled_at is None) == (changes["disabled_at"] is None)
                after = before if is_same else msgspec.structs.replace(before, **changes)
            else:
                after = msgspec.structs.replace(before, **_checked(_fields_of(before) | changes))
            if after != before:
                with _named(after):
                    store.replace_service(connection, after)
                was, became = acts.differences(before, after)
                self._record(connection, action, after, by, before=was, after=became)
        self._changed(organization_id, service_id)
        return self._line(after, balance.state)

    def get(self, organization_id: str, service_id: str) -> ServiceLine:
        """Return a service. Raises ServiceNotFound, also for another organization's."""
        balance = self._meter.balance(organization_id)
        with reading(self._engine, organization_id) as connection:
            return self._line(_found(connection, organization_id, service_id), balance.state)

    def list(self, organization_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[ServiceLine]:
        """Return the organization's services, oldest first. Raises OrganizationNotFound."""
        check_limit(limit)
        if cursor is not None:
            check_key(cursor, field="cursor")
        balance = self._meter.balance(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.services_of(connection, organization_id, cursor, limit + 1)
        lines = tuple(self._line(each, balance.state) for each in found[:limit])
        return Page(lines, lines[-1].service.id if len(found) > limit else None)

    def _record(self, connection: sqlalchemy.Connection, action: str, service: AiService, by: Actor, **what: Any) -> None:
        acts.record(
            connection,
            by=by,
            at=self._clock(),
            organization_id=service.organization_id,
            action=action,
            subject=service.id,
            **what,
        )

    def _line(self, service: AiService, state: State, *, replayed: bool = False) -> ServiceLine:
        return ServiceLine(service=service, status=status_of(service, state), replayed=replayed)


def status_of(service: AiService, state: State) -> ServiceStatus:
    """Return what a service shows while its organization's balance is in this state."""
    if service.disabled_at is not None:
        return ServiceStatus.DISABLED
    return ServiceStatus.RESTRICTED if state is State.AI_STOPPED else ServiceStatus.ACTIVE


@contextmanager
def _named(service: AiService) -> Iterator[None]:
    """Turn the database's refusal of a second service of one name into ours."""
    try:
        yield
    except sqlalchemy.exc.IntegrityError:
        raise ServiceExists(name=service.name) from None


def _found(connection: sqlalchemy.Connection, organization_id: str, service_id: str) -> AiService:
    check_label(service_id, field="service_id")
    service = store.find_service(connection, organization_id, service_id)
    if service is None:
        raise ServiceNotFound(service_id=service_id)
    return service


def _checked_id(service_id: str) -> str:
    if not is_organization_id(service_id):
        raise RequestInvalid("a service's own id is 1 to 64 of a-z, 0-9, - and _", field="service_id")
    return service_id


def _fields_of(service: AiService) -> dict[str, Any]:
    return {
        "name": service.name,
        "lane": service.lane,
        "reserve": service.reserve_tokens,
        "default_session": service.default_session,
        "default_reason": service.default_reason,
    }


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of what a caller gives. Raises RequestInvalid."""
    if set(given) != {"name", "lane", "reserve", "default_session", "default_reason"}:
        raise RequestInvalid("a service has a name, a lane, a reserve, a default session and a default reason")
    name = (check_label(given["name"], field="name", limit=NAME_LIMIT) or "").strip()
    if not name:
        raise RequestInvalid("name must not be empty", field="name")
    try:
        lane = Lane(given["lane"])
    except ValueError:
        raise RequestInvalid(f"a lane is one of {', '.join(Lane)}", field="lane") from None
    reserve = given["reserve"]
    reserve_tokens = None if reserve is None else parse_amount(reserve, field="reserve", least=0)
    if reserve_tokens is not None and lane is not Lane.BACKGROUND:
        raise RequestInvalid("only a background service leaves a reserve to the others", field="reserve")
    return {
        "name": name,
        "lane": lane,
        "reserve_tokens": reserve_tokens,
        "default_session": check_label(given["default_session"], field="default_session") or None,
        "default_reason": check_label(given["default_reason"], field="default_reason") or None,
    }


def _public(service: AiService) -> dict[str, Any]:
    return {"name": service.name, "lane": service.lane, "reserve_tokens": service.reserve_tokens}
