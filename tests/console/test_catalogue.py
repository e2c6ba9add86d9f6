"""The catalogue: every string in every language, nothing left over, and who gets which language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from tokenwell.console import catalogue
from tokenwell.console.catalogue import HTML_LANGUAGES, LANGUAGES, LOCALE_DIRECTORY, preferred_language, translations

TEMPLATES = Path(catalogue.__file__).parent / "templates"
TRANSLATED = sorted(set(LANGUAGES) - {"en"})
PLACEHOLDER = re.compile(r"%\((\w+)\)s")
TAG = re.compile(r"<[^>]*>")


def marked_strings() -> set[tuple[str, ...]]:
    """Return every string the templates mark, with its plural where it has one."""
    found = extract_from_dir(TEMPLATES, method_map=[("**.j2", "jinja2")], options_map={"**.j2": {"silent": "false"}})
    return {(message,) if isinstance(message, str) else tuple(message) for _, _, message, _, _ in found}


def catalogue_of(language: str) -> Catalog:
    with (LOCALE_DIRECTORY / language / "LC_MESSAGES" / "console.po").open("rb") as source:
        return read_po(source)


def forms_of(strings: object) -> tuple[str, ...]:
    return (strings,) if isinstance(strings, str) else tuple(strings)  # type: ignore[arg-type]


def test_there_are_strings_to_translate() -> None:
    assert ("Usage ledger",) in marked_strings()
    assert ("%(count)s active pack", "%(count)s active packs") in marked_strings()


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_string_is_translated_and_none_is_left_over(language: str) -> None:
    messages = {forms_of(message.id): message for message in catalogue_of(language) if message.id}
    assert set(messages) == marked_strings()
    assert [key for key, message in messages.items() if not all(forms_of(message.string))] == []
    assert [key for key, message in messages.items() if message.fuzzy] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_keeps_the_placeholders_and_the_markup(language: str) -> None:
    for message in catalogue_of(language):
        if message.id:
            original = forms_of(message.id)[-1]
            for form in forms_of(message.string):
                assert set(PLACEHOLDER.findall(form)) == set(PLACEHOLDER.findall(original)), original
                assert sorted(TAG.findall(form)) == sorted(TAG.findall(original)), original


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_is_in_use_at_run_time(language: str) -> None:
    words = translations(language)
    assert words.gettext("Usage ledger") != "Usage ledger"
    assert words.ngettext("%(count)s active pack", "%(count)s active packs", 2) != "%(count)s active packs"


def test_every_language_is_named_in_itself_and_in_html() -> None:
    assert set(LANGUAGES) == set(HTML_LANGUAGES)


def test_templates_hold_no_words_that_are_not_marked() -> None:
    """Text between tags is either marked for translation or names itself: the product, codes, signs."""
    spoken = re.compile(r"[A-Za-z]{2,}")
    for path in TEMPLATES.rglob("*.j2"):
        bare = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "\x00", path.read_text(), flags=re.DOTALL)
        texts = re.findall(r">([^<>]*)<", bare)
        words = {word for text in texts for word in spoken.findall(text)} - {"Tokenwell"}
        assert words == set(), path.name


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-Hant-TW", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de,fr;q=0.9", "en"),
        ("de, zh;q=0.3, en;q=0.2", "zh"),
        ("en;q=0.5,zh;q=0.5", "en"),
        ("zh;q=0,en;q=0.1", "en"),
        ("zh;q=nonsense", "en"),
        ("zh;q=nan", "en"),
        ("zh;level=1", "zh"),
        (";;;,,,=", "en"),
        ("x" * 100_000, "en"),
    ],
)
def test_the_language_is_what_the_browser_likes_best_of_ours(header: str, language: str) -> None:
    assert preferred_language(header) == language
