"""Who may do what: every operation × every kind of key × the own and another organization, on both databases.

The rows are the law; the operations come from the routes themselves. A new operation without a row fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from datetime import timedelta

import httpx2
import pytest
from starlette.routing import Route

from tests.api.platform import OTHER, OWN, Platform
from tests.api.requests import DOCUMENT, Operation, operations
from tests.databases import fresh_postgres, sqlite_url_in
from tests.doubles import FrozenClock
from tokenwell.api.app import ROUTERS, build
from tokenwell.config import Settings
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.access.keys import KeyScope
from tokenwell.service.access.scopes import MEMBER_SCOPES, Scope
from tokenwell.service.notices.subscriptions import ChannelKind

# What a platform key needs, and whether an organization's gateway key may do it in its own organization.
ROWS: dict[str, tuple[Scope, bool]] = {
    "create_organization": (Scope.ORGANIZATIONS_WRITE, False),
    "list_organizations": (Scope.ORGANIZATIONS_READ, True),
    "get_organization": (Scope.ORGANIZATIONS_READ, True),
    "set_thresholds": (Scope.ORGANIZATIONS_WRITE, False),
    "clear_thresholds": (Scope.ORGANIZATIONS_WRITE, False),
    "get_policy": (Scope.ORGANIZATIONS_READ, True),
    "set_policy": (Scope.ORGANIZATIONS_WRITE, False),
    "balance": (Scope.PACKS_READ, True),
    "grant_pack": (Scope.PACKS_WRITE, False),
    "list_packs": (Scope.PACKS_READ, True),
    "get_pack": (Scope.PACKS_READ, True),
    "revoke_pack": (Scope.PACKS_WRITE, False),
    "extend_pack": (Scope.PACKS_WRITE, False),
    "set_pack_note": (Scope.PACKS_WRITE, False),
    "open_hold": (Scope.USAGE_WRITE, True),
    "extend_hold": (Scope.USAGE_WRITE, True),
    "settle_hold": (Scope.USAGE_WRITE, True),
    "release_hold": (Scope.USAGE_WRITE, True),
    "debit": (Scope.USAGE_WRITE, True),
    "debit_batch": (Scope.USAGE_WRITE, True),
    "refund": (Scope.PACKS_WRITE, False),
    "ledger": (Scope.LEDGER_READ, True),
    "ledger_sums": (Scope.LEDGER_READ, True),
    "list_sessions": (Scope.LEDGER_READ, True),
    "get_session": (Scope.LEDGER_READ, True),
    "usage": (Scope.LEDGER_READ, True),
    "journal": (Scope.LEDGER_READ, True),
    "verify": (Scope.LEDGER_READ, True),
    "list_rates": (Scope.RATES_READ, True),
    "set_rate": (Scope.RATES_WRITE, False),
    "create_service": (Scope.SERVICES_WRITE, False),
    "list_services": (Scope.SERVICES_READ, False),
    "get_service": (Scope.SERVICES_READ, False),
    "change_service": (Scope.SERVICES_WRITE, False),
    "disable_service": (Scope.SERVICES_WRITE, False),
    "enable_service": (Scope.SERVICES_WRITE, False),
    "create_key": (Scope.SERVICES_WRITE, False),
    "list_keys": (Scope.SERVICES_READ, False),
    "get_key": (Scope.SERVICES_READ, False),
    "change_key": (Scope.SERVICES_WRITE, False),
    "revoke_key": (Scope.SERVICES_WRITE, False),
    "create_platform_key": (Scope.PLATFORM_WRITE, False),
    "list_platform_keys": (Scope.PLATFORM_WRITE, False),
    "revoke_platform_key": (Scope.PLATFORM_WRITE, False),
    "list_members": (Scope.MEMBERS_READ, False),
    "set_member_role": (Scope.MEMBERS_WRITE, False),
    "remove_member": (Scope.MEMBERS_WRITE, False),
    "invite": (Scope.MEMBERS_WRITE, False),
    "list_invitations": (Scope.MEMBERS_READ, False),
    "resend_invitation": (Scope.MEMBERS_WRITE, False),
    "withdraw_invitation": (Scope.MEMBERS_WRITE, False),
    "create_embedding_link": (Scope.PACKS_WRITE, False),
    "get_embedding_origins": (Scope.PACKS_READ, True),
    "set_embedding_origins": (Scope.PACKS_WRITE, False),
    "list_events": (Scope.ALERTS_READ, False),
    "add_channel": (Scope.ALERTS_WRITE, False),
    "list_channels": (Scope.ALERTS_READ, False),
    "get_channel": (Scope.ALERTS_READ, False),
    "set_subscription": (Scope.ALERTS_WRITE, False),
    "rotate_channel": (Scope.ALERTS_WRITE, False),
    "test_channel": (Scope.ALERTS_WRITE, False),
    "disable_channel": (Scope.ALERTS_WRITE, False),
    "enable_channel": (Scope.ALERTS_WRITE, False),
    "remove_channel": (Scope.ALERTS_WRITE, False),
    "list_deliveries": (Scope.ALERTS_READ, False),
    "get_delivery": (Scope.ALERTS_READ, False),
    "replay_delivery": (Scope.ALERTS_WRITE, False),
    "get_member_subscription": (Scope.ALERTS_READ, False),
    "set_member_subscription": (Scope.ALERTS_WRITE, False),
    "list_acts": (Scope.AUDIT_READ, False),
    "list_all_acts": (Scope.AUDIT_READ, False),
    "forecast": (Scope.PACKS_READ, True),
    "request_topup": (Scope.TOPUPS_WRITE, False),
    "list_topups": (Scope.TOPUPS_READ, False),
    "list_all_topups": (Scope.TOPUPS_READ, False),
    "get_topup": (Scope.TOPUPS_READ, False),
    "approve_topup": (Scope.TOPUPS_DECIDE, False),
    "decline_topup": (Scope.TOPUPS_DECIDE, False),
    "cancel_topup": (Scope.TOPUPS_WRITE, False),
    "take_emergency_tokens": (Scope.TOPUPS_WRITE, False),
    "create_schedule": (Scope.PACKS_WRITE, False),
    "list_schedules": (Scope.PACKS_READ, True),
    "list_all_schedules": (Scope.PACKS_READ, False),
    "get_schedule": (Scope.PACKS_READ, True),
    "update_schedule": (Scope.PACKS_WRITE, False),
    "pause_schedule": (Scope.PACKS_WRITE, False),
    "resume_schedule": (Scope.PACKS_WRITE, False),
    "end_schedule": (Scope.PACKS_WRITE, False),
    "create_codes": (Scope.PACKS_WRITE, False),
    "list_code_batches": (Scope.PACKS_READ, False),
    "get_code_batch": (Scope.PACKS_READ, False),
    "revoke_code_batch": (Scope.PACKS_WRITE, False),
    "redeem_code": (Scope.TOPUPS_WRITE, False),
    "open_dispute": (Scope.DISPUTES_WRITE, False),
    "list_disputes": (Scope.LEDGER_READ, True),
    "list_all_disputes": (Scope.LEDGER_READ, False),
    "get_dispute": (Scope.LEDGER_READ, True),
    "answer_dispute": (Scope.PACKS_WRITE, False),
    "refund_dispute": (Scope.PACKS_WRITE, False),
    "create_offer": (Scope.PACKS_WRITE, False),
    "list_offers": (Scope.PACKS_READ, True),
    "get_offer": (Scope.PACKS_READ, True),
    "withdraw_offer": (Scope.PACKS_WRITE, False),
    "start_purchase": (Scope.TOPUPS_WRITE, False),
    "list_purchases": (Scope.TOPUPS_READ, False),
    "list_all_purchases": (Scope.TOPUPS_READ, False),
    "get_purchase": (Scope.TOPUPS_READ, False),
    "create_reconciliation": (Scope.PLATFORM_WRITE, False),
    "list_reconciliations": (Scope.PLATFORM_WRITE, False),
    "get_reconciliation": (Scope.PLATFORM_WRITE, False),
}

ANYWHERE = {"list_organizations", "list_rates", "list_offers", "get_offer"}
"""Operations that name no organization and need their scope in any."""

OPERATIONS = operations()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform a database for the whole table: access is decided before anything is changed."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = sqlite_url_in(tmp_path_factory.mktemp("table"))
        else:
            url = stack.enter_context(fresh_postgres(request.getfixturevalue("postgres_server_url")))
        yield stack.enter_context(closing(Platform(url, FrozenClock())))


@pytest.fixture
async def clients(platform: Platform) -> AsyncIterator[dict[str, httpx2.AsyncClient]]:
    """A client for every kind of caller that is the same for each operation."""
    async with AsyncExitStack() as stack:
        callers = {"platform": "platform", "own": OWN, "other": OTHER}
        clients = {
            name: await stack.enter_async_context(platform.client(platform.secrets[which])) for name, which in callers.items()
        }
        clients["nobody"] = await stack.enter_async_context(platform.client())
        del clients["nobody"].headers["authorization"]
        yield clients


@pytest.fixture(scope="module")
def ended(platform: Platform) -> list[str]:
    """Secrets that open nothing: a platform key and a gateway key that were revoked, one that expired, others that never were,
    and the session of a person who is signed in to the console."""
    suite, clock = platform.suite, platform.clock
    revoked = suite.platform_keys.create(name="Revoked", scopes=list(Scope))
    suite.platform_keys.revoke(revoked.key.id)
    gateway = suite.keys.create(OWN, name="Revoked")
    suite.keys.revoke(OWN, gateway.key.id)
    expired = suite.platform_keys.create(name="Expired", scopes=list(Scope), expires_at=clock.now + timedelta(seconds=1))
    clock.advance(timedelta(seconds=1))
    suite.people.create_admin(email="ada@example.com", password="correct horse battery")
    session = suite.people.sign_in("ada@example.com", "correct horse battery", source="192.0.2.1")
    never = [f"{prefix}{'0' * 40}" for prefix in ("tw_plat_", "tw_live_", "sk-")]
    return [revoked.secret, gateway.secret, expired.secret, session.token, *never]


def refusal(answer: httpx2.Response) -> str:
    """Return how somebody was refused, or `let in`: what then became of the request is for other tests."""
    code = answer.json().get("code") if answer.headers["content-type"] == "application/problem+json" else None
    return code if code in ("credentials_invalid", "scope_missing", "organization_not_found") else "let in"


def test_every_operation_has_a_row_and_every_route_is_an_operation() -> None:
    assert {operation.id for operation in OPERATIONS} == set(ROWS)
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    parts = [route for router in ROUTERS for route in router.routes]
    parts += [route for route in build(None, Settings()).routes if isinstance(route, Route)]
    routes = {
        (route.path.replace(":path}", "}"), method)
        for route in parts
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD" and route.path != "/v1/openapi.json"
    }
    assert routes == described


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_who_may(platform: Platform, clients: dict[str, httpx2.AsyncClient], operation: Operation) -> None:
    scope, is_for_gateway_keys = ROWS[operation.id]
    assert operation.scope == scope.value
    assert (answer := await operation.ask(clients["nobody"], OWN)).status_code == 401, answer.text
    assert refusal(await operation.ask(clients["platform"], OWN)) == "let in"
    answer = await operation.ask(clients["own"], OWN)
    assert refusal(answer) == ("let in" if is_for_gateway_keys else "scope_missing")
    assert answer.status_code == 403 or is_for_gateway_keys
    async with platform.client(platform.issue(set(Scope) - {scope})) as lacking:
        answer = await operation.ask(lacking, OWN)
        assert (answer.status_code, refusal(answer)) == (403, "scope_missing")
    async with platform.client(platform.issue([scope], OWN)) as only_own:
        if not operation.is_of_organization:
            assert refusal(await operation.ask(only_own, OWN)) == ("let in" if is_for_gateway_keys else "scope_missing")
            return
        assert refusal(await operation.ask(only_own, OWN)) == "let in"
        for stranger in (only_own, clients["own"]):
            answer = await operation.ask(stranger, OTHER)
            assert (answer.status_code, refusal(answer)) == (404, "organization_not_found")
    answer = await operation.ask(clients["other"], OWN)
    assert (answer.status_code, refusal(answer)) == (404, "organization_not_found")
    assert answer.json()["details"] == (await operation.ask(clients["other"], "nowhere")).json()["details"] | {
        "organization_id": OWN
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_what_a_role_may_a_key_with_its_scopes_may(platform: Platform, operation: Operation) -> None:
    """The scopes of members, in a key of their organization: what they do not have is refused, and nothing is found elsewhere."""
    scope, _ = ROWS[operation.id]
    for scopes in MEMBER_SCOPES.values():
        async with platform.client(platform.issue(scopes, OWN)) as member:
            answer = await operation.ask(member, OWN)
            is_in_reach = operation.is_of_organization or operation.id in ANYWHERE
            assert refusal(answer) == ("let in" if scope in scopes and is_in_reach else "scope_missing")
            if operation.is_of_organization:
                answer = await operation.ask(member, OTHER)
                assert (answer.status_code, refusal(answer)) == (404, "organization_not_found")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_a_gateway_key_may_no_more_than_its_scopes(platform: Platform, operation: Operation) -> None:
    scope, is_for_gateway_keys = ROWS[operation.id]
    secret = platform.suite.keys.create(OWN, name="Lists models only", scopes=[KeyScope.MODELS]).secret
    async with platform.client(secret) as limited:
        is_allowed = is_for_gateway_keys and scope is not Scope.USAGE_WRITE
        assert refusal(await operation.ask(limited, OWN)) == ("let in" if is_allowed else "scope_missing")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_a_key_that_is_no_more_is_nobody(platform: Platform, ended: list[str], operation: Operation) -> None:
    before = platform.meter.balance(OWN)
    for secret in ended:
        async with platform.client(secret) as client:
            answer = await operation.ask(client, OWN)
            assert (answer.status_code, answer.json()["code"]) in ((401, "credentials_invalid"), (401, "key_revoked"))
    assert platform.meter.balance(OWN) == before


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.is_of_organization], ids=lambda each: each.id)
async def test_who_may_not_learns_nothing_from_a_broken_body(platform: Platform, operation: Operation) -> None:
    """Access is decided before a body is read: what is sent makes no difference."""
    async with platform.client(platform.secrets[OTHER]) as other:
        headers = {"content-type": "application/json"}
        path = operation.path.replace("{organization_id}", OWN)
        answer = await other.request(operation.method, path, content=b"{broken", headers=headers, params={"unknown": "1"})
        assert (answer.status_code, refusal(answer)) == (404, "organization_not_found")


async def test_a_things_id_of_another_organization_is_not_there(platform: Platform) -> None:
    """Knowing an id is not enough: packs, holds, requests and sessions belong to their organization."""
    pack = platform.meter.packs(OTHER).items[0].pack.id
    hold = platform.meter.open_hold(OTHER, 5).hold.id
    platform.meter.debit(OTHER, 5, session="theirs", key="theirs")
    service = platform.suite.services.create(OTHER, name="Theirs").service.id
    theirs = platform.suite.keys.authenticate(platform.secrets[OTHER]).id
    topup = platform.suite.topups.ask(OTHER, 5, by=SYSTEM).id
    channel = platform.suite.subscriptions.add_channel(OTHER, kind=ChannelKind.EMAIL, target="ops@globex.example").channel.id
    sent = platform.suite.subscriptions.test(OTHER, channel).id
    ids = {"pack": pack, "hold_id": hold, "session": "theirs", "service_id": service, "key_id": theirs, "topup_id": topup}
    ids |= {"channel_id": channel, "delivery_id": sent}
    before = platform.meter.balance(OTHER)
    async with platform.client(platform.issue(Scope, OWN)) as own:
        for operation in OPERATIONS:
            named = set(ids) & {part.strip("{}") for part in operation.path.split("/")}
            if named and operation.is_of_organization:
                answer = await operation.ask(own, OWN, **ids)
                assert answer.status_code == 404, (operation.id, answer.text)
        refund = next(each for each in OPERATIONS if each.id == "refund")
        answer = await own.post(
            refund.path.format(organization_id=OWN), json={"request_id": "theirs"}, headers={"idempotency-key": "x"}
        )
        assert answer.json()["code"] == "request_not_found"
    assert platform.meter.balance(OTHER) == before
    assert platform.suite.subscriptions.channel(OTHER, channel).disabled_at is None
