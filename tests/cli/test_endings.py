"""How commands end: their exit codes, and one clear line on standard error."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.shell import Shell
from tokenwell.cli.terminal import parse_expiry
from tokenwell.errors import RequestInvalid, TimestampNaive

NOW = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)

REFUSED = {
    "grant acme 6Q": (2, "amount_invalid"),
    "grant acme 0": (2, "amount_invalid"),
    "grant acme 5M --expires yesterday": (2, "request_invalid"),
    "grant acme 5M --expires 2020-01-01": (2, "request_invalid"),
    "grant acme 5M --expires 2027-01-31T10:00:00": (2, "timestamp_naive"),
    "grant acme 5M --expires 999999w": (2, "request_invalid"),
    "grant acme 5M --priority 5000": (2, "request_invalid"),
    "grant acme": (2, "usage"),
    "grant acme 5M --colour red": (2, "usage"),
    "fly acme": (2, "usage"),
    "extend acme PK-5": (2, "usage"),
    "org thresholds acme --warning 1 --reserve 2": (2, "thresholds_invalid"),
    "org thresholds acme --warning 1 --clear": (2, "usage"),
    "org create Acme!": (2, "request_invalid"),
    "balance acme --as-of 2999-01-01": (2, "request_invalid"),
    "balance acme --as-of tomorrow": (2, "request_invalid"),
    "ledger acme --cursor x": (2, "request_invalid"),
    "ledger acme --limit 0": (2, "usage"),
    "debit acme": (2, "amount_invalid"),
    "refund acme demo-7 9M": (2, "amount_invalid"),
    "balance acme --database mysql://x": (2, "request_invalid"),
    "balance globex": (3, "organization_not_found"),
    "verify globex": (3, "organization_not_found"),
    "key list globex": (3, "organization_not_found"),
    "key create globex --name x": (3, "organization_not_found"),
    "key revoke acme key_unknown": (3, "key_not_found"),
    "revoke acme PK-99": (3, "pack_not_found"),
    "refund acme nothing": (3, "request_not_found"),
    "admin create ada@example.com --reset --generate": (3, "person_not_found"),
    "org create acme --name Other": (4, "organization_exists"),
    "revoke acme PK-3": (4, "pack_already_revoked"),
    "extend acme PK-2 --expires never": (4, "pack_expired"),
    "admin create admin@acme.example --generate": (4, "person_exists"),
    "debit acme 900M": (5, "balance_held"),
    "balance acme --database sqlite:///nowhere.db": (6, "store_unavailable"),
    "balance acme --database postgresql://nobody@127.0.0.1:1/x": (6, "store_unavailable"),
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_ends_with_its_code_and_one_line(line: str, shell: Shell) -> None:
    code, name = REFUSED[line]
    before = shell("balance", "acme", "--json").answer["seq"]
    told = shell(*line.split())
    assert (told.code, told.out) == (code, "")
    assert told.err.startswith("tokenwell: ")
    assert told.err.count("\n") == 1
    assert shell(*line.split(), "--json").error["code"] == name
    assert shell("balance", "acme", "--json").answer["seq"] == before


def test_ai_that_is_stopped_refuses_a_debit(shell: Shell) -> None:
    shell("org", "thresholds", "acme", "--warning", "90M", "--reserve", "80M")
    refused = shell("debit", "acme", "1", "--json")
    assert (refused.code, refused.error["code"], refused.error["retryable"]) == (5, "ai_stopped", False)
    assert shell("debit", "acme", "1", "--already-used").code == 0


def test_another_input_with_the_same_key_names_the_field(shell: Shell) -> None:
    shell("grant", "acme", "5M", "--key", "order-7")
    conflict = shell("grant", "acme", "6M", "--key", "order-7", "--json")
    assert (conflict.code, conflict.error["details"]["field"]) == (4, "amount")


def test_a_ledger_that_was_tampered_with_is_told(shell: Shell) -> None:
    with sqlite3.connect(shell.directory / "data" / "tokenwell.db") as database:
        database.execute("UPDATE pack SET remaining_tokens = remaining_tokens - 1 WHERE number = 4")
    database.close()
    found = shell("verify", "--json")
    assert (found.code, found.answer["sound"]) == (1, False)
    assert found.answer["organizations"][0]["problem_count"] >= 1
    assert shell("verify").code == 1


def test_a_database_is_not_made_by_a_misspelt_name(empty_shell: Shell) -> None:
    before = set(empty_shell.directory.rglob("*"))
    assert empty_shell("balance", "acme").code == 6
    assert set(empty_shell.directory.rglob("*")) == before


def test_a_setting_that_cannot_be_used_is_named(empty_shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWELL_PORT", "many")
    assert "TOKENWELL_PORT must be a whole number" in empty_shell("serve").err


def test_a_group_without_a_command_shows_its_help(empty_shell: Shell) -> None:
    assert (empty_shell().code, empty_shell("org").code) == (0, 0)
    assert "Usage: tokenwell org" in empty_shell("org").out


def test_the_version_is_told(empty_shell: Shell) -> None:
    assert empty_shell("--version").out == "tokenwell 0.1.0\n"


def test_a_password_comes_from_standard_input(shell: Shell) -> None:
    command = [sys.executable, "-m", "tokenwell", "admin", "create", "ada@example.com", "--password-stdin"]
    made = subprocess.run(
        command, cwd=shell.directory, input="correct horse battery\n", capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert "correct horse" not in made.stdout
    short = subprocess.run(
        [*command[:-2], "bob@example.com", "--password-stdin"],
        cwd=shell.directory,
        input="short\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert short.returncode == 2


def test_nobody_to_ask_for_a_password_is_told(shell: Shell) -> None:
    command = [sys.executable, "-m", "tokenwell", "admin", "create", "ada@example.com"]
    refused = subprocess.run(command, cwd=shell.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--password-stdin" in refused.stderr


def test_an_interrupted_command_ends_with_130(shell: Shell) -> None:
    """It waits for its password as it is interrupted."""
    # A run in the background of a shell ignores interrupts, and so would its children.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tokenwell.cli import main; main()"
    command = [sys.executable, "-c", heeding, "admin", "create", "ada@example.com", "--password-stdin"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=shell.directory, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(4)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out, err.strip()) == (130, "", "tokenwell: interrupted")


def test_a_reader_that_has_enough_is_no_failure(shell: Shell) -> None:
    """As `tokenwell ledger acme --all | head -1`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tokenwell", "ledger", "acme", "--all"]
    with os.fdopen(write, "wb") as closed:
        ended = subprocess.run(command, cwd=shell.directory, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_expiry_is_a_date_an_instant_a_duration_or_never() -> None:
    assert parse_expiry("never", now=NOW) is None
    assert parse_expiry("2027-06-30", now=NOW) == datetime(2027, 6, 30, tzinfo=UTC)
    assert parse_expiry("2027-06-30T12:00:00+02:00", now=NOW) == datetime(2027, 6, 30, 10, tzinfo=UTC)
    assert parse_expiry("12h", now=NOW) == NOW + timedelta(hours=12)
    assert parse_expiry("30m", now=NOW) == NOW + timedelta(minutes=30)
    assert parse_expiry("90d", now=NOW) == datetime(2027, 5, 2, tzinfo=UTC)
    assert parse_expiry("2w", now=NOW) == datetime(2027, 2, 15, tzinfo=UTC)


def test_days_are_whole_so_that_a_command_can_be_repeated() -> None:
    assert parse_expiry("90d", now=NOW) == parse_expiry("90d", now=NOW + timedelta(hours=14))


@pytest.mark.parametrize("text", ["", "soon", "-1d", "1.5d", "2027-13-01", "90 days", "9999999d", "Never"])
def test_what_is_no_expiry_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid):
        parse_expiry(text, now=NOW)


def test_a_time_of_day_without_a_zone_is_refused() -> None:
    with pytest.raises(TimestampNaive):
        parse_expiry("2027-06-30T12:00:00", now=NOW)
