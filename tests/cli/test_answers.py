"""What commands answer: text for people, stable JSON for programs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from tests.cli.shell import Shell
from tokenwell.cli import terminal

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

ANSWER = {"organization_id", "at", "balance_tokens", "state", "replayed"}
RECEIPT = ANSWER | {
    *("request_id", "amount_tokens", "overage_tokens", "forfeited_tokens", "prompt_tokens", "completion_tokens", "drawn"),
    *("estimated", "late"),
}
SHAPES = {
    "org create globex --name Globex": {"id", "name", "created_at"},
    "org list": {"items", "next_cursor"},
    "org thresholds acme": {"organization_id", "warning_tokens", "reserve_tokens", "balance_tokens", "state"},
    "grant acme 5M": ANSWER | {"pack", "repaid_tokens", "advanced_tokens"},
    "revoke acme PK-5": ANSWER | {"pack_id", "forfeited_tokens", "released_holds"},
    "extend acme PK-4 --expires 180d": ANSWER | {"pack_id", "expired_before", "expires_at"},
    "balance acme": {
        *(
            "organization_id",
            "as_of",
            "balance_tokens",
            "held_tokens",
            "available_tokens",
            "overage_tokens",
            "state",
            "active_packs",
        ),
        *("active_total_tokens", "warning_tokens", "reserve_tokens", "seq", "head_hash"),
    },
    "packs acme": {"items", "next_cursor"},
    "ledger acme": {"items", "next_cursor"},
    "debit acme 100": RECEIPT,
    "refund acme demo-7": RECEIPT,
    "verify": {"sound", "organizations"},
    "migrate": {"revision"},
    "key create acme --name Agent": {
        *("id", "organization_id", "name", "prefix", "created_at", "expires_at", "revoked_at", "last_used_at", "secret"),
        *("service", "scopes", "models", "requests_per_minute", "tokens_per_day", "tokens_per_month", "replayed"),
    },
    "key list acme": {"items", "next_cursor"},
    "admin create ada@example.com --generate": {"id", "email", "name", "password"},
    "demo --prepare": {"address", "email", "password", "key_file"},
}
PACK = {"id", "number", "status", "total_tokens", "remaining_tokens", "priority", "granted_at", "expires_at", "revoked_at", "note"}
LINE = {
    *(
        "seq",
        "at",
        "kind",
        "amount_tokens",
        "prompt_tokens",
        "completion_tokens",
        "balance_after_tokens",
        "request_id",
        "part",
        "parts",
    ),
    *("pack_id", "pack_number", "model", "session", "reason", "service_id", "key_id", "note"),
}


@pytest.mark.parametrize("line", SHAPES)
def test_json_has_the_same_fields_always(line: str, shell: Shell) -> None:
    ended = shell(*line.split(), "--json")
    assert ended.code == 0, ended.err
    assert set(ended.answer) == SHAPES[line]
    for name, value in walk(ended.answer):
        if name.endswith("_tokens") and value is not None:
            assert type(value) is int
        if name.endswith("_at") or name in ("at", "as_of"):
            assert value is None or INSTANT.fullmatch(value)


def walk(value: object) -> list[tuple[str, object]]:
    """Return every field of a JSON value, however deep."""
    if isinstance(value, dict):
        return [pair for name, item in value.items() for pair in [(name, item), *walk(item)]]
    return [pair for item in value for pair in walk(item)] if isinstance(value, list) else []


def test_the_items_of_lists_have_the_same_fields_always(shell: Shell) -> None:
    assert {frozenset(item) for item in shell("packs", "acme", "--json").answer["items"]} == {frozenset(PACK)}
    assert {frozenset(item) for item in shell("ledger", "acme", "--json").answer["items"]} == {frozenset(LINE)}


def test_a_list_is_paged_by_cursor(shell: Shell) -> None:
    first = shell("ledger", "acme", "--limit", "3", "--json").answer
    second = shell("ledger", "acme", "--limit", "2", "--cursor", first["next_cursor"], "--json").answer
    together = shell("ledger", "acme", "--limit", "5", "--json").answer
    assert first["items"] + second["items"] == together["items"]
    assert f"--cursor {first['next_cursor']}" in shell("ledger", "acme", "--limit", "3").out


def test_all_pages_come_one_object_a_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "LONGEST_PAGE", 100)
    lines = [json.loads(line) for line in shell("ledger", "acme", "--all", "--json").out.splitlines()]
    numbers = [line["seq"] for line in lines]
    assert len(lines) > 500
    assert numbers == sorted(set(numbers), reverse=True)
    assert lines[:50] == shell("ledger", "acme", "--json").answer["items"]
    assert shell("ledger", "acme", "--all").out.count("\n") == len(lines) + 1


def test_packs_can_be_filtered_by_status(shell: Shell) -> None:
    found = {
        s: shell("packs", "acme", "--status", s, "--json").answer["items"] for s in ("active", "depleted", "expired", "revoked")
    }
    assert {status: {item["status"] for item in items} for status, items in found.items()} == {status: {status} for status in found}
    assert sum(map(len, found.values())) == len(shell("packs", "acme", "--json").answer["items"])


def test_a_repeated_key_is_answered_as_at_first_and_says_so(shell: Shell) -> None:
    first = shell("grant", "acme", "5M", "--expires", "90d", "--key", "order-7", "--json").answer
    again = shell("grant", "acme", "5M", "--expires", "90d", "--key", "order-7", "--json").answer
    assert again == first | {"replayed": True}
    assert "done before with this key" in shell("grant", "acme", "5M", "--expires", "90d", "--key", "order-7").out


def test_a_debit_is_charged_from_its_usage(shell: Shell) -> None:
    receipt = shell("debit", "acme", "--prompt", "900", "--completion", "120", "--session", "s-1", "--json").answer
    assert (receipt["amount_tokens"], receipt["prompt_tokens"], receipt["completion_tokens"]) == (1020, 900, 120)
    (line,) = shell("ledger", "acme", "--limit", "1", "--json").answer["items"]
    assert (line["amount_tokens"], line["session"], line["request_id"]) == (1020, "s-1", receipt["request_id"])


def test_a_balance_is_read_as_it_was(shell: Shell) -> None:
    now = shell("balance", "acme", "--json").answer
    shell("debit", "acme", "777")
    assert shell("balance", "acme", "--as-of", now["as_of"], "--json").answer["balance_tokens"] == now["balance_tokens"]
    assert shell("balance", "acme", "--json").answer["balance_tokens"] == now["balance_tokens"] - 777


def test_thresholds_are_set_one_at_a_time_and_cleared(shell: Shell) -> None:
    assert shell("org", "thresholds", "acme", "--warning", "7M", "--json").answer["warning_tokens"] == 7_000_000
    kept = shell("org", "thresholds", "acme", "--reserve", "0", "--json").answer
    assert (kept["warning_tokens"], kept["reserve_tokens"]) == (7_000_000, 0)
    cleared = shell("org", "thresholds", "acme", "--clear", "--json").answer
    assert (cleared["warning_tokens"], cleared["reserve_tokens"]) == (1_000_000, 100_000)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_whole_life_of_a_pack_on_both_databases(database: str, empty_shell: Shell, request: pytest.FixtureRequest) -> None:
    place = ("--database", request.getfixturevalue(f"{database}_url"))
    assert empty_shell("migrate", *place).code == 0
    assert empty_shell("org", "create", "acme", *place).code == 0
    pack = empty_shell("grant", "acme", "1M", *place, "--expires", "30d", "--json").answer["pack"]
    assert empty_shell("debit", "acme", "250k", "--key", "r-1", *place).code == 0
    assert empty_shell("refund", "acme", "r-1", "50k", *place).code == 0
    assert empty_shell("extend", "acme", "PK-1", "--expires", "never", *place).code == 0
    assert empty_shell("revoke", "acme", pack["id"], *place, "--json").answer["forfeited_tokens"] == 800_000
    assert empty_shell("balance", "acme", *place, "--json").answer["balance_tokens"] == 0
    assert empty_shell("verify", *place, "--json").answer["sound"] is True


def test_instants_for_people_name_their_zone(shell: Shell) -> None:
    assert re.search(rf"\b{datetime.now(UTC):%Y-%m-%d} \d\d:\d\d UTC\b", shell("balance", "acme").out)
