"""The commands on rates."""

from __future__ import annotations

import pytest

from tests.cli.shell import Shell


def test_a_rate_that_is_set_is_listed_exactly(shell: Shell) -> None:
    assert shell("rates", "set", "m", "--input", "0.000001", "--output", "12.5", "--cache-read", "0", "--json").answer == {
        **shell("rates", "list", "--model", "m", "--json").answer["items"][0],
    }
    (rate,) = shell("rates", "list", "--model", "m", "--json").answer["items"]
    assert (rate["input_millionths"], rate["output_millionths"], rate["cache_read_millionths"]) == (1, 12_500_000, 0)
    assert (rate["cache_write_millionths"], rate["reasoning_millionths"]) == (1, 12_500_000)
    assert "0.000001" in shell("rates", "list").out


@pytest.mark.parametrize("wrong", ["", "-1", "1e3", "1.0000001", "1,5", "x", "999999"])
def test_a_rate_that_is_no_number_is_refused(shell: Shell, wrong: str) -> None:
    ended = shell("rates", "set", "m", "--input", wrong, "--output", "1", "--json")
    assert (ended.code, ended.error["details"]["field"]) == (2, "--input")


def test_importing_again_adds_nothing(shell: Shell) -> None:
    dry = shell("rates", "import", "--dry-run", "--json").answer
    first = shell("rates", "import", "--json").answer
    again = shell("rates", "import", "--json").answer
    assert len(dry["added"]) == len(first["added"]) > 30
    assert (again["added"], again["kept"]) == ([], len(first["added"]) + first["kept"])


def test_only_rates_in_force_are_shown_if_asked(shell: Shell) -> None:
    shell("rates", "set", "m", "--input", "1", "--output", "1", "--from", "2020-01-01")
    shell("rates", "set", "m", "--input", "2", "--output", "2", "--from", "2099-01-01")
    (rate,) = shell("rates", "list", "--model", "m", "--in-force", "--json").answer["items"]
    assert rate["input_millionths"] == 1_000_000


def test_a_card_of_ones_own_is_read_and_named_where_it_is_wrong(shell: Shell) -> None:
    (shell.directory / "card.toml").write_text("base_model = 3\n")
    ended = shell("rates", "import", "card.toml", "--json")
    assert ended.code == 2
    assert "card.toml" in ended.error["message"]
