"""Metering against providers that misbehave and clients that go away: the balance is always right afterwards."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest

from tests.doubles import FrozenClock
from tests.gateway.conftest import GRANTED, House, asked, house_on, until
from tests.gateway.upstreams import DONE, USAGE, Reply, Request, chunk, completion, failing, plain, speaking, streaming
from tokenwell.config import Settings
from tokenwell.core.journal import ESTIMATED
from tokenwell.core.rates import Rate

HELLO: Any = [{"role": "user", "content": "Say hello."}]


async def _stream(house: House, **fields: Any) -> bytes:
    async with house.ask(asked(stream=True, **fields)) as answer:
        assert answer.status == 200
        body: bytes = await answer.read()
        return body


def _receipt(body: bytes) -> dict[str, Any]:
    (comment,) = [event for event in body.split(b"\n\n") if event.startswith(b": tokenwell ")]
    receipt: dict[str, Any] = json.loads(comment.removeprefix(b": tokenwell "))
    return receipt


def _charged(house: House) -> int:
    return GRANTED - house.balance().balance_tokens


async def test_a_plain_answer_passes_byte_for_byte(house: House) -> None:
    odd = b' {"choices" : [{"message":{"content":"\\u00e9"}}],\n "usage":{"prompt_tokens":1e0,"completion_tokens":2},"x":1.50e3} '
    house.upstream.answer = failing(200, odd)
    async with house.ask() as answer:
        assert await answer.read() == odd


async def test_a_request_passes_byte_for_byte(house: House) -> None:
    body = b' {"messages" : [{"role":"user","content":"\\u00e9"}],\n "model":"a", "new":{"x":1.50e3,"y":[ ]}} '
    async with house.ask(body) as answer:
        assert answer.status == 200
    assert house.upstream.requests[0].body == body


async def test_a_stream_passes_byte_for_byte_but_for_the_hidden_usage(house: House) -> None:
    said = [chunk("Gut"), b": ping\n\n", b"event: message\r\ndata: {}\r\n\r\n", chunk("en Tag")]
    house.upstream.answer = streaming([*said, chunk(usage=USAGE), DONE])
    body = await _stream(house)
    receipt = _receipt(body)
    comment = b": tokenwell " + json.dumps(receipt, separators=(",", ":")).encode() + b"\n\n"
    assert body == b"".join(said) + comment + DONE
    assert json.loads(house.upstream.requests[0].body)["stream_options"] == {"include_usage": True}


async def test_the_receipt_at_the_end_of_a_stream_is_the_ledgers_line(house: House) -> None:
    house.upstream.answer = speaking("Good", " morning")
    receipt = _receipt(await _stream(house))
    (line,) = house.lines()
    assert receipt == {
        "request-id": line.entry.request_id,
        "charged": 15,
        "prompt": 12,
        "completion": 3,
        "packs": f"{line.entry.pack_id}=15",
        "balance": GRANTED - 15,
        "state": "normal",
        "estimated": False,
    }


async def test_a_request_that_draws_from_two_packs_names_both(house: House) -> None:
    house.meter.debit("acme", GRANTED - 5, already_used=True)
    house.meter.grant("acme", "1M", priority=1)
    async with house.ask() as answer:
        packs = dict(pair.split("=") for pair in answer.headers["x-tokenwell-packs"].split(", "))
    assert sorted(packs.values()) == ["10", "5"]
    assert {line.entry.pack_id for line in house.lines()[:2]} == set(packs)


async def test_the_balance_is_held_while_the_provider_works_and_charged_the_truth_after(house: House) -> None:
    gate = asyncio.Event()

    async def answer(request: Request, reply: Reply) -> None:
        await gate.wait()
        await plain()(request, reply)

    house.upstream.answer = answer
    call = asyncio.ensure_future(house.openai().chat.completions.create(model="a", messages=HELLO, max_tokens=700, n=3))
    await until(lambda: len(house.upstream.requests) == 1)
    assert 2_100 < house.balance().held_tokens < 2_200
    gate.set()
    await call
    assert _charged(house) == 15
    house.verify()


async def test_a_request_without_a_limit_holds_the_settings(sqlite_url: str) -> None:
    async with house_on(sqlite_url, settings=Settings(output_limit_tokens=40_000)) as house:
        held: list[int] = []

        async def answer(request: Request, reply: Reply) -> None:
            held.append(house.balance().held_tokens)
            await plain()(request, reply)

        house.upstream.answer = answer
        async with house.ask():
            pass
        assert 40_000 < held[0] < 40_100


async def test_hold_and_charge_are_at_the_models_rate(house: House) -> None:
    house.meter.set_rate(Rate(model="dear", effective_at=datetime(2020, 1, 1, tzinfo=UTC), output_millionths=10_000_000))
    held: list[int] = []

    async def answer(request: Request, reply: Reply) -> None:
        held.append(house.balance().held_tokens)
        await plain()(request, reply)

    house.upstream.answer = answer
    async with house.ask(asked(model="dear", max_tokens=1_000)) as got:
        assert got.headers["x-tokenwell-charged"] == str(12 + 3 * 10)
    assert 10_000 < held[0] < 10_100


async def test_the_largest_limit_at_the_dearest_rate_is_refused_for_want_of_balance(house: House) -> None:
    dearest = 10_000 * 1_000_000
    house.meter.set_rate(Rate(model="dear", effective_at=datetime(2020, 1, 1, tzinfo=UTC), output_millionths=dearest))
    async with house.ask(asked(model="dear", max_tokens=10**9, n=1_000)) as got:
        assert got.status == 429
    house.verify()


async def test_cached_and_reasoning_tokens_are_charged_at_their_own_rates(house: House) -> None:
    house.meter.set_rate(
        Rate(model="fake-1", effective_at=datetime(2020, 1, 1, tzinfo=UTC), cache_read_millionths=0, reasoning_millionths=3_000_000)
    )
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 90},
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    house.upstream.answer = plain(usage=usage)
    async with house.ask() as answer:
        assert answer.headers["x-tokenwell-charged"] == str(10 + 0 + 10 + 120)
    (line,) = house.lines()
    assert json.loads(line.entry.detail or "")["raw"] == usage


async def test_a_plain_answer_without_usage_is_counted_and_flagged(house: House) -> None:
    house.upstream.answer = plain("word " * 100, usage=None)
    async with house.ask() as answer:
        assert answer.headers["x-tokenwell-estimated"] == "true"
        assert answer.headers["x-tokenwell-completion"] == "125"
    (line,) = house.lines()
    assert line.entry.flags & ESTIMATED
    assert line.entry.prompt_tokens
    house.verify()


async def test_a_stream_without_usage_is_counted_and_flagged(house: House) -> None:
    house.upstream.answer = streaming([*(chunk(" x") for _ in range(40)), DONE])
    receipt = _receipt(await _stream(house))
    assert receipt["estimated"] is True
    assert receipt["completion"] == 40
    assert receipt["prompt"] > 0
    house.verify()


async def test_a_stream_that_ends_without_its_last_word_is_counted(house: House) -> None:
    house.upstream.answer = streaming([chunk("one"), chunk("two").rstrip()])
    body = await _stream(house)
    assert _receipt(body)["completion"] == 2
    assert chunk("two") in body


@pytest.mark.parametrize("streams", [False, True])
async def test_an_error_of_the_provider_passes_and_charges_nothing(house: House, streams: bool) -> None:
    body = b'{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}'
    house.upstream.answer = failing(429, body, retry_after="7")
    async with house.ask(asked(stream=streams)) as answer:
        assert answer.status == 429
        assert answer.headers["retry-after"] == "7"
        assert await answer.read() == body
    assert house.lines() == []
    house.verify()


@pytest.mark.parametrize("streams", [False, True])
async def test_a_page_of_html_becomes_an_error_in_shape(house: House, streams: bool) -> None:
    house.upstream.answer = failing(503, b"<html>Down for maintenance</html>", kind="text/html")
    async with house.ask(asked(stream=streams)) as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "upstream_error"
    house.verify()


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"error":{"message":"no"}}', b"[]"])
async def test_a_success_that_is_no_answer_is_a_bad_gateway(house: House, body: bytes) -> None:
    house.upstream.answer = failing(200, body)
    async with house.ask() as answer:
        assert answer.status == 502
    assert house.lines() == []
    house.verify()


async def test_a_provider_that_answers_a_stream_as_a_whole_is_charged_all_the_same(house: House) -> None:
    house.upstream.answer = plain()
    async with house.ask(asked(stream=True)) as answer:
        assert await answer.read() == completion()
        assert answer.headers["x-tokenwell-charged"] == "15"


@pytest.mark.parametrize("streams", [False, True])
async def test_a_provider_that_cannot_be_reached_charges_nothing_and_is_found_again(house: House, streams: bool) -> None:
    port = int(house.upstream.url.rsplit(":", 1)[1].split("/")[0])
    await house.upstream.stop()
    async with house.ask(asked(stream=streams)) as answer:
        assert answer.status == 502
        assert (await answer.json())["error"]["code"] == "upstream_error"
    house.verify()
    await house.upstream.start(port)
    async with house.ask() as answer:
        assert answer.status == 200


@pytest.mark.parametrize("streams", [False, True])
async def test_a_provider_that_breaks_off_before_it_answers_charges_nothing(house: House, streams: bool) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        reply.reset()

    house.upstream.answer = answer
    async with house.ask(asked(stream=streams)) as got:
        assert got.status == 502
    assert house.lines() == []
    house.verify()


async def test_a_provider_that_breaks_off_before_the_first_piece_charges_nothing(house: House) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        reply.reset()

    house.upstream.answer = answer
    async with house.ask(asked(stream=True)) as got:
        assert got.status == 502
    assert house.lines() == []
    house.verify()


async def test_an_answer_that_is_cut_short_charges_nothing(house: House) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n" + completion()[:50])
        reply.reset()

    house.upstream.answer = answer
    async with house.ask() as got:
        assert got.status == 502
    assert house.lines() == []
    house.verify()


async def test_a_stream_that_breaks_off_is_charged_as_far_as_it_came_and_ends_with_an_error(house: House) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(chunk("one") + chunk("two") + b'data: {"half')
        await asyncio.sleep(0.05)
        reply.reset()

    house.upstream.answer = answer
    stream = await house.openai().chat.completions.create(model="a", messages=HELLO, stream=True)
    said = []

    async def listen() -> None:
        async for piece in stream:
            said.append(piece.choices[0].delta.content)

    with pytest.raises(openai.APIError, match="broke off"):
        await listen()
    assert said == ["one", "two"]
    (line,) = house.lines()
    assert line.entry.flags & ESTIMATED
    assert line.entry.completion_tokens == 2
    house.verify()


async def test_a_stream_that_breaks_off_after_its_usage_is_charged_exactly(house: House) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(chunk("one") + chunk(usage=USAGE))
        await asyncio.sleep(0.05)
        reply.reset()

    house.upstream.answer = answer
    receipt = _receipt(await _stream(house))
    assert (receipt["charged"], receipt["estimated"]) == (15, False)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_provider_that_falls_silent_is_given_up(sqlite_url: str, begun: bool) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        if begun:
            await reply.begin_stream()
            await reply.piece(chunk("one"))
        await reply.gone.wait()

    async with house_on(sqlite_url, settings=Settings(upstream_timeout_seconds=1)) as house:
        house.upstream.answer = answer
        async with house.ask(asked(stream=True)) as got:
            body = await got.read()
            assert got.status == (200 if begun else 504)
            assert b'"code":"upstream_timeout"' in body
        assert len(house.lines()) == begun
        house.verify()


async def test_a_client_that_leaves_a_stream_stops_the_provider_and_pays_for_what_was_said(house: House) -> None:
    stopped = asyncio.Event()

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        for _ in range(10):
            await reply.piece(chunk("word"))
        await reply.gone.wait()
        stopped.set()

    house.upstream.answer = answer
    stream = await house.openai().chat.completions.create(model="a", messages=HELLO, stream=True)
    heard = 0
    async for _ in stream:
        heard += 1
        if heard == 10:
            break
    await stream.close()
    async with asyncio.timeout(1):
        await stopped.wait()
    await house.settled()
    (line,) = house.lines()
    assert line.entry.flags & ESTIMATED
    assert line.entry.completion_tokens == 10
    house.verify()


async def test_a_client_that_neither_reads_nor_stays_stops_the_provider_as_well(house: House) -> None:
    stopped = asyncio.Event()
    sent = 0

    async def answer(_request: Request, reply: Reply) -> None:
        nonlocal sent
        await reply.begin_stream()
        try:
            while not reply.gone.is_set():
                await reply.piece(chunk("x" * 100_000))
                sent += 1
        finally:
            stopped.set()

    house.upstream.answer = answer
    host, _, port = house.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
    body = json.dumps(asked(stream=True)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.secret}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    # Every buffer on the way is full once nothing more is sent.
    before = -1
    while sent == 0 or sent != before:
        before = sent
        await asyncio.sleep(0.1)
    writer.transport.abort()
    async with asyncio.timeout(1):
        await stopped.wait()
    await house.settled()
    (line,) = house.lines()
    assert line.entry.flags & ESTIMATED
    assert line.entry.completion_tokens
    house.verify()
    assert reader


async def test_a_client_that_leaves_before_the_first_word_stops_the_provider_and_pays_for_the_prompt(house: House) -> None:
    stopped = asyncio.Event()

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.gone.wait()
        stopped.set()

    house.upstream.answer = answer
    call = asyncio.ensure_future(_stream(house))
    await until(lambda: len(house.upstream.requests) == 1)
    call.cancel()
    async with asyncio.timeout(1):
        await stopped.wait()
    await house.settled()
    (line,) = house.lines()
    assert (line.entry.completion_tokens, bool(line.entry.flags & ESTIMATED)) == (0, True)
    assert line.entry.prompt_tokens
    house.verify()


async def test_a_client_that_does_not_wait_for_a_plain_answer_is_charged_what_the_provider_reports(house: House) -> None:
    gate = asyncio.Event()

    async def answer(request: Request, reply: Reply) -> None:
        await gate.wait()
        await plain()(request, reply)

    house.upstream.answer = answer

    async def impatient() -> None:
        async with house.ask():
            pass

    call = asyncio.ensure_future(impatient())
    await until(lambda: len(house.upstream.requests) == 1)
    call.cancel()
    await asyncio.wait([call])
    gate.set()
    await house.settled()
    assert _charged(house) == 15
    house.verify()


async def test_a_slow_reader_gets_every_byte_of_a_large_stream(house: House) -> None:
    large = chunk("x" * 300_000)
    house.upstream.answer = streaming([large] * 20 + [chunk(usage=USAGE), DONE])
    async with house.ask(asked(stream=True)) as answer:
        body = b""
        while piece := await answer.content.read(500_000):
            body += piece
            await asyncio.sleep(0)
    assert body.startswith(large * 20)
    assert _receipt(body)["charged"] == 15


async def test_a_connection_is_used_again_after_a_stream(house: House) -> None:
    house.upstream.answer = speaking("one")
    for _ in range(3):
        await _stream(house)
    assert house.upstream.connections == 1


async def test_the_same_idempotency_key_of_a_client_is_two_requests(house: House) -> None:
    # The gateway keeps no answers, so it could not give the first one again: two answers are two charges.
    for _ in range(2):
        async with house.ask(idempotency_key="same") as answer:
            assert answer.status == 200
    assert _charged(house) == 30
    assert len({line.entry.request_id for line in house.lines()}) == 2


async def test_an_answer_after_its_hold_has_lapsed_is_charged_late(sqlite_url: str) -> None:
    clock = FrozenClock()
    async with house_on(sqlite_url, clock=clock) as house:

        async def answer(request: Request, reply: Reply) -> None:
            clock.advance(timedelta(hours=1))
            await plain()(request, reply)

        house.upstream.answer = answer
        async with house.ask() as got:
            assert got.headers["x-tokenwell-charged"] == "15"
        house.verify()
