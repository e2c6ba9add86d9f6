"""The inbox: what happened in an organization, and which of it a person has read."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy

from tokenwell.core.alerts import FOR_PLATFORM, RINGING
from tokenwell.core.happenings import PLATFORM
from tokenwell.core.identifiers import is_organization_id
from tokenwell.errors import OrganizationNotFound
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Clock, Page
from tokenwell.store.identity.people import has_organization
from tokenwell.store.notices import events
from tokenwell.store.notices.events import KnownEvent, Unread
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["Bell", "Inbox", "KnownEvent", "Unread"]

UNREAD_LIMIT = 100
"""Unread events are counted up to this many of the newest."""


class Bell(msgspec.Struct, frozen=True, kw_only=True):
    """What a person's bell shows: what is unread (UNREAD_LIMIT stands for so many or more), and the newest events that ring."""

    unread: Unread
    latest: tuple[KnownEvent, ...]


class Inbox:
    """The events in one database, as people read them. Its methods block.

    An organization of PLATFORM stands for the platform: it is told of some kinds of events in every organization.
    """

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def history(
        self, organization_id: str, *, person_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[KnownEvent]:
        """Return a page of an organization's events, newest first, each with whether the person has read it."""
        check_limit(limit)
        with reading(self._engine, organization_id or None) as connection:
            check_organization(connection, organization_id)
            if organization_id == PLATFORM:
                found = _anywhere(connection, person_id or "", before=cursor, limit=limit + 1)
            else:
                found = events.events_of(connection, organization_id, person_id=person_id, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def unread(self, organization_id: str, person_id: str) -> tuple[KnownEvent, ...]:
        """Return the events among the newest UNREAD_LIMIT that a person has not read, newest first, of the kinds that count."""
        with reading(self._engine, organization_id or None) as connection:
            found = _ringing(connection, organization_id, person_id, UNREAD_LIMIT)
        return tuple(each for each in found if not each.is_read)

    def count_unread(self, organization_id: str, person_id: str) -> Unread:
        """Return how many events `unread` would give, and which event that rings is the newest."""
        with reading(self._engine, organization_id or None) as connection:
            return _count(connection, organization_id, person_id)

    def bell(self, organization_id: str, person_id: str, *, limit: int = 8) -> Bell:
        """Return what a person's bell shows, from one look at the database."""
        with reading(self._engine, organization_id or None) as connection:
            latest = _ringing(connection, organization_id, person_id, limit)
            return Bell(unread=_count(connection, organization_id, person_id), latest=tuple(latest))

    def newest_anywhere(self) -> str:
        """Return the id of the newest event that rings the platform's bell; empty where there is none."""
        with reading(self._engine) as connection:
            return events.newest_anywhere(connection, FOR_PLATFORM)

    def mark_read(self, organization_id: str, person_id: str, event_ids: Collection[str]) -> int:
        """Note that a person has read events; returns of how many that was news."""
        with transaction(self._engine, organization_id or None) as connection:
            check_organization(connection, organization_id)
            wanted = list(event_ids)[:UNREAD_LIMIT]
            if organization_id != PLATFORM:
                return events.mark_read(connection, organization_id, person_id, wanted, self._clock())
            known = [each for each in _anywhere(connection, person_id, limit=UNREAD_LIMIT) if each.id in wanted]
            at = self._clock()
            return sum(events.mark_read(connection, each.event.organization_id, person_id, [each.id], at) for each in known)


def _anywhere(connection: sqlalchemy.Connection, person_id: str, *, before: str | None = None, limit: int) -> list[KnownEvent]:
    return events.events_anywhere(connection, person_id=person_id, kinds=FOR_PLATFORM, before=before, limit=limit)


def _ringing(connection: sqlalchemy.Connection, organization_id: str, person_id: str, limit: int) -> list[KnownEvent]:
    if organization_id == PLATFORM:
        return _anywhere(connection, person_id, limit=limit)
    return events.events_of(connection, organization_id, person_id=person_id, kinds=RINGING, limit=limit)


def _count(connection: sqlalchemy.Connection, organization_id: str, person_id: str) -> Unread:
    if organization_id == PLATFORM:
        return events.unread_anywhere(connection, person_id, FOR_PLATFORM, UNREAD_LIMIT)
    return events.unread_of(connection, organization_id, person_id, RINGING, UNREAD_LIMIT)


def check_organization(connection: sqlalchemy.Connection, organization_id: str) -> None:
    """Return if there is such an organization; the platform counts as one. Raises OrganizationNotFound."""
    if organization_id == PLATFORM:
        return
    if not is_organization_id(organization_id) or not has_organization(connection, organization_id):
        raise OrganizationNotFound(organization_id=organization_id)
