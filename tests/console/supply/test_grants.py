"""Grants of the platform: the packs granted last, and recurring grants that are shown before they are made, changed or ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from tests.console.browsing import Browser, Page, statements_of
from tests.console.test_acting import fields_of, send
from tests.doubles import FrozenClock
from tokenwell.console.security import FORM_FIELD
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.meter import Meter
from tokenwell.service.supply.schedules import Schedule, Schedules, Unit

OpenBrowser = Callable[..., Browser]
NEW = "/admin/grants/schedule"


@pytest.fixture
def ada(open_browser: OpenBrowser) -> Browser:
    """A browser in which a platform administrator is signed in."""
    return open_browser("ada@example.com")


@pytest.fixture
def schedules(meter: Meter) -> Schedules:
    """The schedules of the meter."""
    return Schedules(meter)


def monthly(schedules: Schedules, organization_id: str = "acme") -> Schedule:
    """Return a schedule of a million each month from the last of February on."""
    return schedules.create(
        organization_id, "1M", unit=Unit.MONTH, first_day=date(2027, 2, 28), zone="Europe/Berlin", valid_days=31, by=SYSTEM
    )


def acts(meter: Meter) -> list[tuple[str, str]]:
    """Return what the audit log says was done with schedules, and by whom."""
    with meter.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT action, actor_name FROM act WHERE action LIKE 'schedule.%' ORDER BY act_id").all()
    return [(row[0], row[1]) for row in rows]


def upcoming(page: Page) -> list[str]:
    """Return the occurrences a form announces, as instants."""
    part = page.html[page.html.index('<ol class="coming">') :]
    return Page(part[: part.index("</ol>")]).having("datetime")


def test_a_recurring_grant_is_previewed_month_by_month_then_made_once(ada: Browser, meter: Meter, schedules: Schedules) -> None:
    typed = {"organization": "acme", "amount": "5M", "first_day": "2027-01-31", "at": "02:30", "in_zone": "Europe/Berlin"}
    status, page, fields = send(ada, NEW, **typed, valid_days="31", note="Monthly plan", preview="1")
    assert status == 200
    assert upcoming(page)[::2] == [
        "2027-02-28T01:30:00Z",
        "2027-03-31T00:30:00Z",
        "2027-04-30T00:30:00Z",
        "2027-05-31T00:30:00Z",
        "2027-06-30T00:30:00Z",
        "2027-07-31T00:30:00Z",
    ]
    assert page.text.count("last day of the month") == 3
    assert "28 Feb, 02:30" in page.text
    assert schedules.list().items == ()
    del fields["preview"]
    for _ in range(2):
        assert ada.post(NEW, fields).status_code == 303
    (made,) = schedules.list().items
    assert (made.organization_id, made.amount_tokens, made.valid_days, made.note) == ("acme", 5_000_000, 31, "Monthly plan")
    page = ada.page("/admin/grants")
    assert "The recurring grant for Acme Parts was made." in page.text
    assert page.having("data-schedule") == [made.id]
    assert "Every month, valid 31 days" in page.text
    assert acts(meter) == [("schedule.create", "Ada Root")]
    answer = ada.post(NEW, fields | {"amount": "6M"})
    assert answer.status_code == 422
    assert "already sent with something else" in answer.text


def test_a_leap_day_and_a_clock_change_are_shown_as_they_come(ada: Browser) -> None:
    typed = {"organization": "acme", "amount": "5M", "in_zone": "Europe/Berlin", "valid_days": "", "preview": "1"}
    page = send(ada, NEW, **typed, first_day="2028-02-29", at="12:00", every="12")[1]
    assert [each[:10] for each in upcoming(page)] == [f"{year}-02-{29 if year % 4 == 0 else 28}" for year in range(2028, 2034)]
    assert "never expires" in page.text
    page = send(ada, NEW, **typed, first_day="2027-03-27", at="02:30", unit="day")[1]
    assert upcoming(page)[:3] == ["2027-03-27T01:30:00Z", "2027-03-28T01:30:00Z", "2027-03-29T00:30:00Z"]
    assert "28 Mar, 03:30 clocks change" in page.text
    assert page.text.count("clocks change") == 1


def test_what_is_wrong_is_told_at_its_field_and_nothing_is_made(ada: Browser, schedules: Schedules) -> None:
    typed = {"organization": "nobody", "every": "400", "at": "9 o'clock", "in_zone": "Mars/Base", "last_day": "soon", "note": "<x>"}
    status, page, _ = send(ada, NEW, **typed, amount="apples", valid_days="0")
    assert status == 422
    wrong = ["organization", "amount", "every", "at", "in_zone", "valid_days", "last_day"]
    assert sorted(each["id"] for _, each in page.elements if each.get("aria-invalid")) == sorted(wrong)
    assert page.all("input", id="at", value="9 o'clock")
    assert page.all("input", id="note", value="<x>")
    status, page, _ = send(ada, NEW, organization="acme", first_day="2027-05-01", last_day="2027-04-30")
    assert (status, "The last day is before the first." in page.text) == (422, True)
    status, page, _ = send(ada, NEW, organization="acme", first_day="2026-01-01", last_day="2026-02-01")
    assert (status, "So it would never be due again." in page.text) == (422, True)
    assert schedules.list().items == ()


def test_what_comes_is_changed_and_keeps_its_rhythm(ada: Browser, meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules)
    path = f"/o/acme/schedules/{schedule.id}/change"
    assert fields_of(ada.page(path))["amount"] == "1,000,000"
    status, page, _ = send(ada, path, amount="2M", valid_days="", preview="1")
    assert (status, "1,000,000 → 2,000,000" in page.text) == (200, True)
    status, page, _ = send(ada, path, last_day="2027-01-01")
    assert (status, page.all("input", id="last_day", aria_invalid="true") != []) == (422, True)
    assert send(ada, path, amount="2M", valid_days="", last_day="2027-03-31", note="Larger")[0] == 303
    changed = schedules.get("acme", schedule.id)
    assert (changed.amount_tokens, changed.valid_days, changed.note) == (2_000_000, None, "Larger")
    assert (changed.next_at, changed.recurrence.last_day) == (schedule.next_at, date(2027, 3, 31))
    clock.advance(timedelta(days=29))
    assert schedules.run_due() == 1
    assert meter.packs("acme").items[0].pack.total_tokens == 2_000_000
    assert acts(meter)[-1] == ("schedule.change", "Ada Root")


def test_it_pauses_goes_on_and_ends(ada: Browser, meter: Meter, schedules: Schedules) -> None:
    schedule = monthly(schedules)
    for act, badge in (("pause", "Paused"), ("resume", "Going"), ("end", "Ended")):
        for _ in range(2 if act == "end" else 1):
            assert send(ada, f"/o/acme/schedules/{schedule.id}/{act}")[0] == 303
        assert f"Acme Parts acme {badge}" in ada.page("/admin/grants?schedules=all").text
    assert ada.page("/admin/grants").having("data-schedule") == []
    status, page, _ = send(ada, f"/o/acme/schedules/{schedule.id}/resume")
    assert (status, "That cannot be done." in page.text) == (422, True)
    assert [act for act, _ in acts(meter)] == ["schedule.create", "schedule.pause", "schedule.resume", "schedule.end"]


def test_many_are_listed_page_by_page_without_a_read_for_each(ada: Browser, meter: Meter, schedules: Schedules) -> None:
    made = [monthly(schedules).id]
    ada.page("/admin/grants")
    with statements_of(meter.engine) as one:
        ada.page("/admin/grants")
    made += [monthly(schedules, name).id for _ in range(15) for name in ("acme", "beta")]
    with statements_of(meter.engine) as many:
        first = ada.page("/admin/grants")
    assert len(many) == len(one)
    older = [each["href"] for each in first.all("a") if "schedules_after=" in each.get("href", "")][-1]
    assert first.having("data-schedule") + ada.page(older).having("data-schedule") == made[::-1]


def test_only_the_platform_has_recurring_grants(mei: Browser, open_browser: OpenBrowser, schedules: Schedules) -> None:
    schedule = monthly(schedules)
    token = mei.page("/o/acme").csrf_token
    vic = open_browser("vic@example.com")
    for act in ("change", "pause", "resume", "end"):
        for browser in (mei, vic):
            assert browser.get(f"/o/acme/schedules/{schedule.id}/{act}").status_code == 403
        assert mei.post(f"/o/acme/schedules/{schedule.id}/{act}", {FORM_FIELD: token, "amount": "5"}).status_code == 403
        assert mei.get(f"/o/beta/schedules/{schedule.id}/{act}").status_code == 404
    assert mei.get(NEW).status_code == 404
    assert mei.post(NEW, {FORM_FIELD: token, "organization": "acme"}).status_code == 404
    ada = open_browser("ada@example.com")
    assert ada.get(f"/o/beta/schedules/{schedule.id}/end").status_code == 404
    assert ada.get(f"/o/acme/schedules/{schedule.id}/dance").status_code == 404
    assert schedules.get("acme", schedule.id) == schedule


def test_in_chinese(ada: Browser, schedules: Schedules) -> None:
    monthly(schedules)
    ada.submit("/admin/grants", "/language", {"language": "zh", "next": "/"})
    page = ada.page("/admin/grants")
    assert "定期授予" in page.text
    assert "每 1 个月" in page.text
