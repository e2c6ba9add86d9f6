"""Invitations: how somebody becomes a member of an organization."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Path
from starlette.responses import Response

from tokenwell.api.operations import Call, CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import bodies, managed
from tokenwell.client.shapes import Page
from tokenwell.service.access.scopes import Scope
from tokenwell.service.identity.invitations import Address, Invitation, Invited

router = Operations(prefix="/v1/organizations/{organization_id}/invitations", tags=["Members"])

InvitationId = Annotated[str, Path(description="The invitation's id.")]
_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "invitation_id": "$response.body#/invitation/id"}


@router.post(
    "",
    **writes(
        Scope.MEMBERS_WRITE, "Invite a member", body=bodies.NewInvitation, answer=managed.Invited, status=201,
        example={"email": "mei@acme.example", "role": "viewer"},
        links={each: {"operationId": each, "parameters": _OF_THE_NEW} for each in ("resend_invitation", "withdraw_invitation")},
    ),
)  # fmt: skip
def invite(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Ask somebody in by a link that opens once, within seven days. It is sent to them; where no letter can be sent it is in
    this answer and nowhere else."""
    body = call.read(bodies.NewInvitation)
    invited = call.suite.invitations.invite(
        organization_id,
        email=body.email,
        role=body.role,
        address_of=_address_of(call),
        language=body.language,
        key=call.key,
        by=call.caller.actor,
    )
    return call.answer(_invited(invited), status=201, replayed=invited.replayed)


@router.get("", **reads(Scope.MEMBERS_READ, "List invitations", answer=Page[managed.Invitation]))
def list_invitations(call: CurrentCall, organization_id: OrganizationId, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the organization's invitations that still open, the latest first."""
    page = call.suite.invitations.list(organization_id, cursor=cursor, limit=limit)
    return call.answer(page_of([_view(each) for each in page.items], page.next_cursor))


@router.post(
    "/{invitation_id}/resend",
    **writes(
        Scope.MEMBERS_WRITE, "Send an invitation again", body=bodies.LetterAgain, answer=managed.Invited, example={"language": "en"}
    ),
)  # fmt: skip
def resend_invitation(call: CurrentCall, organization_id: OrganizationId, invitation_id: InvitationId) -> Response:
    """Send an invitation again with a new link, which opens for seven days; the old one opens no more."""
    body = call.read(bodies.LetterAgain)
    invited = call.suite.invitations.resend(
        organization_id,
        invitation_id,
        address_of=_address_of(call),
        language=body.language,
        key=call.key,
        by=call.caller.actor,
    )
    return call.answer(_invited(invited), replayed=invited.replayed)


@router.delete(
    "/{invitation_id}", **writes(Scope.MEMBERS_WRITE, "Withdraw an invitation", answer=managed.InvitationWithdrawn)
)  # fmt: skip
def withdraw_invitation(call: CurrentCall, organization_id: OrganizationId, invitation_id: InvitationId) -> Response:
    """Close an invitation; nobody can accept it any more."""
    call.suite.invitations.cancel(organization_id, invitation_id, by=call.caller.actor)
    return call.answer(managed.InvitationWithdrawn(invitation_id=invitation_id))


def _address_of(call: Call) -> Address:
    return lambda token: f"{call.address}/invitation?{urlencode({'token': token})}"


def _invited(invited: Invited) -> managed.Invited:
    return managed.Invited(invitation=_view(invited.invitation), is_sent=invited.is_sent, address=invited.address)


def _view(invitation: Invitation) -> managed.Invitation:
    link = invitation.link
    return shaped(
        managed.Invitation, invitation, invited_by=link.created_by, created_at=link.created_at, expires_at=link.expires_at
    )
