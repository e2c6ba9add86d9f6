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
from tokenwell.core.happenings import PLATFORM, EventKind
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.notices.subscriptions import ChannelKind, Subscriptions
from tokenwell.service.suite import Suite
from tokenwell.store.notices import deliveries as store
from tokenwell.store.notices.deliveries import DeliveryStatus
from tokenwell.store.writer import transaction

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


def test_the_profile_tells_what_a_person_is_told_of_and_leads_there(mei: Browser, open_browser: Callable[..., Browser]) -> None:
    page = mei.page("/profile")
    assert "Acme Parts" in page.text
    assert "English · at once" in page.text
    assert "/o/acme/alerts#own-h" in page.having("href")
    fields = {"do": "own", "kind.pack.granted": "1", "language": "zh", "zone": "UTC", "digest_at": "08:00"}
    mei.submit("/o/acme/alerts", "/o/acme/alerts", fields)
    assert "1 kind of alert · 简体中文 · daily at 08:00" in mei.page("/profile").text
    assert "/admin/alerts#own-h" in open_browser("ada@example.com").page("/profile").having("href")


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
    assert [each["name"] for each in page.all("input", checked="")] == ["kind.pack.granted"]
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
    assert "This address cannot be used." in page.text
    (target,) = page.all("input", id="add-target")
    assert (target["value"], target["aria-invalid"], target["aria-describedby"]) == ("no address", "true", "problem")


def test_a_channel_is_changed_and_what_was_typed_wrong_stays(mei: Browser, subscriptions: Subscriptions) -> None:
    channel = subscriptions.add_channel("acme", kind=ChannelKind.SLACK, target=HOOK).channel
    path = f"/o/acme/alerts/{channel.id}"
    fields = {"do": "change", "name": "Night shift", "language": "zh", "zone": "Asia/Shanghai", "kind.state.ai_stopped": "1"}
    fields |= {"quiet_from": "22:00", "quiet_until": "07:30", "digest_at": "08:15"}
    assert mei.submit(path, path, fields).status_code == 303
    page = mei.page(path)
    assert "The channel was changed." in page.text
    changed = subscriptions.channel("acme", channel.id)
    assert (changed.name, changed.language, changed.zone, changed.kinds) == (
        "Night shift", "zh", "Asia/Shanghai", frozenset({EventKind.STATE_AI_STOPPED}),
    )  # fmt: skip
    values = {each["name"]: each["value"] for each in page.all("input") if each.get("id", "").startswith("change-")}
    assert values == {
        "name": "Night shift",
        "zone": "Asia/Shanghai",
        "quiet_from": "22:00",
        "quiet_until": "07:30",
        "digest_at": "08:15",
    }
    wrong = mei.submit(path, path, fields | {"digest_at": "8 o'clock", "name": "Day"})
    assert wrong.status_code == 400
    typed = Page(wrong.text)
    assert (typed.all("input", id="change-digest_at")[0]["value"], typed.all("input", id="change-name")[0]["value"]) == (
        "8 o'clock", "Day",
    )  # fmt: skip
    assert subscriptions.channel("acme", channel.id) == changed


def test_a_form_sent_twice_adds_one_channel_and_tells_its_key_once(mei: Browser, subscriptions: Subscriptions) -> None:
    key = mei.page("/o/acme/alerts").all("input", name="key")[0]["value"]
    fields = {"do": "add", "kind": "webhook", "target": HOOK, "kind.pack.granted": "1", "key": key}
    assert "whsec_" in mei.submit("/o/acme/alerts", "/o/acme/alerts", fields).text
    again = mei.submit("/o/acme/alerts", "/o/acme/alerts", fields)
    (channel,) = subscriptions.channels("acme").items
    assert (again.status_code, again.headers["location"]) == (303, f"/o/acme/alerts/{channel.id}")
    other = mei.submit("/o/acme/alerts", "/o/acme/alerts", fields | {"name": "Another"})
    assert other.status_code == 400
    assert "This form was sent before." in Page(other.text).text
    path = f"/o/acme/alerts/{channel.id}"
    rotation = {"do": "rotate", "key": mei.page(path).all("input", name="key")[0]["value"]}
    assert "whsec_" in mei.submit(path, path, rotation).text
    assert mei.submit(path, path, rotation).status_code == 303
    assert "The key was replaced before." in mei.page(path).text


def test_what_was_given_up_is_found_and_sent_again(mei: Browser, subscriptions: Subscriptions, meter: Meter) -> None:
    channel = subscriptions.add_channel("acme", kind=ChannelKind.WEBHOOK, target=HOOK).channel
    path = f"/o/acme/alerts/{channel.id}"
    ids = [subscriptions.test("acme", channel.id).id for _ in range(4)]
    with transaction(meter.engine) as connection:
        for each in ids[:3]:
            found = store.find_delivery(connection, "acme", each)
            assert found is not None
            store.finish(connection, found, DeliveryStatus.DEAD, meter.clock())
    assert set(mei.page(f"{path}?status=dead").having("data-delivery")) == set(ids[:3])
    assert mei.page(f"{path}?status=delivered").having("data-delivery") == []
    assert len(mei.page(f"{path}?status=nonsense").having("data-delivery")) == 4
    mei.submit(f"{path}?delivery={ids[0]}", path, {"do": "replay", "delivery": ids[0]})
    assert set(mei.page(f"{path}?status=dead").having("data-delivery")) == set(ids[1:3])
    mei.submit(f"{path}?status=dead", path, {"do": "replay_all"})
    assert mei.page(f"{path}?status=dead").having("data-delivery") == []
    assert set(mei.page(f"{path}?status=due").having("data-delivery")) == set(ids)


def test_the_platform_is_told_of_every_organization(
    open_browser: Callable[..., Browser], meter: Meter, subscriptions: Subscriptions
) -> None:
    ada = open_browser("ada@example.com")
    meter.grant("acme", 6_000)
    meter.debit("acme", 6_000, already_used=True)
    meter.grant("beta", 6_000)
    meter.debit("beta", 6_000, already_used=True)
    assert ada.page("/admin").all("button", id="bell")[0]["aria-label"] == "Alerts: 2 unread"
    page = ada.page("/admin/alerts")
    rows = ["Beta & Sons AI is stopped. New The balance is used up.", "Acme Parts AI is stopped. New The balance is used up."]
    assert all(row in page.text for row in rows)
    panel = ada.page("/admin/bell", headers={"hx-request": "true"})
    assert [each["href"] for each in panel.all("a")] == ["/o/beta", "/o/acme", "/admin/alerts"]
    ada.submit("/admin/alerts", "/admin/bell", {"event": panel.having("data-unread")[1]})
    assert ada.page("/admin").all("button", id="bell")[0]["aria-label"] == "Alerts: 1 unread"
    ada.submit("/admin/alerts", "/admin/alerts", {"do": "read"})
    assert ada.page("/admin").all("button", id="bell")[0]["aria-label"] == "Alerts: nothing unread"
    added = ada.submit(
        "/admin/alerts", "/admin/alerts", {"do": "add", "kind": "email", "target": "ops@example.com", "kind.state.ai_stopped": "1"}
    )
    (channel,) = subscriptions.channels(PLATFORM).items
    assert added.headers["location"] == f"/admin/alerts/{channel.id}"
    assert subscriptions.channels("acme").items == ()
    path = f"/admin/alerts/{channel.id}"
    assert ada.submit(path, path, {"do": "disable"}).status_code == 303
    assert "Disabled" in ada.page("/admin/alerts").text
    own = {"do": "own", "kind.topup.requested": "1", "language": "en", "zone": "UTC"}
    assert ada.submit("/admin/alerts", "/admin/alerts", own).status_code == 303
    ticked = [each["name"] for each in ada.page("/admin/alerts").all("input", checked="")]
    assert ticked[0] == "kind.topup.requested"


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
    assert EventKind.STATE_AI_STOPPED in suite.personal.of("acme", mei.id).kinds
    answer = client.post("/unsubscribe", params=link, data={"List-Unsubscribe": "One-Click"})
    assert "These e-mails are stopped." in answer.text
    own = suite.personal.of("acme", mei.id).kinds
    assert EventKind.STATE_AI_STOPPED not in own
    assert EventKind.STATE_RUNNING_LOW in own
    assert client.post("/unsubscribe", params=link | {"sig": "x"}).status_code == 400
