"""The spool: what is in it after every step, whatever happens to the file and its process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwell.core.usage import Usage
from tokenwell.gateway.calls import Bill, Call
from tokenwell.gateway.spool import Spool, SpoolFull, kept_in

BILL = Bill(usage=Usage(input_tokens=5, output_tokens=6), raw_usage={"prompt_tokens": 5})
USAGE = Usage(input_tokens=10, output_tokens=90)


def call(name: str, *, hold_id: str = "", organization_id: str = "acme") -> Call:
    """Return a call that was let through."""
    return Call(
        organization_id=organization_id, request_id=name, hold_id=hold_id, key_id="k", model="m", session="é\n", reason=None
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the spool is."""
    return tmp_path / "spool"


def names(path: Path) -> tuple[list[str], list[str]]:
    """Return which calls a spool has as let through and as due."""
    kept = kept_in(path)
    return list(kept.opened), list(kept.due)


def test_a_call_is_let_through_then_due_then_gone(path: Path) -> None:
    spool = Spool(path)
    spool.open(call("a"), tokens=100, usage=USAGE)
    assert (names(path), spool.tokens()) == ((["a"], []), {"acme": 100})
    spool.owe(call("a"), BILL, tokens=11)
    assert (names(path), spool.tokens()) == (([], ["a"]), {"acme": 11})
    (due,) = kept_in(path).due.values()
    assert (due.call, due.bill) == (call("a"), BILL)
    assert spool.due(9) == [due]
    spool.done(["a"])
    assert (names(path), spool.tokens(), len(spool)) == (([], []), {}, 0)
    assert path.stat().st_size == 0


def test_a_charge_on_a_hold_counts_nothing_for_it_was_admitted(path: Path) -> None:
    spool = Spool(path)
    spool.owe(call("a", hold_id="hold"), BILL, tokens=11)
    assert (names(path), spool.tokens()) == (([], ["a"]), {})


def test_a_line_that_was_cut_does_not_count_and_hides_no_other(path: Path) -> None:
    spool = Spool(path)
    for name in "ab":
        spool.open(call(name), tokens=1, usage=USAGE)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        found = names(path)[0]
        # The line that ends a note may be missing: all of the note is there.
        assert found == ["a", "b"][: (end >= first - 1) + (end >= len(whole) - 1)]


def test_a_bit_that_fell_over_is_noticed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Spool(path).open(call("a"), tokens=1, usage=USAGE)
    line = bytearray(path.read_bytes())
    line[30] ^= 1
    path.write_bytes(line)
    assert names(path) == ([], [])
    assert "spool_damaged" in capsys.readouterr().out


def test_a_full_spool_takes_nothing_more_until_something_is_struck_out(path: Path) -> None:
    spool = Spool(path, limit_bytes=2_000)
    spool.open(call("a"), tokens=1, usage=USAGE)
    _fill(spool)
    kept = names(path)[0]
    spool.done(kept[1:])
    spool.open(call("c"), tokens=1, usage=USAGE)
    assert names(path)[0] == ["a", "c"]
    assert path.stat().st_size <= 2_000
    assert os.listdir(path.parent) == [path.name]


def _fill(spool: Spool) -> None:
    for number in range(100):
        try:
            spool.open(call(f"b{number}"), tokens=1, usage=USAGE)
        except SpoolFull:
            return
    raise AssertionError("it never was full")


def test_a_disk_that_is_full_leaves_no_half_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(path)
    spool.open(call("a"), tokens=1, usage=USAGE)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr("tokenwell.gateway.spool.os.write", lambda file, data: write(file, data[:20]))
        with pytest.raises(OSError, match="full"):
            spool.open(call("b"), tokens=1, usage=USAGE)
    spool.open(call("c"), tokens=1, usage=USAGE)
    assert (names(path), spool.tokens()) == ((["a", "c"], []), {"acme": 2})


def test_many_threads_write_whole_lines(path: Path) -> None:
    spool = Spool(path, limit_bytes=20_000)
    with ThreadPoolExecutor(8) as threads:
        for number in range(60):
            threads.submit(_pass_through, spool, f"c{number}")
    opened, due = names(path)
    assert (sorted(opened), due) == (sorted(f"c{number}" for number in range(0, 60, 10)), [])


def _pass_through(spool: Spool, name: str) -> None:
    spool.open(call(name), tokens=1, usage=USAGE)
    if not name.endswith("0"):
        spool.owe(call(name), BILL, tokens=1)
        spool.done([name])


STEPS = st.lists(st.tuples(st.sampled_from(["open", "owe", "done"]), st.sampled_from("abc"), st.integers(1, 9)), max_size=30)


@given(steps=STEPS, limit=st.sampled_from([1_500, 100_000]))
def test_the_file_says_what_the_spool_says_after_every_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], limit: int
) -> None:
    path = tmp_path_factory.mktemp("spool") / "spool"
    spool = Spool(path, limit_bytes=limit)
    model: dict[str, tuple[str, int]] = {}
    for step, name, tokens in steps:
        try:
            if step == "open":
                spool.open(call(name, organization_id=f"org-{name}"), tokens=tokens, usage=USAGE)
            elif step == "owe":
                spool.owe(call(name, organization_id=f"org-{name}"), BILL, tokens=tokens)
            else:
                spool.done([name])
        except SpoolFull:
            continue
        model.pop(name, None)
        if step != "done":
            model[name] = (step, tokens)
        kept = kept_in(path)
        told = {each: ("open", note.tokens) for each, note in kept.opened.items()}
        assert told | {each: ("owe", note.tokens) for each, note in kept.due.items()} == model
        assert spool.tokens() == {f"org-{each}": tokens for each, (_, tokens) in model.items()}
        assert len(spool) == len(model)
    spool.close()


def test_only_its_owner_may_read_it(path: Path) -> None:
    Spool(path)
    assert path.stat().st_mode & 0o777 == 0o600
