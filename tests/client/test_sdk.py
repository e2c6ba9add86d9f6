"""The SDK against a real server: typed answers and errors, walks over pages, streams, and repeats after lost answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from tests.api.platform import OWN, Platform
from tests.doubles import START
from tokenwell import errors
from tokenwell.client import AsyncTokenwell, BatchDebit, Tokenwell, UsagePools
from tokenwell.client.exchange import LONGEST_PAUSE_SECONDS


class Flaky(httpx2.HTTPTransport):
    """Does something else than passing the first requests on, in turn."""

    def __init__(self, *mishaps: Callable[[httpx2.Request, Flaky], httpx2.Response]) -> None:
        super().__init__()
        self._mishaps = list(mishaps)
        self.keys: list[str | None] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        self.keys.append(request.headers.get("idempotency-key"))
        return self._mishaps.pop(0)(request, self) if self._mishaps else self.answer(request)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on."""
        return super().handle_request(request)


def lost_before(request: httpx2.Request, _transport: Flaky) -> httpx2.Response:
    """The server never sees it."""
    raise httpx2.ConnectError("refused", request=request)


def lost_after(request: httpx2.Request, transport: Flaky) -> httpx2.Response:
    """The server does it, and its answer is lost."""
    transport.answer(request).read()
    raise httpx2.ReadError("reset", request=request)


def told(status: int, content: bytes = b"busy", **headers: str) -> Callable[[httpx2.Request, Flaky], httpx2.Response]:
    """Something between answers instead."""
    return lambda request, transport: httpx2.Response(status, content=content, headers=headers)


def test_a_pack_is_granted_and_spent(tokenwell: Tokenwell) -> None:
    granted = tokenwell.grant_pack(OWN, "2M", expires_at=START + timedelta(days=30), note="Spring")
    assert (granted.pack.status, granted.pack.total_tokens, granted.pack.number) == ("active", 2_000_000, 2)
    hold = tokenwell.open_hold(OWN, 500, ttl_seconds=60)
    assert hold.lapses_at == START + timedelta(seconds=60)
    receipt = tokenwell.settle_hold(OWN, hold.id, usage=UsagePools(input_tokens=90, output_tokens=10), model="m", session="s")
    assert (receipt.amount_tokens, receipt.balance_tokens) == (100, 2_999_900)
    assert tokenwell.balance(OWN).balance_tokens == 2_999_900
    assert tokenwell.balance(OWN, as_of=START).as_of == START
    assert tokenwell.release_hold(OWN, tokenwell.open_hold(OWN, 5).id).state == "normal"
    assert tokenwell.refund(OWN, receipt.request_id, 40).balance_tokens == 2_999_940
    assert tokenwell.extend_pack(OWN, "PK-2", expires_at=None).expires_at is None
    assert tokenwell.set_pack_note(OWN, "PK-2", "Paid").note == "Paid"
    assert tokenwell.revoke_pack(OWN, "PK-2", cancel_holds=True).forfeited_tokens == 1_999_940
    assert tokenwell.get_pack(OWN, "PK-2").status == "revoked"
    assert [session.session for session in tokenwell.each_session(OWN)] == ["s"]
    assert tokenwell.get_session(OWN, "s").requests == 1
    assert tokenwell.verify(OWN).problems == ()


def test_organizations_rates_and_usage(tokenwell: Tokenwell) -> None:
    assert tokenwell.create_organization("initech", name="Initech").created_at == START
    assert tokenwell.get_organization("initech").name == "Initech"
    assert tokenwell.set_thresholds("initech", warning="5M", reserve=5).warning_tokens == 5_000_000
    assert tokenwell.clear_thresholds("initech").reserve_tokens == 100
    assert [each.id for each in tokenwell.each_organization(limit=1)] == ["acme", "globex", "initech"]
    rate = tokenwell.set_rate("big", effective_at=datetime(2027, 1, 1, tzinfo=UTC), output_millionths=2_000_000)
    assert tokenwell.list_rates().items == (rate,)
    answers = tokenwell.debit_batch(OWN, [BatchDebit(model="big", completion_tokens=5), BatchDebit(amount="9T")]).items
    assert answers[0].receipt is not None
    assert answers[0].receipt.amount_tokens == 10
    assert answers[1].problem is not None
    assert answers[1].problem.code == "amount_invalid"
    usage = tokenwell.usage(OWN, since=START - timedelta(hours=1, minutes=30), until=START + timedelta(days=1), by="model")
    assert [(series.value, series.total.debited_tokens) for series in usage.series] == [("big", 10)]
    assert tokenwell.ledger_sums(OWN, model="big").lines == 1


def test_lists_are_walked_and_streamed_to_the_same_lines(tokenwell: Tokenwell) -> None:
    tokenwell.debit_batch(OWN, [BatchDebit(amount=number + 1, model=f"m{number % 2}") for number in range(60)])
    walked = list(tokenwell.each_ledger_line(OWN, model="m1", limit=7))
    assert [line.amount_tokens for line in walked] == list(range(60, 0, -2))
    assert list(tokenwell.stream_ledger(OWN, model="m1")) == walked
    table = b"".join(tokenwell.export_ledger(OWN, model="m1")).decode()
    assert len(table.splitlines()) == 31
    assert [line.seq for line in tokenwell.each_journal_line(OWN, limit=10)] == list(range(1, 62))
    assert [pack.number for pack in tokenwell.each_pack(OWN, status="active")] == [1]
    with pytest.raises(errors.PackNotFound):
        next(iter(tokenwell.stream_ledger(OWN, pack="PK-9")))


async def test_coroutines_have_the_same(platform: Platform, address: str) -> None:
    async with AsyncTokenwell(address, platform.secrets["platform"]) as tokenwell:
        first, again = [await tokenwell.debit(OWN, 5, session="a/b?c", key="once") for _ in range(2)]
        assert (first.replayed, again.replayed, first) == (False, True, again)
        assert (await tokenwell.get_session(OWN, "a/b?c")).debited_tokens == 5
        assert [line.amount_tokens async for line in tokenwell.each_ledger_line(OWN)] == [5]
        assert [line.amount_tokens async for line in tokenwell.stream_ledger(OWN)] == [5]
        assert len([piece async for piece in tokenwell.export_ledger(OWN)]) > 0
        with pytest.raises(errors.AmountInvalid):
            await tokenwell.debit(OWN, 0)
        with pytest.raises(errors.PackNotFound):
            _ = [line async for line in tokenwell.stream_ledger(OWN, pack="PK-9")]


def test_errors_are_the_typed_ones_with_their_details(tokenwell: Tokenwell, address: str) -> None:
    with pytest.raises(errors.OrganizationNotFound) as caught:
        tokenwell.balance("nobody")
    assert caught.value.details == {"organization_id": "nobody"}
    with pytest.raises(errors.AmountInvalid) as invalid:
        tokenwell.grant_pack(OWN, "lots")
    assert invalid.value.details["field"] == "amount"
    tokenwell.create_organization("poor")
    with pytest.raises(errors.AiStopped):
        tokenwell.debit("poor", 5)
    with Tokenwell(address, "tw_plat_nobody") as stranger, pytest.raises(errors.CredentialsInvalid):
        stranger.balance(OWN)


@pytest.mark.parametrize("mishap", [lost_before, lost_after, told(503, **{"retry-after": "2"}), told(502)])
def test_a_write_is_repeated_with_its_key_and_done_once(
    platform: Platform, address: str, mishap: Callable[[httpx2.Request, Flaky], httpx2.Response]
) -> None:
    transport, pauses = Flaky(mishap, mishap), list[float]()
    with Tokenwell(address, platform.secrets["platform"], transport=transport, sleep=pauses.append) as tokenwell:
        assert tokenwell.debit(OWN, 7).balance_tokens == 999_993
    assert len(pauses) == 2
    assert (len(transport.keys), len(set(transport.keys))) == (3, 1)
    assert platform.meter.balance(OWN).balance_tokens == 999_993


def test_an_answer_says_whether_its_write_was_done_before(tokenwell: Tokenwell) -> None:
    for write in (
        lambda: tokenwell.create_service(OWN, "Support", id="support", key="create"),
        lambda: tokenwell.disable_service(OWN, "support", key="disable"),
        lambda: tokenwell.set_thresholds(OWN, warning=10, reserve=5, key="lines"),
        lambda: tokenwell.grant_pack(OWN, 5, key="grant"),
        lambda: tokenwell.debit(OWN, 5, key="debit"),
    ):
        first, again = write(), write()
        assert (first.replayed, again.replayed, first) == (False, True, again)
    made, again = [tokenwell.create_key(OWN, "Bot", key="key") for _ in range(2)]
    assert (again.replayed, again.key, bool(made.secret), again.secret) == (True, made.key, True, "")
    with pytest.raises(errors.IdempotencyConflict) as caught:
        tokenwell.create_key(OWN, "Other", key="key")
    assert caught.value.details == {"field": "name"}
    assert not tokenwell.balance(OWN).replayed


def test_a_write_that_was_done_though_its_answer_was_lost_says_so(platform: Platform, address: str) -> None:
    with Tokenwell(address, platform.secrets["platform"], transport=Flaky(lost_after), sleep=[].append) as tokenwell:
        assert tokenwell.set_pack_note(OWN, "PK-1", "Paid").replayed
        assert not tokenwell.set_pack_note(OWN, "PK-1", "Paid twice").replayed


def test_the_server_says_how_long_to_wait(platform: Platform, address: str) -> None:
    transport = Flaky(told(503, **{"retry-after": "2"}), told(429, **{"retry-after": "9999"}))
    pauses = list[float]()
    with Tokenwell(address, platform.secrets["platform"], transport=transport, sleep=pauses.append) as tokenwell:
        assert tokenwell.balance(OWN).balance_tokens == 1_000_000
        assert 2 <= pauses[0] <= 2.2
        assert pauses[1] >= LONGEST_PAUSE_SECONDS
        with pytest.raises(errors.BalanceHeld):
            tokenwell.open_hold(OWN, 2_000_000)
    assert len(pauses) == 6
    assert max(pauses) <= LONGEST_PAUSE_SECONDS * 1.1


def test_what_cannot_be_reached_or_understood_is_said(platform: Platform, address: str) -> None:
    pauses = list[float]()
    for mishap in (lost_before, told(200, b"<html>"), told(404, b"not here")):
        with (
            Tokenwell(address, "tw_plat_1", transport=Flaky(*[mishap] * 9), sleep=pauses.append) as tokenwell,
            pytest.raises(errors.ServerUnreachable),
        ):
            tokenwell.balance(OWN)
    assert len(pauses) == 4
