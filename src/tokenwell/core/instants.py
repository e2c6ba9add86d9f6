"""Instants: timezone-aware UTC, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tokenwell.errors import RequestInvalid, TimestampNaive

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER_MICROS = 2**63 - 1
"""How "never" is written where an instant must be a number; later than every instant."""

_MICROSECOND = timedelta(microseconds=1)


def to_micros(at: datetime) -> int:
    """Return the microseconds since 1970-01-01 UTC."""
    return (at - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the instant that many microseconds after 1970-01-01 UTC."""
    return EPOCH + timedelta(microseconds=micros)


def expiry_micros(at: datetime | None) -> int:
    """Return the microseconds of an expiry, NEVER_MICROS for None (never)."""
    return NEVER_MICROS if at is None else to_micros(at)


def to_utc(at: datetime, *, field: str) -> datetime:
    """Return `at` in UTC; raises TimestampNaive without a time zone."""
    if not isinstance(at, datetime):
        raise RequestInvalid(f"{field} must be an instant", field=field)
    if at.tzinfo is None:
        raise TimestampNaive(f"{field} has no time zone", field=field)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise RequestInvalid(f"{field} is out of range", field=field) from None


def parse_instant(text: str, *, field: str) -> datetime:
    """Return the ISO 8601 instant in UTC; a date alone means its midnight UTC.

    Raises RequestInvalid where it cannot be read, TimestampNaive for a time of day without a zone.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise RequestInvalid(f"{field} must be a date or an instant such as 2027-01-31T00:00:00Z", field=field) from None
    if at.tzinfo is None and len(text) == 10:
        at = at.replace(tzinfo=UTC)
    return to_utc(at, field=field)
