"""Items: many debits of one organization in one call, with an answer or an error for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from tokenwell.core.commands import Debit
from tokenwell.core.receipts import Answer, Receipt
from tokenwell.errors import RequestInvalid, TokenwellError
from tokenwell.service.intake import Intake

MOST_ITEMS = 1_000
"""The most debits of one call."""


class Items:
    """The debits that a call asks for. `commands` are those that can be asked of the database; the others are refused already."""

    def __init__(self, intake: Intake, organization_id: str, items: Sequence[Mapping[str, Any]]) -> None:
        if isinstance(items, str | bytes) or not isinstance(items, Sequence) or not 1 <= len(items) <= MOST_ITEMS:
            raise RequestInvalid(f"give between 1 and {MOST_ITEMS:,} debits", field="items")
        self._checked = [_checked(intake, organization_id, item) for item in items]
        self.commands = [each for each in self._checked if isinstance(each, Debit)]

    def merge(self, outcomes: Sequence[Answer | Exception]) -> list[Receipt | TokenwellError]:
        """Return an answer or an error for each item in its order, given those to `commands`. Raises what is a defect."""
        coming = iter(outcomes)
        merged = [next(coming) if isinstance(each, Debit) else each for each in self._checked]
        for outcome in merged:
            if isinstance(outcome, Exception) and not isinstance(outcome, TokenwellError):
                raise outcome
        return cast("list[Receipt | TokenwellError]", merged)


def _checked(intake: Intake, organization_id: str, item: Mapping[str, Any]) -> Debit | TokenwellError:
    if not isinstance(item, Mapping):
        return RequestInvalid("a debit is given by its fields", field="items")
    unknown = sorted(str(name) for name in item if name not in _FIELDS)
    if unknown:
        return RequestInvalid(f"a debit has no field {unknown[0]}", field=unknown[0])
    try:
        return intake.debit(organization_id, **item)
    except TokenwellError as error:
        return error


_FIELDS = frozenset(Intake.debit.__kwdefaults__ or ()) | {"amount"}
