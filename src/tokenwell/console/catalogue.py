"""The catalogue: the console's languages, their words, and which of them a visitor gets."""

from __future__ import annotations

from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LOCALE_DIRECTORY = Path(__file__).parent / "locale"

LANGUAGES = {"en": "English", "zh": "简体中文"}
"""Each language by its code, with its name in itself. English is what the templates are written in."""

HTML_LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""What stands in `<html lang>`."""

DEFAULT_LANGUAGE = "en"


def translations(language: str) -> NullTranslations:
    """Return the words of a language, read from its .po file: nothing has to be compiled before Tokenwell runs."""
    if language == DEFAULT_LANGUAGE:
        return NullTranslations()
    path = LOCALE_DIRECTORY / language / "LC_MESSAGES" / "console.po"
    compiled = BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale="zh_Hans_CN"))
    compiled.seek(0)
    return GNUTranslations(compiled)


def preferred_language(accept_language: str) -> str:
    """Return the first of our languages that an Accept-Language header asks for, by weight and then by order."""
    wanted: list[tuple[float, str]] = []
    for part in accept_language[:1000].split(","):
        tag, _, parameter = part.partition(";")
        name, _, weight = parameter.strip().partition("=")
        try:
            quality = float(weight) if name.strip() == "q" else 1.0
        except ValueError:
            continue
        primary = tag.strip().lower().partition("-")[0]
        if primary in LANGUAGES and 0 < quality <= 1:
            wanted.append((quality, primary))
    return max(wanted, key=lambda pair: pair[0])[1] if wanted else DEFAULT_LANGUAGE
