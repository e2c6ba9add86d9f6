"""Presenters: what the packs page shows, at the edges."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from tests.builders import after, build_pack
from tests.doubles import START
from tokenwell.console.formats import Distance
from tokenwell.console.gauge import gauge_of, percent
from tokenwell.console.listing import Listing
from tokenwell.console.presenters import Banner, PackView, balance_view, next_expiry, pack_view, packs_view, usage_row
from tokenwell.core.health import State, Thresholds, state_of
from tokenwell.core.packs import Pack, PackStatus
from tokenwell.core.receipts import Balance
from tokenwell.service.packs import LARGEST, Outstanding
from tokenwell.service.shapes import PackLine, UsageTotals

LINES = Thresholds(5_000, 1_000)


def build_balance(tokens: int, thresholds: Thresholds = LINES, **fields: Any) -> Balance:
    defaults: dict[str, Any] = {
        "organization_id": "acme",
        "as_of": START,
        "balance_tokens": tokens,
        "held_tokens": 0,
        "overage_tokens": 0,
        "state": state_of(tokens, thresholds),
        "active_packs": 1 if tokens else 0,
        "active_total_tokens": tokens,
        "warning_tokens": thresholds.warning_tokens,
        "reserve_tokens": thresholds.reserve_tokens,
        "seq": 1,
        "head_hash": "",
    }
    return Balance(**(defaults | fields))


@pytest.mark.parametrize(
    ("tokens", "packs", "state", "banner"),
    [
        (5_001, 1, State.NORMAL, Banner.NONE),
        (5_000, 1, State.NORMAL, Banner.NONE),
        (4_999, 1, State.RUNNING_LOW, Banner.RUNNING_LOW),
        (1_000, 1, State.RUNNING_LOW, Banner.RUNNING_LOW),
        (999, 1, State.AI_STOPPED, Banner.STOPPED),
        (0, 1, State.AI_STOPPED, Banner.STOPPED),
        (0, 0, State.AI_STOPPED, Banner.NOT_STARTED),
    ],
)
def test_the_banner_follows_the_state_and_equality_is_never_the_worse(
    tokens: int, packs: int, state: State, banner: Banner
) -> None:
    view = balance_view(build_balance(tokens), (), packs)
    assert (view.state, view.banner) == (state, banner)


def test_a_balance_of_zero_with_no_reserve_is_used_up_not_below_anything() -> None:
    assert balance_view(build_balance(0, Thresholds(0, 0)), (), 3).banner is Banner.USED_UP


@pytest.mark.parametrize(
    ("tokens", "size"),
    [
        (0, "normal"),
        (999_999_999, "normal"),
        (1_000_000_000, "long"),
        (999_999_999_999, "long"),
        (10**12, "huge"),
        (10**16, "huge"),
    ],
)
def test_long_numbers_get_smaller_type(tokens: int, size: str) -> None:
    assert balance_view(build_balance(tokens), (), 1).size == size


def test_available_is_what_is_not_held() -> None:
    view = balance_view(build_balance(5_000, held_tokens=1_200, overage_tokens=7), (), 1)
    assert (view.held_tokens, view.available_tokens, view.overage_tokens) == (1_200, 3_800, 7)


def test_without_active_packs_there_is_no_gauge() -> None:
    assert balance_view(build_balance(0), (), 2).gauge is None


def pack_of(number: int, remaining: int, total: int | None = None, **fields: Any) -> Pack:
    return build_pack(total or remaining, remaining_tokens=remaining, number=number, **fields)


def test_the_gauge_scales_to_the_packs_total_and_draws_the_one_in_use_rightmost() -> None:
    gauge = gauge_of([pack_of(1, 2_000, 6_000), pack_of(2, 1_000, 4_000)], 3_000, 10_000, LINES)
    assert [(each.at, each.width, each.shade) for each in gauge.segments] == [("0.00%", "10.00%", 2), ("10.00%", "20.00%", 3)]
    assert gauge.warning is not None
    assert gauge.reserve is not None
    assert (gauge.warning.at, gauge.reserve.at) == ("50.00%", "10.00%")


def test_the_gauge_has_room_for_both_lines_however_small_the_packs() -> None:
    gauge = gauge_of([pack_of(1, 500)], 500, 500, LINES)
    assert gauge.warning is not None
    assert gauge.warning.at == "80.00%"
    assert gauge.warning.is_end_anchored
    assert gauge.reserve is not None
    assert not gauge.reserve.is_end_anchored
    assert gauge.segments[0].width == "8.00%"


def test_the_gauge_folds_all_but_the_largest_packs_into_one() -> None:
    packs = Outstanding.among([pack_of(number, 10 * number) for number in range(1, 10)]).largest
    gauge = gauge_of(packs, 450, 450, Thresholds(0, 0))
    widths = [Fraction(each.width.rstrip("%")) for each in gauge.segments]
    assert len(gauge.segments) == LARGEST + 1
    assert widths[0] == Fraction("13.33")  # the three smallest: 10 + 20 + 30 of 450
    assert abs(sum(widths) - 100) < Fraction(1, 10)
    assert [each.shade for each in gauge.segments] == [1, 1, 1, 1, 1, 2, 3]


def test_the_gauge_draws_one_bar_where_the_packs_hold_more_than_the_balance() -> None:
    assert [each.width for each in gauge_of([pack_of(1, 400)], 300, 600, Thresholds(0, 0)).segments] == ["50.00%"]
    assert gauge_of([], 0, 0, LINES).segments == ()


def test_a_threshold_of_zero_has_no_mark() -> None:
    gauge = gauge_of([pack_of(1, 10)], 10, 10, Thresholds(5, 0))
    assert gauge.reserve is None
    assert gauge.warning is not None


@pytest.mark.parametrize(
    ("share", "text"),
    [(Fraction(0), "0.00%"), (Fraction(1), "100.00%"), (Fraction(1, 3), "33.33%"), (Fraction(1, 10**6), "0.00%")],
)
def test_shares_are_written_as_percentages(share: Fraction, text: str) -> None:
    assert percent(share) == text


def view_of(pack: Pack, now_seconds: float = 0) -> PackView:
    now = after(now_seconds)
    return pack_view(PackLine(pack=pack, status=pack.status(now)), None, now)


@pytest.mark.parametrize(
    ("remaining", "total", "share", "width"),
    [
        (100, 100, 100, "100.00%"),
        (99_999, 100_000, 99, "100.00%"),
        (49_999, 100_000, 49, "50.00%"),
        (1_000, 100_000, 1, "1.00%"),
        (999, 100_000, None, "1.00%"),
        (1, 10**16, None, "1.00%"),
        (0, 100, 0, "0.00%"),
    ],
)
def test_what_remains_is_rounded_down_and_never_drawn_as_nothing(remaining: int, total: int, share: int | None, width: str) -> None:
    view = view_of(pack_of(1, remaining, total))
    assert (view.share, view.width) == (share, width)


def test_a_pack_tells_how_far_its_expiry_is_while_that_matters() -> None:
    expiring = pack_of(7, 10, expires_at=after(86_400 * 2))
    assert view_of(expiring).distance == Distance("day", 2, True)
    assert view_of(expiring, 86_400 * 2).status is PackStatus.EXPIRED
    assert view_of(expiring, 86_400 * 3).distance == Distance("day", 1, False)
    assert view_of(pack_of(7, 0, 10, expires_at=after(60))).distance is None
    assert view_of(pack_of(7, 5, 10, expires_at=after(60), revoked_at=START)).distance is None
    assert view_of(pack_of(7, 10)).distance is None
    assert view_of(expiring).label == "PK-7"


def listing_of(lines: tuple[PackLine, ...], **fields: Any) -> Listing:
    """Return a listing with these lines."""
    defaults: dict[str, Any] = {
        "next_cursor": None,
        "is_in_burn_order": False,
        "status": None,
        "counts": {},
        "outstanding": Outstanding(),
    }
    return Listing(lines=lines, **(defaults | fields))


def test_the_table_marks_the_pack_in_use() -> None:
    packs = [pack_of(2, 10, granted_at=after(20), priority=-1), pack_of(1, 0, 10, granted_at=after(10))]
    lines = tuple(PackLine(pack=pack, status=pack.status(after(60))) for pack in packs)
    view = packs_view(listing_of(lines, outstanding=Outstanding.among(packs[:1])), after(60))
    assert [(row.label, row.is_in_use) for row in view.rows] == [("PK-2", True), ("PK-1", False)]


def test_the_tabs_count_every_status_and_mark_the_one_on_show() -> None:
    counts = {PackStatus.ACTIVE: 3, PackStatus.REVOKED: 1}
    view = packs_view(listing_of((), counts=counts, status=PackStatus.REVOKED), START)
    assert [(tab.status, tab.count, tab.is_current) for tab in view.tabs] == [
        (None, 4, False),
        (PackStatus.ACTIVE, 3, False),
        (PackStatus.DEPLETED, 0, False),
        (PackStatus.EXPIRED, 0, False),
        (PackStatus.REVOKED, 1, True),
    ]


def test_the_next_expiry_sums_the_packs_that_expire_together() -> None:
    soon = after(timedelta(days=3).total_seconds())
    packs = [pack_of(1, 10, expires_at=soon), pack_of(2, 5, expires_at=soon), pack_of(3, 9, expires_at=after(10**7)), pack_of(4, 1)]
    expiry = next_expiry(Outstanding.among(packs), START)
    assert expiry is not None
    assert (expiry.at, expiry.tokens, expiry.distance) == (soon, 15, Distance("day", 3, True))
    assert next_expiry(Outstanding.among([pack_of(4, 1)]), START) is None
    assert next_expiry(Outstanding(), START) is None


def test_usage_is_what_was_debited_with_refunds_and_overage_beside_it() -> None:
    row = usage_row(
        7,
        [
            UsageTotals(debited_tokens=60, refunded_tokens=5, requests=1),
            UsageTotals(debited_tokens=30, overage_tokens=3, requests=3),
        ],
    )
    assert (row.days, row.used_tokens, row.refunded_tokens, row.overage_tokens, row.requests) == (7, 90, 5, 3, 4)
