"""Post: letters to people, queued in the transaction of what they are about and delivered at least once.

A letter may carry a link that opens a door: it is kept sealed, and its content is deleted as soon as it is delivered.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from sqlalchemy import Connection

from tokenwell.core.happenings import PLATFORM
from tokenwell.core.letters import LETTER_PURPOSE, Letter
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.ports import Clock, new_id
from tokenwell.store.notices.deliveries import POST, DeliveryKind, NewDelivery, add_delivery


class Mailer(Protocol):
    """Takes letters to people."""

    is_ready: bool
    """Whether there is a mail server to send through. Where there is none, show the link to whoever asked for the letter."""

    def post(self, connection: Connection, letter: Letter) -> None:
        """Queue a letter in the caller's transaction: it is sent once that is committed, and never if it is not."""


class Post:
    """The mailer that queues letters as deliveries."""

    def __init__(self, sealer: Sealer, clock: Clock, *, is_ready: bool) -> None:
        self.is_ready = is_ready
        self._sealer = sealer
        self._clock = clock

    def post(self, connection: Connection, letter: Letter) -> None:
        """Queue a letter in the caller's transaction; where there is no mail server it is dropped."""
        if not self.is_ready:
            return
        now = self._clock()
        add_delivery(
            connection,
            NewDelivery(
                organization_id=PLATFORM,
                id=new_id("dlv"),
                channel_home=PLATFORM,
                channel_id=POST,
                kind=DeliveryKind.LETTER,
                created_at=now,
                due_at=now,
                sealed=self._sealer.seal(msgspec.json.encode(letter).decode(), purpose=LETTER_PURPOSE),
            ),
        )
