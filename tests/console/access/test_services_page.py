"""AI services and keys in the console: managed by administrators, read by viewers, restricted while AI is stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.console.browsing import Browser, Page
from tests.console.test_acting import fields_of
from tests.doubles import FrozenClock
from tokenwell.service.access.keys import KeyScope
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

OpenBrowser = Callable[..., Browser]


def send(browser: Browser, path: str, **typed: str) -> tuple[int, Page, dict[str, str]]:
    """Open a form, fill it in and send it."""
    fields = fields_of(browser.page(path)) | typed
    answer = browser.post(path, fields)
    return answer.status_code, Page(answer.text), fields


@pytest.fixture
def granted(meter: Meter) -> None:
    """Acme has tokens."""
    meter.grant("acme", "5M")


@pytest.mark.usefixtures("granted")
def test_a_service_is_created_once_changed_disabled_and_enabled(mei: Browser, meter: Meter) -> None:
    status, _, fields = send(mei, "/o/acme/services/new", name="Support agent", lane="background", reserve="500k")
    assert status == 303
    assert mei.post("/o/acme/services/new", fields).status_code == 303
    (line,) = Suite(meter).services.list("acme").items
    assert (line.service.name, line.service.reserve_tokens) == ("Support agent", 500_000)
    told = mei.page("/o/acme/services")
    assert "Support agent" in told.text
    assert "leaves 500,000 tokens" in told.text
    path = f"/o/acme/services/{line.service.id}"
    assert send(mei, f"{path}/edit", name="Agent")[0] == 303
    assert send(mei, f"{path}/disable")[0] == 303
    assert "Disabled" in mei.page("/o/acme/services").text
    assert send(mei, f"{path}/enable")[0] == 303
    assert Suite(meter).services.get("acme", line.service.id).service.name == "Agent"
    assert mei.get(f"{path}/destroy").status_code == 404


@pytest.mark.usefixtures("granted")
@pytest.mark.parametrize(
    ("typed", "wrong"),
    [({"name": ""}, "A name is needed"), ({"name": "x", "lane": "background", "reserve": "much"}, "cannot be used")],
)
def test_what_was_typed_stays_with_what_is_wrong_about_it(mei: Browser, meter: Meter, typed: dict[str, str], wrong: str) -> None:
    status, page, _ = send(mei, "/o/acme/services/new", reason="Tagging", **typed)
    assert status == 422
    assert wrong in page.text
    assert page.all("input", id="reason")[0]["value"] == "Tagging"
    assert Suite(meter).services.list("acme").items == ()


@pytest.mark.usefixtures("granted")
def test_a_second_service_of_one_name_is_refused_in_the_form(mei: Browser) -> None:
    send(mei, "/o/acme/services/new", name="Agent")
    status, page, _ = send(mei, "/o/acme/services/new", name="Agent")
    assert (status, "There is a service with this name already." in page.text) == (422, True)


def test_while_ai_is_stopped_nothing_is_offered_and_nothing_created(mei: Browser, meter: Meter) -> None:
    page = mei.page("/o/acme/services")
    assert "AI is stopped: every service is restricted." in page.text
    assert not page.all("a", href="/o/acme/services/new")
    status, page, _ = send(mei, "/o/acme/services/new", name="Agent")
    assert (status, "no service can be created" in page.text) == (422, True)
    meter.grant("acme", "5M")
    assert send(mei, "/o/acme/services/new", name="Agent")[0] == 303


@pytest.mark.usefixtures("granted")
def test_a_key_is_shown_once_and_revoked(mei: Browser, meter: Meter) -> None:
    service = Suite(meter).services.create("acme", name="Agent").service
    typed = {"name": "one", "service": service.id, "models": "gpt-5*, claude-haiku-4-5", "tokens_per_day": "200k"}
    status, page, fields = send(mei, "/o/acme/keys/new", **typed)
    assert status == 200
    secret = page.all("input", id="secret")[0]["value"]
    assert secret.startswith("tw_live_")
    again = Page(mei.post("/o/acme/keys/new", fields).text)
    assert "issued before" in again.text
    assert secret not in again.html
    (key,) = Suite(meter).keys.list("acme").items
    assert (key.service_id, key.models, key.tokens_per_day) == (service.id, ("gpt-5*", "claude-haiku-4-5"), 200_000)
    shown = mei.page("/o/acme/services")
    assert secret not in shown.html
    assert key.prefix in shown.text
    assert "200,000 tokens a day" in shown.text
    assert send(mei, f"/o/acme/keys/{key.id}/revoke")[0] == 303
    assert "Revoked" in mei.page("/o/acme/services").text
    status, page, _ = send(mei, "/o/acme/keys/new", name="two", tokens_per_month="none")
    assert (status, page.all("input", id="tokens_per_month")[0]["value"]) == (422, "none")


@pytest.mark.usefixtures("granted")
def test_a_viewer_reads_and_is_offered_no_form(open_browser: OpenBrowser, meter: Meter) -> None:
    suite = Suite(meter)
    service, key = suite.services.create("acme", name="Agent").service, suite.keys.create("acme", name="one").key
    vic = open_browser("vic@example.com")
    page = vic.page("/o/acme/services")
    assert "Agent" in page.text
    assert not [link for link in page.having("href") if link.endswith(("/new", "/edit", "/disable", "/revoke"))]
    paths = (
        "/services/new",
        f"/services/{service.id}/edit",
        f"/services/{service.id}/disable",
        "/keys/new",
        f"/keys/{key.id}/revoke",
    )
    for path in paths:
        assert vic.get(f"/o/acme{path}").status_code == 403
        assert vic.submit("/o/acme/services", f"/o/acme{path}", {"name": "x"}).status_code == 403
    for path in ("/services", *paths):
        assert open_browser("nora@example.com").get(f"/o/acme{path}").status_code == 404
    assert suite.services.get("acme", service.id).service.disabled_at is None


@pytest.mark.usefixtures("granted")
def test_another_organizations_service_and_key_are_not_there(open_browser: OpenBrowser, meter: Meter) -> None:
    meter.grant("beta", "5M")
    suite = Suite(meter)
    service, key = suite.services.create("beta", name="Theirs").service, suite.keys.create("beta", name="theirs").key
    mei = open_browser("mei@example.com")
    for path in (f"/services/{service.id}/edit", f"/services/{service.id}/disable", f"/keys/{key.id}/revoke"):
        assert mei.get(f"/o/acme{path}").status_code == 404
        assert mei.submit("/o/acme/services", f"/o/acme{path}", {"key": "k"}).status_code == 404


def test_a_forged_form_changes_nothing(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", "5M")
    assert mei.post("/o/acme/services/new", {"name": "Forged"}).status_code == 403
    fields = fields_of(mei.page("/o/acme/services/new")) | {"name": "Forged"}
    assert mei.post("/o/acme/services/new", fields, origin="https://elsewhere.example").status_code == 403
    assert Suite(meter).services.list("acme").items == ()


@pytest.mark.usefixtures("granted")
def test_the_terms_of_a_key_are_changed_and_its_secret_stays(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    send(mei, "/o/acme/keys/new", name="one", tokens_per_day="200k", expires="30")
    (key,) = Suite(meter).keys.list("acme").items
    path = f"/o/acme/keys/{key.id}/edit"
    form = mei.page(path)
    assert form.all("input", id="tokens_per_day")[0]["value"] == "200000"
    assert [each["value"] for each in form.all("input", name="expires", checked="")] == ["kept"]
    typed = {"name": "two", "tokens_per_day": "", "requests_per_minute": "60", "models": "gpt-5*", "scope.embed": ""}
    assert send(mei, path, **typed)[0] == 303
    (changed,) = Suite(meter).keys.list("acme").items
    assert (changed.name, changed.tokens_per_day, changed.requests_per_minute) == ("two", None, 60)
    assert (changed.models, changed.scopes) == (("gpt-5*",), (KeyScope.GENERATE, KeyScope.MODELS))
    assert (changed.expires_at, changed.prefix) == (key.expires_at, key.prefix)
    assert "only: generate, models" in mei.page("/o/acme/services").text
    assert send(mei, path, expires="date", date=f"{clock.now:%Y-%m-%d}")[0] == 303
    assert send(mei, path, expires="never")[0] == 303
    assert Suite(meter).keys.get("acme", key.id).expires_at is None
    lines = Suite(meter).audit.list("acme").items
    assert [line.act.action for line in lines].count("key.update") == 3


@pytest.mark.usefixtures("granted")
def test_what_a_key_cannot_be_changed_to_stays_on_show(mei: Browser, meter: Meter) -> None:
    key = Suite(meter).keys.create("acme", name="one").key
    path = f"/o/acme/keys/{key.id}/edit"
    nothing = {"scope.generate": "", "scope.embed": "", "scope.models": ""}
    status, page, _ = send(mei, path, name="two", **nothing)
    assert (status, "Choose at least one." in page.text) == (422, True)
    assert page.all("input", id="name")[0]["value"] == "two"
    assert send(mei, path, tokens_per_day="much")[0] == 422
    assert send(mei, path, expires="date", date="2020-01-01")[0] == 422
    assert Suite(meter).keys.get("acme", key.id) == key
    Suite(meter).keys.revoke("acme", key.id)
    status, page, _ = send(mei, path, name="two")
    assert (status, "Nothing was changed" in page.text) == (422, True)


@pytest.mark.usefixtures("granted")
def test_a_new_key_may_do_less_than_all(mei: Browser, meter: Meter) -> None:
    send(mei, "/o/acme/keys/new", name="one", **{"scope.generate": "", "scope.models": ""})
    (key,) = Suite(meter).keys.list("acme").items
    assert key.scopes == (KeyScope.EMBED,)
