"""Access: the commands on AI services, their keys, and the platform keys of backends."""

from __future__ import annotations

import getpass
from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, paged, parse_expiry, root, when
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.service.access.keys import CreatedKey, KeyScope
from tokenwell.service.access.platform_keys import CreatedPlatformKey
from tokenwell.service.access.scopes import Scope
from tokenwell.service.access.services import Lane, ServiceLine
from tokenwell.service.ports import system_clock

_organization = click.argument("organization")
_service = click.argument("service_id", metavar="SERVICE")
_key = click.option("--key", help="Idempotency key: repeated with the same key, the command is carried out once.")
_EXPIRES = "A date, an instant, a duration (90d) or never."


@root.group()
def service() -> None:
    """AI services: the consumers of an organization's tokens."""


@command(service, "create")
@_organization
@click.option("--name", required=True, help="What people know it by.")
@click.option("--lane", type=click.Choice([lane.value for lane in Lane]), default=Lane.CUSTOMER_FACING.value, show_default=True)
@click.option("--reserve", metavar="AMOUNT", help="The balance that a background service leaves to the others.")
@click.option("--session", "default_session", help="The session of requests that give none.")
@click.option("--reason", "default_reason", help="The reason of requests that give none.")
@_key
def create_service(call: Call, organization: str, **what: Any) -> None:
    """Create an AI service. Refused while the organization's AI is stopped.

    \b
    Examples:
      tokenwell service create acme --name "Ticket summaries"
      tokenwell service create acme --name "Nightly tagging" --lane background --reserve 500k --reason "Tagging"
    """
    with wiring.open_services(call.settings()) as suite:
        line = suite.services.create(organization, **what, by=_operator())
    _show_service(call, line, "Created")


@command(service, "list")
@_organization
@paged
def list_services(call: Call, organization: str, **page: Any) -> None:
    """List the AI services of an organization, oldest first.

    \b
    Examples:
      tokenwell service list acme
      tokenwell service list acme --all --json
    """
    table = Table(
        {
            "Id": lambda line: line.service.id,
            "Name": lambda line: line.service.name,
            "Status": lambda line: line.status.value.capitalize(),
            "Lane": lambda line: line.service.lane.value.replace("_", " "),
            "Created": lambda line: when(line.service.created_at),
        },
        view=_service_view,
    )
    with wiring.open_services(call.settings()) as suite:
        call.show_list(lambda **where: suite.services.list(organization, **where), table, **page)


@command(service, "disable")
@_organization
@_service
def disable_service(call: Call, organization: str, service_id: str) -> None:
    """Disable an AI service: requests with its keys are refused until it is enabled.

    \b
    Examples:
      tokenwell service disable acme svc_01kb5f0z8ge3ds4v8r1t9w2x6y
    """
    with wiring.open_services(call.settings()) as suite:
        line = suite.services.disable(organization, service_id, by=_operator())
    _show_service(call, line, "Disabled")


@command(service, "enable")
@_organization
@_service
def enable_service(call: Call, organization: str, service_id: str) -> None:
    """Enable an AI service that was disabled.

    \b
    Examples:
      tokenwell service enable acme svc_01kb5f0z8ge3ds4v8r1t9w2x6y
    """
    with wiring.open_services(call.settings()) as suite:
        line = suite.services.enable(organization, service_id, by=_operator())
    _show_service(call, line, "Enabled")


@root.group()
def key() -> None:
    """Gateway keys: what programs spend an organization's tokens with."""


@command(key, "create")
@_organization
@click.option("--name", required=True, help="What people tell it apart by.")
@click.option("--service", "service_id", metavar="SERVICE", help="The AI service it belongs to.")
@click.option("--expires", default="never", show_default=True, metavar="WHEN", help=_EXPIRES)
@click.option("--scope", "scopes", type=click.Choice([scope.value for scope in KeyScope]), multiple=True, help="Else all.")
@click.option("--model", "models", multiple=True, metavar="MODEL", help="A model it allows; gpt-5* allows all that begin so.")
@click.option("--requests-per-minute", type=click.IntRange(1), help="How often it may be used.")
@click.option("--tokens-per-day", metavar="AMOUNT", help="How much it may spend in a day.")
@click.option("--tokens-per-month", metavar="AMOUNT", help="How much it may spend in a month.")
@_key
def create_key(call: Call, organization: str, expires: str, scopes: tuple[str, ...], models: tuple[str, ...], **what: Any) -> None:
    """Issue a gateway key. Its secret is shown only here.

    \b
    Examples:
      tokenwell key create acme --name "Support agent"
      tokenwell key create acme --name "Trial" --expires 30d --json
      tokenwell key create acme --name "Tagging" --service svc_01kb5f0z8ge3ds4v8r1t9w2x6y --model "gpt-5*" --tokens-per-day 200k
    """
    expires_at = parse_expiry(expires, now=system_clock())
    with wiring.open_services(call.settings()) as suite:
        created = suite.keys.create(
            organization, expires_at=expires_at, scopes=scopes or None, models=models or None, **what, by=_operator()
        )
    _show_created(call, created)


@command(key, "list")
@_organization
@click.option("--service", "service_id", metavar="SERVICE", help="Only the keys of this AI service.")
@paged
def list_keys(call: Call, organization: str, service_id: str | None, **page: Any) -> None:
    """List an organization's gateway keys, newest first.

    \b
    Examples:
      tokenwell key list acme
      tokenwell key list acme --all --json
      tokenwell key list acme --service svc_01kb5f0z8ge3ds4v8r1t9w2x6y
    """
    table = Table(_KEY_COLUMNS | {"Service": lambda each: each.service.name if each.service else ""})
    with wiring.open_services(call.settings()) as suite:
        suite.meter.organization(organization)
        call.show_list(lambda **where: suite.keys.list(organization, service_id=service_id, **where), table, **page)


@command(key, "revoke")
@_organization
@click.argument("key_id", metavar="KEY")
def revoke_key(call: Call, organization: str, key_id: str) -> None:
    """Revoke a gateway key, named by its id.

    \b
    Examples:
      tokenwell key revoke acme key_01kb5f0z8ge3ds4v8r1t9w2x6y
    """
    with wiring.open_services(call.settings()) as suite:
        revoked = suite.keys.revoke(organization, key_id, by=_operator())
    call.show(revoked, f"Revoked key {revoked.id}: {revoked.name}")


@root.group("platform-key")
def platform_key() -> None:
    """Platform keys: what backends call the API with."""


@command(platform_key, "create")
@click.option("--name", required=True, help="What people tell it apart by.")
@click.option("--scope", "scopes", type=click.Choice([scope.value for scope in Scope]), multiple=True, required=True)
@click.option("--organization", "organization_id", metavar="ORGANIZATION", help="Only for this organization; else for every one.")
@click.option("--expires", default="never", show_default=True, metavar="WHEN", help=_EXPIRES)
@_key
def create_platform_key(call: Call, scopes: tuple[str, ...], expires: str, **what: Any) -> None:
    """Issue a platform key. Its secret is shown only here.

    \b
    Examples:
      tokenwell platform-key create --name "Billing" --scope packs:write --scope ledger:read
      tokenwell platform-key create --name "Acme's backend" --organization acme --scope usage:write --expires 1w --json
    """
    expires_at = parse_expiry(expires, now=system_clock())
    with wiring.open_services(call.settings()) as suite:
        created = suite.platform_keys.create(scopes=scopes, expires_at=expires_at, **what, by=_operator())
    _show_created(call, created)


@command(platform_key, "list")
@paged
def list_platform_keys(call: Call, **page: Any) -> None:
    """List the platform keys, newest first.

    \b
    Examples:
      tokenwell platform-key list
    """
    table = Table(
        _KEY_COLUMNS
        | {"Organization": lambda each: each.organization_id or "every one", "Scopes": lambda each: " ".join(each.scopes)}
    )
    with wiring.open_services(call.settings()) as suite:
        call.show_list(suite.platform_keys.list, table, **page)


@command(platform_key, "revoke")
@click.argument("key_id", metavar="KEY")
def revoke_platform_key(call: Call, key_id: str) -> None:
    """Revoke a platform key, named by its id.

    \b
    Examples:
      tokenwell platform-key revoke pkey_01kb5f0z8ge3ds4v8r1t9w2x6y
    """
    with wiring.open_services(call.settings()) as suite:
        revoked = suite.platform_keys.revoke(key_id, by=_operator())
    call.show(revoked, f"Revoked platform key {revoked.id}: {revoked.name}")


_KEY_COLUMNS = {
    "Id": lambda each: each.id,
    "Name": lambda each: each.name,
    "Begins with": lambda each: each.prefix,
    "Expires": lambda each: when(each.expires_at),
    "Last used": lambda each: when(each.last_used_at),
    "Revoked": lambda each: "" if each.revoked_at is None else when(each.revoked_at),
}


def _operator() -> Actor:
    """Return who acts on the command line: the user of this machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # no name is known for this user
        name = ""
    return Actor(kind=ActorKind.COMMAND_LINE, name=name)


def _show_service(call: Call, line: ServiceLine, done: str) -> None:
    replayed = " (done before with this key)" if line.replayed else ""
    text = f"{done} AI service {line.service.id}: {line.service.name}, {line.status.value.capitalize()}.{replayed}"
    call.show(_service_view(line), text)


def _service_view(line: ServiceLine) -> dict[str, Any]:
    return {**_fields(line.service), "status": line.status}


def _show_created(call: Call, created: CreatedKey | CreatedPlatformKey) -> None:
    key = created.key
    if created.replayed:
        text = f"Key {key.id} was created before with this idempotency key; its secret is not shown again."
    else:
        text = f"{created.secret}\n\nKey {key.id}, expires {when(key.expires_at)}. Keep it: it is not shown again."
    call.show({**_fields(key), "secret": created.secret or None, "replayed": created.replayed}, text)


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
