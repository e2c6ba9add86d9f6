"""The banner: what the top of the packs page says is what e-mails and webhooks say, and is left out where it is not known."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.console.browsing import Browser, Page
from tests.console.test_outlook import use_for_days
from tests.doubles import FrozenClock
from tokenwell.alerts.mail import MailServer, compose
from tokenwell.alerts.told import Told, alert_of, webhook_of
from tokenwell.alerts.words import Words
from tokenwell.console.banner import expiring_soon
from tokenwell.core.happenings import Event, EventKind
from tokenwell.service.jobs import Turn
from tokenwell.service.meter import Meter
from tokenwell.service.notices.inbox import Inbox
from tokenwell.service.notices.watching import Watching

DAY = timedelta(days=1)
SERVER = MailServer(host="mail.example", port=25, sender="Tokenwell <tokenwell@example.com>")
ZH = {"accept-language": "zh"}


def newest(meter: Meter, kind: EventKind) -> Event:
    """Return the newest event of a kind."""
    return next(each.event for each in Inbox(meter.engine, meter.clock).history("acme").items if each.event.kind is kind)


def letters(meter: Meter, event: Event, language: str, stops_at: datetime | None = None) -> str:
    """Return what an event says, checked to be the same in an e-mail and in a webhook."""
    words = Words(language, "UTC", meter.clock())
    told = Told(delivery_id="dlv_1", organization_id="acme", organization_name="Acme", at=event.at, event=event, stops_at=stops_at)
    said = told.sentence(words)
    data = told.payload(words)["data"]
    assert f"{data['title']} {data['text']}".strip() == said.whole
    assert said.title.encode() in webhook_of(told, words, ("whsec_" + "a" * 44,), now=meter.clock())[0]
    mail = alert_of((told,), words, to="mei@example.com", address="https://ai.example", unsubscribe="")
    text = compose(mail, words, SERVER, at=meter.clock()).get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert all(part in " ".join(text.split()) for part in (said.title, said.text))
    return said.whole


def codes(page: Page) -> list[str]:
    """Return what the banner tells of."""
    return page.having("data-notice")


def test_running_low_is_told_as_in_letters(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    clock.advance(-11 * DAY)
    meter.grant("acme", 29_900)
    clock.advance(11 * DAY)
    use_for_days(meter, clock, days=10, a_day=2_400)
    meter.debit("acme", 1_400)
    forecast = meter.forecast("acme")
    assert forecast is not None
    stops_at = forecast.expected.ai_stops_at
    assert stops_at is not None
    for language, headers in (("en", {}), ("zh", ZH)):
        said = letters(meter, newest(meter, EventKind.STATE_RUNNING_LOW), language, stops_at)
        page = mei.page("/o/acme", headers=headers)
        assert said in page.text
        assert codes(page) == ["running_low"]
        assert Words(language, "UTC", clock()).when(stops_at) in said
    assert said.startswith("AI 余额不足。 余额为 4,500 token，低于警告阈值 5,000。按当前速度，AI 回复将在 ")


def test_without_a_forecast_no_instant_is_told(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 6_000)
    meter.debit("acme", 2_000)
    said = letters(meter, newest(meter, EventKind.STATE_RUNNING_LOW), "en")
    assert said == (
        "AI is running low. The balance is 4,000 tokens, below the warning threshold of 5,000. Ask your platform admin to top up "
        "before it runs out."
    )
    assert said in mei.page("/o/acme").text


@pytest.mark.parametrize("left", [0, 500])
def test_stopped_is_told_as_in_letters(mei: Browser, meter: Meter, clock: FrozenClock, left: int) -> None:
    meter.grant("acme", 6_000)
    meter.debit("acme", 6_000 - left, already_used=True)
    said = {language: letters(meter, newest(meter, EventKind.STATE_AI_STOPPED), language) for language in ("en", "zh")}
    clock.advance(timedelta(hours=3))
    mei.sign_in("mei@example.com")
    page = mei.page("/o/acme")
    assert codes(page) == ["stopped"]
    assert "AI replies have been paused since 31 Jan, 09:30 and resume by themselves when a new pack is granted." in said["en"]
    assert said["en"] in page.text
    assert said["zh"] in mei.page("/o/acme", headers=ZH).text


def test_before_the_first_pack_ai_has_not_started(mei: Browser) -> None:
    page = mei.page("/o/acme")
    assert codes(page) == ["not_started"]
    assert "AI has not started yet. AI replies start as soon as your platform admin grants a pack." in page.text
    assert "AI 尚未启用。" in mei.page("/o/acme", headers=ZH).text


def test_packs_that_will_expire_unused_are_told_of_as_in_letters(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    watching = Watching(meter)
    meter.grant("acme", 1_234_567, expires_at=clock.now + 20 * DAY)
    assert codes(mei.page("/o/acme")) == []
    for days in (14, 3, 1):
        clock.now = meter.packs("acme").items[0].pack.expires_at - days * DAY
        assert watching.expiring(Turn(clock)) == 1
        said = letters(meter, newest(meter, EventKind.PACK_EXPIRING), "en")
        assert said == (
            "1.23M tokens will expire unused on 20 Feb. PK-1 expires on 20 Feb, 09:30 with about 1,234,567 tokens left."
        )
        mei.sign_in("mei@example.com")
        page = mei.page("/o/acme")
        assert said in page.text
        assert codes(page) == ["expiring"]
        assert letters(meter, newest(meter, EventKind.PACK_EXPIRING), "zh") in mei.page("/o/acme", headers=ZH).text
    clock.advance(DAY)
    mei.sign_in("mei@example.com")
    assert "expiring" not in codes(mei.page("/o/acme"))


def test_packs_that_will_be_used_up_or_were_granted_for_less_are_not_told_of(meter: Meter, clock: FrozenClock) -> None:
    clock.advance(-11 * DAY)
    meter.grant("acme", 26_000, expires_at=clock.now + 16 * DAY)
    meter.grant("acme", 90_000, expires_at=clock.now + 17 * DAY)
    clock.advance(11 * DAY)
    use_for_days(meter, clock, days=10, a_day=2_400)
    meter.grant("acme", 70_000, expires_at=clock.now + 10 * DAY)
    told = meter.forecast("acme")
    packs = [each.pack for each in meter.packs("acme").items]
    (one,) = expiring_soon(packs, told, clock())
    assert told is not None
    assert (one.label, one.tokens) == ("PK-2", next(each.tokens for each in told.expected.forfeits if each.pack_number == 2))
    assert {each.label for each in expiring_soon(None, told, clock())} == {"PK-2", "PK-3"}
    assert {each.label for each in expiring_soon(packs, None, clock())} == {"PK-1", "PK-2"}


def test_what_can_be_done_is_offered_to_who_may(mei: Browser, open_browser: object, meter: Meter) -> None:
    assert "/o/acme/topup" in mei.page("/o/acme").having("href")
    vic = open_browser("vic@example.com")  # type: ignore[operator]
    assert not {"/o/acme/topup", "/o/acme/grant"} & set(vic.page("/o/acme").having("href"))
    ada = open_browser("ada@example.com")  # type: ignore[operator]
    assert "/o/acme/grant" in ada.page("/o/acme").having("href")


def test_what_people_wrote_is_escaped(mei: Browser, meter: Meter) -> None:
    mei.submit("/o/acme/topup", "/o/acme/topup", {"amount": "5M", "note": "<b>now</b>", "key": "k"})
    page = mei.page("/o/acme")
    assert "Top-up requested by Mei Lin, 0 minutes ago. 5,000,000 tokens. <b>now</b>" in page.text
    assert "<b>now" not in page.html
