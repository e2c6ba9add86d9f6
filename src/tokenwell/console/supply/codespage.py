"""Redemption codes: batches that the platform makes, whose codes are given out once, and who redeemed them."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, Shown, acting
from tokenwell.console.frame import check_platform, frame_of, reads
from tokenwell.console.sheets import sheet_of
from tokenwell.console.visits import Visit
from tokenwell.service.supply.codes import MOST_CODES, VALID_LIMIT_DAYS, CodeBatch

BATCHES_A_PAGE = 25
REDEEMED_A_PAGE = 50
PATH = "/admin/codes"


def standing_of(batch: CodeBatch, now: Any) -> str:
    """Return what of a batch can be done with it now: revoked, expired, used up, or open."""
    if batch.revoked_at is not None:
        return "revoked"
    if batch.redeemed >= batch.codes:
        return "used_up"
    return "expired" if batch.expires_at is not None and now >= batch.expires_at else "open"


def _read_batches(visit: Visit) -> dict[str, Any]:
    """Return the batches, the latest first."""
    frame = frame_of(visit, None)
    cursor = visit.request.query_params.get("before") or None
    page = visit.console.suite.codes.list(cursor=cursor, limit=BATCHES_A_PAGE)
    now = visit.console.meter.clock()
    return frame | {
        "rows": [(batch, standing_of(batch, now)) for batch in page.items],
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "link": lambda before=None: f"{PATH}?{urlencode({'before': before})}" if before else PATH,
    }


def _read_batch(visit: Visit) -> dict[str, Any]:
    """Return one batch, and who redeemed codes of it."""
    frame = frame_of(visit, None)
    codes, cursor = visit.console.suite.codes, visit.request.query_params.get("before") or None
    batch = codes.get(visit.request.path_params["batch"])
    page = codes.redeemed(batch.id, cursor=cursor, limit=REDEEMED_A_PAGE)
    here = f"{PATH}/{batch.id}"
    return frame | {
        "batch": batch,
        "standing": standing_of(batch, visit.console.meter.clock()),
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "here": here,
        "link": lambda before=None: f"{here}?{urlencode({'before': before})}" if before else here,
    }


def create(visit: Visit, sent: Sent) -> dict[str, Any] | Done | Shown:
    """Show what codes would come to, or make them. The codes are on the page that answers, and nowhere else."""
    check_platform(visit)
    codes = visit.console.suite.codes
    formats = visit.formats(visit.console.meter.clock())
    sent = sent.prefilled(amount="1,000,000", count="10", valid_days="90", expires="365", note="")
    amount, note = sent.amount("amount"), sent.note()
    count, valid_days = sent.whole("count", least=1, most=MOST_CODES), sent.whole("valid_days", least=1, most=VALID_LIMIT_DAYS)
    expires_at = sent.expiry(formats)
    if count is None:
        sent.problems.setdefault("count", "whole")
    if sent.is_final and not sent.problems and amount is not None and count is not None:
        made = codes.create(
            amount, count, valid_days=valid_days, expires_at=expires_at, note=note, key=sent.key, by=visit.principal.actor
        )
        if made.replayed:
            return Done(path=f"{PATH}/{made.batch.id}", said="codes_before")
        # The file is in the page itself, so that it is told once and nothing of it is kept.
        file = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(as_csv(made.batch, made.codes)).decode()}"
        back = f"{PATH}/{made.batch.id}"
        return Shown(
            context=sheet_of(visit, sent, None, "codes_made", back, nav="codes", batch=made.batch, codes=made.codes, file=file)
        )
    if not sent.is_final:
        sent.only_typed()
    expiry = None if "date" in sent.problems else expires_at
    whole = amount * count if amount is not None and count is not None else None
    return sheet_of(
        visit, sent, None, "codes", PATH, nav="codes", amount=amount, count=count, whole=whole, expiry=expiry,
        valid_days=valid_days, most=MOST_CODES,
    )  # fmt: skip


def as_csv(batch: CodeBatch, codes: Sequence[str]) -> bytes:
    """Return codes as CSV, with what each is worth."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow(("code", "tokens", "valid_days", "redeem_until"))
    until = "" if batch.expires_at is None else f"{batch.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    writer.writerows((code, batch.amount_tokens, batch.valid_days or "", until) for code in codes)
    return target.getvalue().encode()


def revoke(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show how many codes would be lost, or revoke those that nobody redeemed."""
    check_platform(visit)
    codes = visit.console.suite.codes
    batch = codes.get(visit.request.path_params["batch"])
    back = f"{PATH}/{batch.id}"
    if sent.is_final:
        codes.revoke(batch.id, by=visit.principal.actor)
        return Done(path=back, said="codes_revoked")
    return sheet_of(visit, sent, None, "codes_revoke", back, nav="codes", batch=batch)


ROUTES = [
    Route(PATH, reads("codebatches", _read_batches)),
    *acting(f"{PATH}/new", "sheet", create),
    Route(f"{PATH}/{{batch}}", reads("codebatch", _read_batch)),
    *acting(f"{PATH}/{{batch}}/revoke", "sheet", revoke),
]
