"""Personal: what each person is told of by e-mail: of their organizations and, an administrator, of the platform."""

from __future__ import annotations

import msgspec
import sqlalchemy

from tokenwell.core.alerts import AT_ONCE, FOR_ORGANIZATION, FOR_PLATFORM, UNSUBSCRIBE_PURPOSE, Subscription
from tokenwell.core.happenings import PLATFORM, Act, Actor, EventKind
from tokenwell.errors import PersonNotFound, RequestInvalid
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.notices.inbox import check_organization
from tokenwell.service.notices.wishes import LANGUAGES, Own, Wishes
from tokenwell.service.ports import Clock, new_id
from tokenwell.store.happenings import append_act
from tokenwell.store.notices import channels as store
from tokenwell.store.notices.channels import Channel, ChannelKind
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction


class Personal:
    """The wishes of people in one database. Its methods block. An organization of PLATFORM stands for the platform."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock, sealer: Sealer) -> None:
        self._engine = engine
        self._clock = clock
        self._sealer = sealer

    def of(self, organization_id: str, person_id: str) -> Own:
        """Return what a person is told of. Where they have not said anything: what their like are told, in the language and the
        time zone of their profile. Raises OrganizationNotFound, PersonNotFound for who is no reader there."""
        with reading(self._engine) as connection:
            check_organization(connection, organization_id)
            reader = store.member_of(connection, organization_id, person_id)
            if reader is None:
                raise PersonNotFound(person_id=person_id)
            channel = store.find_channel(connection, organization_id, person_id)
            language, zone = store.preference_of(connection, person_id)
        if channel is not None:
            kinds = frozenset(EventKind) if channel.kinds is None else channel.kinds
            schedule = channel.schedule
            return Own(kinds=kinds, language=channel.language, zone=channel.zone, schedule=schedule, is_default=False)
        kinds = _default(organization_id) if reader.is_admin else frozenset()
        return Own(kinds=kinds, language=_known(language), zone=zone or "UTC", schedule=AT_ONCE, is_default=True)

    def set(self, organization_id: str, person_id: str, wishes: Wishes, *, by: Actor | None = None) -> Own:
        """Note what a person wants to be told of; where somebody else does so, `by`, it is an act. Raises RequestInvalid,
        OrganizationNotFound, PersonNotFound."""
        before = self.of(organization_id, person_id)
        with transaction(self._engine, organization_id or None) as connection:
            self._put(connection, organization_id, person_id, wishes)
            if by is not None and by.id != person_id:
                act = Act(
                    organization_id=organization_id,
                    at=self._clock(),
                    actor=by,
                    action="member.subscription",
                    subject=person_id,
                    before=msgspec.json.encode(before).decode(),
                    after=msgspec.json.encode(wishes).decode(),
                )
                append_act(connection, new_id("act"), act)
        return self.of(organization_id, person_id)

    def unsubscribe(self, text: str, signature: str) -> Subscription:
        """Stop e-mails of one kind, or all, as a signed link says; returns what was stopped. Again, it changes nothing. Raises
        RequestInvalid for a link that is not ours."""
        wanted = Subscription.parse(text) if self._sealer.is_signed(text, signature, purpose=UNSUBSCRIBE_PURPOSE) else None
        if wanted is None:
            raise RequestInvalid("the link is not one of ours", field="sig")
        stopped = frozenset(EventKind) if wanted.kind is None else frozenset({wanted.kind})
        with reading(self._engine) as connection:
            language, zone = store.preference_of(connection, wanted.channel_id)
        with transaction(self._engine, wanted.home or None) as connection:
            channel = store.find_channel(connection, wanted.home, wanted.channel_id)
            if channel is not None:
                before = frozenset(EventKind) if channel.kinds is None else channel.kinds
                left = msgspec.structs.replace(channel, kinds=before - stopped, changed_at=self._clock())
                store.put_channel(connection, left)
            elif store.reader_of(connection, wanted.home, wanted.channel_id) is not None:
                left_kinds = _default(wanted.home) - stopped
                wishes = Wishes(kinds=left_kinds, language=_known(language), zone=zone or "UTC")
                self._put(connection, wanted.home, wanted.channel_id, wishes)
        return wanted

    def _put(self, connection: sqlalchemy.Connection, organization_id: str, person_id: str, wishes: Wishes) -> None:
        now = self._clock()
        before = store.find_channel(connection, organization_id, person_id)
        own = Channel(
            organization_id=organization_id,
            id=person_id,
            kind=ChannelKind.OWN,
            name="",
            shown="",
            kinds=wishes.kinds,
            language=wishes.language,
            zone=wishes.zone,
            schedule=wishes.schedule,
            created_at=now if before is None else before.created_at,
            changed_at=now,
        )
        store.put_channel(connection, own)


def _default(organization_id: str) -> frozenset[EventKind]:
    """Return what administrators are told of who have not said what they want."""
    return FOR_PLATFORM if organization_id == PLATFORM else FOR_ORGANIZATION


def _known(language: str | None) -> str:
    return language if language in LANGUAGES else "en"
