"""Both databases: whatever is malformed gets a typed error before anything is touched, never a driver's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.store.tenants import Tenant, at
from tokenwell import Meter, Rate, Usage
from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.errors import (
    AmountInvalid,
    HoldNotFound,
    OrganizationNotFound,
    PackNotFound,
    RequestInvalid,
    RequestNotFound,
    ThresholdsInvalid,
    TimestampNaive,
    TokenwellError,
)

NUL, SURROGATE = "a\x00b", "a\ud800b"
NO_TEXT: list[Any] = [5, b"bytes", 1.5, ["list"], object()]
NO_LABELS: list[Any] = [NUL, SURROGATE, "line\nbreak", "\x7f", "x" * 201, *NO_TEXT]
NO_ORGANIZATIONS: list[Any] = [
    NUL, SURROGATE, "", "UPPER", "white space", "-begins", "ends_", "ümlaut", "x" * 65, "a\n", "'; DROP TABLE entry; --", None,
    *NO_TEXT,
]  # fmt: skip
NO_AMOUNTS: list[Any] = [
    True, False, 1.0, 1.5, float("nan"), float("inf"), Decimal(5), None, b"5", [5], "", " ", "five", "-1", "+1", "1.5", "1e6",
    "0x10", "1_0", "1,00", "٣", "５", "1 k k", "k", "5Q", "5MM", "1.2345k", "9" * 41, NUL, SURROGATE, -1, -(2**63), 2**63, 10**40,
    MAX_TOKENS + 1, "11Q", "10001T", str(MAX_TOKENS + 1),
]  # fmt: skip
NO_INSTANTS: list[Any] = ["2027-02-01T00:00:00Z", 1_800_000_000, date(2027, 2, 1), timedelta(days=1), object()]
NAIVE = datetime(2027, 2, 1)
BEYOND = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))


def each_refused(tenant: Tenant, act: Callable[[Any], Any], values: Iterable[Any], *errors: type[TokenwellError]) -> None:
    """Expect every value to be refused with one of the errors, exactly, and nothing to change."""
    before, wrong = tenant.snapshot(), []
    for value in values:
        try:
            outcome = act(value)
        except Exception as error:
            outcome = error
        if type(outcome) not in errors:
            wrong.append((value, outcome))
    assert wrong == []
    assert tenant.snapshot() == before


@pytest.fixture
def stocked(tenant: Tenant) -> Tenant:
    """A pack that expires, a charged request, an open hold."""
    tenant.grant(1000, expires_at=at(60))
    tenant.debit(10, key="charged")
    tenant.held = [tenant.open_hold(5).hold.id]
    return tenant


# Amounts


@pytest.mark.parametrize("method", ["grant", "open_hold", "debit"])
def test_a_malformed_amount_is_refused(stocked: Tenant, method: str) -> None:
    values = [0, "0", *NO_AMOUNTS]
    each_refused(stocked, getattr(stocked, method), values, AmountInvalid)


def test_a_malformed_amount_settles_nothing(stocked: Tenant) -> None:
    each_refused(stocked, lambda amount: stocked.settle(stocked.held[0], amount), NO_AMOUNTS, AmountInvalid)


def test_a_malformed_amount_refunds_nothing(stocked: Tenant) -> None:
    values = [0, *(amount for amount in NO_AMOUNTS if amount is not None)]
    each_refused(stocked, lambda amount: stocked.refund("charged", amount), values, AmountInvalid)


def test_malformed_thresholds_are_refused(stocked: Tenant) -> None:
    each_refused(stocked, lambda tokens: stocked.set_thresholds(warning=tokens, reserve=0), NO_AMOUNTS, AmountInvalid)
    each_refused(stocked, lambda tokens: stocked.set_thresholds(warning=5, reserve=tokens), NO_AMOUNTS, AmountInvalid)
    each_refused(stocked, lambda tokens: stocked.set_thresholds(warning=5, reserve=tokens), [6, "1M"], ThresholdsInvalid)


def test_malformed_usage_is_refused(stocked: Tenant) -> None:
    counts = [-1, True, False, 0.0, 1.5, "5", "", b"", [], MAX_TOKENS + 1, 2**70, float("nan")]
    held = stocked.held[0]
    for charge in (stocked.debit, lambda *amount, **usage: stocked.settle(held, *amount, **usage)):
        each_refused(stocked, lambda n, charge=charge: charge(prompt_tokens=n, completion_tokens=5), counts, AmountInvalid)
        each_refused(stocked, lambda n, charge=charge: charge(prompt_tokens=5, completion_tokens=n), counts, AmountInvalid)
        each_refused(stocked, lambda n, charge=charge: charge(5, prompt_tokens=n), counts, AmountInvalid)
        each_refused(stocked, lambda n, charge=charge: charge(usage=Usage(reasoning_tokens=n)), counts, AmountInvalid)
        each_refused(stocked, lambda u, charge=charge: charge(usage=u), [{"input_tokens": 5}, 5, "5", [], True], RequestInvalid)
        both = [{"prompt_tokens": 1}, {"completion_tokens": 1}]
        each_refused(stocked, lambda more, charge=charge: charge(usage=Usage(input_tokens=1), **more), both, RequestInvalid)
        each_refused(stocked, lambda raw, charge=charge: charge(5, raw_usage=raw), NO_RAW, RequestInvalid)
        each_refused(stocked, lambda facts, charge=charge: charge(5, facts=facts), NO_RAW, RequestInvalid)
    each_refused(stocked, lambda _: stocked.debit(prompt_tokens=0, completion_tokens=0), [None], AmountInvalid)
    each_refused(stocked, lambda _: stocked.debit(usage=Usage(input_tokens=MAX_TOKENS, output_tokens=1)), [None], AmountInvalid)


def deep() -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    return nested


NO_RAW: list[Any] = [5, "text", [1], {"a": object()}, {"a": "\ud800"}, {"\ud800": 1}, {"a": {1, 2, object()}}, deep()]


# Text


@pytest.mark.parametrize("field", ["model", "session", "reason", "service_id", "key_id", "note", "key"])
def test_a_malformed_label_charges_nothing(stocked: Tenant, field: str) -> None:
    values = [label for label in NO_LABELS if (field, label) != ("note", "x" * 201)]
    each_refused(stocked, lambda label: stocked.debit(5, **{field: label}), values, RequestInvalid)
    if field != "key":
        each_refused(stocked, lambda label: stocked.settle(stocked.held[0], 5, **{field: label}), values, RequestInvalid)


@pytest.mark.parametrize("field", ["note", "key"])
def test_a_malformed_note_or_key_changes_nothing(stocked: Tenant, field: str) -> None:
    values = [*(NO_LABELS if field == "key" else [NUL, SURROGATE, *NO_TEXT]), "x" * 501] + [""] * (field == "key")
    for act in (
        lambda **more: stocked.grant(5, **more),
        lambda **more: stocked.revoke("PK-1", **more),
        lambda **more: stocked.extend("PK-1", expires_at=None, **more),
        lambda **more: stocked.refund("charged", **more),
    ):
        each_refused(stocked, lambda text, act=act: act(**{field: text}), values, RequestInvalid)
    if field == "key":
        each_refused(stocked, lambda key: stocked.open_hold(5, key=key), values, RequestInvalid)


ODD = ["'; DROP TABLE entry; --", '"\\u0000"', "\\x00", "{}", "%s ? :o", "naïve 🔑 тест", "\u202eright to left", "\u2028"]


def test_text_that_is_odd_but_printable_is_kept_as_it_is(stocked: Tenant) -> None:
    for text in ODD:
        labels = dict.fromkeys(("model", "session", "reason", "service_id", "key_id", "note", "key"), text)
        stocked.debit(1, **labels, raw_usage={text: text})
        (line,) = stocked.request(text)
        entry = line.entry
        assert msgspec.json.decode(entry.detail or "") == {"raw": {text: text}}
        assert {entry.model, entry.session, entry.reason, entry.service_id, entry.key_id, entry.note, entry.request_id} == {text}


# Instants and durations


def test_a_malformed_expiry_is_refused(stocked: Tenant) -> None:
    for act in (lambda when: stocked.grant(5, expires_at=when), lambda when: stocked.extend("PK-1", expires_at=when)):
        each_refused(stocked, act, [*NO_INSTANTS, BEYOND, datetime.min.replace(tzinfo=UTC)], RequestInvalid)
        each_refused(stocked, act, [NAIVE], TimestampNaive)


def test_a_malformed_instant_reads_nothing(stocked: Tenant) -> None:
    reads = [
        lambda when: stocked.balance(as_of=when),
        lambda when: stocked.packs(as_of=when),
        lambda when: stocked.usage_totals(since=when, until=at(0)),
        lambda when: stocked.usage_totals(since=at(0), until=when),
    ]
    for read in reads:
        each_refused(stocked, read, [*NO_INSTANTS, BEYOND], RequestInvalid)
        each_refused(stocked, read, [NAIVE], TimestampNaive)


def test_a_malformed_duration_holds_nothing(stocked: Tenant) -> None:
    day = timedelta(days=1)
    durations = [600, 600.0, "600", None, timedelta(0), -day, day + timedelta(microseconds=1), timedelta.max, at(60)]
    each_refused(stocked, lambda ttl: stocked.open_hold(5, ttl=ttl), durations, RequestInvalid)


# Names


def test_a_malformed_organization_is_not_found(stocked: Tenant) -> None:
    meter = stocked.meter
    for act in (
        lambda o: meter.grant(o, 5),
        lambda o: meter.revoke(o, "PK-1"),
        lambda o: meter.revoke(o, stocked.pack(1).pack.id),
        lambda o: meter.extend(o, "PK-1", expires_at=None),
        lambda o: meter.open_hold(o, 5),
        lambda o: meter.settle(o, stocked.held[0], 5),
        lambda o: meter.release(o, stocked.held[0]),
        lambda o: meter.debit(o, 5),
        lambda o: meter.refund(o, "charged"),
        lambda o: meter.set_thresholds(o, warning=5, reserve=5),
        meter.clear_thresholds,
        meter.organization,
        meter.balance,
        meter.packs,
        lambda o: meter.packs(o, as_of=at(0)),
        meter.pack_counts,
        meter.ledger,
        meter.journal,
        lambda o: meter.request(o, "charged"),
        lambda o: meter.usage_totals(o, since=at(0), until=at(0)),
    ):
        each_refused(stocked, act, NO_ORGANIZATIONS, OrganizationNotFound, RequestInvalid)
    each_refused(stocked, lambda o: list(meter.verify(o)), [o for o in NO_ORGANIZATIONS if o is not None], OrganizationNotFound)
    each_refused(stocked, meter.create_organization, NO_ORGANIZATIONS, RequestInvalid)
    each_refused(stocked, lambda name: meter.create_organization("fine", name=name), NO_LABELS, RequestInvalid)


def test_a_malformed_pack_is_not_found(stocked: Tenant) -> None:
    packs = [
        "", "PK-", "PK-0", "PK-01", "PK-1.0", "-1", "PK-" + "9" * 19, "pack_", "pack_" + "z" * 26, "PACK_" + "0" * 26, NUL,
        SURROGATE, "PK-1\n", "ＰＫ-1", "PK-٣", True, None, 1, *NO_TEXT,
    ]  # fmt: skip
    each_refused(stocked, stocked.revoke, packs, PackNotFound)
    each_refused(stocked, lambda pack: stocked.extend(pack, expires_at=None), packs, PackNotFound)


def test_a_malformed_hold_is_not_found(stocked: Tenant) -> None:
    holds = ["", "hold_", "hold_" + "z" * 26, "hold_" + "0" * 25, stocked.held[0].upper(), NUL, SURROGATE, None, *NO_TEXT]
    each_refused(stocked, lambda hold: stocked.settle(hold, 5), holds, HoldNotFound)
    each_refused(stocked, stocked.release, holds, HoldNotFound)


def test_a_malformed_request_is_not_found(stocked: Tenant) -> None:
    requests = ["", NUL, SURROGATE, "x" * 201, None, *NO_TEXT]
    each_refused(stocked, stocked.request, requests, RequestInvalid, RequestNotFound)
    each_refused(stocked, stocked.refund, requests, RequestInvalid, RequestNotFound)


# Pages, priorities, rates


def test_a_malformed_page_is_refused(stocked: Tenant) -> None:
    limits = [0, -1, 1001, True, 1.0, "5", None, 2**70]
    cursors = ["", "-1", "+1", "1.0", "1 ", " 1", "x", "٣", "1" * 19, NUL, SURROGATE, 5, b"5", 2**70]
    for read in (stocked.ledger, stocked.packs):
        each_refused(stocked, lambda limit, read=read: read(limit=limit), limits, RequestInvalid)
        each_refused(stocked, lambda cursor, read=read: read(cursor=cursor), cursors, RequestInvalid)
    each_refused(stocked, lambda limit: stocked.packs(as_of=at(0), limit=limit), limits, RequestInvalid)
    each_refused(stocked, lambda limit: stocked.journal(limit=limit), limits, RequestInvalid)
    each_refused(stocked, lambda seq: stocked.journal(after_seq=seq), [-1, 2**63, 2**70, True, 1.0, "1", None], RequestInvalid)
    organizations = stocked.meter.organizations
    each_refused(stocked, lambda limit: organizations(limit=limit), limits, RequestInvalid)
    each_refused(stocked, lambda cursor: organizations(cursor=cursor), ["", NUL, SURROGATE, 5, b"", "A B"], RequestInvalid)
    each_refused(stocked, lambda status: stocked.packs(status=status), ["nonsense", 5, NUL, SURROGATE, []], RequestInvalid)
    assert stocked.ledger(cursor="0").items == ()
    assert len(stocked.ledger(cursor="9" * 18).items) == 1


def test_a_malformed_priority_is_refused(stocked: Tenant) -> None:
    each_refused(stocked, lambda p: stocked.grant(5, priority=p), [1001, -1001, 2**70, True, 1.0, "1", None], RequestInvalid)
    assert stocked.grant(5, priority=1000).pack.priority == 1000
    assert stocked.grant(5, priority=-1000).pack.priority == -1000


def test_a_malformed_rate_is_refused(stocked: Tenant) -> None:
    meter, rates = stocked.meter, stocked.meter.rates()
    each_refused(stocked, meter.set_rate, [5, None, {"model": "m"}], RequestInvalid)
    each_refused(stocked, lambda model: meter.set_rate(Rate(model=model, effective_at=at(0))), NO_LABELS, RequestInvalid)
    each_refused(stocked, lambda when: meter.set_rate(Rate(model="m", effective_at=when)), NO_INSTANTS, RequestInvalid)
    each_refused(stocked, lambda _: meter.set_rate(Rate(model="m", effective_at=NAIVE)), [None], TimestampNaive)
    millionths = [-1, 10_000_000_001, 1.5, True, "1", None, 2**70]
    each_refused(
        stocked, lambda m: meter.set_rate(Rate(model="m", effective_at=at(0), reasoning_millionths=m)), millionths, AmountInvalid
    )
    assert meter.rates() == rates


NO_DATABASES = [
    "", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/db", "postgresql", "http://host", "sqlite:/x",
    "postgresql://host:port/db", NUL,
]  # fmt: skip


@pytest.mark.parametrize("url", NO_DATABASES)
def test_a_malformed_database_is_refused(url: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        Meter(url)
    assert caught.value.details == {"field": "database_url"}
