"""What is served beyond the balance: many streams at once on a balance that is nearly empty.

    python -m bench.overshoot [--streams N] [--balance TOKENS] [--words N] [--rounds N] [--database sqlite|postgres]

A mock provider streams words, one token each, and pauses now and then so that all streams run at once. It heeds no limit: every
stream would say more than the balance affords all of them. Printed is what was served, and by how much that exceeds the balance
there was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import aiohttp
import structlog

from tests.databases import fresh_postgres, postgres_server
from tests.gateway.conftest import house_on
from tests.gateway.upstreams import DONE, Reply, Request, chunk
from tokenwell.core.health import Thresholds

PROMPT_TOKENS = 20


class Round(NamedTuple):
    """What one round came to."""

    streams: int
    admitted: int
    cut: int
    balance: int
    served: int
    overage: int

    @property
    def beyond(self) -> int:
        """Tokens served beyond the balance."""
        return max(0, self.served - self.balance)


async def run(database_url: str, *, streams: int, balance: int, words: int) -> Round:
    """Run many streams at once on one balance; return what was served and charged."""
    served = cut = admitted = 0

    async def answer(request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        for number in range(words):
            await reply.piece(chunk("word "))
            if number % 8 == 7:
                await asyncio.sleep(0.005)
        await reply.piece(
            chunk(usage={"prompt_tokens": PROMPT_TOKENS, "completion_tokens": words, "total_tokens": PROMPT_TOKENS + words})
        )
        await reply.piece(DONE)
        await reply.end_stream()

    async with house_on(database_url, granted=balance, thresholds=Thresholds(0, 0)) as house:
        house.upstream.answer = answer
        connector = aiohttp.TCPConnector(limit=0)

        async def one(session: aiohttp.ClientSession) -> None:
            nonlocal served, cut, admitted
            body = {
                "model": "mock",
                "messages": [{"role": "user", "content": "Tell me about the fox."}],
                "stream": True,
                "max_tokens": 64,
            }
            headers = {"authorization": f"Bearer {house.secret}"}
            async with session.post(f"{house.address}/v1/chat/completions", json=body, headers=headers) as response:
                text = await response.text()
            if response.status != 200:
                return
            admitted += 1
            said = text.count('"word "')
            cut += said < words
            served += PROMPT_TOKENS + said

        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(one(session) for _ in range(streams)))
        await house.settled()
        overage = house.balance().overage_tokens
        house.verify()
        return Round(streams, admitted, cut, balance, served, overage)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.overshoot", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--balance", type=int, default=6_000)
    parser.add_argument("--words", type=int, default=400, help="how many tokens each answer has")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rounds = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwell_bench_")))
        server = stack.enter_context(postgres_server()) if options.database == "postgres" else ""
        for number in range(options.rounds):
            url = stack.enter_context(fresh_postgres(server)) if server else f"sqlite:///{directory / f'{number}.db'}"
            rounds.append(asyncio.run(run(url, streams=options.streams, balance=options.balance, words=options.words)))
    print(f"{'streams':>8}{'admitted':>10}{'cut':>6}{'balance':>9}{'served':>9}{'beyond':>8}{'share':>9}{'overage':>9}")
    for each in rounds:
        share = f"{each.beyond / each.balance:.3%}"
        print(
            f"{each.streams:>8}{each.admitted:>10}{each.cut:>6}{each.balance:>9,}{each.served:>9,}{each.beyond:>8,}{share:>9}{each.overage:>9,}"
        )
    print(json.dumps({"worst_share": max(each.beyond / each.balance for each in rounds), "database": options.database}))


if __name__ == "__main__":
    main()
