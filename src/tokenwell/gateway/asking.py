"""Asking: what requests of every dialect have in common. Bodies are read for what decides their cost, and sent on as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from tokenwell.core.identifiers import LABEL_LIMIT, check_label
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.counting import Prompt

Limit = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
"""An output limit as a request may name it."""

Choices = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
"""How many answers a request may ask for at once."""

NOTHING = msgspec.Raw()
"""What stands for a field that is not there."""

T = TypeVar("T")

_AT_FIELD = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")


class Labels(NamedTuple):
    """Session and reason."""

    session: str | None = None
    reason: str | None = None


UNLABELLED = Labels()


class AiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks of a model, as far as it matters here.

    `body` is what to forward: the client's own bytes, or, where a stream's usage has to be asked for as well (`hides_usage`), those
    bytes with that one option added. `output_limit_tokens` is None where the request names none; each of `choices` has it.
    `follows` is the id of the answer that it goes on from, `served_by` who keeps that one; `stores` whether the provider is to keep
    this one.
    """

    body: bytes
    model: str
    prompt: Prompt
    output_limit_tokens: int | None = None
    choices: int = 1
    streams: bool = False
    hides_usage: bool = False
    session: str | None = None
    reason: str | None = None
    follows: str | None = None
    stores: bool = False
    served_by: str = ""


class Metadata(msgspec.Struct):
    """A request's own metadata, as far as it matters here."""

    session: str | None = None
    reason: str | None = None


class BodyReader:
    """Reads bodies of one kind. `decisive` are the fields that decide what a call costs: each may be given once."""

    def __init__(self, *decisive: str) -> None:
        self._decisive = decisive
        self._quoted = [b'"%s"' % name.encode() for name in decisive]

    def read(self, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Return a body, decoded. Raises RequestInvalid, naming the field."""
        try:
            asked = decode(body)
        except RecursionError:
            raise RequestInvalid("the body is nested too deeply") from None
        except msgspec.ValidationError as error:
            text = str(error)
            at = _AT_FIELD.search(text) or _MISSING.search(text)
            field = at[1] if at else None
            raise RequestInvalid(f"{field or 'the body'}: {_AT_FIELD.sub('', text)}", field=field) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestInvalid(f"the body is not JSON: {error}") from None
        self._refuse_repeated(body)
        return asked

    def _refuse_repeated(self, body: bytes) -> None:
        """Refuse a field that is given twice: the provider might read the other one, and be paid for another model or limit."""
        if max(map(body.count, self._quoted)) <= 1 and (b"\\u00" not in body or not _ESCAPED_LETTER.search(body)):
            return  # the common case, settled without a second look
        names: list[str] = json.loads(body, object_pairs_hook=lambda pairs: [name for name, _ in pairs])
        repeated = [name for name in self._decisive if names.count(name) > 1]
        if repeated:
            raise RequestInvalid(f"{repeated[0]}: given more than once", field=repeated[0])


class _Passing(msgspec.Struct):
    model: str | None = None


_decode_passing = msgspec.json.Decoder(_Passing).decode
_passing_reader = BodyReader("model")


def model_in(body: bytes) -> str | None:
    """Return the model that a body names, if it names one. Raises RequestInvalid where the body is none."""
    model = _passing_reader.read(body, _decode_passing).model
    return check_label(model, field="model") or None


def named_model(model: str) -> str:
    """Return a model's name if it can be one. Raises RequestInvalid."""
    if not model:
        raise RequestInvalid("model: must name a model", field="model")
    return check_label(model, field="model") or ""


def session_of(labels: Labels, metadata: Metadata | None, *others: str | None) -> str | None:
    """Return the session: from the headers, else the metadata, else the first of the others that can be one."""
    named = labels.session or (metadata.session if metadata else None)
    return check_label(named, field="session") if named else _label_in(others)


def reason_of(labels: Labels, metadata: Metadata | None) -> str | None:
    """Return the reason: from the headers, else the metadata."""
    return check_label(labels.reason or (metadata.reason if metadata else None), field="reason")


def prompt_of(*parts: msgspec.Raw) -> Prompt:
    """Return the size of a prompt in these parts of a body, of which any may be missing."""
    return Prompt(bytes(part) for part in parts if part)


def _label_in(texts: tuple[str | None, ...]) -> str | None:
    """Return the first text that can be a label: those meant for the provider are no reason to refuse a request."""
    for text in texts:
        if text and len(text) <= LABEL_LIMIT and text.isprintable():
            return text
    return None
