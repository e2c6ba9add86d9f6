"""The oracle itself, pinned by examples computed by hand from docs/concepts.md: holds, overage, refunds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.builders import after
from tests.oracle.told import MICROSECOND, Told
from tokenwell.errors import AmountInvalid, HoldAlreadyReleased, HoldAlreadySettled, RequestInvalid, RequestNotFound


@pytest.fixture
def tell() -> Told:
    return Told()


# Holds


def test_a_hold_reserves_until_the_instant_it_lapses_and_is_then_late(tell: Told) -> None:
    tell("grant", amount=10)
    tell("open_hold", amount=4, ttl=timedelta(seconds=5), key="chat")
    tell.clock.now = after(5) - MICROSECOND
    assert tell.reading("held") == 4
    tell.clock.now = after(5)
    assert tell.reading("held") == 0
    answer = tell("settle", hold_id="hold-1", amount=6)
    assert (answer["amount"], answer["late"], answer["request"], answer["balance"]) == (6, True, "chat", 4)


def test_settling_nothing_closes_the_hold_without_a_line(tell: Told) -> None:
    tell("grant", amount=10)
    tell("open_hold", amount=4)
    assert tell("settle", hold_id="hold-1", amount=0)["amount"] == 0
    assert (tell.lines(1), tell.reading("held")) == ([], 0)
    with pytest.raises(RequestNotFound):
        tell("refund", request_id="hold-1")


def test_closing_a_hold_again_gives_the_first_answer_or_a_conflict(tell: Told) -> None:
    tell("grant", amount=10)
    tell("open_hold", amount=4)
    tell("open_hold", amount=4)
    first = tell("settle", hold_id="hold-1", amount=3)
    tell("grant", amount=1)
    assert tell("settle", hold_id="hold-1", amount=3) == first | {"replayed": True}
    with pytest.raises(HoldAlreadySettled):
        tell("settle", hold_id="hold-1", amount=4)
    with pytest.raises(HoldAlreadySettled):
        tell("release", hold_id="hold-1")
    first = tell("release", hold_id="hold-2")
    tell("grant", amount=1)
    assert tell("release", hold_id="hold-2") == first | {"replayed": True}
    with pytest.raises(HoldAlreadyReleased):
        tell("settle", hold_id="hold-2", amount=4)


def test_a_hold_spends_packs_that_closed_since_and_takes_back_their_forfeit_first(tell: Told) -> None:
    tell("grant", amount=4, expires_at=after(60))
    tell("grant", amount=3, priority=1)
    tell("open_hold", amount=7)
    tell("grant", amount=5, priority=2)
    tell("grant", amount=6, expires_at=after(50))
    tell("revoke", pack="PK-2")
    tell.clock.now = after(60)
    answer = tell("settle", hold_id="hold-1", amount=9)
    assert tell.lines(5) == [
        "expire 6 pack-4 6 | 9",  # granted after the hold was opened: out of its reach
        "expire 4 pack-1 4 | 5",
        "expire -4 pack-1 4 | 9",
        "revoke -3 pack-2 3 | 12",
        "debit 4 pack-1 0 | 8",
        "debit 3 pack-2 0 | 5",
        "debit 2 pack-3 3 | 3",
    ]
    assert (answer["amount"], answer["overage"], answer["forfeited"], answer["late"]) == (9, 0, 0, False)


def test_a_hold_cannot_spend_a_pack_that_had_expired_when_it_was_opened(tell: Told) -> None:
    tell("grant", amount=4, expires_at=after(60))
    tell("grant", amount=3)
    tell.clock.now = after(60)
    tell("open_hold", amount=1)
    tell("settle", hold_id="hold-1", amount=5)
    assert tell.lines(2) == ["expire 4 pack-1 4 | 3", "debit 3 pack-2 0 | 0", "overage 2 | 0"]


# Overage


def test_what_no_pack_covers_is_overage_and_the_next_packs_repay_it(tell: Told) -> None:
    tell("grant", amount=4)
    answer = tell("debit", amount=10, key="k", already_used=True, prompt_tokens=7, completion_tokens=3)
    assert (answer["amount"], answer["overage"], answer["balance"]) == (10, 6, 0)
    assert [(line.part, line.parts, line.prompt, line.completion) for line in tell.oracle.lines[1:]] == [(1, 2, 4, 0), (2, 2, 3, 3)]
    assert tell("grant", amount=5)["repaid"] == 5
    assert tell("grant", amount=5)["repaid"] == 1
    assert tell.lines(1) == [
        "debit 4 pack-1 0 | 0",
        "overage 6 | 0",
        "grant 5 pack-2 5 | 5",
        "overage_repaid 5 pack-2 0 | 0",
        "grant 5 pack-3 5 | 5",
        "overage_repaid 1 pack-3 4 | 4",
    ]
    assert (tell.reading("overage"), tell.status()) == (0, ["depleted", "depleted", "active"])


# Refund


def test_a_refund_goes_back_in_reverse_order_of_spending(tell: Told) -> None:
    tell("grant", amount=4)
    tell("grant", amount=5)
    tell("debit", amount=9, key="k")
    assert tell("refund", request_id="k", amount=6)["drawn"] == [(5, "pack-2", 5, None, None, 5), (6, "pack-1", 1, None, None, 1)]
    with pytest.raises(AmountInvalid):
        tell("refund", request_id="k", amount=4)
    assert tell("refund", request_id="k")["amount"] == 3
    with pytest.raises(RequestInvalid):
        tell("refund", request_id="k")
    assert tell.status() == ["active", "active"]


def test_a_refund_lowers_overage_first_then_returns_what_was_repaid_most_recent_grant_first(tell: Told) -> None:
    tell("debit", amount=9, key="k", already_used=True)
    tell("grant", amount=3)
    tell("grant", amount=4)
    answer = tell("refund", request_id="k", amount=8)
    assert (answer["amount"], answer["overage"], answer["balance"]) == (8, 2, 6)
    assert tell.lines(5) == ["overage -2 | 0", "refund 4 pack-2 4 | 4", "refund 2 pack-1 2 | 6"]
    tell("refund", request_id="k")
    assert tell.lines(8) == ["refund 1 pack-1 3 | 7"]


def test_overage_repaid_by_one_request_is_returned_for_another(tell: Told) -> None:
    tell("debit", amount=5, key="a", already_used=True)
    tell("grant", amount=5)
    tell("debit", amount=3, key="b", already_used=True)
    tell("refund", request_id="a")
    assert tell.lines(4) == ["overage -3 | 0", "refund 2 pack-1 2 | 2"]
    tell("refund", request_id="b")
    assert tell.lines(6) == ["refund 3 pack-1 5 | 5"]


def test_what_goes_back_to_a_closed_pack_is_forfeited_again(tell: Told) -> None:
    tell("grant", amount=2, expires_at=after(60))
    tell("grant", amount=2)
    tell("grant", amount=9)
    tell("debit", amount=5, key="k")
    tell("revoke", pack="PK-2")
    tell.clock.now = after(60)
    answer = tell("refund", request_id="k")
    assert (answer["forfeited"], answer["balance"]) == (4, 9)
    assert tell.lines(6) == [
        "revoke 0 pack-2 0 | 8",
        "refund 1 pack-3 9 | 9",
        "refund 2 pack-2 2 | 11",
        "refund 2 pack-1 2 | 13",
        "revoke 2 pack-2 2 | 11",
        "expire 2 pack-1 2 | 9",
    ]


def test_a_pack_that_expiry_closed_forfeits_as_expired_even_if_revoked_since(tell: Told) -> None:
    tell("grant", amount=3, expires_at=after(60))
    tell("debit", amount=2, key="k")
    tell.clock.now = after(60)
    tell("revoke", pack="PK-1")
    tell("refund", request_id="k")
    assert tell.lines(2) == ["expire 1 pack-1 1 | 0", "revoke 0 pack-1 1 | 0", "refund 2 pack-1 3 | 2", "expire 2 pack-1 3 | 0"]
