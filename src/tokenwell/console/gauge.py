"""The gauge: the active packs side by side on a scale on which both thresholds always show."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec

from tokenwell.core.health import Thresholds
from tokenwell.core.packs import Pack

SEGMENT_LIMIT = 6
"""How many packs are drawn on their own; what the smaller ones hold is drawn as one."""

_END_ANCHOR = Fraction(7, 10)
"""Past this share of the scale a label ends at its mark, so that it stays on the gauge."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One pack's share of the bar. `shade` is 3 for the pack in use, 2 for the next, 1 for all after."""

    at: str
    width: str
    shade: int


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold on the scale."""

    at: str
    tokens: int
    is_end_anchored: bool


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn; positions are percentages. A threshold of zero has no mark."""

    segments: tuple[Segment, ...]
    warning: Mark | None
    reserve: Mark | None


def gauge_of(packs: Sequence[Pack], balance_tokens: int, total_tokens: int, thresholds: Thresholds) -> Gauge:
    """Return the gauge of `packs`: the active ones in burn-down order. The one in use is drawn rightmost, where the bar shrinks.

    The scale is the larger of the packs' total and five quarters of the warning threshold. Packs that do not sum to the balance
    (there were too many to read) are drawn as one.
    """
    scale = max(Fraction(total_tokens), Fraction(5 * thresholds.warning_tokens, 4), Fraction(balance_tokens), Fraction(1))
    return Gauge(
        segments=_segments(_shares(packs, balance_tokens), scale),
        warning=_mark(thresholds.warning_tokens, scale),
        reserve=_mark(thresholds.reserve_tokens, scale),
    )


def _shares(packs: Sequence[Pack], balance_tokens: int) -> list[int]:
    """Return what each segment holds, in burn-down order; the largest packs on their own, the rest last."""
    remaining = [pack.remaining_tokens for pack in packs]
    if sum(remaining) != balance_tokens:
        return [balance_tokens] if balance_tokens else []
    if len(remaining) <= SEGMENT_LIMIT:
        return remaining
    largest = set(sorted(range(len(remaining)), key=lambda index: remaining[index], reverse=True)[:SEGMENT_LIMIT])
    kept = [tokens for index, tokens in enumerate(remaining) if index in largest]
    return [*kept, balance_tokens - sum(kept)]


def _segments(shares: list[int], scale: Fraction) -> tuple[Segment, ...]:
    segments = []
    at = Fraction(0)
    for order, tokens in reversed(list(enumerate(shares))):
        share = tokens / scale
        segments.append(Segment(at=percent(at), width=percent(share), shade=max(1, 3 - order)))
        at += share
    return tuple(segments)


def _mark(tokens: int, scale: Fraction) -> Mark | None:
    if tokens == 0:
        return None
    return Mark(at=percent(tokens / scale), tokens=tokens, is_end_anchored=tokens / scale > _END_ANCHOR)


def percent(share: Fraction) -> str:
    """Return a share as an SVG length: `52.08%`."""
    hundredths = round(share * 10_000)
    return f"{hundredths // 100}.{hundredths % 100:02}%"
