"""Fixtures of the command line's tests: a shell of its own for each, with the demo's data."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.house.sources import ROOT
from tokenwell import wiring
from tokenwell.config import Settings
from tokenwell.core.happenings import SYSTEM

_EXPORT = "request_id,created_at,model,input_tokens,output_tokens\ndemo-7,2027-01-31T08:00:00Z,claude-haiku-4-5,900,120\n"
"""What a provider's export looks like."""


@pytest.fixture(scope="session")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's database, made once, with an open request for tokens and a recurring grant."""
    file = tmp_path_factory.mktemp("demo") / "tokenwell.db"
    settings = Settings(database_url=f"sqlite:///{file}")
    wiring.prepare_demo(settings)
    with wiring.open_services(settings) as suite:
        suite.topups.ask("acme", "5M", note="Black Friday", by=SYSTEM)
        suite.schedules.create("acme", "1M", unit="month", first_day=date(2099, 1, 31), by=SYSTEM)
    # What is copied is the file alone, so nothing of it may be left in its write-ahead log.
    with closing(sqlite3.connect(file)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy
    return file


def write_models(directory: Path) -> None:
    """Write the models file of the documentation into a directory."""
    page = (ROOT / "docs" / "operating" / "models.md").read_text(encoding="utf-8")
    (directory / "models.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    (directory / "secrets").mkdir()
    (directory / "secrets" / "azure_key").write_text("sk-test\n")


@pytest.fixture
def empty_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in an empty directory, but for the models file of the documentation and the keys it names."""
    monkeypatch.chdir(tmp_path)
    write_models(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_ORGANIZATION", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "sk-test")
    return Shell(tmp_path, capsys)


@pytest.fixture
def shell(empty_shell: Shell, demo_file: Path) -> Shell:
    """A shell in a directory with a copy of the demo's data."""
    data = empty_shell.directory / "data"
    data.mkdir()
    shutil.copy(demo_file, data / "tokenwell.db")
    (empty_shell.directory / "usage.csv").write_text(_EXPORT, encoding="utf-8")
    return empty_shell
