"""Every event says something in every language, in its reader's zone; what is missing in it never holds an alert back."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
import pytest

from tests.builders import after
from tests.doubles import START
from tests.house.sources import ROOT
from tokenwell.alerts.sentences import sentence_of
from tokenwell.alerts.words import LANGUAGES, Words
from tokenwell.core.happenings import Event, EventKind

DETAIL = {
    "balance_tokens": 982_118, "warning_tokens": 5_000_000, "reserve_tokens": 1_000_000, "pack_number": 7,
    "total_tokens": 5_000_000, "remaining_tokens": 1_200_000, "forfeit_tokens": 1_200_000, "forfeited_tokens": 1_200_000,
    "expires_at": "2027-12-01T09:00:00Z", "overage_tokens": 12, "repaid_tokens": 30, "limit_tokens": 9, "key_name": "Agent",
    "used_tokens": 700, "usual_tokens": 100, "amount_tokens": 5_000_000, "granted_tokens": 5_000_000, "by": "Mei Lin",
    "reason": "No budget.", "note": "For December.", "state": "normal", "before": "ai_stopped",
    "name": "Five million", "price_minor": 4_900, "currency": "eur", "refunded_minor": 1_000, "chargeback": "needs_response",
}  # fmt: skip


def event_of(kind: EventKind, detail: str) -> Event:
    """Return an event."""
    return Event(organization_id="acme", at=START, kind=kind, detail=detail)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("detail", [msgspec.json.encode(DETAIL).decode(), "{}", "[]", "", '{"expires_at": "soon", "by": 5}'])
@pytest.mark.parametrize("kind", EventKind)
def test_every_event_says_something(kind: EventKind, detail: str, language: str) -> None:
    said = sentence_of(event_of(kind, detail), Words(language, "Asia/Kolkata", START), stops_at=after(86_400))
    assert said.title
    assert not re.search(r"%\(|None|\{", said.whole)
    if language == "zh":
        assert re.search(r"[一-鿿]", said.whole)
    if len(detail) > 50:
        assert "–" not in said.whole


def test_the_sentences_are_those_of_the_console() -> None:
    words = Words("en", "UTC", START)
    text = msgspec.json.encode(DETAIL).decode()
    said = {kind: sentence_of(event_of(kind, text), words, stops_at=after(60)).whole for kind in EventKind}
    assert said[EventKind.STATE_RUNNING_LOW] == (
        "AI is running low. The balance is 982,118 tokens, below the warning threshold of 5,000,000. At the current rate, AI "
        "replies pause around 31 Jan, 09:31. Ask your platform admin to top up before it runs out."
    )
    assert said[EventKind.STATE_AI_STOPPED] == (
        "AI is stopped. The balance is 982,118 tokens, below the minimum reserve of 1,000,000. AI replies have been paused since "
        "31 Jan, 09:30 and resume by themselves when a new pack is granted."
    )
    assert said[EventKind.STATE_RECOVERED] == ("AI is running again. 5,000,000 tokens granted. The balance is 982,118 tokens.")
    assert said[EventKind.PACK_EXPIRING].startswith("1.2M tokens will expire unused on 1 Dec.")
    assert said[EventKind.TOPUP_DECLINED] == "Request declined: No budget."


def test_the_year_is_told_where_it_is_another() -> None:
    assert Words("en", "UTC", START).when(START.replace(year=2028)) == "31 Jan 2028, 09:30"
    assert Words("zh", "Asia/Shanghai", START).when(START) == "1月31日 17:30"
    assert Words("fr", "Nowhere/None", START).when(START) == "31 Jan, 09:30"


def test_every_string_is_translated_and_none_is_left_over() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "catalogue"), "--check"]
    ended = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
