"""Assets: hashed names, kept for good, compressed once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.console.browsing import Browser
from tokenwell.console.assets import STATIC_DIRECTORY, Assets


def test_a_name_changes_with_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("one")
    before = Assets(tmp_path).url("a.js")
    assert before == Assets(tmp_path).url("a.js")
    (tmp_path / "a.js").write_text("two")
    assert Assets(tmp_path).url("a.js") != before


def test_a_stylesheet_names_the_hashed_files_and_changes_with_them(tmp_path: Path) -> None:
    (tmp_path / "font.woff2").write_bytes(b"one")
    (tmp_path / "a.css").write_text('@font-face { src: url("font.woff2"); }')
    assets = Assets(tmp_path)
    before = assets.url("a.css")
    assert assets.text("a.css") == f'@font-face {{ src: url("{assets.url("font.woff2")}"); }}'
    (tmp_path / "font.woff2").write_bytes(b"two")
    assert Assets(tmp_path).url("a.css") != before


def test_a_stylesheet_that_names_a_missing_file_is_found_out_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text('@font-face { src: url("font.woff2"); }')
    with pytest.raises(KeyError):
        Assets(tmp_path)


def test_everything_a_page_names_is_served_and_may_be_kept_for_good(open_browser: Callable[..., Browser]) -> None:
    browser = open_browser()
    page = browser.page("/sign-in")
    named = [*page.having("src"), *(link["href"] for link in page.all("link"))]
    assert len(named) >= 5
    style = browser.get(next(name for name in named if name.endswith(".css"))).text
    for name in [*named, *re.findall(r'url\("([^"]+)"\)', style)]:
        answer = browser.get(name)
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_text_is_compressed_for_those_who_take_it(open_browser: Callable[..., Browser]) -> None:
    browser = open_browser()
    name = next(name for name in browser.page("/sign-in").having("src") if "app" in name)
    plain = browser.get(name, headers={"accept-encoding": "identity"})
    packed = browser.get(name, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.text == plain.text == (STATIC_DIRECTORY / "app.js").read_text()
    assert int(packed.headers["content-length"]) < len(plain.content)


@pytest.mark.parametrize("name", ["app.css", "app.0000000000000000.css", "..%2Fassets.py", "%2e%2e%2fapp.py", "icons-LICENSE.txt"])
def test_nothing_else_is_served(open_browser: Callable[..., Browser], name: str) -> None:
    assert open_browser().get(f"/static/{name}").status_code == 404


def test_licences_travel_with_what_they_cover() -> None:
    vendored = {path.name for path in (STATIC_DIRECTORY / "vendor").iterdir()}
    covered = {
        "inter": {"inter-latin.woff2"},
        "icons": {"icons.svg"},
        "htmx": {"htmx.min.js", "hx-sse.min.js"},
        "uPlot": {"uPlot.iife.min.js", "uPlot.min.css"},
    }
    assert vendored == {f"{name}-LICENSE.txt" for name in covered}.union(*covered.values())
