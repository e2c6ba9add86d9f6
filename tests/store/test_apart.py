"""Where a transaction may hold rows of one organization only, a batch is committed organization by organization."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Meter
from tokenwell.errors import BalanceHeld
from tokenwell.store.drivers import PostgresDriver


async def test_a_batch_over_many_organizations_is_answered_in_full(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresDriver, "_has_citus", lambda self: True)
    written: list[int] = []
    write = PostgresDriver.write
    monkeypatch.setattr(PostgresDriver, "write", lambda self, accounts, *rest, **more: (
        written.append(len(accounts)), write(self, accounts, *rest, **more))[1])  # fmt: skip
    names = [f"org{number}" for number in range(6)]
    with Meter(postgres_url, thresholds=NO_THRESHOLDS) as meter:
        for name in names:
            meter.create_organization(name)
        await asyncio.gather(*(meter.aio.grant(name, 30) for name in names))
        answers = await asyncio.gather(*(meter.aio.debit(name, 10) for _ in range(4) for name in names), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        assert len(refused) == len(names)
        assert all(isinstance(answer, BalanceHeld) or getattr(answer, "code", "") == "ai_stopped" for answer in refused)
        assert [meter.balance(name).balance_tokens for name in names] == [0] * len(names)
        assert [found.problems for found in meter.verify()] == [()] * len(names)
    assert set(written) == {1}
