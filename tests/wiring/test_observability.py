"""Logs are one object a line, show no secret, and hold the libraries' lines too."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from tokenwell.observability import configure_logging, hide_secrets, request_id_in

SECRET = "tw_live_" + "a1B2" * 10


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Leave the logging of other tests as it was."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**config)


@pytest.mark.parametrize(
    "event",
    [
        {"password": "correct horse"},
        {"upstream_api_key": "sk-1"},
        {"client_secret": "x y z"},
        {"csrf_token": "abc"},
        {"Authorization": "Basic abc"},
        {"set_cookie": "session=abc"},
        {"event": f"the key {SECRET} was used"},
        {"event": "Authorization: Bearer abc.def"},
        {"error": "cannot reach postgresql://user:hunter2@host/db"},
        {"error": "invalid key sk-proj-abcdefgh12345678"},
        {"headers": {"authorization": "Basic abc"}},
        {"items": [f"x {SECRET}"]},
    ],
    ids=lambda event: next(iter(event)),
)
def test_secrets_are_hidden(event: dict[str, object]) -> None:
    shown = json.dumps(hide_secrets(None, "info", dict(event)))
    for secret in ("correct horse", "sk-1", "x y z", "abc", SECRET, "hunter2", "sk-proj"):
        assert secret not in shown
    assert "…" in json.loads(shown) or "\\u2026" in shown


def test_what_is_no_secret_is_shown() -> None:
    event = {
        "amount_tokens": 5,
        "balance_tokens": 7,
        "key_id": "key_1",
        "path": "/v1/chat/completions",
        "event": "a task-list of 5",
    }
    assert hide_secrets(None, "info", dict(event)) == event


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", form="json")
    structlog.get_logger("tokenwell.test").info("granted", amount_tokens=5, note="line\nbreak")
    logging.getLogger("some.library").warning("it %s", "happened")
    structlog.get_logger("tokenwell.test").debug("not shown")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["level"], first["logger"], first["amount_tokens"]) == ("granted", "info", "tokenwell.test", 5)
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["logger"]) == ("it happened", "some.library")


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_logged_without_its_secrets(form: Literal["json", "console"], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", form=form)
    password = "hunter2"
    try:
        raise ValueError(f"bad key {SECRET}", len(password))
    except ValueError:
        structlog.get_logger("tokenwell.test").exception("failed")
    logged = capsys.readouterr().err
    assert logged.startswith("{") is (form == "json")
    assert "ValueError: ('bad key" in logged
    assert SECRET not in logged
    assert password not in logged.replace('password = "hunter2"', "")


def test_lines_for_people_hide_secrets_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="debug", form="console")
    structlog.get_logger("tokenwell.test").debug("seen", secret=SECRET)
    logged = capsys.readouterr().err
    assert "seen" in logged
    assert SECRET not in logged


@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 129, "é".encode(), b"a\nb", b'"quoted"'])
def test_a_request_id_that_is_not_plain_is_not_taken_over(value: bytes) -> None:
    assert request_id_in([(b"x-request-id", value)]) is None
    assert request_id_in([(b"host", b"x"), (b"x-request-id", b"Trace-7.a:b_c")]) == b"Trace-7.a:b_c"
