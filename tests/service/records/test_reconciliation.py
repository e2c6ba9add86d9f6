"""Reconciliation: real shapes of exports, each read as a stream, matched by request id and by day and model."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import NotFound, RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.records.reconciliation import DriftLine, Reconciliations

ROOT = Actor(kind=ActorKind.PERSON, id="per_root", name="Root")
DAY = date(2027, 1, 31)

OPENAI_CSV = """\
start_time,end_time,start_time_iso,project_id,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens
1801353600,1801440000,2027-01-31T00:00:00+00:00,proj_1,2,gpt-5-mini,1000,150,0
1801353600,1801440000,2027-01-31T00:00:00+00:00,proj_2,1,gpt-5-mini,600,50,0
1801353600,1801440000,2027-01-31T00:00:00+00:00,proj_2,1,gpt-5,70,7,0
"""
OPENAI_JSON = json.dumps(
    {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": 1801353600,
                "end_time": 1801440000,
                "results": [
                    {
                        "object": "organization.usage.completions.result",
                        "input_tokens": 1600,
                        "output_tokens": 200,
                        "input_cached_tokens": 0,
                        "num_model_requests": 3,
                        "model": "gpt-5-mini",
                    }
                ],
            }
        ],
        "has_more": False,
        "next_page": None,
    },
    indent=1,
)
ANTHROPIC_CSV = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens
2027-01-31,claude-haiku-4-5,key,Default,message,≤ 200k,300,50,0,150,40
"""
ANTHROPIC_JSON = json.dumps(
    {
        "data": [
            {
                "starting_at": "2027-01-31T00:00:00Z",
                "ending_at": "2027-02-01T00:00:00Z",
                "results": [
                    {
                        "uncached_input_tokens": 300,
                        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 50},
                        "cache_read_input_tokens": 150,
                        "output_tokens": 40,
                        "model": "claude-haiku-4-5",
                    }
                ],
            }
        ]
    }
)

OPENAI_HOURS = json.dumps(
    {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": 1801386000 + 3_600 * number,
                "end_time": 1801389600 + 3_600 * number,
                "results": [
                    {
                        "object": "organization.usage.completions.result", "input_tokens": tokens, "output_tokens": output,
                        "input_cached_tokens": 0, "input_audio_tokens": 0, "output_audio_tokens": 0,
                        "num_model_requests": requests, "project_id": None, "user_id": None, "api_key_id": None,
                        "model": model, "batch": None, "service_tier": None,
                    }
                ],
            }
            for number, (model, tokens, output, requests) in enumerate(
                [("gpt-5-mini", 1_000, 150, 2), ("gpt-5-mini", 500, 50, 1), (None, 1_000, 500, 5)]
            )
        ],
        "has_more": True,
        "next_page": "AAAAAGdGxdEiJdKOAAAAAGcqsYA=",
    }
)  # fmt: skip
"""What OpenAI's usage API answers with `bucket_width=1h`, as its reference shows it."""

_OPENAI_COST = {
    "object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"}, "line_item": "GPT-5 mini, input",
    "project_id": None,
}  # fmt: skip
_ANTHROPIC_COST = {
    "currency": "USD", "amount": "123.78912", "workspace_id": None, "description": "Claude Haiku 4.5 Usage - Input Tokens",
    "cost_type": "tokens", "context_window": "0-200k", "model": "claude-haiku-4-5", "service_tier": "standard",
    "token_type": "uncached_input_tokens",
}  # fmt: skip
COSTS = (
    json.dumps({"object": "page", "data": [{"object": "bucket", "start_time": 1801353600, "results": [_OPENAI_COST]}]}),
    json.dumps({"data": [{"starting_at": "2027-01-31T00:00:00Z", "results": [_ANTHROPIC_COST]}], "has_more": False}),
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id\n"
    "1801353600,1801440000,2027-01-31T00:00:00+00:00,2027-02-01T00:00:00+00:00,0.06,usd,GPT-5 mini,proj_1,org_1\n",
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type\n"
    "2027-01-31,Claude Haiku 4.5,Default,key,message,≤ 200k,input_no_cache,0.12,token\n",
)
"""What the providers' costs APIs answer, and what their pages give as CSV."""


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter on which two organizations used two models on one day."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        for organization_id in ("acme", "other"):
            opened.create_organization(organization_id)
            opened.grant(organization_id, "1M")
        opened.debit("acme", prompt_tokens=1_000, completion_tokens=150, model="gpt-5-mini", key="first")
        opened.debit("other", prompt_tokens=500, completion_tokens=50, model="gpt-5-mini", key="second")
        opened.debit("acme", prompt_tokens=500, completion_tokens=40, model="claude-haiku-4-5", key="third")
        yield opened


@pytest.fixture
def reconciliations(meter: Meter) -> Reconciliations:
    """The comparisons of that meter."""
    return Reconciliations(meter)


def compared(reconciliations: Reconciliations, text: str, name: str = "usage.csv") -> Any:
    """Compare a text."""
    return reconciliations.compare(io.BytesIO(text.encode()), name=name, by=ROOT)


def by_model(lines: tuple[DriftLine, ...]) -> dict[str, tuple[int, ...]]:
    """Return theirs, ours and the drift of each model."""
    return {
        line.model: (
            line.their_input_tokens, line.their_output_tokens, line.their_requests,
            line.our_input_tokens, line.our_output_tokens, line.our_requests, line.drift_tokens,
        )
        for line in lines
    }  # fmt: skip


def test_openai_s_csv_is_compared_by_day_and_model(reconciliations: Reconciliations) -> None:
    told = compared(reconciliations, OPENAI_CSV)
    assert (told.reconciliation.form, told.reconciliation.records, told.reconciliation.name) == ("openai", 3, "usage.csv")
    assert {line.day for line in told.lines} == {DAY}
    assert by_model(told.lines) == {
        "gpt-5-mini": (1_600, 200, 3, 1_500, 200, 2, 100),
        "gpt-5": (70, 7, 1, 0, 0, 0, 77),
        "claude-haiku-4-5": (0, 0, 0, 500, 40, 1, -540),
    }
    assert told.drift_tokens == -363


def test_openai_s_usage_api_is_read_too(reconciliations: Reconciliations) -> None:
    told = compared(reconciliations, OPENAI_JSON)
    assert told.reconciliation.form == "openai"
    assert by_model(told.lines)["gpt-5-mini"] == (1_600, 200, 3, 1_500, 200, 2, 100)


@pytest.mark.parametrize("text", [ANTHROPIC_CSV, ANTHROPIC_JSON])
def test_anthropic_s_exports_count_what_was_cached(reconciliations: Reconciliations, text: str) -> None:
    told = compared(reconciliations, text)
    assert told.reconciliation.form == "anthropic"
    assert by_model(told.lines)["claude-haiku-4-5"] == (500, 40, 0, 500, 40, 1, 0)


def row(request_id: str, at: str, prompt: int, completion: int) -> dict[str, Any]:
    """Return one request as a list of requests has it."""
    named = {"request_id": request_id, "created_at": at, "model": "gpt-5-mini"}
    return named | {"prompt_tokens": prompt, "completion_tokens": completion}


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_single_requests_are_found_by_their_id(reconciliations: Reconciliations, form: str) -> None:
    rows = [
        row("first", "2027-01-31T08:00:00Z", 1_000, 150),
        row("second", "2027-01-31T23:59:59-00:30", 500, 50),
        row("missing", "2027-01-31T08:00:00Z", 9, 1),
    ]
    if form == "csv":
        text = ",".join(rows[0]) + "\n" + "".join(",".join(str(value) for value in row.values()) + "\n" for row in rows)
    else:
        text = json.dumps(rows) if form == "json" else "".join(json.dumps(row) + "\n" for row in rows)
    told = compared(reconciliations, text)
    assert (told.reconciliation.records, told.reconciliation.named, told.reconciliation.found) == (3, 3, 2)
    assert [(line.day, line.their_requests) for line in told.lines if line.model == "gpt-5-mini"] == [
        (DAY, 2),
        (date(2027, 2, 1), 1),
    ]


def listed(*rows: tuple[str, str, str]) -> str:
    """Return a list of requests: id (may be empty), instant and model."""
    head = "request_id,timestamp,model,input_tokens,output_tokens\n"
    return head + "".join(f"{request_id},{at},{model},5,5\n" for request_id, at, model in rows)


def test_what_has_no_id_that_is_known_is_found_by_time_and_model(reconciliations: Reconciliations) -> None:
    told = compared(
        reconciliations,
        listed(
            ("first", "2027-01-31T09:30:00Z", "gpt-5-mini"),  # by its id
            ("req_of_the_provider", "2027-01-31T09:29:00Z", "gpt-5-mini"),  # the charge of the other organization
            ("", "2027-01-31T18:28:00+09:00", "claude-haiku-4-5"),
            ("", "2027-01-31T09:29:30Z", "gpt-5-mini"),  # no charge is left for it
            ("", "2027-01-31T09:24:59Z", "claude-haiku-4-5"),  # too long before
            ("", "2027-01-31T09:30:00Z", "gpt-5"),  # no such model was used
            ("", "2027-01-31", "claude-haiku-4-5"),  # no instant
        ),
    )
    known = told.reconciliation
    assert (known.form, known.records, known.named, known.found, known.timed) == ("requests", 7, 2, 1, 2)
    again = reconciliations.get(known.id).reconciliation
    assert again.timed == 2


def test_a_charge_that_drew_on_two_packs_is_one(reconciliations: Reconciliations, meter: Meter) -> None:
    meter.grant("acme", 5, priority=-1)
    assert len(meter.debit("acme", prompt_tokens=9, completion_tokens=9, model="gpt-5", key="wide").drawn) == 2
    told = compared(reconciliations, listed(*[("", "2027-01-31T09:29:00Z", "gpt-5")] * 2))
    assert told.reconciliation.timed == 1


def test_a_list_without_a_column_of_ids_is_found_by_time(reconciliations: Reconciliations) -> None:
    rows = [
        {"created_at": 1801387800 - ago, "model": "gpt-5-mini", "prompt_tokens": 5, "completion_tokens": 1} for ago in (0, 9, 400)
    ]
    told = compared(reconciliations, "".join(json.dumps(row) + "\n" for row in rows))
    assert (told.reconciliation.named, told.reconciliation.found, told.reconciliation.timed) == (0, 0, 2)


def test_an_export_of_costs_is_refused_in_words(reconciliations: Reconciliations) -> None:
    for text in COSTS:
        with pytest.raises(RequestInvalid, match="an export of costs"):
            compared(reconciliations, text)
    assert reconciliations.page().items == ()


def test_hours_and_minutes_of_a_provider_are_summed_by_day(reconciliations: Reconciliations) -> None:
    told = compared(reconciliations, OPENAI_HOURS)
    assert by_model(told.lines)["gpt-5-mini"][:3] == (1_500, 200, 3)
    assert by_model(told.lines)[""][:3] == (1_000, 500, 5)  # not grouped by model: a line of its own


def test_the_same_file_is_compared_once(reconciliations: Reconciliations, meter: Meter) -> None:
    first = compared(reconciliations, OPENAI_CSV)
    meter.debit("acme", prompt_tokens=7, completion_tokens=7, model="gpt-5")
    again = compared(reconciliations, OPENAI_CSV, name="another name.csv")
    assert (again.replayed, again.reconciliation, again.lines) == (True, first.reconciliation, first.lines)
    assert compared(reconciliations, OPENAI_CSV + "\n").reconciliation.id != first.reconciliation.id
    assert [each.id for each in reconciliations.page(limit=1).items] != [first.reconciliation.id]
    assert len(reconciliations.page().items) == 2
    with pytest.raises(NotFound):
        reconciliations.get("rec_none")


class Endless(io.RawIOBase):
    """A file of very many lines that is never whole in memory."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._buffer = b"request_id,created_at,model,input_tokens,output_tokens\n"
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        while len(self._buffer) < size and self._left:
            self._buffer += b"nobody-%d,2027-01-31T08:00:00Z,gpt-5-mini,1,1\n" % self._left
            self._left -= 1
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        self.largest = max(self.largest, size)
        return piece


def test_a_long_file_is_read_piece_by_piece(reconciliations: Reconciliations) -> None:
    file = Endless(5_000)
    told = reconciliations.compare(file, by=ROOT)  # type: ignore[arg-type]
    assert (told.reconciliation.records, told.reconciliation.found) == (5_000, 0)
    assert by_model(told.lines)["gpt-5-mini"][:3] == (5_000, 5_000, 5_000)
    assert 0 < file.largest <= 2**16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "a,b\n1,2\n",
        "[1]",
        '{"data": 5}',
        '{"data": [{"results": [5]}]}',
        "{broken",
        OPENAI_CSV.replace("1000,150", "1000,-150"),
        OPENAI_CSV.replace("1000,150", "1000,1.5"),
        OPENAI_CSV.replace("1000,150", "1000,99999999999999999999"),
        OPENAI_CSV.replace("1801353600", "yesterday"),
        OPENAI_CSV.replace("gpt-5-mini", "x" * 201),
        '{"request_id": "a", "model": "m", "created_at": "2027-01-31"}\nnonsense\n',
    ],
)
def test_what_is_no_export_is_refused_and_nothing_is_kept(reconciliations: Reconciliations, text: str) -> None:
    with pytest.raises(RequestInvalid):
        compared(reconciliations, text)
    assert reconciliations.page().items == ()


def test_a_file_that_is_not_text_is_refused(reconciliations: Reconciliations) -> None:
    with pytest.raises(RequestInvalid):
        reconciliations.compare(io.BytesIO(b"\xff\xfe\x00"), by=ROOT)
