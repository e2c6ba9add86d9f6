"""What providers answer, in the shapes they are known for: each is charged in the pools it should be, plain and streamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tokenwell.core.usage import Usage
from tokenwell.gateway.app import DIALECTS
from tokenwell.gateway.asking import AiRequest
from tokenwell.gateway.counting import Prompt

CORPUS = Path(__file__).parent / "corpus"
EXPECTED: dict[str, dict[str, Any]] = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))
ASKED = AiRequest(body=b"", model="m", prompt=Prompt([]), streams=True, hides_usage=True)


def _usages(told: Any) -> list[Any]:
    """Return every usage object in what was told, in order."""
    if isinstance(told, list):
        return [usage for each in told for usage in _usages(each)]
    if not isinstance(told, dict):
        return []
    own = [told["usage"]] if isinstance(told.get("usage"), dict) else []
    return own + [usage for each in told.values() for usage in _usages(each)]


def test_every_file_has_its_expectation() -> None:
    assert {file.name for file in CORPUS.iterdir()} == {*EXPECTED, "expected.json"}


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.endswith(".json")])
def test_an_answer_is_read_in_the_right_pools(name: str) -> None:
    body = (CORPUS / name).read_bytes()
    answer = DIALECTS["/v1" + EXPECTED[name]["path"]].read(body)
    assert answer is not None
    assert not answer.has_failed
    reported = answer.reported()
    assert reported is not None
    assert reported.usage == Usage(**EXPECTED[name]["pools"])
    assert reported.raw in _usages(json.loads(body))


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.endswith(".sse")])
@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_a_stream_is_read_in_the_right_pools_however_it_is_cut(name: str, step: int) -> None:
    body = (CORPUS / name).read_bytes()
    stream = DIALECTS["/v1" + EXPECTED[name]["path"]].stream(ASKED)
    passed = b"".join(stream.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert stream.reported is not None
    assert stream.reported.usage == Usage(**EXPECTED[name]["pools"])
    assert stream.closing
    assert stream.spoken()[1] > 0
    # What goes on is what came, but for a chunk that only reports the usage.
    assert all(line in body.splitlines() for line in passed.splitlines())
