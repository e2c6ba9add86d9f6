"""One member of a body is changed, and not one other byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwell.gateway.bodies import member_span, set_member

BODIES = {
    "first": (b'{"model":"a","messages":[]}', b'{"model":"b","messages":[]}'),
    "last": (b'{"messages":[{"content":"x"}],"model":"a"}', b'{"messages":[{"content":"x"}],"model":"b"}'),
    "with space": (b'{ "model" : "a" ,\n"n":1}', b'{ "model" : "b" ,\n"n":1}'),
    "nested before": (b'{"x":{"model":"a"},"model":"a"}', b'{"x":{"model":"a"},"model":"b"}'),
    "nested after": (b'{"model":"a","x":[{"model":"a"}]}', b'{"model":"b","x":[{"model":"a"}]}'),
    "nested only": (b'{"x":{"model":"a"}}', b'{"model":"b","x":{"model":"a"}}'),
    "in a text": (b'{"x":"\\"model\\":","model":"a"}', b'{"x":"\\"model\\":","model":"b"}'),
    "as a text": (b'{"x":"model","model":"a"}', b'{"x":"model","model":"b"}'),
    "escaped": (b'{"\\u006dodel":"a","y":{"model":"c"}}', b'{"\\u006dodel":"b","y":{"model":"c"}}'),
    "a number": (b'{"model":12,"n":1}', b'{"model":"b","n":1}'),
    "null at the end": (b'{"model":null}', b'{"model":"b"}'),
    "an object": (b'{"model":{"a":[1,"}"]},"n":1}', b'{"model":"b","n":1}'),
    "none": (b' {"n":1}', b' {"model":"b","n":1}'),
    "nothing": (b"{ }", b'{"model":"b" }'),
}


@pytest.mark.parametrize("how", BODIES)
def test_a_member_is_set_where_it_stands(how: str) -> None:
    before, after = BODIES[how]
    assert set_member(before, "model", b'"b"') == after


_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "x"]) | st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["model", "messages"]) | st.text(), _values, max_size=5),
    _values,
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_only_that_member_differs_afterwards(members: dict[str, Any], value: Any, indent: int | None, ascii_only: bool) -> None:
    body = json.dumps(members, indent=indent, ensure_ascii=ascii_only).encode()
    told = json.dumps(value).encode()
    changed = set_member(body, "model", told)
    assert json.loads(changed) == members | {"model": value}
    span = member_span(body, "model")
    if span is None:
        assert "model" not in members
        assert len(changed) <= len(body) + len(b'"model":,') + len(told)
    else:
        assert json.loads(body[span[0] : span[1]]) == members["model"]
        assert changed == body[: span[0]] + told + body[span[1] :]
