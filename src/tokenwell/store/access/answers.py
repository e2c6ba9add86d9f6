"""Stored answers in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from tokenwell.core.instants import to_micros
from tokenwell.store.schema import stored_answer as _answer


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that a provider keeps: whose it is, which model gave it, and how many tokens it came to, with those before it.

    `served_by` is the provider and the model there; empty where there is only one provider.
    """

    organization_id: str
    answer_id: str
    model: str
    tokens: int
    served_by: str = ""


def _is(organization_id: str, answer_id: str) -> Any:
    return (_answer.c.organization_id == organization_id) & (_answer.c.answer_id == answer_id)


def add_answer(connection: Connection, answer: StoredAnswer, at: datetime) -> None:
    """Add an answer, or replace the one of that name."""
    connection.execute(delete(_answer).where(_is(answer.organization_id, answer.answer_id)))
    connection.execute(insert(_answer).values(**msgspec.structs.asdict(answer), created_at=to_micros(at)))


def find_answer(connection: Connection, organization_id: str, answer_id: str) -> StoredAnswer | None:
    """Return an answer, if it is the organization's."""
    columns = (_answer.c.model, _answer.c.tokens, _answer.c.served_by)
    row = connection.execute(select(*columns).where(_is(organization_id, answer_id))).one_or_none()
    if row is None:
        return None
    return StoredAnswer(organization_id=organization_id, answer_id=answer_id, model=row[0], tokens=row[1], served_by=row[2] or "")


def remove_answer(connection: Connection, organization_id: str, answer_id: str) -> None:
    """Forget an answer."""
    connection.execute(delete(_answer).where(_is(organization_id, answer_id)))


def remove_answers(connection: Connection, before: datetime) -> None:
    """Forget every organization's answers of before an instant."""
    connection.execute(delete(_answer).where(_answer.c.created_at < to_micros(before)))
