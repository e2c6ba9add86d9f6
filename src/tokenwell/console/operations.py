"""Operations: the platform's usage by organization, its rates, and its settings."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, acting, form_of
from tokenwell.console.filters import RANGES, Span
from tokenwell.console.formats import UTC_NAME
from tokenwell.console.frame import check_platform, frame_of, reads
from tokenwell.console.visits import Visit
from tokenwell.core.rates import MILLION, Rate
from tokenwell.errors import AmountInvalid, RequestInvalid

ORGANIZATIONS_A_PAGE = 25
POOLS = ("input", "cache_read", "cache_write", "output", "reasoning")
USAGE_RANGE = "7d"


def read_usage(visit: Visit) -> dict[str, Any]:
    """Return what each organization used in a range, a page of organizations at a time."""
    frame = frame_of(visit, None)
    query = visit.request.query_params
    formats, directory = frame["f"], visit.console.suite.directory
    span, find, cursor = Span.of(query, otherwise=USAGE_RANGE), query.get("find", "").strip(), query.get("after") or None
    since, until = span.bounds(formats)
    if since is None or until is None:
        raise RequestInvalid("a range begins and ends", field="range")
    page = directory.usage(since=since, until=until, search=find, cursor=cursor, limit=ORGANIZATIONS_A_PAGE)
    of_all = directory.usage_total(since=since, until=until, search=find)

    def link(**changes: str | None) -> str:
        now: dict[str, str | None] = {**span.parameters(), "find": find}
        asked = {name: text for name, text in (now | changes).items() if text}
        return f"/admin/usage?{urlencode(asked)}"

    return frame | {
        "rows": page.items,
        "of_all": of_all,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "span": span,
        "ranges": RANGES,
        "search": find,
        "link": link,
    }


def read_rates(visit: Visit) -> dict[str, Any]:
    """Return every rate ever set, by model, the latest first; the one in force is marked."""
    frame = frame_of(visit, None)
    now = visit.console.meter.clock()
    card = visit.console.meter.rates()
    rates = sorted(card.rates, key=lambda rate: rate.effective_at, reverse=True)
    rates.sort(key=lambda rate: rate.model)
    in_force = {rate.model: card.rate_for(rate.model, now) for rate in rates}
    rows = [(rate, rate is in_force[rate.model] or rate == in_force[rate.model], rate.effective_at > now) for rate in rates]
    return frame | {"rows": rows, "multiplier": multiplier, "pools": POOLS}


def multiplier(millionths: int) -> str:
    """Return a rate as people read it: `1`, `0.5`."""
    return f"{Decimal(millionths).scaleb(-6).normalize():f}"


def set_rate(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what a model will cost, or set it from a day on."""
    check_platform(visit)
    meter = visit.console.meter
    formats = visit.formats(meter.clock())
    model = sent.text("model")
    if not model or len(model) > 200 or not model.isprintable():
        sent.problems["model"] = "model"
    prices = {pool: _price(sent, pool) for pool in POOLS}
    begins = _begin_of(sent, formats)
    if sent.is_final and not sent.problems:
        millionths = {f"{pool}_millionths": price for pool, price in prices.items() if price is not None}
        try:
            meter.set_rate(Rate(model=model, effective_at=begins, **millionths), by=visit.principal.actor)
        except AmountInvalid:
            sent.problems["form"] = "multiplier"
        else:
            return Done(path="/admin/rates", said="rate", about=model)
    if not sent.is_final:
        for name in [name for name in sent.problems if not sent.text(name)]:
            del sent.problems[name]
    example = sum((prices[pool] or 0) * 1_000 for pool in ("input", "output"))
    return (
        frame_of(visit, None)
        | form_of(sent, formats)
        | {"pools": POOLS, "begins": begins, "example": -(-example // MILLION) if prices["input"] is not None else None}
    )


def _price(sent: Sent, pool: str) -> int | None:
    text = sent.text(pool, "1").replace(",", ".") or "1"
    try:
        millionths = Decimal(text).scaleb(6) if len(text) <= 20 else Decimal("NaN")
        if not millionths.is_finite() or millionths != int(millionths) or not 0 <= millionths <= 10_000 * MILLION:
            raise InvalidOperation
    except InvalidOperation:
        sent.problems[pool] = "multiplier"
        return None
    return int(millionths)


def _begin_of(sent: Sent, formats: Any) -> datetime:
    """Return when a rate begins: at the start of a day of the zone on show, at once where none is chosen."""
    text = sent.text("date")
    if not text:
        return formats.now  # type: ignore[no-any-return]
    try:
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=formats.zone).astimezone(ZoneInfo(UTC_NAME))
    except (ValueError, OverflowError):
        sent.problems["date"] = "date"
        return formats.now  # type: ignore[no-any-return]


def read_settings(visit: Visit) -> dict[str, Any]:
    """Return how this Tokenwell is set up, without its secrets."""
    frame = frame_of(visit, None)
    settings, meter = visit.console.settings, visit.console.meter
    return frame | {
        "thresholds": meter.thresholds,
        "settings": settings,
        "database": "SQLite" if settings.database_url.startswith("sqlite") else "PostgreSQL",
    }


ROUTES = [
    Route("/admin/usage", reads("platform_usage", read_usage)),
    Route("/admin/rates", reads("rates", read_rates)),
    *acting("/admin/rates/set", "rate", set_rate),
    Route("/admin/settings", reads("settings", read_settings)),
]
