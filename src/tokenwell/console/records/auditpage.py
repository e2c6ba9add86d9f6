"""The audit log on a page: who did what, by filter, and as a file of exactly this filter."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tokenwell.console.formats import Formats
from tokenwell.console.frame import frame_of, organization_of, reads, signed_in
from tokenwell.console.visits import Visit
from tokenwell.service.access.scopes import Scope
from tokenwell.service.records.audit import AuditFilter, AuditLine

ACTS_A_PAGE = 50
NOUNS = ("service", "key", "platform_key", "person", "member", "pack", "organization", "rate", "topup", "channel", "dispute")
"""What acts are done to: the choices of the filter."""

_TYPES: dict[str, Literal["csv", "ndjson"]] = {"csv": "csv", "ndjson": "ndjson"}
_MEDIA = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}


class ActLine(msgspec.Struct, frozen=True, kw_only=True):
    """An act as the page shows it: what changed, field by field, before and after."""

    line: AuditLine
    changes: tuple[tuple[str, str, str], ...]


def read_audit(visit: Visit) -> dict[str, Any]:
    """Return the acts of a filter: an organization's, or with no organization all."""
    organization = organization_of(visit, Scope.AUDIT_READ) if "organization" in visit.request.path_params else None
    frame = frame_of(visit, organization)
    query = visit.request.query_params
    given = {name: query.get(name, "").strip() for name in ("actor", "action", "from", "to")}
    page = visit.console.suite.audit.list(
        organization.id if organization else None, _filter(given, frame["f"]), cursor=query.get("after"), limit=ACTS_A_PAGE
    )
    path = visit.request.url.path

    def link(**changes: str | None) -> str:
        kept = {name: value for name, value in (given | changes).items() if value}
        return f"{path}?{urlencode(kept)}" if kept else path

    return frame | {
        "lines": [ActLine(line=line, changes=_changes(line)) for line in page.items],
        "cursor": page.next_cursor,
        "is_first_page": "after" not in query,
        "given": given,
        "nouns": NOUNS,
        "path": path,
        "export": lambda form: f"{path}/export?{urlencode({'format': form} | {k: v for k, v in given.items() if v})}",
        "link": link,
    }


async def export(visit: Visit) -> Response:
    """Send the acts of a filter as a file."""

    def begin() -> tuple[str, Any]:
        organization = organization_of(visit, Scope.AUDIT_READ) if "organization" in visit.request.path_params else None
        formats: Formats = frame_of(visit, organization)["f"]
        query = visit.request.query_params
        form = query.get("format", "csv")
        if form not in _TYPES:
            raise HTTPException(400)
        given = {name: query.get(name, "").strip() for name in ("actor", "action", "from", "to")}
        home = organization.id if organization else None
        return form, visit.console.suite.audit.export(home, _TYPES[form], _filter(given, formats))

    form, pieces = await run_in_threadpool(begin)
    headers = {"Content-Disposition": f'attachment; filename="audit.{form}"'}
    return StreamingResponse(iterate_in_threadpool(pieces), media_type=_MEDIA[form], headers=headers)


def _filter(given: dict[str, str], formats: Formats) -> AuditFilter:
    return AuditFilter(
        actor=given["actor"],
        action=given["action"],
        since=_day(given["from"], formats, 0),
        until=_day(given["to"], formats, 1),
    )


def _day(text: str, formats: Formats, later: int) -> datetime | None:
    """Return the midnight that begins a day of the zone on show, or the one that ends it; None for no day."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=formats.zone) if text else None
        return None if day is None else day + timedelta(days=later)
    except (ValueError, OverflowError):
        raise HTTPException(400) from None


def _changes(line: AuditLine) -> tuple[tuple[str, str, str], ...]:
    before, after = _read(line.act.before), _read(line.act.after)
    names = dict.fromkeys([*before, *after])
    return tuple((name, _shown(before.get(name)), _shown(after.get(name))) for name in names if before.get(name) != after.get(name))


def _read(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    found = msgspec.json.decode(text)
    return found if isinstance(found, dict) else {"": found}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


ROUTES = [
    Route("/o/{organization}/audit", reads("audit", read_audit)),
    Route("/o/{organization}/audit/export", signed_in(export)),
    Route("/admin/audit", reads("audit", read_audit)),
    Route("/admin/audit/export", signed_in(export)),
]
