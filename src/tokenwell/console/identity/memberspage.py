"""Members: who belongs to an organization, who was asked in, and everybody there is."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, Shown, acting
from tokenwell.console.frame import check_platform, frame_of, organization_of, path_of, reads
from tokenwell.console.sheets import refused, sheet_of
from tokenwell.console.visits import Visit
from tokenwell.errors import Conflict, RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.identity.invitations import PLATFORM_ADMIN
from tokenwell.service.identity.people import Role

MEMBERS_A_PAGE = 50


def read_members(visit: Visit) -> dict[str, Any]:
    """Return an organization's members and the invitations that still open."""
    organization = organization_of(visit, Scope.MEMBERS_READ)
    suite = visit.console.suite
    page = suite.members.list(organization.id, cursor=visit.request.query_params.get("after"), limit=MEMBERS_A_PAGE)
    return frame_of(visit, organization) | {
        "members": page.items,
        "cursor": page.next_cursor,
        "invitations": suite.invitations.list(organization.id, limit=MEMBERS_A_PAGE).items,
        "path": path_of(organization.id, "members"),
        "may_write": visit.may(Scope.MEMBERS_WRITE, organization.id),
    }


def read_people(visit: Visit) -> dict[str, Any]:
    """Return everybody who can sign in, or could."""
    frame = frame_of(visit, None)
    suite, query = visit.console.suite, visit.request.query_params
    search = query.get("find", "").strip()[:100]
    page = suite.members.accounts(search=search, cursor=query.get("after"), limit=MEMBERS_A_PAGE)

    def link(after: str | None = None) -> str:
        kept = {name: value for name, value in (("find", search), ("after", after)) if value}
        return f"/admin/members?{urlencode(kept)}" if kept else "/admin/members"

    return frame | {
        "accounts": page.items,
        "cursor": page.next_cursor,
        "is_first_page": "after" not in query,
        "invitations": suite.invitations.list(None, limit=MEMBERS_A_PAGE).items,
        "search": search,
        "link": link,
    }


def invite(visit: Visit, sent: Sent) -> dict[str, Any] | Done | Shown:
    """Ask somebody in: to an organization, or to administer the platform."""
    if "organization" in visit.request.path_params:
        organization = organization_of(visit, Scope.MEMBERS_WRITE)
        back, role = path_of(organization.id, "members"), sent.text("role", Role.VIEWER.value)
    else:
        check_platform(visit)
        organization, back, role = None, "/admin/members", PLATFORM_ADMIN
    if sent.is_final:
        try:
            invited = visit.console.suite.invitations.invite(
                organization.id if organization else None,
                email=sent.text("email"),
                role=role,
                address_of=lambda token: f"{visit.console.settings.address}/invitation?{urlencode({'token': token})}",
                language=visit.language,
                key=sent.key,
                by=visit.principal.actor,
            )
        except (Conflict, RequestInvalid) as error:
            refused(sent, error)
        else:
            if invited.address:
                return Shown(context=sheet_of(visit, sent, organization, "link", back, address=invited.address, about="invitation"))
            return Done(path=back, said="invited", about=invited.invitation.email)
    return sheet_of(visit, sent, organization, "invite", back)


def cancel(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Close an invitation."""
    if "organization" in visit.request.path_params:
        organization = organization_of(visit, Scope.MEMBERS_WRITE)
        back = path_of(organization.id, "members")
    else:
        check_platform(visit)
        organization, back = None, "/admin/members"
    home, invitations = organization.id if organization else None, visit.console.suite.invitations
    invitation = invitations.get(home, visit.request.path_params["invitation"])
    if sent.is_final:
        invitations.cancel(home, invitation.id, by=visit.principal.actor)
        return Done(path=back, said="invitation_cancelled")
    return sheet_of(visit, sent, organization, "invitation_cancel", back, invitation=invitation)


def change_role(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Give a member another role."""
    organization = organization_of(visit, Scope.MEMBERS_WRITE)
    back, members = path_of(organization.id, "members"), visit.console.suite.members
    member = members.get(organization.id, visit.request.path_params["person"])
    if sent.is_final:
        try:
            members.set_role(organization.id, member.person.id, sent.text("role"), by=visit.principal.actor)
            return Done(path=back, said="role_changed", about=member.person.name or member.person.email)
        except (Conflict, RequestInvalid) as error:
            refused(sent, error)
    if "role" not in sent.fields:
        sent = Sent(fields={"role": member.role.value}, is_final=False, problems={})
    return sheet_of(visit, sent, organization, "role", back, member=member)


def remove(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """End a membership."""
    organization = organization_of(visit, Scope.MEMBERS_WRITE)
    back, members = path_of(organization.id, "members"), visit.console.suite.members
    member = members.get(organization.id, visit.request.path_params["person"])
    if sent.is_final:
        try:
            members.remove(organization.id, member.person.id, by=visit.principal.actor)
            return Done(path=back, said="member_removed", about=member.person.name or member.person.email)
        except Conflict as error:
            refused(sent, error)
    return sheet_of(visit, sent, organization, "member_remove", back, member=member)


PERSON_ACTS = ("admin", "not_admin", "bar", "let_in", "reset", "clear_factor")
"""What a platform administrator may do with a person."""


def act_on_person(visit: Visit, sent: Sent) -> dict[str, Any] | Done | Shown:
    """Change what a person may do, or give them a way in again."""
    check_platform(visit)
    suite, act, back = visit.console.suite, visit.request.path_params["act"], "/admin/members"
    if act not in PERSON_ACTS:
        raise HTTPException(404)
    person = suite.people.get(visit.request.path_params["person"])
    if sent.is_final:
        try:
            address = _carry_out(visit, person.id, act)
        except Conflict as error:
            refused(sent, error)
        else:
            if address:
                return Shown(context=sheet_of(visit, sent, None, "link", back, address=address, about="reset"))
            return Done(path=back, said="person_changed", about=person.name or person.email)
    return sheet_of(visit, sent, None, "person", back, about=person, act=act)


def _carry_out(visit: Visit, person_id: str, act: str) -> str:
    suite, by = visit.console.suite, visit.principal.actor
    if act in ("admin", "not_admin"):
        suite.members.set_platform_admin(person_id, is_admin=act == "admin", by=by)
    elif act in ("bar", "let_in"):
        suite.members.set_enabled(person_id, is_enabled=act == "let_in", by=by)
    elif act == "clear_factor":
        suite.second_factors.clear(person_id, by=by)
    else:
        base = visit.console.settings.address
        return suite.resets.link_for(person_id, address_of=lambda token: f"{base}/reset?{urlencode({'token': token})}", by=by)
    return ""


ROUTES = [
    Route("/o/{organization}/members", reads("members", read_members)),
    *acting("/o/{organization}/members/invite", "sheet", invite),
    *acting("/o/{organization}/invitations/{invitation}/cancel", "sheet", cancel),
    *acting("/o/{organization}/members/{person}/role", "sheet", change_role),
    *acting("/o/{organization}/members/{person}/remove", "sheet", remove),
    Route("/admin/members", reads("people", read_people)),
    *acting("/admin/members/invite", "sheet", invite),
    *acting("/admin/invitations/{invitation}/cancel", "sheet", cancel),
    *acting("/admin/members/{person}/{act}", "sheet", act_on_person),
]
