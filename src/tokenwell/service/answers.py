"""Answers: whose those are that a provider keeps under the operator's account, so that nobody reads another organization's."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy

from tokenwell.errors import NotFound
from tokenwell.service.ports import Clock, system_clock
from tokenwell.store.access import answers as store
from tokenwell.store.access.answers import StoredAnswer
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["Answers", "StoredAnswer"]

KEPT = timedelta(days=90)
"""How long it is remembered whose an answer is; providers keep them for less."""


class Answers:
    """The answers that providers keep, in one database. Safe to use from several threads. Every method may raise StoreError."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock = system_clock) -> None:
        self._engine = engine
        self._clock = clock

    def remember(self, organization_id: str, answer_id: str, *, model: str, tokens: int, served_by: str = "") -> None:
        """Note whose an answer is, and who keeps it. Idempotent."""
        answer = StoredAnswer(organization_id=organization_id, answer_id=answer_id, model=model, tokens=tokens, served_by=served_by)
        with transaction(self._engine, organization_id) as connection:
            store.add_answer(connection, answer, self._clock())

    def find(self, organization_id: str, answer_id: str) -> StoredAnswer:
        """Return an organization's answer. Raises NotFound, also where it is another organization's."""
        with reading(self._engine, organization_id) as connection:
            answer = store.find_answer(connection, organization_id, answer_id)
        if answer is None:
            raise NotFound("there is no such answer", answer_id=answer_id)
        return answer

    def forget(self, organization_id: str, answer_id: str) -> None:
        """Forget an answer. Idempotent."""
        with transaction(self._engine, organization_id) as connection:
            store.remove_answer(connection, organization_id, answer_id)

    def forget_old(self) -> None:
        """Forget the answers that no provider keeps any more."""
        with transaction(self._engine) as connection:
            store.remove_answers(connection, self._clock() - KEPT)
