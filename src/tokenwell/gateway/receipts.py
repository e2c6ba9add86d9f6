"""Receipts: what a request cost, told in headers and, at the end of a stream, in a comment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from tokenwell.core.journal import ESTIMATED, LATE, EntryKind
from tokenwell.core.receipts import Receipt
from tokenwell.errors import BalanceRefused
from tokenwell.gateway.exchange import Headers
from tokenwell.service.shapes import LedgerLine

PACKS_SHOWN = 20
"""How many packs a header names; a request that drew from more says how many more."""

HEADER_PREFIX = b"x-tokenwell-"
REQUEST_ID = HEADER_PREFIX + b"request-id"


def headers_of(receipt: Receipt | None, request_id: str, limited_to: int | None = None) -> Headers:
    """Return a receipt as headers; without one, that the charge is still to be written. `limited_to` is the output limit that the
    request was given since the balance afforded no more."""
    return [(_header_name(name), _header_value(fact)) for name, fact in _facts(receipt, request_id, limited_to)]


def _header_value(fact: str | int) -> bytes:
    if isinstance(fact, str):
        return fact.encode()
    return (b"true" if fact else b"false") if isinstance(fact, bool) else b"%d" % fact


@cache
def _header_name(name: str) -> bytes:
    return HEADER_PREFIX + name.encode()


def refusal_headers(error: BalanceRefused) -> Headers:
    """Return what a refusal knows of the balance, as headers."""
    balance = error.details.get("balance_tokens")
    return [] if balance is None else [(HEADER_PREFIX + b"balance", b"%d" % balance)]


def comment_of(receipt: Receipt | None, request_id: str, limited_to: int | None = None) -> bytes:
    """Return the same as a comment of a stream of server-sent events, which clients skip: `: tokenwell {…}`."""
    return b": tokenwell " + msgspec.json.encode(dict(_facts(receipt, request_id, limited_to))) + b"\n\n"


def record_of(lines: Sequence[LedgerLine]) -> bytes:
    """Return what the ledger knows of a request, as JSON: its receipt, who asked and why, and what the provider reported."""
    entries = [line.entry for line in lines]
    charged = [line for line in lines if line.entry.kind in (EntryKind.DEBIT, EntryKind.OVERAGE)]
    first, last = entries[0], entries[-1]
    detail = msgspec.json.decode(first.detail) if first.detail else {}
    return msgspec.json.encode(
        {
            "object": "tokenwell.request",
            "id": first.request_id,
            "at": first.at,
            "model": first.model,
            "session": first.session,
            "reason": first.reason,
            "service_id": first.service_id,
            "key_id": first.key_id,
            "charged": sum(line.entry.amount_tokens for line in charged),
            "overage": sum(line.entry.amount_tokens for line in charged if line.entry.kind is EntryKind.OVERAGE),
            "prompt": sum(line.entry.prompt_tokens or 0 for line in charged),
            "completion": sum(line.entry.completion_tokens or 0 for line in charged),
            "estimated": bool(first.flags & ESTIMATED),
            "late": bool(first.flags & LATE),
            "packs": [_drawn(line) for line in charged if line.entry.pack_id],
            "balance": last.balance_after_tokens,
            "state": last.state_after.value,
            "usage": detail.get("usage"),
            "provider_usage": detail.get("raw"),
            "facts": detail.get("facts"),
        }
    )


def _drawn(line: LedgerLine) -> dict[str, Any]:
    return {"pack_id": line.entry.pack_id, "pack_number": line.pack_number, "amount": line.entry.amount_tokens}


def _facts(receipt: Receipt | None, request_id: str, limited_to: int | None) -> list[tuple[str, str | int]]:
    limited: list[tuple[str, str | int]] = [] if limited_to is None else [("limited-to", limited_to)]
    if receipt is None:
        return [("request-id", request_id), ("settlement", "pending"), *limited]
    facts: list[tuple[str, str | int]] = [
        ("request-id", receipt.request_id),
        ("charged", receipt.amount_tokens),
        ("prompt", receipt.prompt_tokens or 0),
        ("completion", receipt.completion_tokens or 0),
        ("packs", _packs(receipt)),
        ("balance", receipt.balance_tokens),
        ("state", receipt.state.value),
        ("estimated", receipt.estimated),
    ]
    if receipt.overage_tokens:
        facts.append(("overage", receipt.overage_tokens))
    return facts + limited


def _packs(receipt: Receipt) -> str:
    shown = [f"{drawn.pack_id}={drawn.amount_tokens}" for drawn in receipt.drawn[:PACKS_SHOWN]]
    more = len(receipt.drawn) - PACKS_SHOWN
    return ", ".join([*shown, f"more={more}"] if more > 0 else shown)
