"""Multipart: the plain fields of a form, read and changed where they stand; files are passed over."""

from __future__ import annotations

import re
from typing import NamedTuple

from tokenwell.errors import RequestInvalid

MULTIPART = b"multipart/form-data"

_BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'^content-disposition:[^\r\n]*?[; ]name="?([^";\r\n]*)"?', re.IGNORECASE | re.MULTILINE)
_FILE = re.compile(rb"^content-disposition:[^\r\n]*?[; ]filename\*?=", re.IGNORECASE | re.MULTILINE)


class Part(NamedTuple):
    """A part of a form: its name, whether it is a file, and where its content begins and ends."""

    name: str
    is_file: bool
    begin: int
    end: int


def parts_in(body: bytes, content_type: bytes) -> list[Part]:
    """Return the parts of a form. Raises RequestInvalid where it cannot be read."""
    named = _BOUNDARY.search(content_type)
    if named is None:
        raise RequestInvalid("the form has no boundary")
    border = b"--" + (named[1] or named[2])
    parts: list[Part] = []
    at = 0 if body.startswith(border) else body.find(b"\r\n" + border) + 2
    while at >= 0 and body.startswith(b"\r\n", at + len(border)):
        begin = body.find(b"\r\n\r\n", at)
        end = body.find(b"\r\n" + border, begin)
        if begin < 0 or end < 0:
            break
        head = body[at + len(border) + 2 : begin]
        name = _NAME.search(head)
        if name is not None:
            parts.append(Part(name[1].decode("utf-8", "replace"), bool(_FILE.search(head)), begin + 4, end))
        at = end + 2
    if not parts or not body.startswith(border + b"--", at):
        raise RequestInvalid("the form cannot be read")
    return parts


def set_field(body: bytes, content_type: bytes, name: str, value: bytes) -> bytes:
    """Return a form with a field changed, where it has it; every other byte stays what it was."""
    for part in parts_in(body, content_type):
        if part.name == name and not part.is_file:
            return body[: part.begin] + value + body[part.end :]
    return body
