"""Codes: batches of redemption codes that an organization turns into packs by itself.

A code is shown once, when its batch is made; the database holds its SHA-256, which is enough for 90 random bits. It is redeemed
for one organization: claimed for it first, then granted under a key of its own, so that it never grants twice and what was
interrupted is completed by typing it again, or by `finish_redemptions`. Wrong codes are all refused alike, and only so many may
be tried.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from tokenwell.core.amounts import parse_amount
from tokenwell.core.codes import code_of, read_code, written
from tokenwell.core.happenings import PLATFORM, Actor
from tokenwell.core.identifiers import check_label
from tokenwell.core.instants import to_utc
from tokenwell.core.packs import NOTE_LIMIT, PRIORITY_LIMIT
from tokenwell.core.receipts import Granted
from tokenwell.errors import Conflict, NotFound, RequestInvalid, RequestsLimited, StoreError, TokenwellError
from tokenwell.service.acts import record
from tokenwell.service.meter import Meter
from tokenwell.service.pages import PAGE_LIMIT, check_limit, page_of
from tokenwell.service.ports import Page, new_id
from tokenwell.store.access.creations import claim
from tokenwell.store.identity import people
from tokenwell.store.reader import reading
from tokenwell.store.supply import codes as store
from tokenwell.store.supply.codes import Code, CodeBatch, Redeemed
from tokenwell.store.writer import transaction

__all__ = ["CodeBatch", "Codes", "NewCodes", "Redeemed"]

MOST_CODES = 10_000
"""The most codes of one batch."""

VALID_LIMIT_DAYS = 36_600
FAILURE_WINDOW = timedelta(minutes=15)
MOST_FAILURES = 10
"""How many wrong codes within the window bar an organization, and a person, from trying again."""

UNFINISHED_AFTER = timedelta(minutes=1)
"""How long a redemption may take before it counts as interrupted."""

_KEY = "code:{}"


class NewCodes(msgspec.Struct, frozen=True, kw_only=True):
    """A new batch. `codes` are told only here, and not again where it is `replayed`."""

    batch: CodeBatch
    codes: tuple[str, ...]
    replayed: bool = False


class Codes:
    """The redemption codes in the meter's database."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._engine = meter.engine

    def create(
        self,
        amount: int | str,
        count: int,
        *,
        valid_days: int | None = None,
        expires_at: datetime | None = None,
        priority: int = 0,
        note: str = "",
        key: str | None = None,
        by: Actor,
    ) -> NewCodes:
        """Make `count` codes, each worth a pack of `amount` tokens. The same key gives the batch again, without its codes.

        Raises RequestInvalid, IdempotencyConflict.
        """
        now = self._meter.clock()
        expires_at = None if expires_at is None else to_utc(expires_at, field="expires_at")
        if expires_at is not None and expires_at <= now:
            raise RequestInvalid("expires_at must be in the future", field="expires_at")
        batch = CodeBatch(
            id=new_id("bat"),
            amount_tokens=parse_amount(amount),
            codes=_bounded(count, "count", 1, MOST_CODES),
            valid_days=None if valid_days is None else _bounded(valid_days, "valid_days", 1, VALID_LIMIT_DAYS),
            priority=_bounded(priority, "priority", -PRIORITY_LIMIT, PRIORITY_LIMIT),
            note=check_label(note, field="note", limit=NOTE_LIMIT) or "",
            expires_at=expires_at,
            created_at=now,
            created_by=by,
        )
        given = {name: getattr(batch, name) for name in ("amount_tokens", "codes", "valid_days", "priority", "note", "expires_at")}
        made = [code_of(secrets.randbits(90)) for _ in range(batch.codes)]
        with transaction(self._engine) as connection:
            first = None if key is None else claim(connection, PLATFORM, key, batch.id, given, now)
            if first is None:
                store.add_batch(connection, batch, [(new_id("code"), _hash(code)) for code in made])
                record(connection, by=by, at=now, organization_id=PLATFORM, action="codes.create", subject=batch.id, after=given)
        if first is not None:
            return NewCodes(batch=self.get(first), codes=(), replayed=True)
        return NewCodes(batch=batch, codes=tuple(written(code) for code in made))

    def get(self, batch_id: str) -> CodeBatch:
        """Return a batch. Raises NotFound."""
        with reading(self._engine) as connection:
            found = store.find_batch(connection, batch_id)
        if found is None:
            raise NotFound("there is no such batch of codes", batch_id=batch_id)
        return found

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[CodeBatch]:
        """Return batches, the latest first."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        with reading(self._engine) as connection:
            found = store.batches(connection, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def redeemed(self, batch_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[Redeemed]:
        """Return the codes of a batch that were redeemed, and for whom. The codes themselves are nowhere. Raises NotFound."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        self.get(batch_id)
        with reading(self._engine) as connection:
            found = store.redeemed_codes(connection, batch_id, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def revoke(self, batch_id: str, *, by: Actor) -> CodeBatch:
        """Let nobody redeem what is left of a batch; again changes nothing. Packs that were granted stay. Raises NotFound."""
        self.get(batch_id)
        now = self._meter.clock()
        with transaction(self._engine) as connection:
            if store.revoke_batch(connection, batch_id, now):
                record(connection, by=by, at=now, organization_id=PLATFORM, action="codes.revoke", subject=batch_id)
        return self.get(batch_id)

    def redeem(self, organization_id: str, typed: str, *, by: Actor) -> Granted:
        """Grant an organization the pack of a code; typed again for the same organization it gives the first answer, replayed.

        Raises RequestInvalid, the same for every code that cannot be redeemed, RequestsLimited after too many of them,
        OrganizationNotFound.
        """
        self._meter.organization(organization_id)
        text = read_code(typed)
        if text is None:
            raise _refusal()
        code_hash, now = _hash(text), self._meter.clock()
        subjects = [f"code:{organization_id}", f"code-by:{by.kind.value}:{by.id}:{by.source}"]
        self._check_failures(subjects, now)
        code = self._claimed(code_hash, organization_id, now, by)
        if code is None:
            with transaction(self._engine) as connection:
                people.add_failure(connection, subjects, now, new_id("try"))
            raise _refusal()
        return self._granted(code, organization_id)

    def finish_redemptions(self) -> int:
        """Grant the packs of codes that were claimed a while ago and that something interrupted; returns how many there were."""
        with reading(self._engine) as connection:
            found = store.unfinished_codes(connection, self._meter.clock() - UNFINISHED_AFTER, PAGE_LIMIT)
        for code in found:
            assert code.redeemed_for is not None
            with suppress(Conflict, NotFound, RequestInvalid):  # refused, the code is free again, as if it had not been typed
                self._granted(code, code.redeemed_for)
        return len(found)

    def _granted(self, code: Code, organization_id: str) -> Granted:
        """Grant the pack of a code that an organization has claimed, or replay that, and note it."""
        by = code.redeemed_by
        assert by is not None
        with self._freed_if_refused(code.code_hash, organization_id):
            granted = self._meter.grant(
                organization_id,
                code.batch.amount_tokens,
                expires_at=_expiry(code),
                priority=code.batch.priority,
                note=code.batch.note,
                key=_KEY.format(code.id),
                by=by,
            )
        with transaction(self._engine) as connection:
            if store.set_pack(connection, code.code_hash, granted.pack.id):
                facts, at = {"batch_id": code.batch.id, "pack_id": granted.pack.id}, self._meter.clock()
                record(
                    connection, by=by, at=at, organization_id=organization_id, action="code.redeem", subject=code.id, after=facts
                )
        return granted

    def _claimed(self, code_hash: bytes, organization_id: str, now: datetime, by: Actor) -> Code | None:
        """Return a code that is now the organization's, or was before; None for one that it cannot have."""
        with transaction(self._engine) as connection:
            code = store.find_code(connection, code_hash)
            if code is not None and code.redeemed_for is None and _is_open(code.batch, now):
                store.claim_code(connection, code_hash, organization_id=organization_id, at=now, by=by)
                code = store.find_code(connection, code_hash)
        return code if code is not None and code.redeemed_for == organization_id else None

    def _check_failures(self, subjects: Sequence[str], now: datetime) -> None:
        """Refuse an organization, or a person, who tried too many wrong codes."""
        with reading(self._engine) as connection:
            for subject in subjects:
                if len(people.failures_of(connection, subject, now - FAILURE_WINDOW, MOST_FAILURES)) >= MOST_FAILURES:
                    raise RequestsLimited("too many wrong codes; try again in a while")

    @contextmanager
    def _freed_if_refused(self, code_hash: bytes, organization_id: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise  # perhaps it was granted: the code stays the organization's, and typing it again completes it
        except TokenwellError:
            with transaction(self._engine) as connection:
                store.unclaim_code(connection, code_hash, organization_id=organization_id)
            raise


def _refusal() -> RequestInvalid:
    """Return the one refusal of every code that cannot be redeemed: it tells nothing."""
    return RequestInvalid("this code cannot be redeemed", field="code")


def _is_open(batch: CodeBatch, now: datetime) -> bool:
    return batch.revoked_at is None and (batch.expires_at is None or now < batch.expires_at)


def _expiry(code: Code) -> datetime | None:
    if code.batch.valid_days is None or code.redeemed_at is None:
        return None
    return code.redeemed_at + timedelta(days=code.batch.valid_days)


def _hash(code: str) -> bytes:
    return sha256(code.encode()).digest()


def _bounded(number: int, field: str, least: int, most: int) -> int:
    if type(number) is not int or not least <= number <= most:
        raise RequestInvalid(f"{field} must be between {least} and {most}", field=field)
    return number
