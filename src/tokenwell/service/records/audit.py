"""The audit log: every administrative act, who did it, when, from where, and what it changed. Append-only, by filter, exported."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy

from tokenwell.core.identifiers import check_label
from tokenwell.core.instants import to_utc
from tokenwell.errors import RequestInvalid
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Page
from tokenwell.store.reader import organization, reading
from tokenwell.store.records import audit as store
from tokenwell.store.records.audit import AuditLine

__all__ = ["Audit", "AuditFilter", "AuditLine"]

EXPORT_PAGE = 500
"""How many acts an export reads at a time: its memory does not grow with the log."""

FIELDS = ("id", "at", "organization_id", "action", "subject", "actor_kind", "actor_id", "actor_name", "source", "before", "after")
"""The columns of an export."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which acts are wanted. `action` is one (`key.revoke`) or what it is done to (`key`); `actor` an id or a name."""

    actor: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = AuditFilter()


class Audit:
    """The audit log in one database. Its methods block; nothing here writes."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def list(
        self, organization_id: str | None, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 50
    ) -> Page[AuditLine]:
        """Return acts, the latest first: of an organization, or (None) of all and of the platform.

        Raises OrganizationNotFound, RequestInvalid.
        """
        check_limit(limit)
        found = self._read(organization_id, _checked(wanted), check_label(cursor, field="cursor"), limit + 1)
        return page_of(found, limit)

    def export(
        self, organization_id: str | None, form: Literal["csv", "ndjson"], wanted: AuditFilter = EVERYTHING
    ) -> Iterator[str]:
        """Give the acts of a filter, the latest first, as pieces of a CSV file or of lines of JSON."""
        wanted = _checked(wanted)
        if form not in ("csv", "ndjson"):
            raise RequestInvalid("an export is csv or ndjson", field="format")
        return self._exported(organization_id, form, wanted)

    def _exported(self, organization_id: str | None, form: str, wanted: AuditFilter) -> Iterator[str]:
        if form == "csv":
            yield _csv([dict(zip(FIELDS, FIELDS, strict=True))])
        cursor: str | None = None
        while True:
            lines = self._read(organization_id, wanted, cursor, EXPORT_PAGE)
            rows = [row_of(line) for line in lines]
            if rows:
                yield _csv(rows) if form == "csv" else "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)
            if len(lines) < EXPORT_PAGE:
                return
            cursor = lines[-1].id

    def _read(self, organization_id: str | None, wanted: AuditFilter, before: str | None, limit: int) -> Sequence[AuditLine]:
        with reading(self._engine, organization_id or None) as connection:
            if organization_id:
                organization(connection, organization_id)
            return store.acts(
                connection,
                organization_id=organization_id,
                actor=wanted.actor,
                action=wanted.action,
                since=wanted.since,
                until=wanted.until,
                before=before,
                limit=limit,
            )


def row_of(line: AuditLine) -> dict[str, Any]:
    """Return an act as one flat row, its instant in UTC."""
    act = line.act
    values = (
        line.id, f"{act.at:%Y-%m-%dT%H:%M:%S.%fZ}", act.organization_id, act.action, act.subject, act.actor.kind.value,
        act.actor.id, act.actor.name, act.actor.source, act.before, act.after,
    )  # fmt: skip
    return dict(zip(FIELDS, values, strict=True))


def _csv(rows: list[dict[str, Any]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerows([_cell(row[field]) for field in FIELDS] for row in rows)
    return target.getvalue()


def _cell(value: str | None) -> str:
    """Return what a spreadsheet takes as text: a name that begins as a formula does is not one."""
    text = value or ""
    return "'" + text if text.startswith(_FORMULA) else text


def _checked(wanted: AuditFilter) -> AuditFilter:
    check_label(wanted.actor, field="actor")
    check_label(wanted.action, field="action")
    since = None if wanted.since is None else to_utc(wanted.since, field="since")
    until = None if wanted.until is None else to_utc(wanted.until, field="until")
    return msgspec.structs.replace(wanted, since=since, until=until)
