"""People and records: the calls for members, events and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from tokenwell.client import bodies, managed
from tokenwell.client.requests import Request, at, read, write
from tokenwell.client.shapes import Page


class PeopleCalls:
    """Builds requests about people and what they did."""

    def list_members(
        self, organization_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[managed.Member]]:
        """List an organization's members."""
        return read(at(organization_id, "members"), Page[managed.Member], cursor=cursor, limit=limit)

    def set_member_role(
        self, organization_id: str, person_id: str, role: Literal["organization_admin", "viewer"], *, key: str | None = None
    ) -> Request[managed.Member]:
        """Give a member another role. Raises PersonNotFound, LastAdministrator."""
        return write("PUT", at(organization_id, "members", person_id), managed.Member, key, bodies.NewRole(role=role))

    def remove_member(self, organization_id: str, person_id: str, *, key: str | None = None) -> Request[managed.MemberRemoved]:
        """End a membership at once. Raises LastAdministrator."""
        return write("DELETE", at(organization_id, "members", person_id), managed.MemberRemoved, key)

    def invite(
        self,
        organization_id: str,
        email: str,
        role: Literal["organization_admin", "viewer"] = "viewer",
        *,
        language: Literal["en", "zh"] = "en",
        key: str | None = None,
    ) -> Request[managed.Invited]:
        """Ask somebody in. Raises PersonExists for a member, RequestInvalid."""
        body = bodies.NewInvitation(email=email, role=role, language=language)
        return write("POST", at(organization_id, "invitations"), managed.Invited, key, body)

    def list_invitations(
        self, organization_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[managed.Invitation]]:
        """List an organization's invitations that still open, the latest first."""
        return read(at(organization_id, "invitations"), Page[managed.Invitation], cursor=cursor, limit=limit)

    def resend_invitation(
        self, organization_id: str, invitation_id: str, *, language: Literal["en", "zh"] = "en", key: str | None = None
    ) -> Request[managed.Invited]:
        """Send an invitation again; the old link opens no more. Raises NotFound."""
        path = at(organization_id, "invitations", invitation_id, "resend")
        return write("POST", path, managed.Invited, key, bodies.LetterAgain(language=language))

    def withdraw_invitation(
        self, organization_id: str, invitation_id: str, *, key: str | None = None
    ) -> Request[managed.InvitationWithdrawn]:
        """Close an invitation. Raises NotFound."""
        return write("DELETE", at(organization_id, "invitations", invitation_id), managed.InvitationWithdrawn, key)

    def list_events(
        self, organization_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[managed.Event]]:
        """List what happened to an organization, the latest first."""
        return read(at(organization_id, "events"), Page[managed.Event], cursor=cursor, limit=limit)

    def list_acts(
        self,
        organization_id: str,
        *,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        format: Literal["csv", "ndjson"] | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[managed.Act]]:
        """List who administered what in an organization, the latest first."""
        query = {"actor": actor, "action": action, "since": since, "until": until, "format": format, "cursor": cursor}
        return read(at(organization_id, "acts"), Page[managed.Act], **query, limit=limit)

    def list_all_acts(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        format: Literal["csv", "ndjson"] | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[managed.Act]]:
        """List who administered what, everywhere, the latest first."""
        query = {"actor": actor, "action": action, "since": since, "until": until, "format": format, "cursor": cursor}
        return read("/v1/acts", Page[managed.Act], **query, limit=limit)
