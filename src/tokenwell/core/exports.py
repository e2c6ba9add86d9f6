"""Exports: what a provider says was used, read from the records of its own files.

Known are the usage exports of OpenAI and Anthropic, as CSV and as the JSON of their usage APIs, and any list of single requests
with a request id. A record is a mapping of names to values; what form it has is told by its names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from tokenwell.core.instants import EPOCH
from tokenwell.errors import RequestInvalid

MOST_TOKENS = 10**15
_MODEL_LIMIT = 200


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider counted: for one request, with when it was (`at`) where that is told, or for many of one model and day."""

    day: date
    model: str
    input_tokens: int
    output_tokens: int
    requests: int
    request_id: str | None = None
    at: datetime | None = None


def usage_in(record: Mapping[str, Any]) -> Usage:
    """Return what one record says. Raises RequestInvalid for one of no known form."""
    for names, read in _FORMS:
        if all(name in record for name in names):
            return read(record)
    if any(name in record for name in _OF_COSTS):
        raise RequestInvalid("this is an export of costs: export the usage, which has tokens", field="file")
    raise RequestInvalid("this is no usage export that is known", field="file")


def form_of(record: Mapping[str, Any]) -> str:
    """Return the name of a record's form: anthropic, openai or requests. Raises RequestInvalid."""
    for names, read in _FORMS:
        if all(name in record for name in names):
            return _NAMES[read]
    raise RequestInvalid("this is no usage export that is known", field="file")


def _anthropic_csv(record: Mapping[str, Any]) -> Usage:
    cached = [value for name, value in record.items() if name.startswith("usage_input_tokens_")]
    return Usage(
        day=_day(record["usage_date_utc"]),
        model=_model(record["model_version"]),
        input_tokens=sum(_count(value) for value in cached),
        output_tokens=_count(record["usage_output_tokens"]),
        requests=_count(record.get("requests")),
    )


def _anthropic_json(record: Mapping[str, Any]) -> Usage:
    created = record.get("cache_creation") or {}
    written = created.values() if isinstance(created, Mapping) else ()
    flat = [value for name, value in record.items() if name.startswith("cache_creation_") and name.endswith("_input_tokens")]
    cached = _count(record.get("cache_read_input_tokens")) + sum(_count(value) for value in (*written, *flat))
    return Usage(
        day=_day(record["starting_at"]),
        model=_model(record["model"]),
        input_tokens=_count(record["uncached_input_tokens"]) + cached,
        output_tokens=_count(record["output_tokens"]),
        requests=_count(record.get("requests")),
    )


def _openai(record: Mapping[str, Any]) -> Usage:
    return Usage(
        day=_day(record["start_time"]),
        model=_model(record["model"]),
        input_tokens=_count(record["input_tokens"]),
        output_tokens=_count(record["output_tokens"]),
        requests=_count(record["num_model_requests"]),
    )


def _request(record: Mapping[str, Any]) -> Usage:
    def first(*names: str) -> Any:
        return next((record[name] for name in names if record.get(name) not in (None, "")), None)

    request_id = str(record.get("request_id") or "")
    told_at = first("timestamp", "created_at", "time")
    return Usage(
        day=_day(told_at),
        at=_instant(told_at),
        model=_model(record["model"]),
        input_tokens=_count(first("input_tokens", "prompt_tokens")),
        output_tokens=_count(first("output_tokens", "completion_tokens")),
        requests=1,
        request_id=request_id[:_MODEL_LIMIT] or None,
    )


_FORMS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Usage]], ...] = (
    (("usage_date_utc", "model_version", "usage_output_tokens"), _anthropic_csv),
    (("starting_at", "model", "uncached_input_tokens", "output_tokens"), _anthropic_json),
    (("start_time", "model", "input_tokens", "output_tokens", "num_model_requests"), _openai),
    (("request_id", "model"), _request),
    (("timestamp", "model"), _request),
    (("created_at", "model"), _request),
    (("time", "model"), _request),
)
_OF_COSTS = ("line_item", "amount_value", "amount", "cost_usd", "cost_type")
"""What records of the providers' cost exports have: money, and no tokens."""

_NAMES: dict[Callable[[Mapping[str, Any]], Usage], str] = {
    _anthropic_csv: "anthropic",
    _anthropic_json: "anthropic",
    _openai: "openai",
    _request: "requests",
}


def _count(value: Any) -> int:
    if value is None or value == "":
        return 0
    text = str(value)
    whole, _, rest = text.partition(".")
    if not (whole.isascii() and whole.isdigit() and not rest.strip("0")) or len(whole) > 16 or int(whole) > MOST_TOKENS:
        raise RequestInvalid(f"{text[:40]} is not a number of tokens", field="file")
    return int(whole)


def _model(value: Any) -> str:
    model = str(value or "").strip()
    if len(model) > _MODEL_LIMIT or not model.isprintable():
        raise RequestInvalid("the name of a model is too long, or not printable", field="file")
    return model


def _day(value: Any) -> date:
    """Return the day in UTC of seconds since 1970 or of an ISO 8601 text."""
    return _read_time(value)[0].date()


def _instant(value: Any) -> datetime | None:
    """Return an instant, None for a text that names a day alone. One without a zone is in UTC."""
    at, is_instant = _read_time(value)
    return at if is_instant else None


def _read_time(value: Any) -> tuple[datetime, bool]:
    """Return a time in UTC, and whether it is an instant and no whole day. Raises RequestInvalid."""
    text = str(value if value is not None else "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return EPOCH + timedelta(seconds=int(text)), True
    try:
        at = datetime.fromisoformat(text)
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)), len(text) > len("2027-01-31")
    except (ValueError, OverflowError):
        raise RequestInvalid(f"{text[:40]} is not a day or an instant", field="file") from None
