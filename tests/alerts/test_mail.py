"""E-mails through a real mail server: both languages, text and HTML, how to stop them, digests, quiet hours, letters, TLS."""

from __future__ import annotations

import re
import ssl
import tempfile
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.alerts.house import House, open_house
from tests.alerts.receivers import MailSink, mail_sink, parts_of
from tests.doubles import FrozenClock
from tokenwell.core.alerts import Schedule
from tokenwell.core.happenings import PLATFORM, SYSTEM, EventKind
from tokenwell.core.letters import Letter, LetterKind
from tokenwell.errors import RequestInvalid
from tokenwell.service.identity.people import Role
from tokenwell.service.notices.subscriptions import ChannelKind, DeliveryStatus, Wishes
from tokenwell.service.supply.topups import TopupStatus
from tokenwell.store.notices.deliveries import Attempt, Delivery, attempts_of
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

LOW = {"balance_tokens": 4_182_340, "warning_tokens": 5_000_000}
CERTIFICATE = Path(__file__).parents[1] / "gateway" / "localhost.pem"


def attempts_at(house: House, delivery: Delivery) -> list[Attempt]:
    """Return the attempts at a delivery, newest first."""
    with reading(house.meter.engine) as connection:
        return attempts_of(connection, delivery.organization_id, delivery.id, 10)


async def test_an_email_says_the_sentence_in_text_and_html(house: House, sink: MailSink) -> None:
    house.add("ops@acme.example", kind=ChannelKind.EMAIL)
    house.happen(EventKind.STATE_RUNNING_LOW, **LOW)
    assert await house.deliver() == 1
    (mail,) = sink.mails
    (told,) = house.deliveries()
    assert (mail["to"], mail["subject"]) == ("ops@acme.example", "Acme Corp: AI is running low.")
    assert mail["from"] == "Tokenwell <tokenwell@ai.example.com>"
    assert mail["message-id"] == f"<{told.id}@ai.example.com>"
    for part in parts_of(mail):
        assert "The balance is 4,182,340 tokens, below the warning threshold of 5,000,000." in part
        assert "https://ai.example.com/o/acme" in part
    assert "<script" not in parts_of(mail)[1]


async def test_an_email_in_chinese_is_chinese_and_in_the_readers_zone(house: House, sink: MailSink) -> None:
    house.add("ops@acme.example", kind=ChannelKind.EMAIL, language="zh", zone="Asia/Shanghai")
    house.happen(EventKind.STATE_AI_STOPPED, balance_tokens=50, reserve_tokens=100)
    await house.deliver()
    (mail,) = sink.mails
    assert (mail["subject"], mail["content-language"]) == ("Acme Corp: AI 已停止。", "zh-CN")
    text, html = parts_of(mail)
    assert "AI 回复已于 1月31日 17:30 暂停" in text
    assert '<html lang="zh-CN">' in html


async def test_who_said_nothing_is_told_in_the_language_and_the_zone_of_their_profile(house: House, sink: MailSink) -> None:
    people = house.suite.people
    mei = people.create_person(email="mei@acme.example", password="correct horse battery")
    people.add_member("acme", mei.id, Role.ORGANIZATION_ADMIN)
    people.keep_profile(mei.id, name="Mei", language="zh", zone="Asia/Shanghai")
    house.happen(EventKind.STATE_AI_STOPPED, balance_tokens=50, reserve_tokens=100)
    await house.deliver()
    (mail,) = sink.mails
    assert "AI 回复已于 1月31日 17:30 暂停" in parts_of(mail)[0]
    words = {name: value[0] for name, value in parse_qs(urlsplit(mail["list-unsubscribe"].strip("<>")).query).items()}
    house.personal.unsubscribe(words["to"], words["sig"])
    own = house.personal.of("acme", mei.id)
    assert (own.language, own.zone, EventKind.STATE_AI_STOPPED in own.kinds) == ("zh", "Asia/Shanghai", False)


async def test_a_platform_administrator_approves_a_request_from_the_letter_and_nobody_else_can(
    house: House, sink: MailSink
) -> None:
    people = house.suite.people
    root = people.create_admin(email="root@platform.example", password="correct horse battery")
    mei = people.create_person(email="mei@acme.example", password="correct horse battery")
    people.add_member("acme", mei.id, Role.ORGANIZATION_ADMIN)
    house.personal.set("acme", mei.id, Wishes(kinds=frozenset({EventKind.TOPUP_REQUESTED})))
    house.add("desk@platform.example", kind=ChannelKind.EMAIL, organization_id=PLATFORM, kinds={EventKind.TOPUP_REQUESTED})
    topup = house.suite.topups.ask("acme", 5_000_000, by=SYSTEM)
    await house.deliver()
    letters = {mail["to"]: parts_of(mail) for mail in sink.mails}
    assert set(letters) == {"root@platform.example", "mei@acme.example", "desk@platform.example"}
    assert ["/topup?" in part for to in sorted(letters) for part in letters[to]] == [False, False, False, False, True, True]
    (link,) = re.findall(r"Approve the request: (https://ai\.example\.com/topup\?\S+)", letters["root@platform.example"][0])
    (token,) = parse_qs(urlsplit(link).query)["token"]
    assert house.suite.approval_links.open(token)[1].id == root.id
    assert house.suite.approval_links.approve(token).granted.pack.total_tokens == 5_000_000
    for each in house.deliveries():
        (attempt,) = attempts_at(house, each)
        assert token not in attempt.request + attempt.answer
    assert house.suite.topups.get("acme", topup.id).status is TopupStatus.APPROVED


async def test_a_letter_on_a_request_that_is_decided_has_no_link_to_approve_it(house: House, sink: MailSink) -> None:
    house.suite.people.create_admin(email="root@platform.example", password="correct horse battery")
    topup = house.suite.topups.ask("acme", 5_000_000, by=SYSTEM)
    house.suite.topups.cancel("acme", topup.id, is_administrator=True, by=SYSTEM)
    await house.deliver()
    (mail,) = sink.mails
    assert "https://ai.example.com/o/acme" in parts_of(mail)[0]
    assert "/topup?" not in parts_of(mail)[0]


async def test_what_people_wrote_is_no_markup(house: House, sink: MailSink) -> None:
    house.add("ops@acme.example", kind=ChannelKind.EMAIL)
    house.happen(EventKind.TOPUP_DECLINED, reason="<img src=x onerror=alert(1)>\r\nBcc: eve@evil.example")
    await house.deliver()
    (mail,) = sink.mails
    assert "<img" not in parts_of(mail)[1]
    assert mail["bcc"] is None


async def test_administrators_are_told_by_default_and_stop_one_kind_by_its_link(house: House, sink: MailSink) -> None:
    people = house.suite.people
    mei = people.create_person(email="mei@acme.example", password="correct horse battery")
    viewer = people.create_person(email="viewer@acme.example", password="correct horse battery")
    people.add_member("acme", mei.id, Role.ORGANIZATION_ADMIN)
    people.add_member("acme", viewer.id, Role.VIEWER)
    house.happen(EventKind.STATE_RUNNING_LOW, **LOW)
    assert await house.deliver() == 1
    (mail,) = sink.mails
    assert mail["to"] == "mei@acme.example"
    assert mail["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    link = mail["list-unsubscribe"].strip("<>")
    words = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    with pytest.raises(RequestInvalid):
        house.personal.unsubscribe(words["to"].replace("running_low", "ai_stopped"), words["sig"])
    for _ in range(2):
        assert house.personal.unsubscribe(words["to"], words["sig"]).kind is EventKind.STATE_RUNNING_LOW
    house.happen(EventKind.STATE_RUNNING_LOW, **LOW)
    house.happen(EventKind.STATE_AI_STOPPED, balance_tokens=0)
    assert await house.deliver() == 1
    assert sink.mails[-1]["subject"].endswith("AI is stopped.")


async def test_a_platform_administrator_is_told_of_requests_and_once(house: House, sink: MailSink) -> None:
    people = house.suite.people
    admin = people.create_admin(email="root@platform.example", password="correct horse battery")
    people.add_member("acme", admin.id, Role.ORGANIZATION_ADMIN)
    house.happen(EventKind.TOPUP_REQUESTED, amount_tokens=5_000_000, by="Mei Lin", note="")
    house.happen(EventKind.STATE_AI_STOPPED, balance_tokens=0)
    assert await house.deliver() == 2
    # One is told as the platform's administrator, the other as the organization's: either may come first.
    assert {mail["subject"] for mail in sink.mails} == {"Acme Corp: Top-up requested by Mei Lin.", "Acme Corp: AI is stopped."}
    assert len(sink.mails) == 2


async def test_quiet_hours_hold_back_all_but_what_is_urgent(house: House, sink: MailSink, clock: FrozenClock) -> None:
    night = Schedule(quiet_from=10 * 60, quiet_until=18 * 60)  # 09:30 UTC is 10:30 in Berlin
    house.add("ops@acme.example", kind=ChannelKind.EMAIL, zone="Europe/Berlin", schedule=night)
    house.happen(EventKind.PACK_EXPIRED, pack_number=1, forfeited_tokens=5)
    house.happen(EventKind.PACK_EXPIRED, pack_number=2, forfeited_tokens=6)
    house.happen(EventKind.STATE_AI_STOPPED, balance_tokens=0)
    assert await house.deliver() == 1
    clock.advance(timedelta(hours=7, minutes=29))
    assert await house.deliver() == 0
    clock.advance(timedelta(minutes=1))
    assert await house.deliver() == 2
    assert [mail["subject"] for mail in sink.mails] == ["Acme Corp: AI is stopped.", "2 alerts of Acme Corp"]
    assert "PK-1 has expired." in parts_of(sink.mails[1])[0]
    assert "PK-2 has expired." in parts_of(sink.mails[1])[0]


async def test_a_digest_tells_a_day_at_once(house: House, sink: MailSink, clock: FrozenClock) -> None:
    house.add("ops@acme.example", kind=ChannelKind.EMAIL, schedule=Schedule(digest_at=8 * 60))
    for number in range(3):
        house.happen(EventKind.PACK_DEPLETED, pack_number=number)
        await house.deliver()
        clock.advance(timedelta(hours=2))
    clock.advance(timedelta(hours=24 - 9.5 + 8 - 6))
    assert await house.deliver() == 3
    (mail,) = sink.mails
    assert mail["subject"] == "3 alerts of Acme Corp"
    assert {each.status for each in house.deliveries()} == {DeliveryStatus.DELIVERED}


@pytest.mark.parametrize(("language", "subject"), [("en", "You are invited to Acme Corp."), ("zh", "邀请您加入 Acme Corp。")])
async def test_a_letter_arrives_and_its_content_is_deleted(house: House, sink: MailSink, language: str, subject: str) -> None:
    link = "https://ai.example.com/join/secret"
    facts = {"organization": "Acme Corp", "inviter": "Mei Lin", "hours": "72"}
    with transaction(house.meter.engine) as connection:
        house.suite.mailer.post(
            connection, Letter(kind=LetterKind.INVITATION, to="new@acme.example", language=language, link=link, facts=facts)
        )
    assert await house.deliver() == 1
    (mail,) = sink.mails
    assert (mail["to"], mail["subject"], mail["list-unsubscribe"]) == ("new@acme.example", subject, None)
    assert all(link in part and "Mei Lin" in part for part in parts_of(mail))
    assert house.deliveries()[0].sealed is None


async def test_an_address_that_does_not_exist_is_given_up_at_once(house: House, sink: MailSink) -> None:
    sink.answer = lambda recipient: "550 no such mailbox"
    house.add("nobody@acme.example", kind=ChannelKind.EMAIL)
    house.happen()
    assert await house.deliver() == 0
    assert [each.status for each in house.deliveries()] == [DeliveryStatus.DEAD]


async def test_a_mail_server_that_is_busy_is_tried_again(house: House, sink: MailSink, clock: FrozenClock) -> None:
    sink.answer = lambda recipient: "451 try later"
    house.add("ops@acme.example", kind=ChannelKind.EMAIL)
    house.happen()
    assert await house.deliver() == 0
    sink.answer = lambda recipient: None
    clock.advance(timedelta(minutes=1))
    assert await house.deliver() == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_the_way_to_the_mail_server_is_encrypted_and_its_certificate_checked(sqlite_url: str, security: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    more = {"ssl_context": context} if security == "tls" else {"tls_context": context, "require_starttls": True}
    with mail_sink(**more) as sink:
        for authorities, delivered in (("", 0), (str(CERTIFICATE), 1)):
            settings = {"smtp_port": sink.port, "smtp_security": security, "smtp_ca_file": authorities}
            with open_house(sqlite_url, smtp_host="localhost", **settings) as house:
                house.add("ops@acme.example", kind=ChannelKind.EMAIL, kinds=frozenset({EventKind.PACK_EXPIRED}))
                house.happen()
                assert await house.deliver() == delivered
                if not delivered:
                    attempt = house.subscriptions.attempts("acme", house.deliveries()[0].channel_id, house.deliveries()[0].id)[1][0]
                    assert "certificate" in attempt.answer.lower()
            if not delivered:
                sqlite_url = f"sqlite:///{tempfile.mkdtemp()}/other.db"
        assert len(sink.mails) == 1


async def test_without_a_mail_server_nobody_is_told_by_email(database_url: str, clock: FrozenClock) -> None:
    with open_house(database_url, clock) as house:
        person = house.suite.people.create_person(email="mei@acme.example", password="correct horse battery")
        house.suite.people.add_member("acme", person.id, Role.VIEWER)
        house.personal.set("acme", person.id, Wishes())
        house.add("ops@acme.example", kind=ChannelKind.EMAIL)
        house.happen()
        assert await house.deliver() == 0
        assert house.deliveries() == []
