"""Letters are queued with what they are about, and what they say is kept sealed."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from sqlalchemy import select

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell import Meter
from tokenwell.core.letters import LETTER_PURPOSE, Letter, LetterKind
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.notices.post import Post
from tokenwell.store.reader import reading
from tokenwell.store.schema import delivery
from tokenwell.store.writer import transaction

LETTER = Letter(kind=LetterKind.INVITATION, to="mei@acme.example", link="https://ai.example.com/join/door-opener", language="zh")


def queued(meter: Meter) -> list[bytes]:
    """Return what is queued."""
    with reading(meter.engine) as connection:
        return list(connection.execute(select(delivery.c.sealed).where(delivery.c.status == "due")).scalars())


def test_a_letter_is_queued_with_what_it_is_about(database_url: str, clock: FrozenClock) -> None:
    sealer = Sealer(lambda: ["k" * 32])
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        post = Post(sealer, clock, is_ready=True)
        with suppress(KeyError), transaction(meter.engine) as connection:
            post.post(connection, LETTER)
            raise KeyError
        assert queued(meter) == []
        with transaction(meter.engine) as connection:
            post.post(connection, LETTER)
        (sealed,) = queued(meter)
    assert b"door-opener" not in sealed
    assert msgspec.json.decode(sealer.open(sealed, purpose=LETTER_PURPOSE), type=Letter) == LETTER


def test_without_a_mail_server_nothing_is_queued(sqlite_url: str, clock: FrozenClock) -> None:
    with Meter(sqlite_url, clock=clock) as meter:
        with transaction(meter.engine) as connection:
            Post(Sealer(list), clock, is_ready=False).post(connection, LETTER)
        assert queued(meter) == []
