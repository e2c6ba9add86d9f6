"""Intake: what a caller gives, checked and made into a command. Bad input is refused here, before anything is touched.

The methods of `Intake` are the signatures of the library's writes: `Meter` and `AsyncMeter` commit what they build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tokenwell.core.amounts import MAX_CHARGE_TOKENS, parse_amount
from tokenwell.core.commands import (
    Advance,
    CloseDue,
    Debit,
    Extend,
    ExtendHold,
    Grant,
    OpenHold,
    Refund,
    Release,
    Revoke,
    SetThresholds,
    Settle,
)
from tokenwell.core.happenings import Actor
from tokenwell.core.health import Thresholds
from tokenwell.core.identifiers import (
    check_key,
    check_label,
    decode_id,
    encode_id,
    fingerprint_of,
    key_bytes,
    request_keys,
)
from tokenwell.core.instants import to_utc
from tokenwell.core.limits import KeyLimits
from tokenwell.core.packs import PRIORITY_LIMIT
from tokenwell.core.usage import Usage
from tokenwell.errors import PackNotFound, RequestInvalid
from tokenwell.service.charging import charge_given
from tokenwell.service.checks import check_limits, check_note, check_ttl, hold_bytes, known, lane_of, name_and_key
from tokenwell.service.ports import new_bytes, new_id
from tokenwell.service.ratebook import RateBook
from tokenwell.service.reading import Reading

HOLD_TTL = timedelta(minutes=10)
"""How long a hold lasts unless the caller says otherwise."""

_NUMBER = re.compile(r"(?:PK-)?([1-9][0-9]{0,17})", re.IGNORECASE)


class Intake:
    """Builds commands. Reads only what a command's input refers to: rates, and packs by number.

    Where an administrative write names who it is `by`, an act of theirs is kept with it.
    """

    def __init__(self, reading: Reading, ratebook: RateBook, *, platform: Thresholds) -> None:
        self._reading = reading
        self._ratebook = ratebook
        self._platform = platform

    def set_thresholds(
        self, organization_id: str, *, warning: int | str, reserve: int | str, by: Actor | None = None
    ) -> SetThresholds:
        """Set an organization's own thresholds, in tokens. Raises ThresholdsInvalid unless warning ≥ reserve ≥ 0."""
        own = Thresholds(parse_amount(warning, field="warning", least=0), parse_amount(reserve, field="reserve", least=0))
        return self._thresholds(organization_id, own, by)

    def clear_thresholds(self, organization_id: str, *, by: Actor | None = None) -> SetThresholds:
        """Return an organization to the platform's thresholds."""
        return self._thresholds(organization_id, None, by)

    def _thresholds(self, organization_id: str, own: Thresholds | None, by: Actor | None) -> SetThresholds:
        return SetThresholds(
            organization_id=known(organization_id),
            key=new_bytes(),
            fingerprint=b"",
            by=by,
            own=own,
            platform=self._platform,
        )

    def grant(
        self,
        organization_id: str,
        amount: int | str,
        *,
        expires_at: datetime | None = None,
        priority: int = 0,
        note: str = "",
        key: str | None = None,
        by: Actor | None = None,
    ) -> Grant:
        """Grant a pack of `amount` tokens (1 … MAX_TOKENS, `"5M"` is understood) that expires at an instant, or never.

        A lower `priority` (−1,000 … 1,000) is spent first. Overage is repaid out of the pack at once.
        """
        if type(priority) is not int or not -PRIORITY_LIMIT <= priority <= PRIORITY_LIMIT:
            raise RequestInvalid(f"priority must be between {-PRIORITY_LIMIT} and {PRIORITY_LIMIT}", field="priority")
        total = parse_amount(amount)
        expires_at = None if expires_at is None else to_utc(expires_at, field="expires_at")
        note = check_note(note)
        return Grant(
            organization_id=known(organization_id),
            key=name_and_key(key)[1],
            fingerprint=fingerprint_of("grant", total, expires_at, priority, note),
            by=by,
            pack_id=new_id("pack"),
            total_tokens=total,
            expires_at=expires_at,
            priority=priority,
            note=note,
        )

    def advance(
        self,
        organization_id: str,
        amount: int | str,
        *,
        limit: int | str,
        note: str = "",
        key: str | None = None,
        by: Actor | None = None,
    ) -> Advance:
        """Grant a pack now that never expires and that the next grant repays first.

        Raises AmountInvalid where more than `limit` tokens would be owed after it, overage included.
        """
        total = parse_amount(amount)
        note = check_note(note)
        return Advance(
            organization_id=known(organization_id),
            key=name_and_key(key)[1],
            fingerprint=fingerprint_of("advance", total, note),
            by=by,
            pack_id=new_id("pack"),
            total_tokens=total,
            limit_tokens=parse_amount(limit, field="limit", least=0),
            note=note,
        )

    def revoke(
        self,
        organization_id: str,
        pack: str,
        *,
        cancel_holds: bool = False,
        note: str = "",
        key: str | None = None,
        by: Actor | None = None,
    ) -> Revoke:
        """Revoke a pack, named by id or number (`PK-7`). What is left of it stops counting at once.

        Open holds may still spend it unless `cancel_holds`. Raises PackNotFound, PackAlreadyRevoked.
        """
        pack_id = self._pack_id(organization_id, pack)
        note = check_note(note)
        return Revoke(
            organization_id=known(organization_id),
            key=name_and_key(key)[1],
            fingerprint=fingerprint_of("revoke", pack_id, bool(cancel_holds), note),
            by=by,
            pack_id=pack_id,
            cancel_holds=bool(cancel_holds),
            note=note,
        )

    def extend(
        self,
        organization_id: str,
        pack: str,
        *,
        expires_at: datetime | None,
        note: str = "",
        key: str | None = None,
        by: Actor | None = None,
    ) -> Extend:
        """Move a pack's expiry to a later instant, or (None) to never. Raises PackNotFound, PackAlreadyRevoked, PackExpired."""
        pack_id = self._pack_id(organization_id, pack)
        expires_at = None if expires_at is None else to_utc(expires_at, field="expires_at")
        note = check_note(note)
        return Extend(
            organization_id=known(organization_id),
            key=name_and_key(key)[1],
            fingerprint=fingerprint_of("extend", pack_id, expires_at, note),
            by=by,
            pack_id=pack_id,
            expires_at=expires_at,
            note=note,
        )

    def open_hold(
        self,
        organization_id: str,
        amount: int | str,
        *,
        ttl: timedelta = HOLD_TTL,
        key: str | None = None,
        key_id: str | None = None,
        limits: KeyLimits | None = None,
        reserve_tokens: int | None = None,
        lane: str | None = None,
    ) -> OpenHold:
        """Reserve `amount` tokens for `ttl` (at most a day). Raises AiStopped, BalanceHeld.

        With `reserve_tokens`, so many must stay available: a lane of less urgent requests stops before the others do.
        With `limits`, the request also counts against those of the key `key_id`, and its settling does: raises LimitReached.
        """
        tokens = parse_amount(amount, most=MAX_CHARGE_TOKENS)
        check_ttl(ttl)
        fresh = new_bytes()
        hold_id = encode_id("hold", fresh)
        request_id = hold_id if key is None else check_key(key)
        return OpenHold(
            organization_id=known(organization_id),
            key=fresh if key is None else key_bytes(key),
            fingerprint=fingerprint_of("hold", tokens, ttl),
            hold_id=hold_id,
            request_id=request_id,
            tokens=tokens,
            ttl=ttl,
            key_id=None if key_id is None else check_label(key_id, field="key_id"),
            limits=check_limits(limits, key_id),
            lane=lane_of(reserve_tokens, lane),
        )

    def extend_hold(
        self,
        organization_id: str,
        hold_id: str,
        more_tokens: int | str,
        *,
        ttl: timedelta | None = None,
        key: str | None = None,
        limits: KeyLimits | None = None,
        reserve_tokens: int | None = None,
        lane: str | None = None,
    ) -> ExtendHold:
        """Let a hold reserve `more_tokens`, admitted as a hold of so many; with `ttl` it lasts at least so long from now on.

        0 tokens with a `ttl` only prolong it. A hold that has lapsed is admitted anew as a whole, and lasts as long again as it did
        unless `ttl` says otherwise. The key is one of the hold's own. Raises AiStopped, BalanceHeld, HoldNotFound,
        HoldAlreadySettled, HoldAlreadyReleased; with the `limits` of the key that the hold was opened with, LimitReached.
        """
        tokens = parse_amount(more_tokens, field="more_tokens", least=1 if ttl is None else 0, most=MAX_CHARGE_TOKENS)
        hold_bytes(hold_id)
        return ExtendHold(
            organization_id=known(organization_id),
            key=name_and_key(key)[1],
            fingerprint=fingerprint_of("extend_hold", tokens, None if ttl is None else check_ttl(ttl)),
            hold_id=hold_id,
            more_tokens=tokens,
            ttl=ttl,
            limits=limits or None,
            lane=lane_of(reserve_tokens, lane),
        )

    def settle(
        self,
        organization_id: str,
        hold_id: str,
        amount: int | str | None = None,
        *,
        usage: Usage | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        model: str | None = None,
        session: str | None = None,
        reason: str | None = None,
        service_id: str | None = None,
        key_id: str | None = None,
        note: str = "",
        raw_usage: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        estimated: bool = False,
    ) -> Settle:
        """Charge what a held request used: `amount` tokens, else its usage at the model's rate; 0 is allowed.

        `facts` are kept with the line and are no part of the input that a repetition must match. Idempotent by the
        hold. Raises HoldNotFound, HoldAlreadySettled (another usage), HoldAlreadyReleased.
        """
        charge, given = charge_given(
            self._ratebook, amount, usage=usage, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, model=model,
            session=session, reason=reason, service_id=service_id, key_id=key_id, note=note, raw_usage=raw_usage, facts=facts,
            estimated=estimated, least=0,
        )  # fmt: skip
        return Settle(
            organization_id=known(organization_id),
            key=hold_bytes(hold_id),
            fingerprint=fingerprint_of("settle", given),
            hold_id=hold_id,
            charge=charge,
        )

    def release(self, organization_id: str, hold_id: str) -> Release:
        """Give a hold back unused. Idempotent. Raises HoldNotFound, HoldAlreadySettled."""
        return Release(organization_id=known(organization_id), key=hold_bytes(hold_id), fingerprint=b"", hold_id=hold_id)

    def debit(
        self,
        organization_id: str,
        amount: int | str | None = None,
        *,
        usage: Usage | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        model: str | None = None,
        session: str | None = None,
        reason: str | None = None,
        service_id: str | None = None,
        key_id: str | None = None,
        note: str = "",
        raw_usage: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        estimated: bool = False,
        already_used: bool = False,
        key: str | None = None,
        limits: KeyLimits | None = None,
        reserve_tokens: int | None = None,
        lane: str | None = None,
    ) -> Debit:
        """Charge a request: `amount` tokens, else its usage at the model's rate (one to one where none is set).

        Admitted like a hold, raising AiStopped or BalanceHeld, unless the tokens are `already_used`: then it is always charged,
        into overage if need be. `facts` are kept with the line and are no part of the input that a repetition must match.
        With `limits`, it counts against those of the key `key_id`: raises LimitReached. With `reserve_tokens`, so many must stay
        available: a lane of less urgent requests stops before the others do.
        Raises ModelUnrated where the platform refuses models without a rate.
        """
        if amount is None and not already_used:
            self._ratebook.require_rated(model)
        charge, given = charge_given(
            self._ratebook, amount, usage=usage, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, model=model,
            session=session, reason=reason, service_id=service_id, key_id=key_id, note=note, raw_usage=raw_usage, facts=facts,
            estimated=estimated, least=1,
        )  # fmt: skip
        request_id, key_16 = name_and_key(key)
        return Debit(
            organization_id=known(organization_id),
            key=key_16,
            fingerprint=fingerprint_of("debit", bool(already_used), given),
            request_id=request_id,
            charge=charge,
            already_used=bool(already_used),
            limits=check_limits(limits, key_id),
            lane=lane_of(reserve_tokens, lane),
        )

    def refund(
        self,
        organization_id: str,
        request_id: str,
        amount: int | str | None = None,
        *,
        note: str = "",
        key: str | None = None,
        by: Actor | None = None,
    ) -> Refund:
        """Give tokens of a charged request back to the packs they came from; all that is left of it unless `amount` says less.

        Raises RequestNotFound, and AmountInvalid where less is left.
        """
        request_id = check_key(request_id, field="request_id")
        tokens = None if amount is None else parse_amount(amount)
        note = check_note(note)
        refund_id, key_16 = name_and_key(key)
        return Refund(
            organization_id=known(organization_id),
            key=key_16,
            fingerprint=fingerprint_of("refund", request_id, tokens, note),
            by=by,
            refund_id=refund_id,
            request_id=request_id,
            debited_keys=request_keys(request_id),
            amount_tokens=tokens,
            note=note,
        )

    def close_due(self, organization_id: str) -> CloseDue:
        """Close what is due of an organization, with no other change."""
        return CloseDue(organization_id=known(organization_id), key=new_bytes(), fingerprint=b"")

    def _pack_id(self, organization_id: str, pack: str) -> str:
        number = _NUMBER.fullmatch(pack) if isinstance(pack, str) else None
        if number is not None:
            return self._reading.pack_id_of(organization_id, int(number[1]))
        try:
            decode_id(pack)
        except (ValueError, TypeError):
            raise PackNotFound(pack_id=pack) from None
        return pack
