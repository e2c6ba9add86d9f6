"""The alerts page: what happened and was read, what a person is told of, channels and their log; links that stop e-mails."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.console.browsing import Browser, Page
from tests.doubles import FrozenClock
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.alerts import UNSUBSCRIBE_PURPOSE, Subscription
from tokenwell.core.happenings import EventKind
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.notices.subscriptions import ChannelKind, Subscriptions
from tokenwell.service.suite import Suite

HOOK = "https://hooks.example.com/in?token=told-nobody"


@pytest.fixture
def subscriptions(meter: Meter, people: People) -> Subscriptions:
    """The subscriptions in the console's database."""
    return Suite(meter, people=people).subscriptions


def test_what_happened_is_listed_and_counted_until_it_is_read(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 6_000, key="a")
    meter.debit("acme", 2_000, key="b")
    page = mei.page("/o/acme/alerts")
    assert "AI is running low. New The balance is 4,000 tokens, below the warning threshold of 5,000." in page.text
    assert "6,000 tokens granted. New PK-1 never expires." in page.text
    assert mei.page("/o/acme").all("button", id="bell")[0]["aria-label"] == "Alerts: 2 unread"
    assert mei.submit("/o/acme/alerts", "/o/acme/alerts", {"do": "read"}).status_code == 303
    page = mei.page("/o/acme/alerts")
    assert "Everything is marked as read." in page.text
    assert not page.having("data-unread")
    assert mei.page("/o/acme").all("button", id="bell")[0]["aria-label"] == "Alerts: nothing unread"


def test_each_person_has_read_what_they_have_read(mei: Browser, open_browser: Callable[..., Browser], meter: Meter) -> None:
    meter.grant("acme", 6_000, key="a")
    mei.submit("/o/acme/alerts", "/o/acme/alerts", {"do": "read"})
    assert open_browser("vic@example.com").page("/o/acme/alerts").having("data-unread") == [""]
    assert not mei.page("/o/acme/alerts").having("data-unread")


def test_it_is_in_chinese_for_who_reads_chinese(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 6_000, key="a")
    page = mei.page("/o/acme/alerts", headers={"accept-language": "zh"})
    assert "已授予 6,000 token。" in page.text
    assert "PK-1 永不过期。" in page.text


def test_what_a_person_wants_is_kept(mei: Browser) -> None:
    fields = {"do": "own", "kind.pack.granted": "1", "language": "zh", "zone": "Asia/Shanghai"}
    fields |= {"quiet_from": "22:00", "quiet_until": "07:30"}
    assert mei.submit("/o/acme/alerts", "/o/acme/alerts", fields).status_code == 303
    page = mei.page("/o/acme/alerts")
    own = [each for each in page.all("input", type="checkbox") if "checked" in each]
    assert [each["name"] for each in own][:1] == ["kind.pack.granted"]
    assert page.all("input", id="own-quiet_until")[0]["value"] == "07:30"
    assert page.all("input", id="own-zone")[0]["value"] == "Asia/Shanghai"


@pytest.mark.parametrize("wrong", [{"zone": "Mars/Base"}, {"quiet_from": "25:00"}, {"quiet_from": "22:00"}, {"digest_at": "8"}])
def test_wishes_that_cannot_be_read_change_nothing(mei: Browser, wrong: dict[str, str]) -> None:
    answer = mei.submit("/o/acme/alerts", "/o/acme/alerts", {"do": "own", "language": "en", "zone": "UTC", **wrong})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "checked" in mei.page("/o/acme/alerts").all("input", name="kind.state.ai_stopped")[0]


def test_a_channel_is_added_shown_without_its_secret_tested_and_removed(mei: Browser, subscriptions: Subscriptions) -> None:
    answer = mei.submit(
        "/o/acme/alerts", "/o/acme/alerts", {"do": "add", "kind": "webhook", "target": HOOK, "kind.pack.granted": "1"}
    )
    assert answer.status_code == 200
    assert re.search(r"whsec_[A-Za-z0-9+/=]{40,}", answer.text)
    (channel,) = subscriptions.channels("acme").items
    path = f"/o/acme/alerts/{channel.id}"
    page = mei.page(path)
    assert "told-nobody" not in page.html
    assert "whsec_" not in page.html
    assert "Told of : Pack granted" in page.text or "Told of: Pack granted" in page.text
    assert mei.submit(path, path, {"do": "test"}).status_code == 303
    (test,) = subscriptions.deliveries("acme", channel.id).items
    assert mei.page(path).having("data-delivery") == [test.id]
    assert "It was not tried yet." in mei.page(f"{path}?delivery={test.id}").text
    assert "whsec_" in mei.submit(path, path, {"do": "rotate"}).text
    for do, word in (("disable", "Disabled"), ("enable", "Active")):
        mei.submit(path, path, {"do": do})
        assert word in mei.page("/o/acme/alerts").text
    assert mei.submit(path, path, {"do": "remove"}).headers["location"] == "/o/acme/alerts"
    assert subscriptions.channels("acme").items == ()
    mei.page(path, status=404)


def test_an_address_that_cannot_be_used_is_told_and_what_was_typed_stays(mei: Browser) -> None:
    answer = mei.submit("/o/acme/alerts", "/o/acme/alerts", {"do": "add", "kind": "email", "target": "no address"})
    assert answer.status_code == 400
    page = Page(answer.text)
    assert "This e-mail address cannot be read." in page.text
    assert page.all("input", id="add-target")[0]["value"] == "no address"


def test_a_viewer_sees_alerts_and_no_channels(open_browser: Callable[..., Browser], subscriptions: Subscriptions) -> None:
    channel = subscriptions.add_channel("acme", kind=ChannelKind.WEBHOOK, target=HOOK).channel
    vic = open_browser("vic@example.com")
    assert "Channels" not in vic.page("/o/acme/alerts").text
    vic.page(f"/o/acme/alerts/{channel.id}", status=403)
    assert vic.submit("/o/acme/alerts", "/o/acme/alerts", {"do": "add", "kind": "webhook", "target": HOOK}).status_code == 403
    path = f"/o/acme/alerts/{channel.id}"
    assert vic.submit("/o/acme/alerts", path, {"do": "remove"}).status_code == 403


def test_another_organizations_alerts_and_channels_do_not_exist(mei: Browser, subscriptions: Subscriptions) -> None:
    channel = subscriptions.add_channel("beta", kind=ChannelKind.WEBHOOK, target=HOOK).channel
    mei.page("/o/beta/alerts", status=404)
    mei.page(f"/o/acme/alerts/{channel.id}", status=404)
    assert mei.submit("/o/acme/alerts", f"/o/acme/alerts/{channel.id}", {"do": "remove"}).status_code == 404
    assert subscriptions.channels("beta").items == (channel,)


def test_a_form_from_elsewhere_changes_nothing(mei: Browser) -> None:
    assert mei.post("/o/acme/alerts", {"do": "own"}).status_code == 403
    assert mei.post("/o/acme/alerts", {"do": "own", "csrf_token": "x"}, origin="https://evil.example").status_code == 403


def test_a_signed_link_stops_one_kind_for_whoever_has_it(
    open_browser: Callable[..., Browser], meter: Meter, people: People, clock: FrozenClock
) -> None:
    suite = Suite(meter, people=people)
    client = TestClient(create_console(suite, Settings()))
    mei = people.find("mei@example.com")
    assert mei is not None
    text = Subscription(home="acme", channel_id=mei.id, kind=EventKind.STATE_AI_STOPPED).text
    link = {"to": text, "sig": suite.sealer.sign(text, purpose=UNSUBSCRIBE_PURPOSE)}
    assert "Stop these e-mails?" in client.get("/unsubscribe", params=link).text
    assert EventKind.STATE_AI_STOPPED in suite.subscriptions.own("acme", mei.id, is_admin=True).kinds
    answer = client.post("/unsubscribe", params=link, data={"List-Unsubscribe": "One-Click"})
    assert "These e-mails are stopped." in answer.text
    own = suite.subscriptions.own("acme", mei.id, is_admin=True).kinds
    assert EventKind.STATE_AI_STOPPED not in own
    assert EventKind.STATE_RUNNING_LOW in own
    assert client.post("/unsubscribe", params=link | {"sig": "x"}).status_code == 400
