"""Security's small parts: masked secrets, where a form comes from, and where one may be sent after signing in."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from tokenwell.config import Settings
from tokenwell.console.security import fresh_secret, is_same_origin, local_path, mask, matches


def test_a_secret_is_masked_anew_each_time_and_still_matches() -> None:
    secret = fresh_secret()
    masked = {mask(secret) for _ in range(20)}
    assert len(masked) == 20
    assert all(matches(each, secret) for each in masked)
    assert not any(secret in each for each in masked)
    assert not any(matches(each, fresh_secret()) for each in masked)


@pytest.mark.parametrize("masked", ["", "a", "====", "é", "\x00", "A" * 10_000, "not base64!", mask("")])
def test_what_is_no_masked_secret_matches_nothing(masked: str) -> None:
    assert not matches(masked, fresh_secret())


def request_with(headers: dict[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "ai.example.com", "origin": "https://ai.example.com"}, True),
        ({"host": "ai.example.com:8080", "origin": "http://ai.example.com:8080"}, True),
        ({"host": "ai.example.com", "origin": "http://ai.example.com:8080"}, False),
        ({"host": "ai.example.com", "origin": "https://evil.example.com"}, False),
        ({"host": "ai.example.com", "origin": "null"}, False),
        ({"host": "ai.example.com", "origin": "http://[bad"}, False),
        ({"host": "ai.example.com", "origin": ""}, False),
        ({"host": "", "origin": "null"}, False),
        ({"host": "ai.example.com", "referer": "https://ai.example.com/sign-in"}, True),
        ({"host": "ai.example.com", "referer": "https://evil.example.com/ai.example.com"}, False),
        ({"host": "ai.example.com"}, False),
        ({"host": "ai.example.com", "sec-fetch-site": "same-origin"}, True),
        ({"host": "ai.example.com", "sec-fetch-site": "same-site", "origin": "https://ai.example.com"}, False),
        ({"host": "ai.example.com", "sec-fetch-site": "cross-site", "origin": "https://ai.example.com"}, False),
        ({"host": "internal:8080", "origin": "https://public.example.com"}, True),
    ],
)
def test_a_form_counts_only_from_our_own_pages(headers: dict[str, str], expected: bool) -> None:
    settings = Settings(public_url="https://public.example.com")
    assert is_same_origin(request_with(headers), settings) is expected


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/o/acme?packs=active&before=7", "/o/acme?packs=active&before=7"),
        ("/", "/"),
        (None, "/"),
        ("", "/"),
        ("https://evil.example.com", "/"),
        ("//evil.example.com", "/"),
        ("/\\evil.example.com", "/"),
        ("/a\\b", "/"),
        ("/o/acme\r\nSet-Cookie: x=1", "/"),
        ("/\t/evil.example.com", "/"),
        ("javascript:alert(1)", "/"),
        ("/" + "a" * 2000, "/"),
    ],
)
def test_after_signing_in_one_stays_on_this_server(text: str | None, path: str) -> None:
    assert local_path(text) == path
