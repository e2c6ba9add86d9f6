"""Every property the oracle watches, with the bug planted that it should catch: a comparison that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.databases import sqlite_url_in
from tests.oracle import story
from tests.oracle.processes import Processes
from tokenwell.core import (
    announcements,
    burndown,
    charges,
    decide,
    draft,
    grants,
    growths,
    health,
    packs,
    receipts,
    refunds,
    replays,
)
from tokenwell.core.account import Book
from tokenwell.core.commands import Command, SetThresholds
from tokenwell.core.draft import Draft
from tokenwell.core.happenings import EventKind
from tokenwell.core.health import State, Thresholds
from tokenwell.core.holds import Hold
from tokenwell.core.instants import expiry_micros
from tokenwell.core.journal import GENESIS, EntryKind, seal
from tokenwell.core.packs import Pack
from tokenwell.errors import InvariantBroken
from tokenwell.service import charging
from tokenwell.store import writer

Plant = Callable[[pytest.MonkeyPatch], None]


def burn_down_ignores_priority(patch: pytest.MonkeyPatch) -> None:
    ordered = Pack.burn_order
    patch.setattr(Pack, "burn_order", lambda pack: (0, *ordered(pack)[1:]))


def packs_that_never_expire_are_spent_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(packs, "expiry_micros", lambda at: 0 if at is None else expiry_micros(at))


def packs_expire_a_microsecond_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "is_due", lambda book, now: _is_past(book.account.next_expiry_at, now) or _is_due_lapse(book, now))


def holds_never_lapse(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        decide, "is_due", lambda book, now: book.account.next_expiry_at is not None and book.account.next_expiry_at <= now
    )


def a_refund_goes_back_in_the_order_of_spending(patch: pytest.MonkeyPatch) -> None:
    steps_of = refunds._steps_of
    patch.setattr(refunds, "_steps_of", lambda book, charged, left, amount: steps_of(book, charged[::-1], left, amount))


def overage_is_not_repaid(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grants, "min", lambda overage, total: 0, raising=False)


def repaid_overage_returns_to_the_oldest_grant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(refunds, "sorted", lambda found, key, reverse: sorted(found, key=key), raising=False)


def apportioning_loses_tokens(patch: pytest.MonkeyPatch) -> None:
    def each_rounded_down(amounts: list[int], prompt: int, completion: int) -> list[tuple[int, int]]:
        return [(prompt * amount // sum(amounts), completion * amount // sum(amounts)) for amount in amounts]

    patch.setattr(burndown, "apportion", each_rounded_down)


def a_charge_is_rounded_down(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(charging, "charge_of", lambda usage, rate: max(1, _cost(usage, rate) // 1_000_000))


def what_goes_back_to_a_closed_pack_counts_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(refunds, "_is_gone", lambda pack, now: False)


def another_usage_gives_the_first_answer(patch: pytest.MonkeyPatch) -> None:
    before = charges._settled_before
    patch.setattr(
        charges,
        "_settled_before",
        lambda book, command, hold: before(book, replace(command, fingerprint=hold.settled_fingerprint), hold),
    )


def a_key_replays_whatever_the_input(patch: pytest.MonkeyPatch) -> None:
    replay_of = replays.replay_of

    def blind(book: Book, command: Command) -> Any:
        facts = book.requests.get(command.key)
        return replay_of(book, command if facts is None else replace(command, fingerprint=facts.entries[0].fingerprint))

    for module in (replays, writer):
        patch.setattr(module, "replay_of", blind)


def a_late_hold_spends_no_closed_pack(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(burndown, "_is_closed_but_spendable", lambda pack, hold: False)


def a_hold_spends_packs_granted_and_closed_after_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        burndown, "_is_closed_but_spendable", lambda pack, hold: pack.closed_seq is not None and pack.remaining_tokens > 0
    )


def a_forfeit_is_taken_back_under_the_wrong_name(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(burndown, "closing_kind", lambda pack: EntryKind.EXPIRE)


def a_threshold_belongs_to_the_worse_state(patch: pytest.MonkeyPatch) -> None:
    def state_of(balance_tokens: int, thresholds: Thresholds) -> State:
        if balance_tokens <= thresholds.reserve_tokens:
            return State.AI_STOPPED
        return State.RUNNING_LOW if balance_tokens <= thresholds.warning_tokens else State.NORMAL

    for module in (health, draft):
        patch.setattr(module, "state_of", state_of)


def admission_ignores_what_is_held(patch: pytest.MonkeyPatch) -> None:
    refusal_of = health.refusal_of
    patch.setattr(
        charges, "refusal_of", lambda balance, held, thresholds, estimate, lane: refusal_of(balance, 0, thresholds, estimate)
    )


def settling_frees_nothing(patch: pytest.MonkeyPatch) -> None:
    close = Draft.close

    def keep(self: Draft, hold: Hold, *args: Any, **changes: Any) -> Hold:
        closed = close(self, hold, *args, **changes)
        self.held_tokens += hold.tokens
        return closed

    patch.setattr(Draft, "close", keep)


def the_chain_skips_the_line_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(draft, "seal", lambda entry, previous: seal(entry, GENESIS))


def cancelled_holds_stay_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grants, "_spenders_of", lambda book, pack: [])


def a_refilled_pack_is_not_watched_for_its_expiry(patch: pytest.MonkeyPatch) -> None:
    bound_of = Draft._next_expiry_at

    def of_grants_only(self: Draft) -> Any:
        refilled = {pack_id: self.packs.pop(pack_id) for pack_id in [*self.packs] if pack_id in self._book.packs}
        bound = bound_of(self)
        self.packs |= refilled
        return bound

    patch.setattr(Draft, "_next_expiry_at", of_grants_only)


def a_balance_that_dithers_is_told_each_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(announcements, "RECOVERED_PERCENT", 100)


def a_state_is_told_with_every_command(patch: pytest.MonkeyPatch) -> None:
    decision = Draft.decision

    def forgetful(self: Draft, *args: Any, **changes: Any) -> Any:
        made = decision(self, *args, **changes)
        return replace(made, account=replace(made.account, told_state=State.NORMAL))

    patch.setattr(Draft, "decision", forgetful)


def an_expiry_crosses_no_line(patch: pytest.MonkeyPatch) -> None:
    tell_state = Draft.tell_state
    patch.setattr(Draft, "tell_state", lambda self, at=None: None if at else tell_state(self))


def an_event_is_lost(patch: pytest.MonkeyPatch, kind: EventKind) -> None:
    tell = Draft.tell
    patch.setattr(Draft, "tell", lambda self, told, **detail: None if told is kind else tell(self, told, **detail))


def thresholds_cross_no_line(patch: pytest.MonkeyPatch) -> None:
    set_thresholds = grants.set_thresholds

    def silent(book: Book, command: Any, now: Any) -> Any:
        made = set_thresholds(book, command, now)
        return replace(made, events=[], account=replace(made.account, told_state=book.account.told_state))

    patch.setitem(decide._DECIDERS, SetThresholds, silent)


def a_growth_is_not_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(growths, "_grown", lambda book, command, hold, tokens, wanted, now: _GROWN(book, command, hold, tokens, 0, now))


def a_lapsed_hold_is_admitted_for_its_growth_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        growths,
        "refusal_of",
        lambda balance, held, thresholds, estimate, lane: refusal(balance, held, thresholds, min(estimate, 4)),
    )


def a_growth_shortens_a_hold(patch: pytest.MonkeyPatch) -> None:
    lapses_at = growths._lapses_at
    patch.setattr(
        growths,
        "_lapses_at",
        lambda command, hold, now: lapses_at(command, hold, now) if command.ttl is None else now + command.ttl,
    )


def a_hold_that_grew_was_always_so_large(patch: pytest.MonkeyPatch) -> None:
    held = receipts.held
    patch.setattr(receipts, "held", lambda hold, replayed=False, growth=None: held(hold, replayed=replayed))


_GROWN = growths._grown
refusal = health.refusal_of

LOST = [
    kind
    for kind in EventKind
    if kind.startswith(("state.", "overage.", "service."))
    or kind in ("pack.granted", "pack.depleted", "pack.expired", "pack.revoked")
]


def _is_past(bound: Any, now: Any) -> bool:
    return bound is not None and bound < now


def _is_due_lapse(book: Book, now: Any) -> bool:
    return book.account.next_lapse_at is not None and book.account.next_lapse_at <= now


def _cost(usage: Any, rate: Any) -> int:
    if rate is None:
        return 1_000_000 * int(usage.prompt_tokens + usage.completion_tokens)
    return int(usage.input_tokens * rate.input_millionths + usage.output_tokens * rate.output_millionths)


PLANTS: list[Plant] = [
    burn_down_ignores_priority,
    packs_that_never_expire_are_spent_first,
    packs_expire_a_microsecond_late,
    holds_never_lapse,
    a_refund_goes_back_in_the_order_of_spending,
    overage_is_not_repaid,
    repaid_overage_returns_to_the_oldest_grant,
    apportioning_loses_tokens,
    a_charge_is_rounded_down,
    what_goes_back_to_a_closed_pack_counts_again,
    another_usage_gives_the_first_answer,
    a_key_replays_whatever_the_input,
    a_late_hold_spends_no_closed_pack,
    a_hold_spends_packs_granted_and_closed_after_it,
    a_forfeit_is_taken_back_under_the_wrong_name,
    a_threshold_belongs_to_the_worse_state,
    admission_ignores_what_is_held,
    settling_frees_nothing,
    the_chain_skips_the_line_before,
    cancelled_holds_stay_open,
    a_refilled_pack_is_not_watched_for_its_expiry,
    a_balance_that_dithers_is_told_each_time,
    a_state_is_told_with_every_command,
    an_expiry_crosses_no_line,
    thresholds_cross_no_line,
    a_growth_is_not_held,
    a_lapsed_hold_is_admitted_for_its_growth_alone,
    a_growth_shortens_a_hold,
    a_hold_that_grew_was_always_so_large,
]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Meters on a new SQLite file; every story is told by an organization of its own."""
    opened = Processes(sqlite_url_in(tmp_path_factory.mktemp("planted")))
    yield opened
    opened.close()


def test_the_story_is_told_to_the_end_without_a_bug(processes: Processes) -> None:
    story.tell(processes.side_by_side())


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_caught(processes: Processes, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, InvariantBroken)):
        story.tell(processes.side_by_side())


@pytest.mark.parametrize("kind", LOST)
def test_an_event_that_is_lost_is_missed(processes: Processes, kind: EventKind, monkeypatch: pytest.MonkeyPatch) -> None:
    an_event_is_lost(monkeypatch, kind)
    with pytest.raises(AssertionError):
        story.tell(processes.side_by_side())
