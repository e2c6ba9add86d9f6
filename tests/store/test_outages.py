"""The database goes away and comes back: what was acknowledged is kept, what was not is said to be so, and a retry charges once."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from tests.databases import sqlite_url_in
from tests.doubles import FrozenClock
from tests.store.gates import behind, gated
from tests.store.proxy import Proxy
from tests.store.tenants import NO_THRESHOLDS, Tenant, refused
from tokenwell import Meter, Receipt
from tokenwell.core.commands import Command
from tokenwell.errors import BalanceHeld, CommitUnknown, StoreBusy, StoreUnavailable, TokenwellError
from tokenwell.store import dialects

LOST = (StoreUnavailable, CommitUnknown)


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    """A proxy before a new PostgreSQL database."""
    with Proxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
def direct(postgres_url: str, clock: FrozenClock) -> Iterator[Tenant]:
    """An organization with a million tokens, reached without the proxy."""
    with Meter(postgres_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        tenant = Tenant(meter, clock)
        tenant.grant("1M")
        yield tenant
        assert tenant.problems() == ()


@pytest.fixture
def far(proxy: Proxy, direct: Tenant, clock: FrozenClock) -> Iterator[Tenant]:
    """The same organization, reached through the proxy."""
    with Meter(proxy.url, thresholds=NO_THRESHOLDS, clock=clock, migrate=False) as meter:
        far = Tenant.__new__(Tenant)
        far.meter, far.clock, far.id = meter, clock, direct.id
        yield far


def charged(tenant: Tenant) -> list[str]:
    """Return the keys that were charged."""
    return sorted(line.entry.request_id or "" for line in tenant.ledger(limit=1000).items)


def persist(act: Callable[[], Any], *, attempts: int = 100) -> Any:
    """Repeat until the database answers."""
    for _ in range(attempts - 1):
        try:
            return act()
        except LOST:
            continue
    return act()


def outcome_of(act: Callable[[], Any]) -> type:
    """Return the type of the answer, or of the error if the database was lost."""
    try:
        return type(act())
    except LOST as error:
        return type(error)


def terminate(url: str) -> None:
    """End every other session on the database, and return when they have ended."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid, 10000) {others}")


# PostgreSQL: sessions ended by the server


def test_a_session_that_was_ended_while_idle_costs_nothing(direct: Tenant, postgres_url: str) -> None:
    for number in range(3):
        direct.debit(1, key=f"a{number}")
        terminate(postgres_url)
        assert direct.balance().balance_tokens == 10**6 - 2 * number - 1
        terminate(postgres_url)
        assert not direct.debit(1, key=f"b{number}").replayed
    assert len(charged(direct)) == 6


def test_sessions_ended_in_the_middle_of_load_lose_and_repeat_nothing(direct: Tenant, postgres_url: str) -> None:
    def load(caller: int) -> list[Receipt]:
        return [persist(functools.partial(direct.debit, 1, key=f"{caller}-{number}")) for number in range(60)]

    with ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(load, caller) for caller in range(8)]
        while not all(each.done() for each in loads):
            terminate(postgres_url)
    assert sorted(receipt.request_id for each in loads for receipt in each.result()) == charged(direct)
    assert len(charged(direct)) == 8 * 60


def test_a_rollback_takes_nothing_from_the_writes_after_it(direct: Tenant) -> None:
    for _ in range(20):
        with refused(BalanceHeld):
            direct.debit("2M")
    for number in range(20):
        direct.debit(1, key=f"k{number}")
        assert direct.debit(1, key=f"k{number}").replayed
    assert direct.balance().balance_tokens == 10**6 - 20


def test_a_server_that_became_read_only_refuses_and_is_left_when_it_is_no_longer(direct: Tenant, postgres_url: str) -> None:
    """What a client sees that is still connected to a primary that was demoted."""
    name = psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"]
    direct.debit(1)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        terminate(postgres_url)
        for _ in range(2):
            with refused(StoreUnavailable):
                direct.debit(1, key="k")
        assert direct.balance().balance_tokens == 10**6 - 1
    with psycopg.connect(postgres_url, autocommit=True, options="-c default_transaction_read_only=off") as admin:
        admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert persist(lambda: direct.debit(1, key="k"), attempts=3).replayed is False


# PostgreSQL: connections lost on the way


def test_a_server_out_of_reach_is_said_to_be_and_found_again(far: Tenant, direct: Tenant, proxy: Proxy) -> None:
    hold = far.open_hold(5).hold
    for _ in range(2):
        proxy.stop()
        for act in (
            lambda: far.debit(1),
            lambda: far.open_hold(1),
            lambda: far.settle(hold.id, 5),
            lambda: far.grant(1),
            far.balance,
            far.packs,
            far.ledger,
            far.meter.ping,
            lambda: far.revoke("PK-1"),
            lambda: far.meter.create_organization("other"),
        ):
            for _ in range(2):
                with refused(StoreUnavailable):
                    act()
        proxy.start()
        assert far.balance() == direct.balance()
        assert persist(lambda: far.debit(1), attempts=2).amount_tokens == 1
    assert far.settle(hold.id, 5).balance_tokens == 10**6 - 7


def test_a_meter_cannot_be_opened_on_a_server_out_of_reach(proxy: Proxy) -> None:
    proxy.stop()
    for migrate in (True, False):
        with refused(StoreUnavailable), Meter(proxy.url, migrate=migrate) as meter:
            meter.ping()


def cut_everywhere(far: Tenant, direct: Tenant, proxy: Proxy, *, cold: bool) -> set[type]:
    """Cut the connection after every so many bytes of a request, then of its answer; retry each with its key."""
    told = set[type]()
    far.debit(1, key="first")
    sizes = proxy.requested, proxy.answered
    if cold:
        proxy.drop()
    far.debit(1, key="second")
    sizes = proxy.requested - sizes[0], proxy.answered - sizes[1]
    balance = direct.balance().balance_tokens
    for side, size in zip(("cut_request_after", "cut_answer_after"), sizes, strict=True):
        for place in {0, size - 1, *range(1, size, max(1, size // 25))}:
            if cold:
                proxy.drop()
            setattr(proxy, side, place)
            key = f"{side}-{place}"
            debit = functools.partial(far.debit, 1, key=key)
            outcome = outcome_of(debit)
            told.add(outcome)
            possible = {Receipt: {balance - 1}, StoreUnavailable: {balance}, CommitUnknown: {balance, balance - 1}}[outcome]
            assert direct.balance().balance_tokens in possible
            setattr(proxy, side, None)
            persist(debit, attempts=3)
            assert debit().replayed
            balance -= 1
            assert direct.balance().balance_tokens == balance
    return told


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_wherever_a_connection_is_cut_a_retry_charges_once(far: Tenant, direct: Tenant, proxy: Proxy, cold: bool) -> None:
    told = cut_everywhere(far, direct, proxy, cold=cold)
    assert told >= {CommitUnknown, StoreUnavailable} if cold else {CommitUnknown}


def test_a_commit_whose_answer_is_lost_is_unknown_and_was_made(far: Tenant, direct: Tenant, proxy: Proxy) -> None:
    far.debit(1, key="before")
    proxy.cut_answer_after = 0
    with refused(CommitUnknown):
        far.debit(7, key="k")
    assert charged(direct) == ["before", "k"]
    again = far.debit(7, key="k")
    assert (again.replayed, again.amount_tokens, again.balance_tokens) == (True, 7, 10**6 - 8)


def test_a_commit_that_never_arrives_is_unknown_and_was_not_made(far: Tenant, direct: Tenant, proxy: Proxy) -> None:
    far.debit(1, key="before")
    proxy.cut_request_after = 100
    with refused(CommitUnknown):
        far.debit(7, key="k")
    assert charged(direct) == ["before"]
    assert far.debit(7, key="k").replayed is False


@pytest.mark.parametrize("side", ["cut_request_after", "cut_answer_after"])
def test_every_command_can_be_repeated_after_an_unknown_commit(far: Tenant, direct: Tenant, proxy: Proxy, side: str) -> None:
    far.debit(100, key="charged")
    hold = far.open_hold(5, key="hold").hold
    for act in (
        lambda: far.grant(5, key="grant"),
        lambda: far.open_hold(5, key="another hold"),
        lambda: far.settle(hold.id, 5),
        lambda: far.refund("charged", 50, key="refund"),
        lambda: far.revoke("PK-2", key="revoke"),
        lambda: far.release(far.open_hold(7, key="third hold").hold.id),
    ):
        far.debit(1)
        setattr(proxy, side, 0)
        assert outcome_of(act) in LOST
        persist(act, attempts=2)
        assert act().replayed
    assert direct.totals()[:3] == (10**6 - 100 + 50 - 5 - 6, 5, 0)


@pytest.mark.parametrize("side", ["cut_request_after", "cut_answer_after"])
async def test_all_callers_of_a_batch_learn_that_its_commit_is_unknown(
    far: Tenant, direct: Tenant, proxy: Proxy, side: str
) -> None:
    debit = far.meter.aio.debit
    keys = [f"k{number}" for number in range(50)]
    with gated(far.meter, proxy.url) as gate:
        await behind(gate, debit(far.id, 1), debit(far.id, 1), debit(far.id, 1))

        def cut(commands: Sequence[Command]) -> None:
            if len(commands) == 50:
                setattr(proxy, side, 0)

        gate.before = cut
        outcomes = await behind(gate, debit(far.id, 1), *(debit(far.id, 1, key=key) for key in keys))
        assert {type(outcome) for outcome in outcomes[1:]} == {CommitUnknown}
        again = [await debit(far.id, 1, key=key) for key in keys]
        assert {receipt.replayed for receipt in again} == {side == "cut_answer_after"}
    assert set(keys) < set(charged(direct))
    assert direct.balance().balance_tokens == 10**6 - 54


@pytest.mark.parametrize("side", ["cut_request_after", "cut_answer_after"])
@pytest.mark.parametrize("error", LOST)
def test_a_block_that_could_not_settle_keeps_its_hold_for_the_retry(
    far: Tenant, direct: Tenant, proxy: Proxy, side: str, error: type[TokenwellError]
) -> None:
    held_ids: list[str] = []
    if error is CommitUnknown:
        far.settle(far.open_hold(1).hold.id, 0)
        far.settle(far.open_hold(1).hold.id, 1)  # by now everything is prepared: what is cut is the commit itself
    before = direct.balance().balance_tokens

    def work() -> None:
        with far.meter.hold(far.id, 10) as held:
            held_ids.append(held.id)
            setattr(proxy, side, 0)
            held.settle(7)

    with refused(error):
        work()
    assert persist(lambda: far.settle(held_ids[0], 7), attempts=2).amount_tokens == 7
    assert direct.totals()[:2] == (before - 7, 0)


# SQLite


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer waits a moment only for another's lock."""
    monkeypatch.setattr(dialects, "SQLITE_BUSY_SECONDS", 0.1)


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_a_database_locked_by_another_is_busy_and_then_free(sqlite_url: str, impatient: None, clock: FrozenClock) -> None:
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        tenant = Tenant(meter, clock)
        tenant.grant(10)
        other = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for act in (lambda: tenant.debit(1, key="k"), lambda: meter.create_organization("other")):
            with refused(StoreBusy):
                act()
        assert tenant.totals()[0] == 10
        other.execute("ROLLBACK")
        other.close()
        assert not tenant.debit(1, key="k").replayed


def test_a_writer_waits_for_another_to_finish(sqlite_url: str, clock: FrozenClock) -> None:
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        tenant = Tenant(meter, clock)
        tenant.grant(10)
        other = sqlite3.connect(path_of(sqlite_url), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
        timer.start()
        assert tenant.debit(1).balance_tokens == 9
        timer.join()
        other.close()


def test_a_file_that_cannot_be_written_is_read_and_charges_nothing(sqlite_url: str, clock: FrozenClock) -> None:
    path = path_of(sqlite_url)
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        tenant = Tenant(meter, clock)
        tenant.grant(10)
    write_version(path, 3)  # a format that SQLite reads but does not write; unlike a file's mode it binds every user
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS, clock=clock, migrate=False) as meter:
        tenant.meter = meter
        for act in (lambda: tenant.debit(1, key="k"), lambda: meter.create_organization("other")):
            with refused(StoreUnavailable):
                act()
        assert tenant.totals()[0] == 10
    write_version(path, 2)
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        tenant.meter = meter
        assert not tenant.debit(1, key="k").replayed


def write_version(path: Path, version: int) -> None:
    with path.open("r+b") as file:
        file.seek(18)
        file.write(bytes([version]))


def test_where_there_is_no_database_none_can_be_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("this is no database, but a text that is long enough to be read as the header of one, and then some more")
    for url in (sqlite_url_in(tmp_path / "missing"), sqlite_url_in(file), f"sqlite:///{tmp_path}", f"sqlite:///{file}"):
        for migrate in (True, False):
            with refused(StoreUnavailable), Meter(url, migrate=migrate) as meter:
                meter.ping()
    with refused(StoreUnavailable), Meter(sqlite_url_in(tmp_path), migrate=False) as meter:
        meter.grant("acme", 5)


def test_a_database_that_was_not_migrated_is_unavailable(database_url: str) -> None:
    with Meter(database_url, migrate=False) as meter:
        for act in (lambda: meter.grant("acme", 5), lambda: meter.balance("acme"), lambda: meter.create_organization("acme")):
            with refused(StoreUnavailable):
                act()
    with Meter(database_url) as meter, meter.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM entry")).scalar_one() == 0
