"""The demo is believable, whole whatever the day, and made once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tokenwell import Meter, PackStatus, State
from tokenwell.config import Settings
from tokenwell.core.journal import EntryKind
from tokenwell.errors import OrganizationExists
from tokenwell.service.demo import HISTORY, ORGANIZATION_ID, make_demo
from tokenwell.service.ports import Clock
from tokenwell.wiring import open_keys, open_meter, prepare_demo

MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
STARTS = [MONDAY + timedelta(days=day, hours=7 * day) for day in range(7)]


def make_at(url: str, now: datetime) -> None:
    """Make the demo as if it were `now`."""

    def open_at(clock: Clock) -> Meter:
        return Meter(url, clock=clock)

    make_demo(open_at, now=now)


def journal_of(url: str, now: datetime) -> list[tuple[object, ...]]:
    """Return what the demo's journal says, without what is made afresh each time."""
    with Meter(url, clock=lambda: now) as meter:
        page = meter.journal(ORGANIZATION_ID)
        assert page.next_cursor is None
        return [
            (line.seq, line.at, line.kind, line.amount_tokens, line.balance_after_tokens, line.request_id) for line in page.items
        ]


@pytest.mark.parametrize("now", STARTS, ids=lambda now: f"{now:%a %H:%M}")
def test_there_are_packs_of_every_status_whatever_the_day(now: datetime, sqlite_url: str) -> None:
    make_at(sqlite_url, now)
    with Meter(sqlite_url, clock=lambda: now) as meter:
        packs = {line.pack.note: line for line in meter.packs(ORGANIZATION_ID).items}
        counts = meter.pack_counts(ORGANIZATION_ID)
        balance = meter.balance(ORGANIZATION_ID)
        (verified,) = meter.verify()
    assert [counts[status] for status in PackStatus] == [3, 1, 1, 1]
    assert packs["Autumn campaign"].pack.remaining_tokens > 100_000
    assert packs["Priority plan"].pack.remaining_tokens == 2_000_000
    soon = packs["Monthly plan"].pack
    assert 1_000_000 < soon.remaining_tokens < soon.total_tokens
    assert soon.expires_at is not None
    assert timedelta(days=3) < soon.expires_at - now <= timedelta(days=4)
    assert packs["Thank you for the bug reports"].pack.expires_at is None
    assert balance.state is State.NORMAL
    assert verified.problem_count == 0


def test_the_ledger_has_all_that_a_ledger_can_have(sqlite_url: str) -> None:
    make_at(sqlite_url, MONDAY)
    with Meter(sqlite_url, clock=lambda: MONDAY) as meter:
        lines = meter.journal(ORGANIZATION_ID).items
        used = meter.usage_totals(ORGANIZATION_ID, since=MONDAY - timedelta(days=7), until=MONDAY).debited_tokens
    kinds = Counter(line.kind for line in lines)
    assert {
        EntryKind.GRANT: 6,
        EntryKind.REVOKE: 1,
        EntryKind.EXPIRE: 1,
        EntryKind.EXTEND: 1,
        EntryKind.REFUND: 1,
    }.items() <= kinds.items()
    assert kinds[EntryKind.DEBIT] > 500
    assert any(line.parts > 1 for line in lines), "a request that spans two packs"
    assert len({line.model for line in lines if line.model}) == 3
    assert lines[-1].at == MONDAY
    assert 500_000 < used < 3_000_000


def test_made_again_it_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/tokenwell.db")
    first = prepare_demo(settings)
    with open_meter(settings) as meter:
        before = meter.balance(ORGANIZATION_ID)
    again = prepare_demo(settings)
    with open_meter(settings) as meter, open_keys(meter) as keys:
        after = meter.balance(ORGANIZATION_ID)
        assert len(keys.list(ORGANIZATION_ID).items) == 1
    assert (after.seq, after.head_hash) == (before.seq, before.head_hash)
    assert (again.email, again.secret) == (first.email, first.secret)
    assert (first.password is None, again.password) == (False, None)


def test_its_key_is_for_its_owner_alone_and_made_again_if_it_is_lost(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/tokenwell.db")
    first = prepare_demo(settings)
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    assert first.key_file.read_text().strip() == first.secret
    first.key_file.unlink()
    second = prepare_demo(settings)
    with open_meter(settings) as meter, open_keys(meter) as keys:
        assert keys.authenticate(second.secret).organization_id == ORGANIZATION_ID
        assert second.secret != first.secret


def test_interrupted_it_is_completed_the_next_time(tmp_path: Path, sqlite_url: str) -> None:
    """Killed in the middle, then made again: the same history as if nothing had happened."""
    settings = Settings(database_url=f"sqlite:///{tmp_path}/tokenwell.db")
    with subprocess.Popen([sys.executable, "-m", "tokenwell", "demo", "--prepare", "--database", settings.database_url]) as making:
        while making.poll() is None and lines_in(settings) < 40:
            time.sleep(0.01)
        os.kill(making.pid, signal.SIGKILL)
    assert 40 <= lines_in(settings) < 500, "killed too late to tell anything"
    prepare_demo(settings)
    with open_meter(settings) as meter:
        end = meter.organization(ORGANIZATION_ID).created_at + HISTORY
    make_at(sqlite_url, end)
    assert journal_of(settings.database_url, end) == journal_of(sqlite_url, end)


def lines_in(settings: Settings) -> int:
    """Return how many lines the demo's journal has by now."""
    try:
        with open_meter(settings) as meter:
            return len(meter.journal(ORGANIZATION_ID).items)
    except Exception:
        return 0


def test_somebody_elses_organization_is_left_alone(sqlite_url: str) -> None:
    with Meter(sqlite_url) as meter:
        meter.create_organization(ORGANIZATION_ID, name="Acme Inc.")
        meter.grant(ORGANIZATION_ID, "1M", note="Ours")
    with pytest.raises(OrganizationExists, match="not the demo's"):
        make_at(sqlite_url, datetime.now(UTC))
    with Meter(sqlite_url) as meter:
        assert meter.balance(ORGANIZATION_ID).seq == 1
