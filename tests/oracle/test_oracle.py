"""The oracle itself, pinned by examples computed by hand from docs/concepts.md: packs, burn-down, admission, keys, time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.builders import after
from tests.doubles import START
from tests.oracle.told import MICROSECOND, Told
from tokenwell.errors import (
    AiStopped,
    AmountInvalid,
    BalanceHeld,
    IdempotencyConflict,
    PackAlreadyRevoked,
    PackExpired,
    RequestInvalid,
    ThresholdsInvalid,
)


@pytest.fixture
def tell() -> Told:
    return Told()


# Packs and their status


def test_a_pack_counts_until_the_microsecond_before_its_expiry(tell: Told) -> None:
    tell("grant", amount=10, expires_at=after(60))
    tell.clock.now = after(60) - MICROSECOND
    assert (tell.reading("balance"), tell.status()) == (10, ["active"])
    tell.clock.now = after(60)
    assert (tell.reading("balance"), tell.status()) == (0, ["expired"])
    assert tell.lines() == ["grant 10 pack-1 10 | 10"]


def test_due_packs_are_closed_before_a_command_by_expiry_then_burn_down_order(tell: Told) -> None:
    tell("grant", amount=1, expires_at=after(60), priority=2)
    tell("grant", amount=2, expires_at=after(60), priority=1)
    tell("grant", amount=3, expires_at=after(30), priority=9)
    tell.clock.now = after(100)
    tell("grant", amount=4)
    assert tell.lines(3) == ["expire 3 pack-3 3 | 3", "expire 2 pack-2 2 | 1", "expire 1 pack-1 1 | 0", "grant 4 pack-4 4 | 4"]
    assert [line.at for line in tell.oracle.lines[3:]] == [after(30), after(60), after(60), after(100)]


def test_status_is_revoked_before_depleted_before_expired_before_active(tell: Told) -> None:
    for _ in range(3):
        tell("grant", amount=5, expires_at=after(60))
    tell("debit", amount=10, key="both")
    assert tell.status() == ["depleted", "depleted", "active"]
    tell("revoke", pack="PK-1")
    assert tell.status() == ["revoked", "depleted", "active"]
    tell.clock.now = after(60)
    assert tell.status() == ["revoked", "depleted", "expired"]
    tell("revoke", pack="PK-3")
    assert tell.status() == ["revoked", "depleted", "revoked"]


def test_a_depleted_pack_that_expires_writes_no_line(tell: Told) -> None:
    tell("grant", amount=5, expires_at=after(60))
    tell("debit", amount=5, key="all")
    tell.clock.now = after(60)
    tell("grant", amount=1)
    assert tell.lines(2) == ["grant 1 pack-2 1 | 1"]


@pytest.mark.parametrize("amount", [0, -1, 10**16 + 1, True, 1.0])
def test_a_grant_needs_a_whole_number_within_bounds(tell: Told, amount: object) -> None:
    with pytest.raises(AmountInvalid):
        tell("grant", amount=amount)


def test_a_grant_needs_an_expiry_in_the_future(tell: Told) -> None:
    with pytest.raises(RequestInvalid):
        tell("grant", amount=1, expires_at=START)
    assert tell("grant", amount=1, expires_at=START + MICROSECOND)["balance"] == 1


def test_an_expiry_moves_to_a_later_instant_or_to_never_and_then_no_more(tell: Told) -> None:
    tell("grant", amount=5, expires_at=after(60))
    tell("debit", amount=5, key="depleted packs may be extended")
    with pytest.raises(RequestInvalid):
        tell("extend", pack="PK-1", expires_at=after(60))
    assert tell("extend", pack="PK-1", expires_at=after(61))["before"] == after(60)
    assert tell("extend", pack="PK-1", expires_at=None)["before"] == after(61)
    with pytest.raises(RequestInvalid):
        tell("extend", pack="PK-1", expires_at=None)
    assert tell.lines(2) == ["extend 0 pack-1 0 | 0"] * 2


def test_an_expired_or_revoked_pack_is_not_extended(tell: Told) -> None:
    tell("grant", amount=5, expires_at=after(60))
    tell("grant", amount=5, expires_at=after(60))
    tell("revoke", pack="PK-2")
    tell.clock.now = after(60)
    with pytest.raises(PackExpired):
        tell("extend", pack="PK-1", expires_at=after(90))
    with pytest.raises(PackAlreadyRevoked):
        tell("extend", pack="PK-2", expires_at=after(90))


def test_revoking_forfeits_what_still_counted_once(tell: Told) -> None:
    tell("grant", amount=5)
    tell("grant", amount=5, expires_at=after(60))
    tell("debit", amount=2, key="from the pack that expires")
    tell.clock.now = after(60)
    assert tell("revoke", pack="PK-1")["forfeited"] == 5
    assert tell("revoke", pack="PK-2")["forfeited"] == 0
    assert tell.lines(3) == ["expire 3 pack-2 3 | 5", "revoke 5 pack-1 5 | 0", "revoke 0 pack-2 3 | 0"]
    with pytest.raises(PackAlreadyRevoked):
        tell("revoke", pack="PK-1")


def test_cancelling_holds_releases_only_the_open_ones_that_could_spend_the_pack(tell: Told) -> None:
    tell("grant", amount=50)
    tell("open_hold", amount=1)
    tell("grant", amount=50)
    tell("open_hold", amount=2)
    tell("open_hold", amount=3, ttl=timedelta(seconds=1))
    tell.clock.now = after(1)
    assert tell("revoke", pack="PK-2", cancel_holds=True)["released_holds"] == 1
    assert tell.reading("held") == 1


# Burn-down order


def test_packs_are_spent_by_priority_then_expiry_then_grant_then_id(tell: Told) -> None:
    tell("grant", amount=1, priority=1, new_id="e")
    tell("grant", amount=1, new_id="d")
    tell("grant", amount=1, new_id="c")
    tell.clock.now = after(1)
    tell("grant", amount=1, new_id="a")
    tell("grant", amount=1, expires_at=after(60), new_id="z")
    tell("debit", amount=5, key="all")
    assert [line.pack for line in tell.oracle.lines[5:]] == ["z", "c", "d", "a", "e"]
    assert [(line.part, line.parts) for line in tell.oracle.lines[5:]] == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ((7, 3), [(5, 0), (2, 3)]),  # one to one: the prompt is paid first
        ((3, 7), [(3, 2), (0, 5)]),
        ((3, 2), [(1, 1), (2, 1)]),  # half of 3 and half of 2, rounded down
        ((0, 1), [(0, 0), (0, 1)]),
        ((101, 99), [(50, 49), (51, 50)]),
        (None, [(None, None), (None, None)]),
    ],
)
def test_prompt_and_completion_are_cut_over_the_lines(tell: Told, split: Any, expected: list[Any]) -> None:
    tell("grant", amount=5)
    tell("grant", amount=5)
    columns = {} if split is None else {"prompt_tokens": split[0], "completion_tokens": split[1]}
    answer = tell("debit", amount=10, key="ten", **columns)
    assert [(line.prompt, line.completion) for line in tell.oracle.lines[2:]] == expected
    assert (answer["prompt"], answer["completion"]) == (split or (None, None))


@pytest.mark.parametrize(("model", "charged"), [(None, 4), ("dear", 7), ("cheap", 2)])
def test_a_charge_is_rounded_up_once(tell: Told, model: str | None, charged: int) -> None:
    tell("grant", amount=50)
    # dear: 3 × 1.5 + 1 × 2.25 = 6.75; cheap: 3 × 0.3 + 1 × 0.7 = 1.6
    assert tell("debit", prompt_tokens=3, completion_tokens=1, model=model, key="k")["amount"] == charged


# State and admission


def test_equality_is_never_the_worse_state(tell: Told) -> None:
    tell("set_thresholds", warning=8, reserve=3)
    assert [tell.oracle.world.state_of(balance) for balance in (0, 2, 3, 7, 8)] == [
        "ai_stopped",
        "ai_stopped",
        "running_low",
        "running_low",
        "normal",
    ]
    assert tell("clear_thresholds")["state"] == "ai_stopped"
    assert [tell.oracle.world.state_of(balance) for balance in (0, 1)] == ["ai_stopped", "normal"]
    with pytest.raises(ThresholdsInvalid):
        tell("set_thresholds", warning=2, reserve=3)


def test_a_request_is_refused_when_stopped_or_held_and_charged_when_already_used(tell: Told) -> None:
    tell("set_thresholds", warning=8, reserve=3)
    tell("grant", amount=10)
    tell("open_hold", amount=7)
    with pytest.raises(BalanceHeld):
        tell("open_hold", amount=4)
    assert tell("open_hold", amount=3)["tokens"] == 3
    with pytest.raises(BalanceHeld):  # available is 0, below the reserve
        tell("debit", amount=1, key="k")
    assert tell("debit", amount=8, key="k", already_used=True)["balance"] == 2
    with pytest.raises(AiStopped):
        tell("debit", amount=1, key="l")
    with pytest.raises(AmountInvalid):
        tell("debit", amount=0, key="l")


# Idempotency, clock, time travel


def test_a_key_replays_its_first_answer_and_conflicts_with_other_input(tell: Told) -> None:
    first = tell("grant", amount=5, key="k")
    tell.clock.now = after(9)
    tell("open_hold", amount=1, key="k")  # holds have keys of their own
    assert tell("grant", amount=5, key="k") == first | {"replayed": True}
    for command, arguments in (("grant", {"amount": 6}), ("debit", {"amount": 5}), ("open_hold", {"amount": 2})):
        with pytest.raises(IdempotencyConflict):
            tell(command, key="k", **arguments)
    assert tell.reading("balance") == 5


def test_a_refusal_changes_nothing_and_is_not_remembered(tell: Told) -> None:
    tell("grant", amount=5, expires_at=after(60))
    tell.clock.now = after(60)
    with pytest.raises(AiStopped):
        tell("debit", amount=5, key="k")
    assert tell.lines() == ["grant 5 pack-1 5 | 5"]
    tell("grant", amount=5)
    assert tell("debit", amount=5, key="k")["replayed"] is False


def test_the_clock_of_an_organization_never_runs_backwards(tell: Told) -> None:
    tell("grant", amount=5, expires_at=after(60))
    tell.clock.now = after(60)
    tell("grant", amount=1)
    tell.clock.now = after(10)
    assert tell("debit", amount=1, key="k")["at"] == after(60)
    assert tell.lines(1) == ["expire 5 pack-1 5 | 0", "grant 1 pack-2 1 | 1", "debit 1 pack-2 0 | 0"]


def test_every_number_can_be_read_as_of_a_past_instant(tell: Told) -> None:
    tell("grant", amount=10, expires_at=after(60))
    tell.clock.now = after(10)
    tell("open_hold", amount=4, ttl=timedelta(seconds=20))
    tell.clock.now = after(20)
    tell("settle", hold_id="hold-1", amount=3)
    tell.clock.now = after(100)
    tell("grant", amount=1)
    told = [
        (tell.oracle.balance_at(after(at))["balance"], tell.oracle.balance_at(after(at))["held"])
        for at in (0, 9, 10, 19, 20, 59, 60, 99, 100)
    ]
    assert told == [(10, 0), (10, 0), (10, 4), (10, 4), (7, 0), (7, 0), (0, 0), (0, 0), (1, 0)]
