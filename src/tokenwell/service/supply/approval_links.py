"""Approval links: an address in a letter by which its reader approves one request for tokens, without signing in.

The link names the request, the person it was sent to and its last instant, and is signed: nothing of it can be changed. Opening it
does nothing; the form on its page approves, as that person, who must still be a platform administrator. A request is approved once,
so a link works once.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta

import msgspec

from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.errors import CredentialsInvalid
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.meter import Meter
from tokenwell.service.supply.topups import Approved, Topup, Topups
from tokenwell.store.identity.people import person_of
from tokenwell.store.reader import reading

LIFETIME = timedelta(days=7)
"""How long a link works."""

TOKEN_LIMIT = 2_000
_PURPOSE = "topup approval"


class _Content(msgspec.Struct, frozen=True, array_like=True):
    """What a link says."""

    organization_id: str
    topup_id: str
    person_id: str
    until: int


class ApprovalLinks:
    """Makes and reads approval links. `path_of` gives what comes after the server's address."""

    def __init__(self, meter: Meter, topups: Topups, sealer: Sealer) -> None:
        self._meter = meter
        self._topups = topups
        self._sealer = sealer

    def path_of(self, topup: Topup, person_id: str) -> str:
        """Return the path of the page on which a person approves a request, until LIFETIME from now."""
        until = to_micros(self._meter.clock() + LIFETIME)
        content = msgspec.json.encode(_Content(topup.organization_id, topup.id, person_id, until))
        text = base64.urlsafe_b64encode(content).decode().rstrip("=")
        return f"/topup?token={text}.{self._sealer.sign(text, purpose=_PURPOSE)}"

    def open(self, token: str) -> tuple[Topup, Actor]:
        """Return the request of a link as it is now, and who it was sent to.

        Raises CredentialsInvalid for a link that is not ours, that has expired, or whose person may not approve any more.
        """
        content = self._read(token)
        with reading(self._meter.engine) as connection:
            person = person_of(connection, content.person_id)
        if person is None or person.disabled_at is not None or not person.is_platform_admin:
            raise CredentialsInvalid("who this link was sent to may not approve any more")
        actor = Actor(kind=ActorKind.PERSON, id=person.id, name=person.name or person.email)
        return self._topups.get(content.organization_id, content.topup_id), actor

    def approve(self, token: str) -> Approved:
        """Approve the request of a link as it was asked. Raises CredentialsInvalid, TopupClosed, and what granting raises."""
        topup, actor = self.open(token)
        return self._topups.approve(topup.organization_id, topup.id, by=actor)

    def _read(self, token: str) -> _Content:
        text, _, signature = token.partition(".")
        if len(token) > TOKEN_LIMIT or not self._sealer.is_signed(text, signature, purpose=_PURPOSE):
            raise CredentialsInvalid("this link is not ours")
        try:
            content = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Content)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            raise CredentialsInvalid("this link is not ours") from None
        if self._meter.clock() >= from_micros(content.until):
            raise CredentialsInvalid("this link has expired")
        return content
