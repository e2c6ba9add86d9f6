"""The logbook: what is known of a call at every step, should its process be killed there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenwell.core.usage import Usage
from tokenwell.gateway.calls import Bill, Call
from tokenwell.gateway.expecting import Expected
from tokenwell.gateway.logbook import FIRST_SLOTS, SLOT_BYTES, Logbook, left_in


def call(name: str, **fields: str) -> Call:
    """Return a call of this name."""
    labels = {"session": "s", "reason": None} | fields
    expected = Expected(12, 100, 40)
    return Call(organization_id="acme", request_id=name, hold_id=f"hold-{name}", key_id="k", model="m", expected=expected, **labels)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the logbook is."""
    return tmp_path / "book"


@pytest.fixture
def book(path: Path) -> Logbook:
    """A logbook with one call, `a`, of a prompt of 10 tokens; its answer is expected to have 100."""
    book = Logbook(path)
    book.begin(call("a"), prompt_tokens=10, completion_tokens=100)
    return book


def bills(path: Path) -> dict[str, Bill | None]:
    """Return what is to be charged for each call that was left."""
    return {left.call.request_id: left.bill for left in left_in(path)}


def counted(output_tokens: int) -> Bill:
    """Return the bill of call `a`, counted here."""
    return Bill(usage=Usage(input_tokens=10, output_tokens=output_tokens), facts={"recovered": True}, estimated=True)


def test_a_call_that_was_not_sent_on_or_has_failed_costs_nothing(book: Logbook, path: Path) -> None:
    assert bills(path) == {"a": None}
    book.ask("a")
    book.fail("a")
    assert bills(path) == {"a": None}


def test_a_call_that_was_sent_on_costs_what_it_was_expected_to(book: Logbook, path: Path) -> None:
    book.ask("a")
    assert bills(path) == {"a": counted(100)}


def test_a_stream_costs_what_it_had_said(book: Logbook, path: Path) -> None:
    book.ask("a")
    book.hear("a", 6)
    assert bills(path) == {"a": counted(6)}
    # Looked at, six events were 30 tokens: those that come after are taken to be as long.
    book.say("a", 30)
    assert bills(path) == {"a": counted(30)}
    book.hear("a", 8)
    assert bills(path) == {"a": counted(40)}


def test_what_a_call_used_is_known_exactly_once_the_provider_has_told_it(book: Logbook, path: Path) -> None:
    usage = Usage(input_tokens=1, cache_read_tokens=2, cache_write_tokens=3, output_tokens=4, reasoning_tokens=5)
    book.ask("a")
    book.use("a", Bill(usage=usage))
    assert bills(path) == {"a": Bill(usage=usage, facts={"recovered": True})}
    book.use("a", Bill(usage=usage, estimated=True))
    assert bills(path) == {"a": Bill(usage=usage, facts={"recovered": True}, estimated=True)}


def test_a_call_that_was_charged_is_gone_and_its_slot_used_again(book: Logbook, path: Path) -> None:
    for number in range(3 * FIRST_SLOTS):
        book.begin(call(f"b{number}"), prompt_tokens=1, completion_tokens=1)
        book.ask(f"b{number}")
        book.hear(f"b{number}", 1_000)
        book.end(f"b{number}")
    assert list(bills(path)) == ["a"]
    assert path.stat().st_size == FIRST_SLOTS * SLOT_BYTES
    book.begin(call("c"), prompt_tokens=10, completion_tokens=0)
    book.ask("c")
    assert bills(path)["c"] == counted(0)


def test_it_grows_with_what_is_under_way(book: Logbook, path: Path) -> None:
    names = [f"b{number}" for number in range(3 * FIRST_SLOTS)]
    for name in names:
        book.begin(call(name), prompt_tokens=10, completion_tokens=7)
        book.ask(name)
    assert bills(path) == {"a": None, **{name: counted(7) for name in names}}
    for left in left_in(path):
        assert left.call == call(left.call.request_id)
    for name in names:
        book.end(name)
    assert list(bills(path)) == ["a"]


def test_a_damaged_slot_does_not_hide_the_others(book: Logbook, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "c"):
        book.begin(call(name), prompt_tokens=1, completion_tokens=1)
    with path.open("r+b") as file:
        file.seek(SLOT_BYTES + 300)
        file.write(b"\0\0\0")
    assert list(bills(path)) == ["a", "c"]
    assert "logbook_damaged" in capsys.readouterr().out


def test_what_does_not_fit_a_slot_is_not_kept_and_disturbs_nothing(book: Logbook, path: Path) -> None:
    book.begin(call("b", session="x" * SLOT_BYTES), prompt_tokens=1, completion_tokens=1)
    for step in (book.ask, book.fail, book.end):
        step("b")
    book.hear("b", 1)
    book.say("b", 1)
    book.use("b", counted(1))
    assert (list(bills(path)), "b" in book) == (["a"], False)


def test_only_its_owner_may_read_it(book: Logbook, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert book.is_kept
    assert not Logbook().is_kept
