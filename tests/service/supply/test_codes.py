"""Redemption codes: shown once, redeemed once, and wrong ones tell nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.builders import after
from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tests.service.supply.victim import die_at_grant
from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.core.codes import code_of, written
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import (
    AmountInvalid,
    IdempotencyConflict,
    NotFound,
    OrganizationNotFound,
    RequestInvalid,
    RequestsLimited,
    StoreUnavailable,
)
from tokenwell.service.meter import Meter
from tokenwell.service.supply.codes import FAILURE_WINDOW, MOST_FAILURES, UNFINISHED_AFTER, Codes
from tokenwell.store import schema
from tokenwell.store.reader import reading

MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin")
VIC = Actor(kind=ActorKind.PERSON, id="per_vic", name="Vic")
ROOT = Actor(kind=ActorKind.PERSON, id="per_root", name="Root")


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with two organizations."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        opened.create_organization("other")
        yield opened


@pytest.fixture
def codes(meter: Meter) -> Codes:
    """The codes of that meter."""
    return Codes(meter)


def one(codes: Codes, **fields: Any) -> str:
    """Return a new code, worth a million tokens for 30 days."""
    return codes.create("1M", 1, **({"valid_days": 30, "note": "Fair", "by": ROOT} | fields)).codes[0]


def nonsense(number: int) -> str:
    """Return a code that was never made, though it could have been."""
    return written(code_of(number))


def test_a_code_becomes_a_pack(meter: Meter, codes: Codes, clock: FrozenClock) -> None:
    code = one(codes, priority=2)
    clock.advance(timedelta(days=3))
    granted = codes.redeem("acme", code.lower().replace("-", " "), by=MEI)
    pack = granted.pack
    assert (pack.total_tokens, pack.note, pack.priority) == (1_000_000, "Fair", 2)
    assert pack.expires_at == clock() + timedelta(days=30)
    (batch,) = codes.list().items
    assert (batch.codes, batch.redeemed) == (1, 1)
    with reading(meter.engine) as connection:
        acts = [row[0] for row in connection.execute(select(schema.act.c.action).order_by(schema.act.c.act_id))]
    assert acts == ["codes.create", "pack.grant", "code.redeem"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_redemption_whose_process_was_killed_is_finished_by_the_job(
    when: str, database_url: str, meter: Meter, codes: Codes, clock: FrozenClock
) -> None:
    code, redeemed_at = one(codes), clock()
    die_at_grant(when, url=database_url, now=redeemed_at.isoformat(), organization="acme", code=code)
    assert codes.finish_redemptions() == 0  # it may be going on yet
    clock.advance(UNFINISHED_AFTER + timedelta(seconds=1))
    assert codes.finish_redemptions() == 1
    assert codes.finish_redemptions() == 0
    (line,) = meter.packs("acme").items
    assert (line.pack.total_tokens, line.pack.expires_at) == (1_000_000, redeemed_at + timedelta(days=30))
    with pytest.raises(RequestInvalid):
        codes.redeem("other", code, by=VIC)
    with reading(meter.engine) as connection:
        acts = [row[0] for row in connection.execute(select(schema.act.c.action).order_by(schema.act.c.act_id))]
    assert acts == ["codes.create", "pack.grant", "code.redeem"]


def test_a_redemption_that_is_refused_in_the_end_leaves_the_code_free(
    meter: Meter, codes: Codes, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise StoreUnavailable

    code = one(codes, valid_days=1)
    with monkeypatch.context() as patched:
        patched.setattr(meter.batcher, "submit", fail)
        with pytest.raises(StoreUnavailable):
            codes.redeem("acme", code, by=MEI)
    clock.advance(timedelta(days=2))  # by now its pack would have expired
    assert codes.finish_redemptions() == 1
    assert meter.packs("acme").items == ()
    assert codes.redeem("other", code, by=VIC).pack.total_tokens == 1_000_000


def test_a_code_works_once_and_typed_again_by_the_same_gives_the_first_answer(
    meter: Meter, codes: Codes, clock: FrozenClock
) -> None:
    code = one(codes, valid_days=None)
    first = codes.redeem("acme", code, by=MEI)
    clock.advance(timedelta(days=1))
    again = codes.redeem("acme", code, by=VIC)
    assert (again.replayed, again.pack.id) == (True, first.pack.id)
    with pytest.raises(RequestInvalid):
        codes.redeem("other", code, by=MEI)
    assert meter.balance("acme").balance_tokens == 1_000_000
    assert meter.packs("other").items == ()


def test_codes_are_not_in_the_database(meter: Meter, codes: Codes) -> None:
    made = codes.create(5, 3, by=ROOT).codes
    assert len(set(made)) == 3
    with reading(meter.engine) as connection:
        rows = str(connection.execute(select(schema.code)).all() + connection.execute(select(schema.act)).all())  # type: ignore[operator]
    assert not any(code in rows or code.replace("-", "") in rows for code in made)


def test_many_who_redeem_one_code_at_once_get_one_pack(meter: Meter, codes: Codes) -> None:
    code = one(codes)
    outcomes: list[str] = []

    def redeem(organization_id: str) -> None:
        try:
            codes.redeem(organization_id, code, by=MEI)
            outcomes.append(organization_id)
        except RequestInvalid:
            outcomes.append("refused")

    threads = [threading.Thread(target=redeem, args=(each,)) for each in ("acme", "other") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("refused") == 3
    assert sum(len(meter.packs(each).items) for each in ("acme", "other")) == 1


@pytest.mark.parametrize("is_granted", [False, True])
def test_what_was_interrupted_is_completed_by_typing_it_again(
    meter: Meter, codes: Codes, is_granted: bool, monkeypatch: pytest.MonkeyPatch, clock: FrozenClock
) -> None:
    code = one(codes)
    grant = meter.grant

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if is_granted:
            grant(*args, **kwargs)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(meter, "grant", interrupted)
        with pytest.raises(StoreUnavailable):
            codes.redeem("acme", code, by=MEI)
    with pytest.raises(RequestInvalid):
        codes.redeem("other", code, by=VIC)
    clock.advance(timedelta(days=1))
    codes.redeem("acme", code, by=MEI)
    assert len(meter.packs("acme").items) == 1


def test_a_pack_that_cannot_be_granted_leaves_the_code_free(meter: Meter, codes: Codes) -> None:
    meter.grant("acme", MAX_TOKENS)
    code = one(codes)
    with pytest.raises(AmountInvalid):
        codes.redeem("acme", code, by=MEI)
    assert codes.redeem("other", code, by=MEI).pack.total_tokens == 1_000_000


def test_codes_that_expired_or_were_revoked_or_never_were_are_refused_alike(codes: Codes, clock: FrozenClock) -> None:
    expired, made = one(codes, expires_at=after(60)), codes.create(5, 1, by=ROOT)
    codes.revoke(made.batch.id, by=ROOT)
    clock.advance(timedelta(seconds=60))
    messages = set()
    for wrong in (expired, made.codes[0], nonsense(7), "ABC", nonsense(8)[:-1] + "2"):
        with pytest.raises(RequestInvalid) as refused:
            codes.redeem("acme", wrong, by=MEI)
        messages.add((refused.value.message, str(refused.value.details)))
    assert len(messages) == 1


def test_a_code_redeemed_before_its_batch_was_revoked_stays_redeemed(codes: Codes) -> None:
    made = codes.create(5, 2, by=ROOT)
    codes.redeem("acme", made.codes[0], by=MEI)
    assert codes.revoke(made.batch.id, by=ROOT) == codes.revoke(made.batch.id, by=ROOT)
    assert codes.redeem("acme", made.codes[0], by=MEI).replayed
    with pytest.raises(NotFound):
        codes.revoke("bat_none", by=ROOT)


def test_only_so_many_wrong_codes_may_be_tried(codes: Codes, clock: FrozenClock) -> None:
    code = one(codes)
    for number in range(MOST_FAILURES):
        with pytest.raises(RequestInvalid):
            codes.redeem("acme", nonsense(number), by=MEI)
    for organization_id, by in (("acme", VIC), ("other", MEI)):
        with pytest.raises(RequestsLimited):
            codes.redeem(organization_id, code, by=by)
    assert codes.redeem("other", one(codes), by=VIC)
    clock.advance(FAILURE_WINDOW)
    assert codes.redeem("acme", code, by=MEI)


def test_a_slip_of_the_finger_does_not_count(codes: Codes) -> None:
    code = one(codes)
    for _ in range(MOST_FAILURES + 1):
        with pytest.raises(RequestInvalid):
            codes.redeem("acme", code[:-1] + ("2" if code[-1] != "2" else "3"), by=MEI)
    assert codes.redeem("acme", code, by=MEI)


def test_a_key_makes_one_batch_and_its_codes_are_shown_once(codes: Codes) -> None:
    first = codes.create(5, 2, key="fair", by=ROOT)
    again = codes.create(5, 2, key="fair", by=ROOT)
    assert (again.batch, again.codes, again.replayed) == (first.batch, (), True)
    with pytest.raises(IdempotencyConflict):
        codes.create(5, 3, key="fair", by=ROOT)
    assert len(codes.list().items) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 0},
        {"count": 10_001},
        {"amount": 0},
        {"valid_days": 0},
        {"expires_at": after(0)},
        {"priority": 1_001},
        {"note": "\n"},
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(codes: Codes, fields: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid):
        codes.create(**({"amount": 5, "count": 1, "by": ROOT} | fields))
    assert codes.list().items == ()


def test_an_organization_must_be_there(codes: Codes) -> None:
    with pytest.raises(OrganizationNotFound):
        codes.redeem("nobody", one(codes), by=MEI)


def test_batches_are_listed_page_by_page(codes: Codes) -> None:
    made = [codes.create(5, 1, by=ROOT).batch.id for _ in range(3)]
    page = codes.list(limit=2)
    assert [each.id for each in page.items] == made[:0:-1]
    assert [each.id for each in codes.list(cursor=page.next_cursor).items] == made[:1]


def test_who_redeemed_a_batch_is_told_page_by_page_and_no_code_is(meter: Meter, codes: Codes, clock: FrozenClock) -> None:
    made = codes.create("1M", 5, by=ROOT)
    other = codes.create("1M", 1, by=ROOT)
    assert codes.redeemed(made.batch.id).items == ()
    granted = {}
    for number, code in enumerate(made.codes[:3]):
        organization_id = ("acme", "other")[number % 2]
        granted[codes.redeem(organization_id, code, by=MEI).pack.id] = (organization_id, organization_id, clock(), MEI)
        clock.advance(timedelta(hours=1))
    codes.redeem("acme", other.codes[0], by=MEI)
    first = codes.redeemed(made.batch.id, limit=2)
    rest = codes.redeemed(made.batch.id, cursor=first.next_cursor, limit=2)
    found = [*first.items, *rest.items]
    assert (len(first.items), len(rest.items), rest.next_cursor) == (2, 1, None)
    told = {each.pack_id: (each.organization_id, each.organization_name, each.at, each.by) for each in found}
    assert told == granted
    assert not any(code in repr(found) for code in made.codes)
    with pytest.raises(NotFound):
        codes.redeemed("bat_nothing")
