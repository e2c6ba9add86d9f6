"""Who may do what in the console: every route × every role × the own and another organization, on both databases.

The rows are the law; a route without a row fails (`tests/house/test_access_tables.py`). What an act is called in an address
(`{act}`) is walked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing

import msgspec
import pytest

from tests.console.world import (
    ADMIN,
    BARRED,
    BOTH,
    LONELY,
    MEMBER,
    NOBODY,
    NOWHERE,
    OTHER,
    OWN,
    ROLES,
    STRANGER,
    VIEWER,
    World,
)
from tests.databases import fresh_postgres, sqlite_url_in
from tests.doubles import FrozenClock
from tokenwell.console.identity.memberspage import PERSON_ACTS
from tokenwell.service.access.scopes import MEMBER_SCOPES, Role, Scope

OPEN, SIGNED_IN, PLATFORM = "open", "signed in", "platform"
"""Needs beside scopes: nothing but perhaps what the address or the form carries; a session; to administer the platform."""

_O = "/o/{organization}"
ROWS: dict[str, str] = {
    "/": SIGNED_IN,
    "/sign-in": OPEN,
    "/sign-in/code": OPEN,
    "/sign-in/sso": OPEN,
    "/sign-in/sso/return": OPEN,
    "/sign-out": OPEN,
    "/language": OPEN,
    "/invitation": OPEN,
    "/forgot": OPEN,
    "/reset": OPEN,
    "/set-up": OPEN,
    "/unsubscribe": OPEN,
    "/topup": OPEN,
    "/embed/{token}": OPEN,
    "/profile": SIGNED_IN,
    "/profile/password": SIGNED_IN,
    "/profile/second-factor": SIGNED_IN,
    "/profile/second-factor/remove": SIGNED_IN,
    _O: Scope.PACKS_READ,
    f"{_O}/top": Scope.PACKS_READ,
    f"{_O}/request": Scope.LEDGER_READ,
    f"{_O}/grant": Scope.PACKS_WRITE,
    f"{_O}/packs/{{pack}}": Scope.PACKS_READ,
    f"{_O}/packs/{{pack}}/note": Scope.PACKS_WRITE,
    f"{_O}/packs/{{pack}}/revoke": Scope.PACKS_WRITE,
    f"{_O}/packs/{{pack}}/extend": Scope.PACKS_WRITE,
    f"{_O}/refund": Scope.PACKS_WRITE,
    f"{_O}/thresholds": Scope.ORGANIZATIONS_WRITE,
    f"{_O}/policy": Scope.ORGANIZATIONS_WRITE,
    f"{_O}/proof": Scope.LEDGER_READ,
    f"{_O}/ledger": Scope.LEDGER_READ,
    f"{_O}/ledger.csv": Scope.LEDGER_READ,
    f"{_O}/ledger/values": Scope.LEDGER_READ,
    f"{_O}/usage": Scope.LEDGER_READ,
    f"{_O}/sessions": Scope.LEDGER_READ,
    f"{_O}/sessions/{{session:path}}": Scope.LEDGER_READ,
    f"{_O}/live": Scope.LEDGER_READ,
    f"{_O}/embedding": Scope.PACKS_WRITE,
    f"{_O}/topup": Scope.TOPUPS_WRITE,
    f"{_O}/redeem": Scope.TOPUPS_WRITE,
    f"{_O}/buy": Scope.TOPUPS_WRITE,
    f"{_O}/purchases": Scope.TOPUPS_READ,
    f"{_O}/purchases/{{purchase}}": Scope.TOPUPS_READ,
    f"{_O}/requests/{{topup}}/cancel": Scope.TOPUPS_WRITE,
    f"{_O}/requests/{{topup}}/approve": Scope.TOPUPS_DECIDE,
    f"{_O}/requests/{{topup}}/decline": Scope.TOPUPS_DECIDE,
    f"{_O}/emergency": Scope.TOPUPS_WRITE,
    f"{_O}/schedules/{{schedule}}/change": Scope.PACKS_WRITE,
    f"{_O}/schedules/{{schedule}}/{{act}}": Scope.PACKS_WRITE,
    f"{_O}/disputes": Scope.LEDGER_READ,
    f"{_O}/dispute": Scope.DISPUTES_WRITE,
    f"{_O}/disputes/{{dispute}}/refund": Scope.PACKS_WRITE,
    f"{_O}/disputes/{{dispute}}/answer": Scope.PACKS_WRITE,
    f"{_O}/alerts": Scope.ALERTS_READ,
    f"{_O}/bell": Scope.ALERTS_READ,
    f"{_O}/alerts/{{channel}}": Scope.ALERTS_WRITE,
    f"{_O}/services": Scope.SERVICES_READ,
    f"{_O}/services/new": Scope.SERVICES_WRITE,
    f"{_O}/services/{{service}}/edit": Scope.SERVICES_WRITE,
    f"{_O}/services/{{service}}/{{act}}": Scope.SERVICES_WRITE,
    f"{_O}/keys/new": Scope.SERVICES_WRITE,
    f"{_O}/keys/{{key}}/edit": Scope.SERVICES_WRITE,
    f"{_O}/keys/{{key}}/revoke": Scope.SERVICES_WRITE,
    f"{_O}/members": Scope.MEMBERS_READ,
    f"{_O}/members/invite": Scope.MEMBERS_WRITE,
    f"{_O}/members/{{person}}/role": Scope.MEMBERS_WRITE,
    f"{_O}/members/{{person}}/remove": Scope.MEMBERS_WRITE,
    f"{_O}/invitations/{{invitation}}/cancel": Scope.MEMBERS_WRITE,
    f"{_O}/audit": Scope.AUDIT_READ,
    f"{_O}/audit/export": Scope.AUDIT_READ,
    "/admin": PLATFORM,
    "/admin/grants": PLATFORM,
    "/admin/grants/schedule": PLATFORM,
    "/admin/codes": PLATFORM,
    "/admin/codes/new": PLATFORM,
    "/admin/codes/{batch}": PLATFORM,
    "/admin/codes/{batch}/revoke": PLATFORM,
    "/admin/disputes": PLATFORM,
    "/admin/reconciliation": PLATFORM,
    "/admin/reconciliation/{reconciliation}": PLATFORM,
    "/admin/reconciliation/{reconciliation}/lines.csv": PLATFORM,
    "/admin/usage": PLATFORM,
    "/admin/rates": PLATFORM,
    "/admin/rates/set": PLATFORM,
    "/admin/settings": PLATFORM,
    "/admin/requests": PLATFORM,
    "/admin/purchases": PLATFORM,
    "/admin/offers": PLATFORM,
    "/admin/offers/new": PLATFORM,
    "/admin/offers/{offer}/withdraw": PLATFORM,
    "/admin/members": PLATFORM,
    "/admin/members/invite": PLATFORM,
    "/admin/members/{person}/{act}": PLATFORM,
    "/admin/invitations/{invitation}/cancel": PLATFORM,
    "/admin/alerts": PLATFORM,
    "/admin/alerts/{channel}": PLATFORM,
    "/admin/bell": PLATFORM,
    "/admin/live": PLATFORM,
    "/admin/audit": PLATFORM,
    "/admin/audit/export": PLATFORM,
}

ACTS = {
    f"{_O}/services/{{service}}/{{act}}": ("disable", "enable"),
    f"{_O}/schedules/{{schedule}}/{{act}}": ("pause", "resume", "end"),
    "/admin/members/{person}/{act}": PERSON_ACTS,
}
"""What `{act}` may be."""

SCOPES = {MEMBER: MEMBER_SCOPES[Role.ORGANIZATION_ADMIN], VIEWER: MEMBER_SCOPES[Role.VIEWER], BOTH: MEMBER_SCOPES[Role.VIEWER]}
"""What the members of the own organization may do in it."""

SIGNED_BY_ITS_ADDRESS = {"/unsubscribe"}
"""Forms that need no token of ours: their address is signed, and mail programs send them (RFC 8058)."""


class Case(msgspec.Struct, frozen=True):
    """One address of the table, asked with one method."""

    method: str
    path: str
    act: str = ""

    @property
    def need(self) -> str:
        """What its row says."""
        return ROWS[self.path]

    def address(self, world: World, organization_id: str, **names: str) -> str:
        """Return the address, about an organization."""
        return world.address(self.path, organization_id, act=self.act, token="nothing", **names)


CASES = [
    Case(method, path, act)
    for path in ROWS
    for act in ACTS.get(path, ("",))
    for method in ("GET", "POST")
]  # fmt: skip
IN_ORGANIZATION = [case for case in CASES if case.path.startswith(_O)]
FORM = {"preview": "1", "do": "nothing"}
"""What is sent where it is let in: a form that is only looked at, or that asks for nothing there is."""


def name_of(case: Case) -> str:
    return f"{case.method} {case.path.replace('{act}', case.act)}"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world a database for the whole table: it is asked without changing it, which is looked at in the end, too."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = sqlite_url_in(tmp_path_factory.mktemp("table"))
        else:
            url = stack.enter_context(fresh_postgres(request.getfixturevalue("postgres_server_url")))
        world = stack.enter_context(closing(World(url, FrozenClock())))
        before = world.contents()
        yield world
        assert world.contents() == before


def methods_of(world: World, path: str) -> set[str]:
    return {method for route in world.routes if route.path == path for method in route.methods or () if method != "HEAD"}


def expected(need: str, role: str) -> str:
    """Return how somebody is answered in the own organization, or on the platform."""
    if role in (NOBODY, BARRED):
        return "sign in"
    if need == SIGNED_IN or role == ADMIN:
        return "let in"
    if need == PLATFORM or role not in SCOPES:
        return "not found"
    return "let in" if Scope(need) in SCOPES[role] else "forbidden"


@pytest.mark.parametrize("case", [each for each in CASES if each.need != OPEN], ids=name_of)
async def test_who_may(world: World, case: Case) -> None:
    if case.method not in methods_of(world, case.path):
        assert (await world.ask(ADMIN, case.method, case.address(world, OWN))).status == 405
        return
    of_the_platform = {name: world.things[OWN][f"platform_{name}"] for name in ("invitation", "channel")}
    names = of_the_platform if case.need == PLATFORM else {}
    address, before = case.address(world, OWN, **names), world.counts()
    wanted = {role: expected(case.need, role) for role in ROLES}
    refused = [role for role in ROLES if wanted[role] != "let in"]
    # Those who may not send the form as it is meant; the others only look at what it would do.
    told = {role: (await world.ask(role, case.method, address)).outcome for role in refused}
    told |= {role: (await world.ask(role, case.method, address, FORM)).outcome for role in ROLES if role not in refused}
    assert told == wanted
    assert world.counts() == before


@pytest.mark.parametrize("case", IN_ORGANIZATION, ids=name_of)
async def test_another_organization_is_not_there(world: World, case: Case) -> None:
    if case.method not in methods_of(world, case.path):
        return
    before = world.counts()
    address, nowhere = case.address(world, OTHER), case.address(world, NOWHERE)
    theirs = {role: await world.ask(role, case.method, address) for role in (MEMBER, VIEWER, LONELY, NOBODY)}
    no_ones = {role: await world.ask(role, case.method, nowhere) for role in (ADMIN, MEMBER)}
    told = {role: answer.outcome for role, answer in theirs.items()}
    assert told == {MEMBER: "not found", VIEWER: "not found", LONELY: "not found", NOBODY: "sign in"}
    assert {answer.outcome for answer in no_ones.values()} == {"not found"}
    assert plain(theirs[MEMBER].body, OTHER) == plain(no_ones[MEMBER].body, NOWHERE)
    assert world.counts() == before


def plain(body: bytes, organization_id: str) -> str:
    """Return a page without what differs between any two: the organization's id and the masks of its forms."""
    return re.sub(r'value="[\w=-]{80,}"', "", body.decode().replace(organization_id, "-"))


@pytest.mark.parametrize("case", [each for each in IN_ORGANIZATION if each.path.count("{") > 1], ids=name_of)
async def test_a_things_id_of_another_organization_is_not_there(world: World, case: Case) -> None:
    """Knowing an id is not enough, even for an administrator of both: things belong to the organization of the address."""
    if case.method not in methods_of(world, case.path):
        return
    theirs = {name: thing for name, thing in world.things[OTHER].items() if f"{{{name}" in case.path}
    before = world.counts()
    assert theirs
    for role in (ADMIN, MEMBER):
        answer = await world.ask(role, case.method, case.address(world, OWN, **theirs))
        assert answer.status in ((404,) if expected(case.need, role) == "let in" else (403,)), role
    assert world.counts() == before


@pytest.mark.parametrize("case", [each for each in CASES if each.method == "POST"], ids=name_of)
async def test_a_form_that_is_none_of_ours_is_refused(world: World, case: Case) -> None:
    if "POST" not in methods_of(world, case.path):
        return
    before = world.counts()
    answer = await world.ask(ADMIN, "POST", case.address(world, OWN), has_token=False)
    assert (answer.status == 403) == (case.path not in SIGNED_BY_ITS_ADDRESS)
    assert world.counts() == before


@pytest.mark.parametrize("case", [each for each in CASES if each.need == OPEN and each.method == "GET"], ids=name_of)
async def test_what_is_open_tells_everybody_the_same(world: World, case: Case) -> None:
    if "GET" not in methods_of(world, case.path):
        return
    told = {role: (await world.ask(role, "GET", case.address(world, OWN))).outcome for role in (NOBODY, STRANGER, ADMIN)}
    assert len(set(told.values())) == 1, told


async def test_a_part_of_a_page_sends_who_is_signed_out_to_sign_in(world: World) -> None:
    answer = await world.ask(NOBODY, "GET", f"/o/{OWN}/top", part=True)
    assert (answer.status, answer.headers["hx-redirect"]) == (401, f"/sign-in?next=%2Fo%2F{OWN}%2Ftop")
