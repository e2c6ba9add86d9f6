"""Receipts: what a request cost, told in headers and, at the end of a stream, in a comment."""

from __future__ import annotations

import msgspec

from tokenwell.core.receipts import Receipt
from tokenwell.errors import BalanceRefused
from tokenwell.gateway.exchange import Headers

PACKS_SHOWN = 20
"""How many packs a header names; a request that drew from more says how many more."""

HEADER_PREFIX = b"x-tokenwell-"
REQUEST_ID = HEADER_PREFIX + b"request-id"


def headers_of(receipt: Receipt | None, request_id: str) -> Headers:
    """Return a receipt as headers; without one, that the charge is still to be written."""
    return [
        (HEADER_PREFIX + name.encode(), str(fact).lower().encode() if isinstance(fact, bool) else str(fact).encode())
        for name, fact in _facts(receipt, request_id)
    ]


def refusal_headers(error: BalanceRefused) -> Headers:
    """Return what a refusal knows of the balance, as headers."""
    balance = error.details.get("balance_tokens")
    return [] if balance is None else [(HEADER_PREFIX + b"balance", b"%d" % balance)]


def comment_of(receipt: Receipt | None, request_id: str) -> bytes:
    """Return the same as a comment of a stream of server-sent events, which clients skip: `: tokenwell {…}`."""
    return b": tokenwell " + msgspec.json.encode(dict(_facts(receipt, request_id))) + b"\n\n"


def _facts(receipt: Receipt | None, request_id: str) -> list[tuple[str, str | int]]:
    if receipt is None:
        return [("request-id", request_id), ("settlement", "pending")]
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
    return facts


def _packs(receipt: Receipt) -> str:
    shown = [f"{drawn.pack_id}={drawn.amount_tokens}" for drawn in receipt.drawn[:PACKS_SHOWN]]
    more = len(receipt.drawn) - PACKS_SHOWN
    return ", ".join([*shown, f"more={more}"] if more > 0 else shown)
