"""The packs page in another product: only by a signed address, for its time, read-only, framed only where it may be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.console.browsing import Browser
from tests.console.test_acting import send
from tests.doubles import FrozenClock
from tokenwell.errors import NotFound, OrganizationNotFound, RequestInvalid
from tokenwell.service.access.embedding import Embedding
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.meter import Meter

OpenBrowser = Callable[..., Browser]
KEY = "a key of the tests, which is long enough"


@pytest.fixture
def embedding(meter: Meter, clock: FrozenClock) -> Embedding:
    """What makes addresses with the console's own key."""
    return Embedding(meter.engine, clock, Sealer(lambda: (KEY,)))


@pytest.fixture
def stranger(open_browser: OpenBrowser) -> Browser:
    """A browser in which nobody is signed in, on a console with that key."""
    browser = open_browser()
    console = browser.client.app.state.console  # type: ignore[attr-defined]
    console.suite.embedding = Embedding(console.meter.engine, console.meter.clock, Sealer(lambda: (KEY,)))
    return browser


def test_the_page_opens_without_signing_in_and_leads_nowhere_else(stranger: Browser, embedding: Embedding, meter: Meter) -> None:
    meter.grant("acme", 9_000, note="Annual plan")
    meter.debit("acme", 300, session="Lina", model="m", key="req-1")
    page = stranger.page(embedding.link("acme"))
    assert '<strong id="balance" class="num">8,700</strong>' in page.html
    assert "Annual plan" in page.text
    assert "Lina" in page.text
    assert not [href for href in page.having("href") if href.startswith(("/o/", "/admin", "/sign"))]
    assert page.all("form") == []
    assert stranger.get("/o/acme").status_code == 303


def test_its_lists_change_in_place_under_the_same_address(stranger: Browser, embedding: Embedding, meter: Meter) -> None:
    for number in range(60):
        meter.grant("acme", 1_000 + number)
        meter.debit("acme", 10)
    path = embedding.link("acme", language="zh")
    page = stranger.page(path)
    older = [link["href"] for link in page.all("a", rel="next")]
    assert len(older) == 2
    assert all(href.startswith("?") for href in older)
    part = stranger.get(path + older[0], headers={"hx-request": "true"}).text
    assert "资源包" in part
    assert "<html" not in part


def test_theme_language_and_zone_are_part_of_the_address(stranger: Browser, embedding: Embedding, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    page = stranger.page(embedding.link("acme", theme="dark", language="zh", zone="Asia/Kathmandu"))
    assert page.all("html", lang="zh-CN", data_theme="dark")
    assert "Asia/Kathmandu (UTC+5:45)" in page.text
    assert "生效中" in page.text


def test_an_address_lapses_and_cannot_be_changed(stranger: Browser, embedding: Embedding, clock: FrozenClock) -> None:
    path = embedding.link("acme", ttl=timedelta(minutes=5))
    token = path.removeprefix("/embed/")
    clock.advance(timedelta(minutes=5) - timedelta(seconds=1))
    assert stranger.get(path).status_code == 200
    clock.advance(timedelta(seconds=1))
    assert stranger.get(path).status_code == 404
    other = embedding.link("beta").removeprefix("/embed/")
    text, signature = token.rpartition(".")[0], other.rpartition(".")[2]
    for wrong in (
        "",
        "x",
        ".",
        f"{text}.{signature}",
        f"{text}.",
        f"x{embedding.link('acme').removeprefix('/embed/')}",
        "a" * 3_000,
    ):
        with pytest.raises(NotFound):
            embedding.open(wrong)
        assert stranger.get(f"/embed/{wrong}").status_code == 404


def test_only_those_who_may_can_frame_it(stranger: Browser, embedding: Embedding, meter: Meter) -> None:
    answer = stranger.get(embedding.link("acme"))
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    embedding.set_origins("acme", ["https://App.example.com/", "https://app.example.com", "http://localhost:3000"])
    answer = stranger.get(embedding.link("acme"))
    policy = answer.headers["content-security-policy"]
    assert policy.endswith("frame-ancestors https://app.example.com http://localhost:3000")
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "x-frame-options" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    for path in (embedding.link("beta"), "/sign-in"):
        assert "frame-ancestors 'none'" in stranger.get(path).headers["content-security-policy"]


@pytest.mark.parametrize(
    "origin", ["*", "app.example.com", "https://*", "https://a.example.com/path", "https://a; script-src *", "'self'"]
)
def test_what_is_no_origin_is_refused_and_changes_nothing(embedding: Embedding, origin: str) -> None:
    embedding.set_origins("acme", ["https://app.example.com"])
    with pytest.raises(RequestInvalid):
        embedding.set_origins("acme", [origin])
    assert embedding.origins("acme") == ("https://app.example.com",)


def test_addresses_are_made_for_what_there_is(embedding: Embedding) -> None:
    with pytest.raises(OrganizationNotFound):
        embedding.link("none")
    for options in ({"ttl": timedelta(0)}, {"ttl": timedelta(days=2)}, {"theme": "pink"}):
        with pytest.raises(RequestInvalid):
            embedding.link("acme", **options)  # type: ignore[arg-type]


def test_the_platform_says_who_may_frame_it(open_browser: OpenBrowser, meter: Meter) -> None:
    ada = open_browser("ada@example.com")
    html = ada.page("/o/acme/embedding").html
    assert "<textarea" in html
    status, page, _ = send(ada, "/o/acme/embedding", origins="nonsense")
    assert (status, "Write origins like" in page.text) == (422, True)
    assert send(ada, "/o/acme/embedding", origins="https://a.example.com\nhttps://b.example.com")[0] == 303
    assert "https://a.example.com\nhttps://b.example.com</textarea>" in ada.page("/o/acme/embedding").html
    with meter.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT action FROM act WHERE action LIKE 'embedding.%'").scalar_one() == "embedding.set"
    assert open_browser("mei@example.com").get("/o/acme/embedding").status_code == 403
