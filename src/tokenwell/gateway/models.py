"""Models: the file that says which providers there are, and which of them answers for which model.

The file is TOML, read as the server starts and whenever it has changed. A key is never in it: it is named, as `env:NAME` or
`file:/path`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from tokenwell.core.identifiers import LABEL_LIMIT, check_label
from tokenwell.errors import RequestInvalid

REFUSE = "refuse"
"""The policy that refuses a model the file does not name."""


class Kind(StrEnum):
    """How a provider is spoken to: where its key goes, and what its addresses look like."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    AZURE = "azure"
    OPENAI_COMPATIBLE = "openai_compatible"


BASE_URLS = {Kind.OPENAI: "https://api.openai.com/v1", Kind.ANTHROPIC: "https://api.anthropic.com/v1"}
"""Where providers of a kind are, unless the file says otherwise."""

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Url = Annotated[str, msgspec.Meta(pattern=r"\A(?:https?://[^\s/?#]+[^\s?#]*)?\Z")]
_Reference = Annotated[str, msgspec.Meta(pattern=r"\A(?:env:[A-Za-z_][A-Za-z0-9_]*|file:.+)?\Z")]
_HeaderName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")]
_HeaderValue = Annotated[str, msgspec.Meta(pattern=r"\A[\x20-\x7e]*\Z")]


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An AI provider. `api_key` and the values of `headers` may be references, `env:NAME` or `file:/path`."""

    kind: Kind
    base_url: _Url = ""
    api_key: _Reference = ""
    api_version: Annotated[str, msgspec.Meta(pattern=r"\A[\w.-]*\Z")] = ""
    headers: dict[_HeaderName, _HeaderValue] = {}
    connect_seconds: _Seconds = 10
    first_byte_seconds: _Seconds = 300
    silence_seconds: _Seconds = 300
    connections: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2_000
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    breaker_failures: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 5
    breaker_seconds: _Seconds = 10

    def __repr__(self) -> str:
        """Show who it is and nothing that may be secret."""
        return f"Provider(kind={self.kind.value!r}, base_url={self.url!r})"

    @property
    def url(self) -> str:
        """Where it is."""
        return self.base_url or BASE_URLS.get(self.kind, "")


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to answer for a model: a provider, and the model's name there (empty: the name it has here).

    The lowest `priority` that can answer is used; among equals chance decides, by `weight`.
    """

    provider: str
    model: Annotated[str, msgspec.Meta(max_length=LABEL_LIMIT)] = ""
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    priority: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model as clients name it. `rated_as` is the name its rate is looked up by where it has none of its own."""

    targets: Annotated[tuple[Target, ...], msgspec.Meta(min_length=1, max_length=100)]
    rated_as: Annotated[str, msgspec.Meta(max_length=LABEL_LIMIT)] = ""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All providers and models. `unknown_models` names the provider that is asked for a model not listed, or says `refuse`."""

    providers: dict[str, Provider]
    models: dict[str, Model] = {}
    unknown_models: str = REFUSE

    def rated_names(self) -> dict[str, str]:
        """Return, for each model that is rated by another name, that name."""
        found = {}
        for name, model in self.models.items():
            other = model.rated_as or model.targets[0].model
            if other and other != name:
                found[name] = other
        return found


def load_catalogue(path: str | Path) -> Catalogue:
    """Return what a file says. Raises RequestInvalid that names the file, the line and the field."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestInvalid(f"{path} cannot be read ({type(error).__name__})", field="models_file") from None
    return parse_catalogue(text, name=str(path))


def parse_catalogue(text: str, *, name: str = "models.toml") -> Catalogue:
    """Return what the text of a file says. Raises RequestInvalid that names the line and the field."""
    try:
        members = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestInvalid(f"{name}: {error}", field="models_file") from None
    try:
        catalogue = msgspec.convert(members, Catalogue)
    except msgspec.ValidationError as error:
        raise _wrong(text, name, *_told(members, error)) from None
    for field, what in _contradictions(catalogue):
        raise _wrong(text, name, field, what)
    return catalogue


def resolve(reference: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the secret that a reference names; a text that is none as it is. Raises RequestInvalid, never with the secret."""
    how, _, what = reference.partition(":")
    if how == "env":
        secret = environ.get(what, "").strip()
        if not secret:
            raise RequestInvalid(f"the environment has no {what}", field=reference)
    elif how == "file":
        try:
            secret = Path(what).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestInvalid(f"{what} cannot be read ({type(error).__name__})", field=reference) from None
    else:
        return reference
    if not secret.isascii() or not secret.isprintable() or " " in secret or not secret:
        raise RequestInvalid(f"{what} must hold one key on one line", field=reference)
    return secret


def _contradictions(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Give what cannot be, with its field."""
    for name, provider in catalogue.providers.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) or name == REFUSE:
            yield f"providers.{name}", "a provider's name is made of letters, digits, `_`, `.` and `-`, and is not `refuse`"
        if not provider.url:
            yield f"providers.{name}", f"a provider of kind `{provider.kind.value}` needs a base_url"
    for name, model in catalogue.models.items():
        try:
            check_label(name, field="model")
        except RequestInvalid as error:
            yield f"models.{name}", error.message
        for number, target in enumerate(model.targets):
            if target.provider not in catalogue.providers:
                yield f"models.{name}.targets[{number}].provider", f"there is no provider `{target.provider}`"
    if catalogue.unknown_models != REFUSE and catalogue.unknown_models not in catalogue.providers:
        yield "unknown_models", f"there is no provider `{catalogue.unknown_models}`"


def _told(members: Any, error: msgspec.ValidationError) -> tuple[str, str]:
    """Return the field that an error of the decoder is about, and what is wrong with it, in words."""
    what, _, at = str(error).partition(" - at `")
    field = _guess(members, at.rstrip("`").removeprefix("$").removeprefix("."))
    unknown = re.search(r"unknown field `(.+)`", what)
    if unknown is not None:
        return f"{field}.{unknown[1]}".removeprefix("."), "there is no such field"
    if "matching regex" in what:
        name = "headers" if ".headers" in field else field.rpartition(".")[2]
        what = _PATTERNS.get(name, what)
    return field, what


_PATTERNS = {
    "api_key": "must be `env:NAME` or `file:/path`; a key itself is never in this file",
    "base_url": "must be an http or https address",
    "api_version": "must be made of letters, digits, `.`, `-` and `_`",
    "headers": "a header's name is a word, its value printable characters",
}


def _guess(members: Any, path: str) -> str:
    """Return a path in which each `[...]`, as the decoder writes any key of a table, is the first key whose value does not fit."""
    found, table = "", members
    for part in re.findall(r"\[[^\]]*\]|[^.\[]+", path):
        if part != "[...]":
            found += part if part.startswith("[") else f".{part}"
            number = part.strip("[]")
            if isinstance(table, dict):
                table = table.get(part, {})
            elif isinstance(table, list) and number.isdigit() and int(number) < len(table):
                table = table[int(number)]
            continue
        kind: Any = {"providers": Provider, "models": Model, "headers": _HeaderValue}.get(found.rpartition(".")[2], Any)
        key = next((key for key, value in table.items() if not _fits(value, kind)), None) if isinstance(table, dict) else None
        if key is None:
            break
        found, table = f"{found}.{key}", table[key]
    return found.removeprefix(".")


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _wrong(text: str, name: str, field: str, what: str) -> RequestInvalid:
    line = _line_of(text, field)
    where = f"{name}, line {line}" if line else name
    return RequestInvalid(f"{where}: {field or 'the file'}: {what[:1].lower()}{what[1:]}", field=field or "models_file", line=line)


def _line_of(text: str, field: str) -> int | None:
    """Return the line where a field stands, else the one where the nearest thing around it begins."""
    best, best_line = -1, None
    for path, line in _lines(text):
        if (field == path or field.startswith((f"{path}.", f"{path}["))) and len(path) > best:
            best, best_line = len(path), line
    return best_line


_TABLE = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Give the path of each table and key that begins a line, with the line's number."""
    table = ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        head = _TABLE.fullmatch(line)
        if head is not None:
            table = _path(head[2])
            if head[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            yield table, number
            continue
        key = _KEY.match(line)
        if key is not None:
            yield f"{table}.{_path(key[1])}" if table else _path(key[1]), number


def _path(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", key))
