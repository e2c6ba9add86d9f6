"""Embedding: signed, short-lived addresses of an organization's packs page, for a platform's own product; and who may frame them.

An address carries what it shows, until when, and in which theme, language and time zone; its signature keeps all of it. Whoever
holds it reads that one page and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
import sqlalchemy

from tokenwell.core.acts import act_detail
from tokenwell.core.happenings import Act, Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.errors import NotFound, RequestInvalid
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.ports import Clock, new_id
from tokenwell.store import reader
from tokenwell.store.access import embedding as store
from tokenwell.store.happenings import append_act
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

DEFAULT_TTL = timedelta(minutes=15)
LONGEST_TTL = timedelta(days=1)
ORIGINS_LIMIT = 20
_PURPOSE = "embed"
_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+\.)*[a-z0-9-]+(?::[0-9]{1,5})?", re.ASCII)
_THEMES = ("", "light", "dark")


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """What an address shows: an organization, until an instant (microseconds), in a theme, a language and a time zone."""

    organization_id: str
    expires: int
    theme: str = ""
    language: str = ""
    zone: str = ""


class Embedding:
    """Makes and opens embedded addresses. Its methods block: an event loop calls them in a thread."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock, sealer: Sealer) -> None:
        self._engine = engine
        self._clock = clock
        self._sealer = sealer

    def link(
        self, organization_id: str, *, ttl: timedelta = DEFAULT_TTL, theme: str = "", language: str = "", zone: str = ""
    ) -> str:
        """Return the path of an organization's embedded page, which opens for `ttl` (at most a day).

        Without a theme, a language or a zone the reader's own count. Raises OrganizationNotFound, RequestInvalid.
        """
        if not timedelta(0) < ttl <= LONGEST_TTL:
            raise RequestInvalid("an embedded page opens for at most a day", field="ttl")
        if theme not in _THEMES:
            raise RequestInvalid("a theme is light or dark", field="theme")
        if len(language) > 8 or len(zone) > 64:
            raise RequestInvalid("a language or time zone there is not", field="language")
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
        shown = Embedded(
            organization_id=organization_id,
            expires=to_micros(self._clock() + ttl),
            theme=theme,
            language=language,
            zone=zone,
        )
        text = base64.urlsafe_b64encode(msgspec.json.encode(shown)).decode().rstrip("=")
        return f"/embed/{text}.{self._sealer.sign(text, purpose=_PURPOSE)}"

    def open(self, token: str) -> Embedded:
        """Return what an address shows. Raises NotFound for one that was not made here or has lapsed."""
        text, _, signature = token.rpartition(".")
        if not text or len(token) > 2_000 or not self._sealer.is_signed(text, signature, purpose=_PURPOSE):
            raise NotFound("there is no such page")
        try:
            shown = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Embedded)
        except (binascii.Error, msgspec.MsgspecError, ValueError):
            raise NotFound("there is no such page") from None
        if self._clock() >= from_micros(shown.expires):
            raise NotFound("the address has lapsed")
        return shown

    def origins(self, organization_id: str) -> tuple[str, ...]:
        """Return the origins that may frame the page of an organization; none unless they were set."""
        with reading(self._engine, organization_id) as connection:
            return store.origins_of(connection, organization_id)

    def set_origins(self, organization_id: str, origins: Iterable[str], *, by: Actor | None = None) -> tuple[str, ...]:
        """Set the origins that may frame the page, such as `https://app.example.com`; an empty list lets nobody.

        Raises OrganizationNotFound, RequestInvalid.
        """
        wanted = tuple(dict.fromkeys(origin.strip().rstrip("/").lower() for origin in origins if origin.strip()))
        if len(wanted) > ORIGINS_LIMIT or any(len(each) > 200 or not _ORIGIN.fullmatch(each) for each in wanted):
            raise RequestInvalid("an origin is written like https://app.example.com", field="origins")
        now = self._clock()
        with transaction(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            before = store.origins_of(connection, organization_id)
            store.put_origins(connection, organization_id, wanted, now)
            if by is not None and before != wanted:
                append_act(connection, new_id("act"), _act(organization_id, before, wanted, now, by))
        return wanted


def _act(organization_id: str, before: tuple[str, ...], after: tuple[str, ...], now: datetime, by: Actor) -> Act:
    return Act(
        organization_id=organization_id,
        at=now,
        actor=by,
        action="embedding.set",
        subject=organization_id,
        before=act_detail({"origins": before}),
        after=act_detail({"origins": after}),
    )
