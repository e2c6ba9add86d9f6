"""Reconciliation: a provider's usage export beside the ledger, uploaded here; what was compared is kept and looked at again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO
from urllib.parse import urlencode

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.acting import Sent
from tokenwell.console.forms import checked_upload
from tokenwell.console.frame import check_platform, frame_of, reads, signed_in
from tokenwell.console.sheets import refused
from tokenwell.console.visits import Visit
from tokenwell.errors import RequestInvalid
from tokenwell.service.records.reconciliation import DriftLine

UPLOAD_LIMIT_BYTES = 64 * 2**20
"""The largest file that is taken here; larger ones are compared on the command line, which reads them as a stream."""

COMPARISONS_A_PAGE = 25
LINES_SHOWN = 200
NAME_LIMIT = 200
PATH = "/admin/reconciliation"


class Drift(msgspec.Struct, kw_only=True):
    """What both sides say of a day, of a model, or of a model on a day."""

    day: str = ""
    model: str = ""
    their_tokens: int = 0
    our_tokens: int = 0
    their_requests: int = 0
    our_requests: int = 0

    @property
    def drift_tokens(self) -> int:
        """What the provider counted more; below zero where it counted less."""
        return self.their_tokens - self.our_tokens

    @property
    def share(self) -> str:
        """The drift as hundredths of what the ledger says, `+1.25%`; empty where the ledger says nothing."""
        if not self.our_tokens:
            return ""
        hundredths = abs(self.drift_tokens) * 10_000 // self.our_tokens
        return f"{hundredths // 100:,}.{hundredths % 100:02}%"


_KEYS: dict[str, Callable[[DriftLine], tuple[str, str]]] = {
    "line": lambda line: (line.day.isoformat(), line.model),
    "day": lambda line: (line.day.isoformat(), ""),
    "model": lambda line: ("", line.model),
}


def drifts(lines: Iterable[DriftLine], by: str) -> list[Drift]:
    """Return lines summed by `line` (a model on a day), `day` or `model`: the days in order, else the largest drift first."""
    found: dict[tuple[str, str], Drift] = {}
    for line in lines:
        day, model = key = _KEYS[by](line)
        drift = found.setdefault(key, Drift(day=day, model=model))
        drift.their_tokens += line.their_input_tokens + line.their_output_tokens
        drift.our_tokens += line.our_input_tokens + line.our_output_tokens
        drift.their_requests += line.their_requests
        drift.our_requests += line.our_requests
    if by == "day":
        return list(found.values())
    return sorted(found.values(), key=lambda drift: -abs(drift.drift_tokens))


def _read_list(visit: Visit) -> dict[str, Any]:
    """Return the form, and what was compared, the latest first."""
    cursor = visit.request.query_params.get("before") or None
    return _list(visit, Sent(fields={}, is_final=False, problems={}), cursor)


def _list(visit: Visit, sent: Sent, cursor: str | None = None) -> dict[str, Any]:
    page = visit.console.suite.reconciliations.page(cursor=cursor, limit=COMPARISONS_A_PAGE)
    return frame_of(visit, None) | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "link": lambda before=None: f"{PATH}?{urlencode({'before': before})}" if before else PATH,
        "problems": sent.problems,
        "limit_bytes": UPLOAD_LIMIT_BYTES,
    }


async def upload(visit: Visit) -> Response:
    """Compare a file and show what came of it; the same file again shows what came of it then."""
    check_platform(visit)  # before anything of the file is read
    sent = Sent(fields={"file": ""}, is_final=True, problems={})
    async with checked_upload(visit) as (_fields, file):
        if file is None:
            sent.problems["file"] = "file"
        else:
            name = (file.filename or "").replace("\\", "/").rpartition("/")[2][:NAME_LIMIT]
            made = await run_in_threadpool(_compare, visit, sent, file.file, name)
            if made is not None:
                return _shown(visit, *made)
    return visit.page("reconciliations", status=422, **await run_in_threadpool(_list, visit, sent))


def _compare(visit: Visit, sent: Sent, file: BinaryIO, name: str) -> tuple[str, str] | None:
    """Return the comparison of a file and what to say of it, None (and a problem) where it cannot be read."""
    printable = "".join(each for each in name if each.isprintable())
    try:
        compared = visit.console.suite.reconciliations.compare(file, name=printable, by=visit.principal.actor)
    except RequestInvalid as error:
        refused(sent, error)
        sent.problems["why"] = error.message
        return None
    return compared.reconciliation.id, "compared_before" if compared.replayed else "compared"


def _shown(visit: Visit, reconciliation_id: str, said: str) -> Response:
    path = f"{PATH}/{reconciliation_id}"
    response = Response(headers={"HX-Redirect": path}) if visit.is_fragment else RedirectResponse(path, 303)
    visit.say(response, said)
    return response


def _read_one(visit: Visit) -> dict[str, Any]:
    """Return one comparison: what was matched, and the drift by model and day."""
    frame = frame_of(visit, None)
    by = visit.request.query_params.get("by") or "line"
    if by not in _KEYS:
        raise RequestInvalid("there is no such view", field="by")
    compared = visit.console.suite.reconciliations.get(visit.request.path_params["reconciliation"])
    rows = drifts(compared.lines, by)
    path = f"{PATH}/{compared.reconciliation.id}"
    whole = Drift()
    for row in rows:
        whole.their_tokens += row.their_tokens
        whole.our_tokens += row.our_tokens
    return frame | {
        "compared": compared,
        "told": compared.reconciliation,
        "whole": whole,
        "rows": rows[:LINES_SHOWN],
        "count": len(rows),
        "by": by,
        "path": path,
        "link": lambda by: path if by == "line" else f"{path}?by={by}",
    }


async def export(visit: Visit) -> Response:
    """Return every line of a comparison as CSV."""
    check_platform(visit)
    reconciliation_id = visit.request.path_params["reconciliation"]
    compared = await run_in_threadpool(visit.console.suite.reconciliations.get, reconciliation_id)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    target.write("\ufeff")
    writer.writerow([*DriftLine.__struct_fields__, "drift_tokens"])
    for line in compared.lines:
        values = msgspec.structs.asdict(line) | {"day": line.day.isoformat(), "model": _text(line.model)}
        writer.writerow([*values.values(), line.drift_tokens])
    name = f"reconciliation-{reconciliation_id}.csv"
    return Response(
        target.getvalue().encode(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _text(text: str) -> str:
    """Return a text of others so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


_LIMIT = Middleware(RequestBodyLimitMiddleware, max_body_size=UPLOAD_LIMIT_BYTES)

ROUTES = [
    Route(PATH, reads("reconciliations", _read_list), methods=["GET"]),
    Route(PATH, signed_in(upload), methods=["POST"], middleware=[_LIMIT]),
    Route(f"{PATH}/{{reconciliation}}", reads("reconciliation", _read_one)),
    Route(f"{PATH}/{{reconciliation}}/lines.csv", signed_in(export)),
]
