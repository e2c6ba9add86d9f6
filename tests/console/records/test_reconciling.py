"""Reconciliation in the console: a file is uploaded and compared once, what came of it is kept, and nothing else gets through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.console.browsing import Browser
from tokenwell.console.records.reconcilingpage import LINES_SHOWN, UPLOAD_LIMIT_BYTES
from tokenwell.console.security import FORM_FIELD
from tokenwell.service.meter import Meter
from tokenwell.service.records.reconciliation import Reconciliations

OpenBrowser = Callable[..., Browser]
PATH = "/admin/reconciliation"
EXPORT = (
    "request_id,created_at,model,input_tokens,output_tokens\n"
    "req-1,2027-01-31T10:00:00Z,gpt-5,900,100\n"
    "req-2,2027-01-31T11:00:00Z,gpt-5,700,\n"
    "elsewhere,2027-01-30T11:00:00Z,=evil,50,\n"
)


@pytest.fixture
def ada(open_browser: OpenBrowser, meter: Meter) -> Browser:
    """A browser in which a platform administrator is signed in, where acme used 1,500 tokens of gpt-5."""
    meter.grant("acme", 90_000)
    for number, (prompt, completion) in enumerate(((900, 100), (500, 0)), 1):
        meter.debit("acme", prompt_tokens=prompt, completion_tokens=completion, model="gpt-5", key=f"req-{number}")
    return open_browser("ada@example.com")


def upload(browser: Browser, content: str | None, *, name: str = "usage.csv", token: str | None = None, **options: Any) -> Any:
    """Send the form with a file, as a browser does; without `content` no file is chosen."""
    fields = {FORM_FIELD: browser.page(PATH).csrf_token if token is None else token}
    files = {"file": (name, content.encode(), "text/csv")} if content is not None else {"file": ("", b"", "text/csv")}
    return browser.client.post(PATH, data=fields, files=files, headers={"origin": browser.origin, **options})


def test_a_file_is_compared_and_tells_what_matched_and_the_drift(ada: Browser, meter: Meter) -> None:
    answer = upload(ada, EXPORT, name="C:\\exports\\January <1>.csv")
    assert answer.status_code == 303
    page = ada.page(answer.headers["location"])
    assert "The export was compared with the ledger." in page.text
    assert "January <1>.csv" in page.text
    assert "Matched by request id 2 of 3 named" in page.text
    assert "Not in the ledger 1" in page.text
    assert "Drift +250 tokens" in page.text
    assert page.having("data-drift") == ["200", "50"]
    assert "2027-01-31 gpt-5 1,700 1,500" in page.text
    for by, told in (("day", ["50", "200"]), ("model", ["200", "50"])):
        assert ada.page(f"{answer.headers['location']}?by={by}").having("data-drift") == told
    assert ada.get(f"{answer.headers['location']}?by=moon").status_code == 400
    assert ada.page(PATH).having("data-reconciliation") == [answer.headers["location"].rpartition("/")[2]]
    with meter.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT action, actor_name FROM act WHERE action LIKE 'reconciliation.%'").all()
    assert [tuple(row) for row in rows] == [("reconciliation.run", "Ada Root")]


def test_the_csv_has_every_line_and_no_formula(ada: Browser) -> None:
    many = "".join(f"r{number},2027-01-29,m{number:03},1,\n" for number in range(LINES_SHOWN + 5))
    path = upload(ada, EXPORT + many).headers["location"]
    page = ada.page(path)
    assert len(page.having("data-drift")) == LINES_SHOWN
    assert f"The {LINES_SHOWN} largest of {LINES_SHOWN + 7} lines" in page.text
    lines = ada.get(f"{path}/lines.csv").text.removeprefix("\ufeff").splitlines()
    assert len(lines) == LINES_SHOWN + 8
    assert "2027-01-30,'=evil,50,0,1,0,0,0,50" in lines
    assert "2027-01-31,gpt-5,1600,100,2,1400,100,2,200" in lines


def test_the_same_file_is_compared_once(ada: Browser, meter: Meter) -> None:
    first = upload(ada, EXPORT).headers["location"]
    meter.debit("acme", 999, model="gpt-5", prompt_tokens=999, completion_tokens=0)
    again = upload(ada, EXPORT, name="other.csv")
    assert again.headers["location"] == first
    page = ada.page(first)
    assert "This file was compared before" in page.text
    assert "Drift +250 tokens" in page.text


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "Choose a file."), ("hello", "This file cannot be compared."), ("{]", "This file cannot be compared.")],
)
def test_what_is_no_export_is_told_and_nothing_is_kept(ada: Browser, meter: Meter, content: str | None, told: str) -> None:
    answer = upload(ada, content)
    assert (answer.status_code, told in answer.text) == (422, True)
    assert 'aria-invalid="true"' in answer.text
    assert Reconciliations(meter).page().items == ()


def test_a_script_is_told_where_to_go(ada: Browser) -> None:
    answer = upload(ada, EXPORT, **{"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"].startswith(f"{PATH}/rec_")) == (200, True)
    answer = upload(ada, "hello", **{"HX-Request": "true"})
    assert (answer.status_code, "<html" in answer.text) == (422, False)


def test_a_file_that_is_too_large_is_refused(ada: Browser, meter: Meter) -> None:
    row = "r,2027-01-29,m,1,\n"
    answer = upload(ada, EXPORT + row * (UPLOAD_LIMIT_BYTES // len(row) + 1))
    assert answer.status_code == 413
    assert Reconciliations(meter).page().items == ()
    assert upload(ada, EXPORT + row * 10_000).status_code == 303  # larger than any other form may be


def test_a_form_without_our_token_or_by_somebody_else_compares_nothing(
    ada: Browser, mei: Browser, open_browser: OpenBrowser, meter: Meter
) -> None:
    assert upload(ada, EXPORT, token="").status_code == 403
    assert upload(ada, EXPORT, origin="https://elsewhere.example").status_code == 403
    path = upload(ada, EXPORT).headers["location"]
    for browser in (mei, open_browser("vic@example.com")):
        assert upload(browser, EXPORT, token=browser.page("/o/acme").csrf_token).status_code == 404
        for each in (PATH, path, f"{path}/lines.csv"):
            assert browser.get(each).status_code == 404
    nobody = open_browser()
    answer = upload(nobody, EXPORT, token="x")
    assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in")
    assert len(Reconciliations(meter).page().items) == 1
    assert ada.get(f"{PATH}/rec_nothing").status_code == 404
