"""What Tokenwell answers, writes and shows, in the words of the oracle."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy

from tests.oracle.shapes import Answer, Line
from tests.oracle.telling import Event
from tokenwell import Meter
from tokenwell.core.instants import from_micros
from tokenwell.core.journal import Entry
from tokenwell.core.packs import Pack
from tokenwell.core.receipts import Answer as Answered
from tokenwell.core.receipts import Balance, Drawn, Extended, Granted, Held, Receipt, Released, Revoked, ThresholdsSet
from tokenwell.errors import IdempotencyConflict, TokenwellError
from tokenwell.store import schema


def shown(answer: Answered) -> Answer:
    """Return an answer field by field."""
    about = {"at": answer.at, "balance": answer.balance_tokens, "state": str(answer.state), "replayed": answer.replayed}
    match answer:
        case Receipt():
            return about | _receipt(answer)
        case Granted():
            pack = answer.pack
            said = {"pack": pack.id, "number": pack.number, "remaining": pack.remaining_tokens, "repaid": answer.repaid_tokens}
            return about | {"answer": "granted", "advanced": answer.advanced_tokens} | said
        case Revoked():
            said = {"pack": answer.pack_id, "forfeited": answer.forfeited_tokens, "released_holds": answer.released_holds}
            return about | {"answer": "revoked"} | said
        case Extended():
            said = {"pack": answer.pack_id, "before": answer.expired_before, "expires_at": answer.expires_at}
            return about | {"answer": "extended"} | said
        case Held():
            hold = answer.hold
            said = {"hold": hold.id, "request": hold.request_id, "tokens": hold.tokens, "lapses_at": hold.lapses_at}
            return about | {"answer": "held"} | said
        case Released():
            return about | {"answer": "released", "hold": answer.hold_id}
        case ThresholdsSet():
            return about | {"answer": "thresholds", "warning": answer.warning_tokens, "reserve": answer.reserve_tokens}
        case _:
            raise AssertionError(f"an answer of an unknown kind: {answer!r}")


def _receipt(receipt: Receipt) -> Answer:
    return {
        "answer": "receipt",
        "request": receipt.request_id,
        "amount": receipt.amount_tokens,
        "overage": receipt.overage_tokens,
        "forfeited": receipt.forfeited_tokens,
        "prompt": receipt.prompt_tokens,
        "completion": receipt.completion_tokens,
        "drawn": [_drawn(drawn) for drawn in receipt.drawn],
        "late": receipt.late,
    }


def _drawn(drawn: Drawn) -> tuple[int, str, int, int | None, int | None, int]:
    return (
        drawn.seq,
        drawn.pack_id,
        drawn.amount_tokens,
        drawn.prompt_tokens,
        drawn.completion_tokens,
        drawn.pack_remaining_tokens,
    )


def kind_of(refusal: TokenwellError) -> type[TokenwellError]:
    """Return what kind of refusal it is; fails if a conflict of keys does not name the field."""
    assert not isinstance(refusal, IdempotencyConflict) or refusal.details.get("field"), "a conflict names the field"
    return type(refusal)


def new_id_in(answer: Answered) -> str:
    """Return the id of the pack or the hold that an answer brings, empty if it brings none."""
    match answer:
        case Granted():
            return answer.pack.id
        case Held():
            return answer.hold.id
        case _:
            return ""


def line_of(entry: Entry) -> Line:
    """Return a journal line."""
    return Line(
        seq=entry.seq,
        at=entry.at,
        kind=str(entry.kind),
        amount=entry.amount_tokens,
        balance=entry.balance_after_tokens,
        pack=entry.pack_id,
        remaining=entry.pack_remaining_tokens,
        part=entry.part,
        parts=entry.parts,
        prompt=entry.prompt_tokens,
        completion=entry.completion_tokens,
        request=entry.request_id,
    )


def balance_shown(balance: Balance) -> dict[str, Any]:
    """Return what a reading of the balance shows."""
    return {
        "balance": balance.balance_tokens,
        "held": balance.held_tokens,
        "overage": balance.overage_tokens,
        "state": str(balance.state),
        "active_packs": balance.active_packs,
        "active_total": balance.active_total_tokens,
    }


def pack_shown(pack: Pack, status: str) -> dict[str, Any]:
    """Return what a list shows of a pack."""
    said = {"number": pack.number, "status": str(status), "remaining": pack.remaining_tokens, "total": pack.total_tokens}
    return said | {"expires_at": pack.expires_at, "priority": pack.priority, "granted_at": pack.granted_at}


def events_of(meter: Meter, organization_id: str) -> list[Event]:
    """Return every event of an organization, in the order in which they were told."""
    table = schema.event
    query = sqlalchemy.select(table.c.kind, table.c.at, table.c.detail).where(table.c.organization_id == organization_id)
    with meter.engine.connect() as connection:
        rows = connection.execute(query.order_by(table.c.event_id)).all()
    return [Event(kind, from_micros(at), _detail_shown(detail)) for kind, at, detail in rows]


def _detail_shown(text: str) -> dict[str, Any]:
    detail: dict[str, Any] = json.loads(text)
    instants = {name: datetime.fromisoformat(detail[name]) for name in ("expires_at", "expired_before") if detail.get(name)}
    return detail | instants


def journal_of(meter: Meter, organization_id: str, *, after_seq: int = 0) -> list[Entry]:
    """Return every line after `after_seq`, page by page."""
    entries: list[Entry] = []
    cursor: str | None = str(after_seq)
    while cursor is not None:
        page = meter.journal(organization_id, after_seq=int(cursor), limit=100)
        entries += page.items
        cursor = page.next_cursor
    return entries
