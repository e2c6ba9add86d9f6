"""Acts: how a service appends what it did to the audit log, in the transaction that does it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy

from tokenwell.core.happenings import Act, Actor
from tokenwell.service.ports import new_id
from tokenwell.store.happenings import append_act

_encode = msgspec.json.Encoder(order="deterministic").encode


def record(
    connection: sqlalchemy.Connection,
    *,
    by: Actor,
    at: datetime,
    organization_id: str,
    action: str,
    subject: str,
    before: Any = None,
    after: Any = None,
) -> None:
    """Append an act: `before` and `after` are what of the subject people should be able to compare, never a secret."""
    act = Act(
        organization_id=organization_id,
        at=at,
        actor=by,
        action=action,
        subject=subject,
        before=None if before is None else _encode(before).decode(),
        after=None if after is None else _encode(after).decode(),
    )
    append_act(connection, new_id("act"), act)


def differences(before: Any, after: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields in which two versions of one thing differ: as they were, and as they are."""
    names = [name for name in before.__struct_fields__ if getattr(before, name) != getattr(after, name)]
    return {name: getattr(before, name) for name in names}, {name: getattr(after, name) for name in names}
