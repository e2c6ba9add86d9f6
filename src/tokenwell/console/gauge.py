"""The gauge: the active packs side by side on a scale on which both thresholds always show."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec

from tokenwell.core.health import Thresholds
from tokenwell.core.packs import Pack

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
    """Return the gauge of `packs`: the largest active ones in burn-down order. The one in use is drawn rightmost, where the bar
    shrinks, and what smaller packs hold leftmost, as one.

    The scale is the larger of the packs' total and five quarters of the warning threshold.
    """
    scale = max(Fraction(total_tokens), Fraction(5 * thresholds.warning_tokens, 4), Fraction(balance_tokens), Fraction(1))
    return Gauge(
        segments=_segments(_shares(packs, balance_tokens), scale),
        warning=_mark(thresholds.warning_tokens, scale),
        reserve=_mark(thresholds.reserve_tokens, scale),
    )


def _shares(packs: Sequence[Pack], balance_tokens: int) -> list[int]:
    """Return what each segment holds, in burn-down order, the rest of the balance last; only the balance where something was
    written between the reads of both."""
    largest = [pack.remaining_tokens for pack in packs]
    rest = balance_tokens - sum(largest)
    shares = [balance_tokens] if rest < 0 else [*largest, rest]
    return [tokens for tokens in shares if tokens]


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
