"""Second factors in tables, with their recovery codes. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from tokenwell.core.instants import to_micros
from tokenwell.store.schema import recovery_code, second_factor


def has_factor(connection: Connection, person_id: str) -> bool:
    """Return whether a person has a second factor."""
    return connection.execute(select(second_factor.c.person_id).where(second_factor.c.person_id == person_id)).first() is not None


def sealed_secret(connection: Connection, person_id: str) -> bytes | None:
    """Return the sealed secret of a person's second factor, or None."""
    found = select(second_factor.c.sealed_secret).where(second_factor.c.person_id == person_id)
    sealed = connection.execute(found).scalar_one_or_none()
    return None if sealed is None else bytes(sealed)


def put_factor(
    connection: Connection, person_id: str, sealed: bytes, step: int, code_hashes: Sequence[bytes], at: datetime
) -> None:
    """Insert a second factor and its recovery codes in place of any there were. `step` is the one its first code was of."""
    remove_factor(connection, person_id)
    connection.execute(
        insert(second_factor).values(person_id=person_id, sealed_secret=sealed, last_step=step, created_at=to_micros(at))
    )
    connection.execute(insert(recovery_code), [{"person_id": person_id, "code_hash": each} for each in code_hashes])


def remove_factor(connection: Connection, person_id: str) -> bool:
    """Delete a second factor and its recovery codes; return whether there was one."""
    connection.execute(delete(recovery_code).where(recovery_code.c.person_id == person_id))
    return connection.execute(delete(second_factor).where(second_factor.c.person_id == person_id)).rowcount > 0


def take_step(connection: Connection, person_id: str, step: int) -> bool:
    """Note that the code of a step was used; return False if it, or a later one, was used before."""
    taken = update(second_factor).where(second_factor.c.person_id == person_id, second_factor.c.last_step < step)
    return connection.execute(taken.values(last_step=step)).rowcount > 0


def take_code(connection: Connection, person_id: str, code_hash: bytes) -> bool:
    """Use a recovery code up; return whether there was it."""
    own = (recovery_code.c.person_id == person_id) & (recovery_code.c.code_hash == code_hash)
    return connection.execute(delete(recovery_code).where(own)).rowcount > 0


def codes_left(connection: Connection, person_id: str) -> int:
    """Return how many recovery codes a person has left."""
    return int(connection.execute(select(func.count()).where(recovery_code.c.person_id == person_id)).scalar_one())
