"""Builders: domain objects with a default for every field that the test at hand does not care about."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.doubles import START
from tokenwell.core.holds import Hold
from tokenwell.core.journal import Entry, EntryKind
from tokenwell.core.packs import Pack

ORGANIZATION_ID = "acme"


def after(seconds: float) -> datetime:
    """Return the instant that many seconds after tests begin (before, where negative)."""
    return START + timedelta(seconds=seconds)


def build_pack(total_tokens: int = 100, **fields: Any) -> Pack:
    """Return a pack of which nothing was spent, granted when tests begin and never to expire."""
    defaults: dict[str, Any] = {
        "id": f"pack_{fields.get('number', 1):026}",
        "organization_id": ORGANIZATION_ID,
        "number": 1,
        "total_tokens": total_tokens,
        "remaining_tokens": total_tokens,
        "granted_at": START,
        "granted_seq": fields.get("number", 1),
    }
    return Pack(**(defaults | fields))


def build_hold(tokens: int = 10, **fields: Any) -> Hold:
    """Return an open hold that was opened when tests begin, after one journal line, and lapses ten minutes later."""
    hold_id = fields.get("id", f"hold_{1:026}")
    defaults: dict[str, Any] = {
        "id": hold_id,
        "organization_id": ORGANIZATION_ID,
        "request_id": hold_id,
        "key": b"hold's own key..",
        "fingerprint": bytes(16),
        "tokens": tokens,
        "opened_at": START,
        "opened_seq": 1,
        "lapses_at": after(600),
    }
    return Hold(**(defaults | fields))


def build_entry(kind: EntryKind = EntryKind.DEBIT, amount_tokens: int = 10, **fields: Any) -> Entry:
    """Return the first line of a journal, not hashed yet."""
    defaults: dict[str, Any] = {
        "organization_id": ORGANIZATION_ID,
        "seq": 1,
        "at": START,
        "kind": kind,
        "amount_tokens": amount_tokens,
        "balance_after_tokens": 0,
    }
    return Entry(**(defaults | fields))
