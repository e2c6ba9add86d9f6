"""Browsing: what a person does with pages, without running their scripts; and what a test asks of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

import sqlalchemy
from starlette.testclient import TestClient

from tokenwell.console.security import FORM_FIELD


class Page(HTMLParser):
    """A page taken apart: its text, its elements, and what its form carries."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._text.append(" ")

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    @property
    def text(self) -> str:
        """The page's words, with single spaces between them and where an element begins."""
        return re.sub(r"\s+", " ", "".join(self._text)).strip()

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Return the attributes of every such element. `data_pack` stands for `data-pack`, `class_` for `class`."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]

    def having(self, attribute: str) -> list[str]:
        """Return the attribute's value of every element that has it, in order."""
        return [found[attribute] for _, found in self.elements if attribute in found]

    @property
    def csrf_token(self) -> str:
        """The token its forms carry."""
        return self.all("input", name=FORM_FIELD)[0]["value"]


class Browser:
    """A browser: it keeps cookies and says where a form comes from."""

    PASSWORD = "correct horse battery"

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.origin = str(client.base_url)

    def get(self, path: str, **options: Any) -> Any:
        """Ask for a page."""
        return self.client.get(path, **options)

    def page(self, path: str, status: int = 200, **options: Any) -> Page:
        """Ask for a page and take it apart."""
        answer = self.get(path, **options)
        assert answer.status_code == status, answer.text[-2000:]
        return Page(answer.text)

    def post(self, path: str, fields: dict[str, str], *, origin: str | None = "own") -> Any:
        """Send a form as it is."""
        headers = {} if origin is None else {"origin": self.origin if origin == "own" else origin}
        return self.client.post(path, data=fields, headers=headers)

    def submit(self, page: str, path: str, fields: dict[str, str]) -> Any:
        """Open a page and send a form of it."""
        return self.post(path, {FORM_FIELD: self.page(page).csrf_token, **fields})

    def sign_in(self, email: str, password: str = PASSWORD, next_path: str = "") -> Any:
        """Open the sign-in page and send its form."""
        return self.submit("/sign-in", "/sign-in", {"email": email, "password": password, "next": next_path})


@contextmanager
def statements_of(engine: sqlalchemy.Engine) -> Iterator[list[str]]:
    """Give the list to which every statement is added that reaches the database meanwhile."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", note)
