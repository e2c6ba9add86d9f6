"""Against a misbehaving provider, clients that leave, restarts and a balance that runs dry: what was produced is charged."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import msgspec
import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.databases import sqlite_url_in
from tests.gateway.conftest import GRANTED, _Server, until
from tests.gateway.simulator import WORD, Plan, Simulator
from tokenwell.config import Settings
from tokenwell.core.health import Thresholds
from tokenwell.core.journal import ESTIMATED
from tokenwell.gateway.app import Gateway, create_gateway
from tokenwell.gateway.upstream import HttpUpstream
from tokenwell.service.access.keys import Keys
from tokenwell.service.meter import Meter
from tokenwell.service.shapes import LedgerLine

PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
PROMPT = [{"role": "user", "content": "Say hello, if you please."}]
PROMPT_TOKENS = -(-len(json.dumps(PROMPT)) // 4)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a client does: which call, what is to happen to it, and after how many bytes it leaves (None: it stays)."""

    path: str
    streams: bool
    plan: Plan
    leaves_after: int | None = None


class Heard(msgspec.Struct):
    """What a client heard."""

    status: int = 0
    body: bytes = b""
    is_whole: bool = False

    @property
    def words(self) -> int:
        """How many words."""
        return self.body.count(WORD.encode())


class Stage:
    """A gateway between clients and a simulated provider, which can be started anew."""

    def __init__(self, meter: Meter, keys: Keys, simulator: Simulator) -> None:
        self.meter, self.keys, self.simulator = meter, keys, simulator
        self.secret = keys.create("acme", name="test").secret
        self.heard: dict[str, Heard] = {}
        self._server: _Server
        self._gateway: Gateway
        self._serving: asyncio.Task[None]

    async def start(self) -> None:
        """Start the gateway."""
        upstream = HttpUpstream(self.simulator.url, timeout_seconds=1)
        self._gateway = create_gateway(
            self.meter, self.keys, Settings(output_limit_tokens=40, upstream_timeout_seconds=1), upstream
        )
        config = uvicorn.Config(
            self._gateway,
            interface="asgi3",
            access_log=False,
            log_level="critical",
            timeout_graceful_shutdown=1,
            port=0,
            lifespan="on",
        )
        self._server = _Server(config)
        self._serving = asyncio.ensure_future(self._server.serve())
        await until(lambda: self._server.started)
        self.address = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop it as a server is stopped: calls under way have a second."""
        self._server.should_exit = True
        await self._serving

    async def play(self, session: aiohttp.ClientSession, call: Call) -> None:
        """Make a call, and note what is heard."""
        heard = self.heard[call.plan.name] = Heard()
        body = {
            "model": "m",
            "max_tokens": 40,
            "max_output_tokens": 40,
            "stream": call.streams,
            "simulate": msgspec.to_builtins(call.plan),
        }
        body["input" if call.path.endswith("/responses") else "messages"] = PROMPT
        headers = {
            "authorization": f"Bearer {self.secret}",
            "content-type": "application/json",
            "x-tokenwell-session": call.plan.name,
        }
        try:
            async with session.post(
                self.address + call.path, data=io.BytesIO(json.dumps(body).encode()), headers=headers
            ) as answer:
                heard.status = answer.status
                async for piece in answer.content.iter_any():
                    heard.body += piece
                    if call.leaves_after is not None and len(heard.body) >= call.leaves_after:
                        answer.close()
                        return
                heard.is_whole = True
        except (aiohttp.ClientError, ConnectionError):
            return

    def lines(self) -> dict[str, list[LedgerLine]]:
        """Return the ledger's lines by session."""
        found: dict[str, list[LedgerLine]] = {}
        for line in self.meter.ledger("acme", limit=500).items:
            found.setdefault(line.entry.session or "", []).append(line)
        return found


@asynccontextmanager
async def staged(url: str, granted: int) -> AsyncIterator[Stage]:
    """Yield a running stage on a database."""
    with Meter(url, thresholds=Thresholds(0, 0)) as meter:
        meter.create_organization("acme")
        meter.grant("acme", granted)
        keys = Keys(meter.engine, meter.clock)
        simulator = Simulator()
        await simulator.start()
        stage = Stage(meter, keys, simulator)
        await stage.start()
        try:
            yield stage
        finally:
            await stage.stop()
            await simulator.stop()
            keys.close()


def judge(stage: Stage, call: Call) -> int:
    """Fail unless a call was charged what the provider says it produced; return what it was charged."""
    plan, heard = call.plan, stage.heard[call.plan.name]
    produced = stage.simulator.produced.get(plan.name)
    lines = stage.lines().get(plan.name, [])
    if lines:
        # With what no pack could pay.
        lines = list(stage.meter.request("acme", lines[0].entry.request_id or ""))
    prompt, completion = (sum(getattr(line.entry, name) or 0 for line in lines) for name in ("prompt_tokens", "completion_tokens"))
    charged = prompt + completion
    if produced is None:
        assert charged == 0, "charged what was never asked"
        return 0
    if not lines:
        # Nothing is charged only where no answer began: an error, or one that broke before its first word.
        assert heard.status != 200 or not heard.words, "an answer that nobody paid"
        return 0
    if lines[0].entry.flags & ESTIMATED:
        assert prompt == PROMPT_TOKENS
        # A message tells an output token as it begins.
        most = max(produced.words, call.path.endswith("/messages"))
        assert heard.words <= completion <= most, "the count is off"
        if heard.is_whole and not produced.is_broken and b'"length"' not in heard.body and produced.words == heard.words:
            assert completion == heard.words or not call.streams
        assert not (heard.is_whole and produced.usage_told and heard.words == plan.words), "the usage was told, and not charged"
    else:
        assert produced.usage_told or produced.words == plan.words, "a usage from nowhere"
        assert (prompt, completion) == (PROMPT_TOKENS, plan.words)
    return charged


def _is_under_way(stage: Stage, act: list[Call], playing: list[asyncio.Task[None]]) -> bool:
    return any(call.plan.name in stage.simulator.produced for call in act) or all(each.done() for each in playing)


async def perform(url: str, acts: list[list[Call]], granted: int, restarts: set[int]) -> None:
    """Play acts of simultaneous calls, restart the gateway in the middle of some, and judge everything."""
    async with staged(url, granted) as stage:
        async with aiohttp.ClientSession() as session:
            for number, act in enumerate(acts):
                playing = [asyncio.ensure_future(stage.play(session, call)) for call in act]
                if number in restarts:
                    await until(partial(_is_under_way, stage, act, playing))
                    await stage.stop()
                    await asyncio.wait(playing)
                    await stage.start()
                await asyncio.wait(playing)
                for each in playing:
                    each.result()
        await until(lambda: stage.meter.balance("acme").held_tokens == 0)
        charged = sum(judge(stage, call) for act in acts for call in act)
        balance = stage.meter.balance("acme")
        assert granted - balance.balance_tokens + balance.overage_tokens == charged
        for verified in stage.meter.verify():
            assert verified.problems == ()


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw what happens to a call: mostly little, sometimes much."""
    words = draw(st.integers(0, 30))
    badly = draw(st.sampled_from(["well", "well", "well", "reset", "hang", "early"]))
    status = draw(st.sampled_from([200] * 8 + [429, 500]))
    return Plan(
        name="",
        prompt_tokens=PROMPT_TOKENS,
        words=words,
        status=status,
        html=draw(st.sampled_from([False] * 7 + [True])),
        usage=draw(st.sampled_from(["once", "once", "never", "twice"])),
        slow_head=draw(st.booleans()),
        slow=draw(st.booleans()),
        slice_bytes=draw(st.sampled_from([0, 0, 1, 3, 50])),
        line_end=draw(st.sampled_from(["lf", "lf", "crlf"])),
        comments=draw(st.booleans()),
        huge=draw(st.sampled_from([False, False, True])),
        gzip=draw(st.sampled_from([False] * 7 + [True])),
        http10=draw(st.sampled_from([False, False, True])),
        ends=badly,
        at=draw(st.integers(-1, words)),
    )


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw a call and its client, who leaves now and then."""
    leaves = draw(st.sampled_from([None, None, None, 1, 500, 2_000]))
    return Call(
        path=draw(st.sampled_from(PATHS)),
        streams=draw(st.sampled_from([True, True, False])),
        plan=draw(plans()),
        leaves_after=leaves,
    )


def _named(acts: list[list[Call]]) -> list[list[Call]]:
    replace = msgspec.structs.replace
    return [[replace(call, plan=replace(call.plan, name=f"s-{a}-{c}")) for c, call in enumerate(act)] for a, act in enumerate(acts)]


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(
    acts=st.lists(st.lists(calls(), min_size=3, max_size=8), min_size=1, max_size=3).map(_named),
    granted=st.sampled_from([150, 400, 1_500, GRANTED, GRANTED]),
    restarts=st.sets(st.integers(0, 2), max_size=1),
)
def test_whatever_happens_the_charge_is_what_was_produced(acts: list[list[Call]], granted: int, restarts: set[int]) -> None:
    with TemporaryDirectory() as directory:
        asyncio.run(perform(sqlite_url_in(Path(directory)), acts, granted, restarts))


ONE_OF_EACH = [
    {},
    {"slow_head": True, "slow": True},
    {"slice_bytes": 1},
    {"slice_bytes": 3, "line_end": "crlf", "comments": True},
    {"usage": "never"},
    {"usage": "twice"},
    {"huge": True},
    {"http10": True},
    {"http10": True, "usage": "never", "line_end": "crlf"},
    {"gzip": True},
    {"status": 429},
    {"status": 500, "html": True},
    {"html": True},
    {"ends": "reset", "at": -1},
    {"ends": "reset", "at": 0},
    {"ends": "reset", "at": 2},
    {"ends": "early", "at": 2},
    {"ends": "hang", "at": -1},
    {"ends": "hang", "at": 2},
    {"words": 0},
]


@pytest.mark.parametrize("path", PATHS)
async def test_each_misbehaviour_by_itself_is_charged_what_was_produced(database_url: str, path: str) -> None:
    acts = [
        [
            Call(path=path, streams=streams, plan=Plan(name="", prompt_tokens=PROMPT_TOKENS, words=5) if not how else _plan(how))
            for how in ONE_OF_EACH
        ]
        for streams in (True, False)
    ]
    await perform(database_url, _named(acts), GRANTED, set())


def _plan(how: dict[str, Any]) -> Plan:
    return Plan(**{"name": "", "prompt_tokens": PROMPT_TOKENS, "words": 5} | how)


async def test_fifty_streams_on_a_balance_that_is_nearly_empty_use_no_more_than_there_is(sqlite_url: str) -> None:
    act = [
        Call(path=PATHS[n % 3], streams=True, plan=_plan({"words": 200, "usage": "never", "slice_bytes": 50})) for n in range(50)
    ]
    async with staged(sqlite_url, 1_500) as stage:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(stage.play(session, call) for call in _named([act])[0]))
        await until(lambda: stage.meter.balance("acme").held_tokens == 0)
        charged = sum(judge(stage, call) for call in _named([act])[0])
        assert 1_000 < charged <= 1_500
        assert stage.meter.balance("acme").overage_tokens == 0
        assert any(b'"length"' in heard.body or b"max_tokens" in heard.body for heard in stage.heard.values())
