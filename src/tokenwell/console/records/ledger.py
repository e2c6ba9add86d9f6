"""The ledger's presenters: its lines, and the receipt of one request with how its amount came about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tokenwell.console.presenters import pack_label
from tokenwell.core.health import State
from tokenwell.core.journal import ESTIMATED, LATE, EntryKind
from tokenwell.core.rates import MILLION, Rate, charge_of
from tokenwell.core.usage import Usage
from tokenwell.service.shapes import LedgerLine


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """A line as it is shown. `change_tokens` is what it did to the balance, below zero for a deduction."""

    seq: int
    at: datetime
    kind: EntryKind
    amount_tokens: int
    change_tokens: int
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str
    session: str
    reason: str
    pack: str
    pack_remaining_tokens: int | None
    request_id: str
    part: int
    parts: int
    is_estimated: bool
    is_late: bool


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One usage pool of a formula, and what each of its tokens costs (`1`, `0.5`)."""

    pool: str
    tokens: int
    multiplier: str


class Formula(msgspec.Struct, frozen=True, kw_only=True):
    """How an amount came about: terms that are summed, and (where that gave a fraction) rounded up."""

    terms: tuple[Term, ...]
    amount_tokens: int
    is_rounded_up: bool


class ReceiptView(msgspec.Struct, frozen=True, kw_only=True):
    """A request with all its lines; of a refund, `refund_of` names the request it gave back."""

    request_id: str
    at: datetime
    is_refund: bool
    refund_of: str
    amount_tokens: int
    overage_tokens: int
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str
    session: str
    reason: str
    service: str
    note: str
    balance_before_tokens: int
    balance_after_tokens: int
    state_after: State
    is_estimated: bool
    is_late: bool
    formula: Formula | None
    lines: tuple[LineView, ...]


class _Detail(msgspec.Struct, frozen=True):
    usage: Usage | None = None
    rate: Rate | None = None
    request: str = ""


def line_view(line: LedgerLine) -> LineView:
    """Return a line as it is shown."""
    entry = line.entry
    return LineView(
        seq=entry.seq,
        at=entry.at,
        kind=entry.kind,
        amount_tokens=entry.amount_tokens,
        change_tokens=entry.balance_change_tokens,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        model=entry.model or "",
        session=entry.session or "",
        reason=entry.reason or "",
        pack="" if line.pack_number is None else pack_label(line.pack_number),
        pack_remaining_tokens=entry.pack_remaining_tokens,
        request_id=entry.request_id or "",
        part=entry.part,
        parts=entry.parts,
        is_estimated=bool(entry.flags & ESTIMATED),
        is_late=bool(entry.flags & LATE),
    )


def receipt_view(lines: Sequence[LedgerLine]) -> ReceiptView:
    """Return the receipt of a request from its lines, in the order of the journal; there is at least one."""
    lines = sorted(lines, key=lambda line: line.entry.seq)
    entries = [line.entry for line in lines]
    first, last = entries[0], entries[-1]
    overage = sum(entry.amount_tokens for entry in entries if entry.kind is EntryKind.OVERAGE)
    detail = _detail_of([entry.detail for entry in entries])
    is_refund = bool(detail.request)
    kind = EntryKind.REFUND if is_refund else EntryKind.DEBIT
    amount = sum(entry.amount_tokens for entry in entries if entry.kind is kind) + abs(overage)
    prompt = _sum_of([entry.prompt_tokens for entry in entries])
    completion = _sum_of([entry.completion_tokens for entry in entries])
    return ReceiptView(
        request_id=first.request_id or "",
        at=last.at,
        is_refund=is_refund,
        refund_of=detail.request,
        amount_tokens=amount,
        overage_tokens=overage,
        prompt_tokens=prompt,
        completion_tokens=completion,
        model=first.model or "",
        session=first.session or "",
        reason=first.reason or "",
        service=first.service_id or "",
        note=next((entry.note for entry in entries if entry.note), ""),
        balance_before_tokens=first.balance_after_tokens - first.balance_change_tokens,
        balance_after_tokens=last.balance_after_tokens,
        state_after=last.state_after,
        is_estimated=any(entry.flags & ESTIMATED for entry in entries),
        is_late=any(entry.flags & LATE for entry in entries),
        formula=None if is_refund else formula_of(amount, prompt, completion, detail.usage, detail.rate),
        lines=tuple(line_view(line) for line in lines),
    )


def _sum_of(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _detail_of(texts: Sequence[str | None]) -> _Detail:
    """Return what the lines keep about their request; what is not of our shape tells nothing."""
    for text in texts:
        if text:
            try:
                return msgspec.json.decode(text, type=_Detail)
            except (msgspec.ValidationError, msgspec.DecodeError):
                continue
    return _Detail()


def formula_of(amount: int, prompt: int | None, completion: int | None, usage: Usage | None, rate: Rate | None) -> Formula | None:
    """Return how `amount` came about from the usage at the rate; None where it was charged as the caller gave it."""
    if usage is None:
        if prompt is None or completion is None:
            return None
        usage = Usage(input_tokens=prompt, output_tokens=completion)
    if charge_of(usage, rate) != amount:
        return None
    millionths: tuple[int, ...] = (MILLION,) * 5 if rate is None else rate.pools()
    pools = zip(usage.__struct_fields__, millionths, strict=True)
    counted: list[tuple[str, int, int]] = [(pool, getattr(usage, pool), price) for pool, price in pools]
    shown = [term for term in counted if term[1]] or counted[:1]
    exact = sum(tokens * price for _, tokens, price in counted)
    return Formula(
        terms=tuple(
            Term(pool=pool.removesuffix("_tokens"), tokens=tokens, multiplier=_multiplier(price)) for pool, tokens, price in shown
        ),
        amount_tokens=amount,
        is_rounded_up=exact % MILLION != 0,
    )


def _multiplier(millionths: int) -> str:
    return f"{Decimal(millionths).scaleb(-6).normalize():f}"
