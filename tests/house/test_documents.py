"""The documents are true: reference pages are the code's, links lead somewhere, and examples marked so run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import tokenwell
from tests.house.sources import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_RUNNABLE = re.compile(r"<!-- run -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def reference() -> ModuleType:
    """Return the writer of the reference pages."""
    spec = importlib.util.spec_from_file_location("reference_writer", ROOT / "docs" / "reference" / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def broken_links(document: Path, text: str) -> list[str]:
    """Return the links of a document that lead to no file, or to no heading of one."""
    broken = []
    for target in _LINK.findall(_FENCED.sub("", text)):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve()
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8") if path else text)):
            broken.append(f"{document.relative_to(ROOT)}: {target}")
    return broken


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(_FENCED.sub("", text))}


@pytest.mark.parametrize("name", ["settings.md", "cli.md", "errors.md", "metrics.md"])
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    """`make reference` writes it again."""
    assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == reference().pages()[name]


def test_the_page_of_the_jobs_lists_them_all() -> None:
    """`make reference` writes it again."""
    assert (ROOT / "docs" / "operating" / "jobs.md").read_text(encoding="utf-8") == reference().jobs_page()


def test_every_reference_page_is_checked() -> None:
    assert {page.name for page in (ROOT / "docs" / "reference").glob("*.md")} == set(reference().pages())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document, document.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found() -> None:
    text = "# A heading\n[here](README.md) [there](nowhere.md) [top](#a-heading) [down](#below)\n```\n[x](y)\n```\n"
    assert broken_links(ROOT / "README.md", text) == ["README.md: nowhere.md", "README.md: #below"]


@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if _RUNNABLE.search(each.read_text(encoding="utf-8"))], ids=lambda d: d.name
)
def test_examples_run_and_print_what_they_say(document: Path, tmp_path: Path) -> None:
    """A comment at the end of a print is what it prints."""
    for example in _RUNNABLE.findall(document.read_text(encoding="utf-8")):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines() == re.findall(r"print\(.*\)\s+# (.+)$", example, re.MULTILINE)


def test_the_readme_has_an_example_that_runs() -> None:
    assert _RUNNABLE.search((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_package_says_how_it_is_used(tmp_path: Path) -> None:
    """The example in the package's docstring runs."""
    example = textwrap.dedent((tokenwell.__doc__ or "").partition("\n\n")[2])
    run = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("4998980\n", "")
