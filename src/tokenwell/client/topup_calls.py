"""Calls of the SDK on what keeps an organization in tokens: forecasts, top-up requests, schedules."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal
from urllib.parse import quote

from tokenwell.client import topups
from tokenwell.client.alert_calls import AlertCalls
from tokenwell.client.disputes import DisputeCalls
from tokenwell.client.purchases import PurchaseCalls
from tokenwell.client.requests import Request, Tokens, at, read, write
from tokenwell.client.shapes import PackGranted, Page


class TopupCalls(PurchaseCalls, DisputeCalls, AlertCalls):
    """Builds requests, as `Calls` does."""

    def forecast(self, organization_id: str) -> Request[topups.Forecast]:
        """Tell when the balance will be Running low, when AI stops, and what packs will forfeit."""
        return read(at(organization_id, "forecast"), topups.Forecast)

    def request_topup(
        self, organization_id: str, amount: Tokens | None = None, *, note: str = "", key: str | None = None
    ) -> Request[topups.Topup]:
        """Ask for tokens; while a request is open, this gives that one."""
        body = topups.NewTopup(amount=amount, note=note)
        return write("POST", at(organization_id, "topups"), topups.Topup, key, body)

    def list_topups(
        self,
        organization_id: str,
        *,
        status: topups.TopupStatus | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[topups.Topup]]:
        """List an organization's requests for tokens, the latest first."""
        return read(at(organization_id, "topups"), Page[topups.Topup], status=status, cursor=cursor, limit=limit)

    def list_all_topups(
        self, *, status: topups.TopupStatus | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[topups.Topup]]:
        """List the requests of every organization, the latest first."""
        return read("/v1/topups", Page[topups.Topup], status=status, cursor=cursor, limit=limit)

    def get_topup(self, organization_id: str, topup_id: str) -> Request[topups.Topup]:
        """Return a request for tokens. Raises TopupNotFound."""
        return read(at(organization_id, "topups", topup_id), topups.Topup)

    def approve_topup(
        self,
        organization_id: str,
        topup_id: str,
        *,
        amount: Tokens | None = None,
        expires_at: datetime | None = None,
        priority: int = 0,
        note: str | None = None,
        key: str | None = None,
    ) -> Request[topups.TopupApproved]:
        """Grant a pack for a request, which closes it. Raises TopupClosed."""
        body = topups.TopupApproval(amount=amount, expires_at=expires_at, priority=priority, note=note)
        return write("POST", at(organization_id, "topups", topup_id, "approve"), topups.TopupApproved, key, body)

    def decline_topup(self, organization_id: str, topup_id: str, *, reason: str, key: str | None = None) -> Request[topups.Topup]:
        """Decline a request, saying why. Raises TopupClosed."""
        body = topups.TopupDecline(reason=reason)
        return write("POST", at(organization_id, "topups", topup_id, "decline"), topups.Topup, key, body)

    def cancel_topup(self, organization_id: str, topup_id: str, *, key: str | None = None) -> Request[topups.Topup]:
        """Take a request back. Raises TopupClosed."""
        return write("POST", at(organization_id, "topups", topup_id, "cancel"), topups.Topup, key)

    def take_emergency_tokens(
        self, organization_id: str, amount: Tokens, *, note: str = "", key: str | None = None
    ) -> Request[topups.EmergencyTaken]:
        """Advance an organization tokens that the next grant repays. Raises EmergencyRefused, AmountInvalid."""
        body = topups.Emergency(amount=amount, note=note)
        return write("POST", at(organization_id, "emergency"), topups.EmergencyTaken, key, body)

    def create_schedule(
        self,
        organization_id: str,
        amount: Tokens,
        *,
        unit: Literal["day", "week", "month"],
        first_day: date,
        every: int = 1,
        last_day: date | None = None,
        at: str = "00:00",
        zone: str = "UTC",
        valid_days: int | None = None,
        priority: int = 0,
        note: str = "",
        key: str | None = None,
    ) -> Request[topups.Schedule]:
        """Grant a pack again and again. A month that has no 31st takes its last day."""
        body = topups.NewSchedule(
            amount=amount, unit=unit, first_day=first_day, every=every, last_day=last_day, at=at, zone=zone,
            valid_days=valid_days, priority=priority, note=note,
        )  # fmt: skip
        return write("POST", _schedules(organization_id), topups.Schedule, key, body)

    def list_schedules(
        self, organization_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[topups.Schedule]]:
        """List an organization's recurring grants, the latest first."""
        return read(_schedules(organization_id), Page[topups.Schedule], cursor=cursor, limit=limit)

    def list_all_schedules(self, *, cursor: str | None = None, limit: int | None = None) -> Request[Page[topups.Schedule]]:
        """List the recurring grants of every organization, the latest first."""
        return read("/v1/schedules", Page[topups.Schedule], cursor=cursor, limit=limit)

    def get_schedule(self, organization_id: str, schedule_id: str) -> Request[topups.Schedule]:
        """Return a recurring grant."""
        return read(_schedules(organization_id, schedule_id), topups.Schedule)

    def update_schedule(
        self, /, organization_id: str, schedule_id: str, *, key: str | None = None, **changes: Any
    ) -> Request[topups.Schedule]:
        """Change what the occurrences to come grant, and until when: amount, last_day, valid_days, priority, note."""
        body = topups.ScheduleChanges(**changes)
        return write("PATCH", _schedules(organization_id, schedule_id), topups.Schedule, key, body)

    def pause_schedule(self, organization_id: str, schedule_id: str, *, key: str | None = None) -> Request[topups.Schedule]:
        """Grant nothing until it is resumed."""
        return write("POST", _schedules(organization_id, schedule_id, "pause"), topups.Schedule, key)

    def resume_schedule(self, organization_id: str, schedule_id: str, *, key: str | None = None) -> Request[topups.Schedule]:
        """Go on; what was due meanwhile is left out."""
        return write("POST", _schedules(organization_id, schedule_id, "resume"), topups.Schedule, key)

    def end_schedule(self, organization_id: str, schedule_id: str, *, key: str | None = None) -> Request[topups.Schedule]:
        """End a recurring grant for good."""
        return write("POST", _schedules(organization_id, schedule_id, "end"), topups.Schedule, key)

    def create_codes(
        self,
        amount: Tokens,
        count: int,
        *,
        valid_days: int | None = None,
        expires_at: datetime | None = None,
        priority: int = 0,
        note: str = "",
        key: str | None = None,
    ) -> Request[topups.CodesMade]:
        """Make redemption codes. They are told only in this answer; with the same key again, it has none."""
        body = topups.NewCodes(
            amount=amount, count=count, valid_days=valid_days, expires_at=expires_at, priority=priority, note=note
        )
        return write("POST", "/v1/code-batches", topups.CodesMade, key, body)

    def list_code_batches(self, *, cursor: str | None = None, limit: int | None = None) -> Request[Page[topups.CodeBatch]]:
        """List batches of redemption codes, the latest first."""
        return read("/v1/code-batches", Page[topups.CodeBatch], cursor=cursor, limit=limit)

    def get_code_batch(self, batch_id: str) -> Request[topups.CodeBatch]:
        """Return a batch of redemption codes."""
        return read(f"/v1/code-batches/{quote(batch_id, safe='')}", topups.CodeBatch)

    def revoke_code_batch(self, batch_id: str, *, key: str | None = None) -> Request[topups.CodeBatch]:
        """Let nobody redeem what is left of a batch."""
        return write("POST", f"/v1/code-batches/{quote(batch_id, safe='')}/revoke", topups.CodeBatch, key)

    def redeem_code(self, organization_id: str, code: str, *, key: str | None = None) -> Request[PackGranted]:
        """Grant an organization the pack of a code. Raises RequestInvalid, RequestsLimited."""
        return write("POST", at(organization_id, "redeem"), PackGranted, key, topups.Redemption(code=code))


def _schedules(organization_id: str, *parts: str) -> str:
    return at(organization_id, "schedules", *parts)
