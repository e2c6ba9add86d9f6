"""The ledger's presenters: lines, receipts and how an amount came about."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.builders import build_entry
from tests.doubles import START
from tokenwell.console.records.ledger import formula_of, line_view, receipt_view
from tokenwell.core.health import State
from tokenwell.core.journal import ESTIMATED, LATE, EntryKind, state_flag
from tokenwell.core.rates import Rate, charge_of
from tokenwell.core.usage import Usage
from tokenwell.service.shapes import LedgerLine


def line_of(kind: EntryKind = EntryKind.DEBIT, amount_tokens: int = 10, pack_number: int | None = 1, **fields: Any) -> LedgerLine:
    return LedgerLine(entry=build_entry(kind, amount_tokens, request_id="req_1", **fields), pack_number=pack_number)


def test_a_deduction_lowers_the_balance_and_a_refund_raises_it() -> None:
    assert line_view(line_of(EntryKind.DEBIT, 7)).change_tokens == -7
    assert line_view(line_of(EntryKind.REFUND, 7)).change_tokens == 7
    assert line_view(line_of(EntryKind.OVERAGE, 7, None)).change_tokens == 0


def test_a_line_shows_what_it_knows_and_leaves_out_the_rest() -> None:
    bare = line_view(line_of(pack_number=None))
    assert (bare.model, bare.session, bare.reason, bare.pack, bare.prompt_tokens) == ("", "", "", "", None)
    full = line_view(line_of(pack_number=12, model="m", session="s", reason="r", prompt_tokens=8, completion_tokens=2))
    assert (full.model, full.session, full.reason, full.pack) == ("m", "s", "r", "PK-12")


@pytest.mark.parametrize(("estimated", "late"), [(False, False), (True, False), (False, True), (True, True)])
def test_estimated_and_late_are_told_whatever_the_state_was(estimated: bool, late: bool) -> None:
    flags = state_flag(State.AI_STOPPED) | (ESTIMATED if estimated else 0) | (LATE if late else 0)
    view = line_view(line_of(flags=flags))
    assert (view.is_estimated, view.is_late) == (estimated, late)


def test_a_receipt_sums_its_parts_and_tells_the_balance_before_and_after() -> None:
    lines = [
        line_of(EntryKind.OVERAGE, 5, None, seq=9, part=3, parts=3, balance_after_tokens=0, prompt_tokens=0, completion_tokens=5),
        line_of(seq=7, amount_tokens=60, part=1, parts=3, balance_after_tokens=40, prompt_tokens=60, completion_tokens=0),
        line_of(seq=8, amount_tokens=40, part=2, parts=3, balance_after_tokens=0, prompt_tokens=20, completion_tokens=20),
    ]
    receipt = receipt_view(lines)
    assert [line.seq for line in receipt.lines] == [7, 8, 9]
    assert (receipt.amount_tokens, receipt.overage_tokens) == (105, 5)
    assert (receipt.prompt_tokens, receipt.completion_tokens) == (80, 25)
    assert (receipt.balance_before_tokens, receipt.balance_after_tokens) == (100, 0)
    assert receipt.formula is not None
    assert [(term.pool, term.tokens, term.multiplier) for term in receipt.formula.terms] == [
        ("input", 80, "1"),
        ("output", 25, "1"),
    ]
    assert not receipt.is_refund


def test_the_receipt_of_a_refund_names_the_request_it_gave_back() -> None:
    detail = msgspec.json.encode({"request": "req_0", "asked": "all"}).decode()
    receipt = receipt_view(
        [
            line_of(EntryKind.REFUND, 30, seq=4, balance_after_tokens=130, detail=detail, note="Wrong language", parts=2),
            line_of(EntryKind.EXPIRE, 30, seq=5, balance_after_tokens=100, part=2, parts=2, note="Wrong language"),
        ]
    )
    assert (receipt.is_refund, receipt.refund_of, receipt.amount_tokens) == (True, "req_0", 30)
    assert (receipt.balance_before_tokens, receipt.balance_after_tokens) == (100, 100)
    assert receipt.formula is None
    assert receipt.note == "Wrong language"


def test_a_receipt_reads_usage_and_rate_from_what_the_first_line_keeps() -> None:
    usage = Usage(input_tokens=640, cache_read_tokens=100, output_tokens=93)
    rate = Rate(model="m", effective_at=START, input_millionths=500_000, cache_read_millionths=125_000, output_millionths=1_500_000)
    detail = msgspec.json.encode({"usage": usage, "rate": rate, "raw": {"request": "not ours"}}).decode()
    receipt = receipt_view([line_of(amount_tokens=charge_of(usage, rate), detail=detail, model="m")])
    assert receipt.formula is not None
    assert [(term.pool, term.tokens, term.multiplier) for term in receipt.formula.terms] == [
        ("input", 640, "0.5"),
        ("cache_read", 100, "0.125"),
        ("output", 93, "1.5"),
    ]
    assert receipt.formula.amount_tokens == 472
    assert not receipt.formula.is_rounded_up


def test_a_fraction_was_rounded_up_and_the_receipt_says_so() -> None:
    rate = Rate(model="m", effective_at=START, input_millionths=333_333)
    usage = Usage(input_tokens=10)
    formula = formula_of(charge_of(usage, rate), None, None, usage, rate)
    assert formula is not None
    assert (formula.amount_tokens, formula.is_rounded_up) == (4, True)


@pytest.mark.parametrize(
    ("millionths", "text"), [(1_000_000, "1"), (0, "0"), (1, "0.000001"), (2_500_000, "2.5"), (10_000_000_000, "10000")]
)
def test_multipliers_are_written_without_needless_digits(millionths: int, text: str) -> None:
    rate = Rate(model="m", effective_at=START, input_millionths=millionths)
    usage = Usage(input_tokens=10**6)
    formula = formula_of(charge_of(usage, rate), None, None, usage, rate)
    assert formula is not None
    assert formula.terms[0].multiplier == text


def test_an_amount_that_the_usage_does_not_give_was_charged_as_the_caller_gave_it() -> None:
    assert formula_of(50, 10, 20, None, None) is None
    assert formula_of(50, None, None, None, None) is None


@pytest.mark.parametrize("detail", ["not json", "[]", '{"usage": 7}', "{}", None])
def test_a_detail_that_is_not_ours_tells_nothing(detail: str | None) -> None:
    receipt = receipt_view([line_of(detail=detail)])
    assert (receipt.formula, receipt.refund_of) == (None, "")
