"""The commands on the models file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import Shell


def test_a_file_that_can_be_used_shows_where_each_model_goes(empty_shell: Shell) -> None:
    ended = empty_shell("models", "check", "models.toml")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1].split() == ["small", "openai", "gpt-4o-mini", "0", "3"]
    assert ended.out.rstrip().endswith("models.toml can be used. Other models go to openai.")
    answer = empty_shell("models", "check", "models.toml", "--json").answer
    assert answer["models"][0] == {"model": "small", "provider": "openai", "model_there": "gpt-4o-mini", "priority": 0, "weight": 3}
    assert "sk-test" not in ended.out + str(answer)


def test_the_setting_names_the_file_where_the_command_does_not(empty_shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert empty_shell("models", "check").code == 2
    monkeypatch.setenv("TOKENWELL_MODELS_FILE", "models.toml")
    assert empty_shell("models", "check").code == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('kind = "openai"', "line 7: providers.openai.kind"),
        ('"env:ANTHROPIC_API_KEY"', "providers.anthropic: the environment has no NOTHING"),
    ],
)
def test_a_mistake_is_told_with_where_it_is(empty_shell: Shell, tmp_path: Path, wrong: str, told: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(file.read_text().replace(wrong, 'kind = "opena"' if "kind" in wrong else '"env:NOTHING"', 1))
    ended = empty_shell("models", "check", "models.toml", "--json")
    assert (ended.code, ended.error["code"]) == (2, "request_invalid")
    assert told in ended.error["message"]
