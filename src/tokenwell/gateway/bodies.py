"""Bodies: one member of a JSON object read or changed where it stands; every other byte stays what it was."""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_SCALAR = re.compile(rb"[^,}\] \t\r\n]+")


def set_member(body: bytes, name: str, value: bytes) -> bytes:
    """Return the body of a JSON object with a member set: changed where there is one, else added in front."""
    span = member_span(body, name)
    if span is not None:
        return body[: span[0]] + value + body[span[1] :]
    brace = body.index(b"{") + 1
    comma = b"" if body[brace:].lstrip()[:1] == b"}" else b","
    return body[:brace] + json.dumps(name).encode() + b":" + value + comma + body[brace:]


def member_span(body: bytes, name: str) -> tuple[int, int] | None:
    """Return where the value of a member of the outermost object begins and ends; None if it has none of that name.

    The body must be JSON. Of a name given twice the last counts, as it does for whoever reads it.
    """
    quoted = b'"%s"' % name.encode()
    begin = _only(body, quoted)
    if begin is None:
        begin = _search(body, name)
    if begin is None:
        return None
    if body[begin] in b'{["':
        return begin, _end_of(body, begin)
    scalar = _SCALAR.match(body, begin)
    return None if scalar is None else (begin, scalar.end())


def _only(body: bytes, quoted: bytes) -> int | None:
    """Return where the value begins if that is plain at a glance: the name is there once, and before anything is nested."""
    at = body.find(quoted)
    if at < 0 or b"\\" in body[:at] or body.find(quoted, at + 1) >= 0 or body.count(b"{", 0, at) > 1 or body.count(b"[", 0, at):
        return None
    colon = _COLON.match(body, at + len(quoted))
    return None if colon is None or b"\\u" in body else colon.end()


def _search(body: bytes, name: str) -> int | None:
    found, depth = None, 0
    for match in _TOKEN.finditer(body):
        token = match[0]
        if token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
        elif depth == 1:
            colon = _COLON.match(body, match.end())
            if colon is not None and (token[1:-1] == name.encode() or (b"\\" in token and json.loads(token) == name)):
                found = colon.end()
    return found


def _end_of(body: bytes, begin: int) -> int:
    depth = 0
    for match in _TOKEN.finditer(body, begin):
        if match[0] in b"{[":
            depth += 1
        elif match[0] in b"}]":
            depth -= 1
        if not depth:
            return match.end()
    return len(body)
