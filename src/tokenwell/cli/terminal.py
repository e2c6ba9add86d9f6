"""The terminal: how every command reads its words, prints its answer as text or JSON, and ends.

Exit codes: 0 done · 1 another failure, and `verify` that found problems · 2 the input cannot be used · 3 there is no such thing ·
4 a conflict with the present state · 5 the balance does not allow it · 6 the database · 130 interrupted.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any

import click
import msgspec

from tokenwell import __version__
from tokenwell.config import Settings
from tokenwell.core.instants import parse_instant
from tokenwell.errors import RequestInvalid, TokenwellError
from tokenwell.service.ports import Page

DONE, FAILED, INTERRUPTED = 0, 1, 130
EXIT_CODES = {"invalid": 2, "not_found": 3, "conflict": 4, "refused": 5, "store": 6}
"""The exit code of each category of errors; FAILED for any other."""

PAGE, LONGEST_PAGE = 50, 1_000

_DURATION = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tokenwell", message="%(prog)s %(version)s")
def root() -> None:
    """Prepaid AI tokens: packs, balance, ledger, and a gateway that meters every AI call.

    Every command takes --json and --database. An amount is 250000, 250k or 5M. Settings are environment variables, such as
    TOKENWELL_DATABASE_URL.

    Exit codes: 0 done, 2 the input cannot be used, 3 no such thing, 4 a conflict, 5 the balance does not allow it, 6 the database,
    1 anything else, 130 interrupted.
    """


class Call:
    """One run of a command: its settings, and how it answers."""

    def __init__(self, *, database: str | None, as_json: bool) -> None:
        self._database = database
        self._as_json = as_json

    def settings(self, fallback: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Return the settings of this process: what the command line gives, else the environment's, else the `fallback`'s."""
        given["database_url"] = self._database
        given = {name: value for name, value in given.items() if value is not None}
        return Settings.from_env({**(fallback or {}), **os.environ}, **given)

    def show(self, answer: Any, text: str) -> None:
        """Print an answer: `answer` with --json, else `text`."""
        click.echo(_pretty(answer) if self._as_json else text)

    def show_list(self, read: Callable[..., Page[Any]], table: Table, *, limit: int, cursor: str | None, everything: bool) -> None:
        """Print one page of what `read` gives, or every page as it comes (with --json one object a line)."""
        page = read(cursor=cursor, limit=LONGEST_PAGE if everything else limit)
        if self._as_json and not everything:
            click.echo(_pretty({"items": [table.view(item) for item in page.items], "next_cursor": page.next_cursor}))
            return
        self._show_items(page, table, is_first=True)
        while everything and page.next_cursor is not None:
            page = read(cursor=page.next_cursor, limit=LONGEST_PAGE)
            self._show_items(page, table, is_first=False)
        if page.next_cursor is not None:
            click.echo(f"There is more: --cursor {page.next_cursor}")

    def _show_items(self, page: Page[Any], table: Table, *, is_first: bool) -> None:
        if self._as_json:
            click.echo("".join(_encode(table.view(item)) + "\n" for item in page.items), nl=False)
        else:
            click.echo(table.render(page.items, with_head=is_first))


class Table:
    """A list for people and for programs: named columns, and what one item is in JSON. Numbers stand to the right."""

    def __init__(
        self, columns: dict[str, Callable[[Any], str]], *, right: Sequence[str] = (), view: Callable[[Any], Any] = lambda item: item
    ) -> None:
        self.view = view
        self._columns = columns
        self._right = right
        self._widths: list[int] = []

    def render(self, items: Sequence[Any], *, with_head: bool = True) -> str:
        """Return the lines of some rows. The widths stay those of the first."""
        rows = [[cell(item) for cell in self._columns.values()] for item in items]
        if with_head:
            rows.insert(0, list(self._columns))
            self._widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(self._line(row) for row in rows)

    def _line(self, cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if head in self._right else cell.ljust(width)
            for cell, width, head in zip(cells, self._widths, self._columns, strict=True)
        )
        return "  ".join(padded).rstrip()


def command(group: click.Group, name: str) -> Callable[[Callable[..., int | None]], click.Command]:
    """Make a function a command of `group` with --database and --json. It is given the Call first, and may return an exit code."""

    def make(function: Callable[..., int | None]) -> click.Command:
        @functools.wraps(function)
        def run(*, database: str | None, as_json: bool, **words: Any) -> int | None:
            return function(Call(database=database, as_json=as_json), **words)

        for option in (
            click.option("--json", "as_json", is_flag=True, help="Answer in JSON: tokens are integers, instants UTC."),
            click.option("--database", metavar="URL", help="The database; else TOKENWELL_DATABASE_URL, else data/tokenwell.db."),
        ):
            run = option(run)
        return group.command(name)(run)

    return make


def paged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that lists something --limit, --cursor and --all."""
    for option in (
        click.option("--all", "everything", is_flag=True, help="Every page; with --json one object a line."),
        click.option("--cursor", metavar="CURSOR", help="Go on after the page that ended with this."),
        click.option("--limit", type=click.IntRange(1, LONGEST_PAGE), default=PAGE, show_default=True, help="How many on a page."),
    ):
        function = option(function)
    return function


def run_command(group: click.Group, words: Sequence[str]) -> int:
    """Run one command line and return its exit code. What goes wrong is one line on standard error, an object with --json."""
    as_json = "--json" in words
    try:
        with group.make_context("tokenwell", list(words)) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return DONE
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "tokenwell"
        _complain(f"{error.format_message()} See {where} --help", "usage", as_json=as_json)
        return EXIT_CODES["invalid"]
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ntokenwell: interrupted", err=True)
        return INTERRUPTED
    except TokenwellError as error:
        _complain(error.message, error.code, as_json=as_json, retryable=error.retryable, details=error.details)
        return EXIT_CODES.get(error.category, FAILED)
    except BrokenPipeError:
        # Whoever reads our output has closed it, as `head` does. Python must not find that out once more as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code if isinstance(code, int) else DONE


def parse_expiry(text: str, *, now: datetime) -> datetime | None:
    """Return the instant of an expiry: a date, an instant, a duration from now (`90d`, `12h`), None for `never`.

    Days and weeks end at the midnight UTC after that many days, so that a command repeated on the same day with the same key asks
    for the same; minutes and hours count from this instant. Raises RequestInvalid.
    """
    if text == "never":
        return None
    duration = _DURATION.fullmatch(text)
    if duration is None:
        return parse_instant(text, field="--expires")
    try:
        at = now + int(duration[1]) * _UNITS[duration[2]]
        return at if duration[2] in "mh" else datetime.combine(at.date() + timedelta(days=1), time(), tzinfo=at.tzinfo)
    except OverflowError:
        raise RequestInvalid("--expires is too far away", field="--expires") from None


def parse_as_of(text: str | None) -> datetime | None:
    """Return the instant of --as-of; None if it was not given. Raises RequestInvalid."""
    return None if text is None else parse_instant(text, field="--as-of")


def parse_since(text: str, *, now: datetime) -> datetime:
    """Return the instant of --since: a date, an instant, or a duration before now (`30d`, `12h`). Raises RequestInvalid."""
    duration = _DURATION.fullmatch(text)
    if duration is None:
        return parse_instant(text, field="--since")
    try:
        return now - int(duration[1]) * _UNITS[duration[2]]
    except OverflowError:
        raise RequestInvalid("--since is too far away", field="--since") from None


def when(at: datetime | None) -> str:
    """Return an instant for people; `never` for none."""
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _complain(message: str, code: str, *, as_json: bool, retryable: bool = False, details: dict[str, Any] | None = None) -> None:
    if as_json:
        error = {"code": code, "message": message, "retryable": retryable, "details": details or {}}
        click.echo(_encode({"error": error}), err=True)
    else:
        click.echo("tokenwell: " + " ".join(message.split()), err=True)


def _encode(answer: Any) -> str:
    return msgspec.json.encode(answer, enc_hook=str).decode()


def _pretty(answer: Any) -> str:
    return json.dumps(json.loads(_encode(answer)), indent=2, ensure_ascii=False)
