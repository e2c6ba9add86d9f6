"""AI services and their keys: who consumes an organization's tokens, with what, and how much of it."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, Shown, acting
from tokenwell.console.frame import frame_of, organization_of, path_of, reads
from tokenwell.console.sheets import listed, refused, sheet_of
from tokenwell.console.visits import Visit
from tokenwell.errors import AiStopped, Conflict, NotFound, RequestInvalid
from tokenwell.service.access.keys import GatewayKey, KeyScope
from tokenwell.service.access.scopes import Scope
from tokenwell.service.access.services import Lane

SERVICES_A_PAGE = 50
KEYS_A_PAGE = 100

LIMITS = ("requests_per_minute", "tokens_per_day", "tokens_per_month")
SCOPE_FIELDS = tuple(f"scope.{scope.value}" for scope in KeyScope)
KEPT = "kept"
"""The choice that leaves a key's expiry as it is."""


def read_services(visit: Visit) -> dict[str, Any]:
    """Return the organization's services and keys, from two reads however many there are."""
    organization = organization_of(visit, Scope.SERVICES_READ)
    suite, query = visit.console.suite, visit.request.query_params
    page = suite.services.list(organization.id, cursor=query.get("after"), limit=SERVICES_A_PAGE)
    keys = suite.keys.list(organization.id, query.get("keys"), KEYS_A_PAGE)
    now = visit.console.meter.clock()
    return frame_of(visit, organization) | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "keys": [(key, _status(key, now)) for key in keys.items],
        "keys_cursor": keys.next_cursor,
        "path": path_of(organization.id, "services"),
        "may_write": visit.may(Scope.SERVICES_WRITE, organization.id),
        "balance": suite.meter.balance(organization.id),
    }


def _status(key: GatewayKey, now: Any) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and now >= key.expires_at else "active"


def create(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Create a service."""
    organization = organization_of(visit, Scope.SERVICES_WRITE)
    back = path_of(organization.id, "services")
    if sent.is_final:
        try:
            line = visit.console.suite.services.create(
                organization.id, **_service_fields(sent), key=sent.key, by=visit.principal.actor
            )
            return Done(path=back, said="service_created", about=line.service.name)
        except (AiStopped, Conflict, RequestInvalid) as error:
            refused(sent, error)
    return sheet_of(visit, sent, organization, "service", back, service=None)


def edit(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Change a service."""
    organization = organization_of(visit, Scope.SERVICES_WRITE)
    back, services = path_of(organization.id, "services"), visit.console.suite.services
    service = services.get(organization.id, visit.request.path_params["service"]).service
    if sent.is_final:
        try:
            services.update(organization.id, service.id, **_service_fields(sent), by=visit.principal.actor)
            return Done(path=back, said="service_changed", about=service.name)
        except (Conflict, RequestInvalid) as error:
            refused(sent, error)
    if "name" not in sent.fields:
        known = {
            "name": service.name,
            "lane": service.lane.value,
            "reserve": "" if service.reserve_tokens is None else str(service.reserve_tokens),
            "session": service.default_session or "",
            "reason": service.default_reason or "",
        }
        sent = Sent(fields=known, is_final=False, problems={})
    return sheet_of(visit, sent, organization, "service", back, service=service)


def _service_fields(sent: Sent) -> dict[str, Any]:
    lane = sent.text("lane", Lane.CUSTOMER_FACING.value)
    return {
        "name": sent.text("name"),
        "lane": lane,
        "reserve": (sent.text("reserve") or None) if lane == Lane.BACKGROUND else None,
        "default_session": sent.text("session") or None,
        "default_reason": sent.text("reason") or None,
    }


def switch(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Disable a service, or enable it again."""
    organization = organization_of(visit, Scope.SERVICES_WRITE)
    back, services = path_of(organization.id, "services"), visit.console.suite.services
    service_id, act = visit.request.path_params["service"], visit.request.path_params["act"]
    if act not in ("disable", "enable"):
        raise HTTPException(404)
    service = services.get(organization.id, service_id).service
    if sent.is_final:
        change = services.disable if act == "disable" else services.enable
        change(organization.id, service_id, by=visit.principal.actor)
        return Done(path=back, said=f"service_{act}d", about=service.name)
    return sheet_of(visit, sent, organization, f"service_{act}", back, service=service)


def issue(visit: Visit, sent: Sent) -> dict[str, Any] | Done | Shown:
    """Issue a key. Its secret is on the page that answers, and nowhere else."""
    organization = organization_of(visit, Scope.SERVICES_WRITE)
    suite, back = visit.console.suite, path_of(organization.id, "services")
    services = suite.services.list(organization.id, limit=500).items
    if "name" not in sent.fields:
        sent.fields = {"expires": "never", **dict.fromkeys(SCOPE_FIELDS, "1"), **sent.fields}
    expires_at, terms = sent.expiry(visit.formats(visit.console.meter.clock())), _key_fields(sent)
    if sent.is_final and not sent.problems:
        try:
            created = suite.keys.create(
                organization.id,
                service_id=sent.text("service") or None,
                expires_at=expires_at,
                **terms,
                key=sent.key,
                by=visit.principal.actor,
            )
            return Shown(context=sheet_of(visit, sent, organization, "key_issued", back, created=created))
        except (Conflict, NotFound, RequestInvalid) as error:
            refused(sent, error)
    return sheet_of(visit, sent, organization, "key", back, services=services, expiry=expires_at, changed=None)


def change_key(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Change the terms of a key: its name, what it may do, its limits and its expiry. Its secret stays."""
    organization = organization_of(visit, Scope.SERVICES_WRITE)
    back, keys = path_of(organization.id, "services"), visit.console.suite.keys
    known = keys.get(organization.id, visit.request.path_params["key"])
    formats = visit.formats(visit.console.meter.clock())
    if "name" not in sent.fields:
        sent = Sent(fields=_fields_of(known) | dict(sent.fields), is_final=sent.is_final, problems=sent.problems)
    expires_at, terms = (known.expires_at if sent.text("expires") == KEPT else sent.expiry(formats)), _key_fields(sent)
    if sent.is_final and not sent.problems:
        try:
            keys.update(organization.id, known.id, expires_at=expires_at, **terms, by=visit.principal.actor)
            return Done(path=back, said="key_changed", about=sent.text("name"))
        except (Conflict, RequestInvalid) as error:
            refused(sent, error)
    return sheet_of(visit, sent, organization, "key", back, services=(), expiry=expires_at, changed=known)


def _key_fields(sent: Sent) -> dict[str, Any]:
    """Return the terms of a key that were typed. No scope at all is a problem of the form: such a key could do nothing."""
    chosen = [scope for scope in KeyScope if sent.text(f"scope.{scope.value}")]
    if not chosen:
        sent.problems["scopes"] = "request_invalid"
    return {
        "name": sent.text("name"),
        "scopes": None if len(chosen) == len(KeyScope) else chosen,
        "models": listed(sent.text("models")) or None,
        **{name: sent.text(name) or None for name in LIMITS},
    }


def _fields_of(key: GatewayKey) -> dict[str, str]:
    """Return the terms of a key as its form shows them."""
    scopes = tuple(KeyScope) if key.scopes is None else key.scopes
    limits = {name: getattr(key, name) for name in LIMITS}
    return {
        "name": key.name,
        "models": ", ".join(key.models or ()),
        "expires": KEPT if key.expires_at else "never",
        **{f"scope.{scope.value}": "1" for scope in scopes},
        **{name: "" if value is None else str(value) for name, value in limits.items()},
    }


def revoke(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Revoke a key."""
    organization = organization_of(visit, Scope.SERVICES_WRITE)
    back, keys = path_of(organization.id, "services"), visit.console.suite.keys
    key = keys.get(organization.id, visit.request.path_params["key"])
    if sent.is_final:
        keys.revoke(organization.id, key.id, by=visit.principal.actor)
        return Done(path=back, said="key_revoked", about=key.name)
    return sheet_of(visit, sent, organization, "key_revoke", back, revoked=key)


ROUTES = [
    Route("/o/{organization}/services", reads("services", read_services)),
    *acting("/o/{organization}/services/new", "sheet", create),
    *acting("/o/{organization}/services/{service}/edit", "sheet", edit),
    *acting("/o/{organization}/services/{service}/{act}", "sheet", switch),
    *acting("/o/{organization}/keys/new", "sheet", issue),
    *acting("/o/{organization}/keys/{key}/edit", "sheet", change_key),
    *acting("/o/{organization}/keys/{key}/revoke", "sheet", revoke),
]
