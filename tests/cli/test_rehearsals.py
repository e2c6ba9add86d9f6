"""The command that rehearses another policy."""

from __future__ import annotations

import pytest

from tests.cli.shell import Shell


def test_what_would_have_been_refused_stands_beside_what_was(shell: Shell) -> None:
    shell("org", "create", "globex")
    shell("org", "thresholds", "globex", "--warning", "100", "--reserve", "10")
    shell("grant", "globex", "1000")
    for _ in range(4):
        shell("debit", "globex", "200")
    told = shell("rehearse", "globex", "--warning", "900", "--reserve", "700", "--since", "1d", "--json").answer
    assert (told["present"]["refused_requests"], told["present"]["balance_tokens"]) == (0, 200)
    assert (told["rehearsed"]["refused_requests"], told["rehearsed"]["refused_tokens"]) == (2, 400)
    assert (told["rehearsed"]["reserve_tokens"], told["rehearsed"]["state"]) == (700, "ai_stopped")
    text = shell("rehearse", "globex", "--reserve", "700", "--warning", "900").out
    assert "ai stopped at 600 tokens" in text
    assert shell("balance", "globex", "--json").answer["balance_tokens"] == 200


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--reserve", "x"), "--reserve"),
        (("--lane", "svc_1"), "--lane"),
        (("--since", "soon"), "--since"),
        (("--since", "2999-01-01"), "since"),
    ],
)
def test_what_cannot_be_rehearsed_is_told(shell: Shell, words: tuple[str, ...], field: str) -> None:
    ended = shell("rehearse", "acme", *words, "--json")
    assert (ended.code, ended.error["details"]["field"]) == (2, field)
    assert shell("rehearse", "acme", "--lane", "svc_0=5M", "--json").code == 3
    assert shell("rehearse", "nobody", "--json").code == 3
