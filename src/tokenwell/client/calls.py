"""Calls: every operation of the REST API as a request that can be sent, whatever sends it.

The methods of `Calls` are the signatures of the SDK: `Tokenwell` sends what they return, `AsyncTokenwell` does so for coroutines.
A write takes an idempotency `key`, a fresh one unless it is given: given again with the same input it gets the first answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from tokenwell.client import bodies, shapes
from tokenwell.client.embedding import EmbeddingCalls
from tokenwell.client.management import ManagementCalls
from tokenwell.client.policies import PolicyCalls
from tokenwell.client.requests import Request, Tokens, at, read, write
from tokenwell.client.shapes import Page

__all__ = ["Calls", "Request"]


class Calls(ManagementCalls, EmbeddingCalls, PolicyCalls):
    """Builds requests. Nothing is checked here: what cannot be used is refused by the server, which names the field."""

    def create_organization(
        self, organization_id: str, *, name: str | None = None, key: str | None = None
    ) -> Request[shapes.Organization]:
        """Create an organization. Creating it again with the same name changes nothing. Raises OrganizationExists."""
        body = bodies.NewOrganization(id=organization_id, name=name)
        return write("POST", "/v1/organizations", shapes.Organization, key, body)

    def list_organizations(self, *, cursor: str | None = None, limit: int | None = None) -> Request[Page[shapes.Organization]]:
        """List the organizations within reach, by id."""
        return read("/v1/organizations", Page[shapes.Organization], cursor=cursor, limit=limit)

    def get_organization(self, organization_id: str) -> Request[shapes.Organization]:
        """Return an organization."""
        return read(at(organization_id), shapes.Organization)

    def set_thresholds(
        self, organization_id: str, *, warning: Tokens, reserve: Tokens, key: str | None = None
    ) -> Request[shapes.ThresholdsInForce]:
        """Set an organization's own thresholds. Raises ThresholdsInvalid unless warning ≥ reserve."""
        body = bodies.NewThresholds(warning=warning, reserve=reserve)
        return write("PUT", at(organization_id, "thresholds"), shapes.ThresholdsInForce, key, body)

    def clear_thresholds(self, organization_id: str, *, key: str | None = None) -> Request[shapes.ThresholdsInForce]:
        """Return an organization to the platform's thresholds."""
        return write("DELETE", at(organization_id, "thresholds"), shapes.ThresholdsInForce, key)

    def balance(self, organization_id: str, *, as_of: datetime | None = None) -> Request[shapes.Balance]:
        """Read balance, held, overage and state, now or as of a past instant."""
        return read(at(organization_id, "balance"), shapes.Balance, as_of=as_of)

    def grant_pack(
        self,
        organization_id: str,
        amount: Tokens,
        *,
        expires_at: datetime | None = None,
        priority: int = 0,
        note: str = "",
        key: str | None = None,
    ) -> Request[shapes.PackGranted]:
        """Grant a pack that expires at an instant, or never. A lower `priority` is spent first."""
        body = bodies.NewPack(amount=amount, expires_at=expires_at, priority=priority, note=note)
        return write("POST", at(organization_id, "packs"), shapes.PackGranted, key, body)

    def list_packs(
        self,
        organization_id: str,
        *,
        status: shapes.PackStatus | None = None,
        as_of: datetime | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[shapes.Pack]]:
        """List packs, the latest grant first."""
        query = {"status": status, "as_of": as_of, "cursor": cursor, "limit": limit}
        return read(at(organization_id, "packs"), Page[shapes.Pack], **query)

    def get_pack(self, organization_id: str, pack: str) -> Request[shapes.Pack]:
        """Return a pack by id or number (`PK-7`). Raises PackNotFound."""
        return read(at(organization_id, "packs", pack), shapes.Pack)

    def revoke_pack(
        self, organization_id: str, pack: str, *, cancel_holds: bool = False, note: str = "", key: str | None = None
    ) -> Request[shapes.PackRevoked]:
        """Revoke a pack. Open holds may still spend it unless they are cancelled. Raises PackAlreadyRevoked."""
        body = bodies.Revocation(cancel_holds=cancel_holds, note=note)
        return write("POST", at(organization_id, "packs", pack, "revoke"), shapes.PackRevoked, key, body)

    def extend_pack(
        self, organization_id: str, pack: str, *, expires_at: datetime | None, note: str = "", key: str | None = None
    ) -> Request[shapes.PackExtended]:
        """Move a pack's expiry to a later instant, or (None) to never. Raises PackAlreadyRevoked, PackExpired."""
        body = bodies.Extension(expires_at=expires_at, note=note)
        return write("POST", at(organization_id, "packs", pack, "extend"), shapes.PackExtended, key, body)

    def set_pack_note(self, organization_id: str, pack: str, note: str, *, key: str | None = None) -> Request[shapes.Pack]:
        """Change a pack's note."""
        return write("PUT", at(organization_id, "packs", pack, "note"), shapes.Pack, key, bodies.PackNote(note=note))

    def open_hold(
        self,
        organization_id: str,
        amount: Tokens,
        *,
        ttl_seconds: int = 600,
        reserve_tokens: Tokens | None = None,
        lane: str | None = None,
        key: str | None = None,
    ) -> Request[shapes.Hold]:
        """Reserve tokens before an AI request; with `reserve_tokens`, so many stay available to others than this lane. Raises
        AiStopped, BalanceHeld."""
        body = bodies.NewHold(amount=amount, ttl_seconds=ttl_seconds, reserve_tokens=reserve_tokens, lane=lane)
        return write("POST", at(organization_id, "holds"), shapes.Hold, key, body)

    def extend_hold(
        self,
        organization_id: str,
        hold_id: str,
        more_tokens: Tokens = 0,
        *,
        ttl_seconds: int | None = None,
        reserve_tokens: Tokens | None = None,
        lane: str | None = None,
        key: str | None = None,
    ) -> Request[shapes.Hold]:
        """Let a hold reserve more tokens, last longer, or both. Raises AiStopped, BalanceHeld, HoldNotFound."""
        body = bodies.HoldExtension(more_tokens=more_tokens, ttl_seconds=ttl_seconds, reserve_tokens=reserve_tokens, lane=lane)
        return write("POST", at(organization_id, "holds", hold_id, "extend"), shapes.Hold, key, body)

    def settle_hold(
        self, /, organization_id: str, hold_id: str, amount: Tokens | None = None, *, key: str | None = None, **usage: Any
    ) -> Request[shapes.Receipt]:
        """Charge what a held request used: `amount`, else its usage (the fields of `Charge`). Raises HoldAlreadySettled."""
        body = bodies.Charge(amount=amount, **usage)
        return write("POST", at(organization_id, "holds", hold_id, "settle"), shapes.Receipt, key, body)

    def release_hold(self, organization_id: str, hold_id: str, *, key: str | None = None) -> Request[shapes.HoldReleased]:
        """Give a hold back unused."""
        return write("POST", at(organization_id, "holds", hold_id, "release"), shapes.HoldReleased, key)

    def debit(
        self, /, organization_id: str, amount: Tokens | None = None, *, key: str | None = None, **usage: Any
    ) -> Request[shapes.Receipt]:
        """Charge a request: `amount`, else its usage (the fields of `Debit`). Raises AiStopped, BalanceHeld."""
        return write("POST", at(organization_id, "debits"), shapes.Receipt, key, bodies.Debit(amount=amount, **usage))

    def debit_batch(
        self, organization_id: str, debits: Iterable[bodies.BatchDebit], *, key: str | None = None
    ) -> Request[shapes.BatchAnswers]:
        """Charge up to 1,000 requests, each by itself, with an answer for each in their order."""
        body = bodies.Batch(debits=tuple(debits))
        return write("POST", at(organization_id, "debits", "batch"), shapes.BatchAnswers, key, body)

    def refund(
        self, organization_id: str, request_id: str, amount: Tokens | None = None, *, note: str = "", key: str | None = None
    ) -> Request[shapes.Receipt]:
        """Give tokens of a charged request back: all that is left of it, unless `amount` says less. Raises RequestNotFound."""
        body = bodies.NewRefund(request_id=request_id, amount=amount, note=note)
        return write("POST", at(organization_id, "refunds"), shapes.Receipt, key, body)

    def ledger(
        self,
        organization_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        model: str | None = None,
        session: str | None = None,
        reason: str | None = None,
        pack: str | None = None,
        service: str | None = None,
        key: str | None = None,
        request: str | None = None,
        kind: shapes.LedgerKind | None = None,
        cursor: str | None = None,
        limit: int | None = None,
        format: Literal["json", "ndjson", "csv"] | None = None,
    ) -> Request[Page[shapes.LedgerLine]]:
        """Read ledger lines that pass a filter, the latest first. `key` is a gateway key's id."""
        query = {
            "since": since, "until": until, "model": model, "session": session, "reason": reason, "pack": pack,
            "service": service, "key": key, "request": request, "kind": kind, "cursor": cursor, "limit": limit, "format": format,
        }  # fmt: skip
        return read(at(organization_id, "ledger"), Page[shapes.LedgerLine], **query)

    def ledger_sums(
        self,
        organization_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        model: str | None = None,
        session: str | None = None,
        reason: str | None = None,
        pack: str | None = None,
        service: str | None = None,
        key: str | None = None,
        request: str | None = None,
        kind: shapes.LedgerKind | None = None,
    ) -> Request[shapes.LedgerSums]:
        """Count and sum the lines that pass a filter."""
        query = {
            "since": since, "until": until, "model": model, "session": session, "reason": reason, "pack": pack,
            "service": service, "key": key, "request": request, "kind": kind,
        }  # fmt: skip
        return read(at(organization_id, "ledger", "sums"), shapes.LedgerSums, **query)

    def list_sessions(
        self, organization_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[shapes.Session]]:
        """List sessions with their sums, the one used last first."""
        return read(at(organization_id, "sessions"), Page[shapes.Session], cursor=cursor, limit=limit)

    def get_session(self, organization_id: str, session: str) -> Request[shapes.Session]:
        """Return one session with its sums. Raises NotFound."""
        return read(at(organization_id, "sessions", session), shapes.Session)

    def usage(
        self,
        organization_id: str,
        *,
        since: datetime,
        until: datetime,
        zone: str | None = None,
        width: Literal["hour", "day"] | None = None,
        by: Literal["model", "reason", "service", "key"] | None = None,
        model: str | None = None,
        reason: str | None = None,
        service: str | None = None,
        key: str | None = None,
    ) -> Request[shapes.UsageReport]:
        """Sum usage over [since, until) by hours or days of a time zone, and by one dimension."""
        query = {
            "since": since, "until": until, "zone": zone, "width": width, "by": by,
            "model": model, "reason": reason, "service": service, "key": key,
        }  # fmt: skip
        return read(at(organization_id, "usage"), shapes.UsageReport, **query)

    def journal(
        self, organization_id: str, *, after_seq: int | None = None, limit: int | None = None
    ) -> Request[Page[shapes.JournalLine]]:
        """Read journal lines of every kind in order, those after a line."""
        return read(at(organization_id, "journal"), Page[shapes.JournalLine], after_seq=after_seq, limit=limit)

    def verify(self, organization_id: str, *, key: str | None = None) -> Request[shapes.Verified]:
        """Recompute an organization from its journal, and compare. It reads every line."""
        return write("POST", at(organization_id, "verify"), shapes.Verified, key)

    def list_rates(self) -> Request[Page[shapes.Rate]]:
        """List every rate ever set."""
        return read("/v1/rates", Page[shapes.Rate])

    def set_rate(self, /, model: str, *, effective_at: datetime, key: str | None = None, **millionths: int) -> Request[shapes.Rate]:
        """Set what a model costs from a date on (the fields of `NewRate`)."""
        body = bodies.NewRate(model=model, effective_at=effective_at, **millionths)
        return write("PUT", "/v1/rates", shapes.Rate, key, body)
