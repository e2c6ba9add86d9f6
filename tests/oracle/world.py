"""One organization at one instant, and what every command does to it: the rules of docs/concepts.md, one token at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, groupby
from typing import Any

from tests.oracle.inputs import MOST, Split, check_instant, check_thresholds, check_ttl, price, split_of, whole
from tests.oracle.shapes import OVERAGE, Answer, Hold, Pack, Request
from tests.oracle.standing import Standing
from tokenwell.errors import (
    AiStopped,
    AmountInvalid,
    BalanceHeld,
    HoldAlreadyReleased,
    HoldAlreadySettled,
    PackAlreadyRevoked,
    PackExpired,
    RequestInvalid,
    RequestNotFound,
)


def cut(parts: list[int], split: Split) -> list[tuple[int | None, ...]]:
    """Cut the two columns over the parts: the prompt's tokens first at one to one, otherwise in proportion, rounded down so far."""
    if split is None:
        return [(None, None)] * len(parts)
    prompt, completion = split
    total = sum(parts)
    tokens = ["prompt"] * prompt + ["completion"] * completion
    cuts: list[tuple[int | None, ...]] = []
    before = 0
    for upto in accumulate(parts):
        if total == len(tokens):
            paid = tokens[before:upto]
            cuts.append((paid.count("prompt"), paid.count("completion")))
        else:
            cuts.append(tuple(column * upto // total - column * before // total for column in split))
        before = upto
    return cuts


@dataclass
class World(Standing):
    """What every command does. It may leave a world half changed when it refuses: work on a copy."""

    # Packs

    def grant(
        self, *, amount: object, expires_at: datetime | None = None, priority: int = 0, note: str = "", new_id: str = ""
    ) -> Answer:
        """Grant a pack; it repays overage first."""
        total = whole(amount, least=1)
        if check_instant(expires_at) <= self.now:
            raise RequestInvalid
        if self.balance(self.now) + total > MOST:
            raise AmountInvalid
        number = len(self.packs) + 1
        pack = Pack(new_id or f"pack-{number}", number, priority, total, total, self.now, expires_at)
        self.packs.append(pack)
        first = len(self.lines)
        self.write("grant", total, pack)
        repaid = 0
        while repaid < total and self.overage > 0:
            repaid += 1
            self.overage -= 1
        if repaid:
            self.write("overage_repaid", repaid, pack)
            pack.repaid = repaid
        self.number_parts(first)
        self.tell_pack("pack.granted", pack, repaid_tokens=repaid)
        if repaid:
            self.tell("overage.repaid", repaid_tokens=repaid, overage_tokens=self.overage)
        return {
            "answer": "granted",
            "pack": pack.id,
            "number": number,
            "remaining": pack.remaining,
            "repaid": repaid,
            "advanced": 0,
        }

    def advance(self, *, amount: object, limit: int, note: str = "", new_id: str = "") -> Answer:
        """Grant a pack whose tokens are owed from now on."""
        total = whole(amount, least=1)
        if self.overage + total > min(limit, MOST) or self.balance(self.now) + total > MOST:
            raise AmountInvalid
        number = len(self.packs) + 1
        pack = Pack(new_id or f"pack-{number}", number, 0, total, total, self.now, None)
        self.packs.append(pack)
        first = len(self.lines)
        self.write("grant", total, pack)
        self.write("advance", total)
        self.overage += total
        self.number_parts(first)
        self.tell_pack("pack.granted", pack, repaid_tokens=0, advanced_tokens=total)
        self.tell_pack("pack.advanced", pack, overage_tokens=self.overage)
        return {"answer": "granted", "pack": pack.id, "number": number, "remaining": total, "repaid": 0, "advanced": total}

    def revoke(self, *, pack: str, cancel_holds: bool = False, note: str = "") -> Answer:
        """Revoke a pack; what still counted is forfeited."""
        revoked = self.pack(pack)
        if revoked.revoked_at is not None:
            raise PackAlreadyRevoked
        forfeited = revoked.remaining if revoked.status(self.now) == "active" else 0
        self.forfeit("revoke", forfeited, revoked)
        revoked.revoked_at = self.now
        released = [hold for hold in self.holds.values() if hold.reserves(self.now) and revoked.id in hold.may_spend]
        for hold in released if cancel_holds else []:
            self.close(hold, "released", {"answer": "released", "hold": hold.id})
        count = len(released) if cancel_holds else 0
        self.tell_pack("pack.revoked", revoked, forfeited_tokens=forfeited, released_holds=count)
        return {"answer": "revoked", "pack": revoked.id, "forfeited": forfeited, "released_holds": count}

    def extend(self, *, pack: str, expires_at: datetime | None, note: str = "") -> Answer:
        """Move a pack's expiry to a later instant, or to never."""
        extended = self.pack(pack)
        if extended.revoked_at is not None:
            raise PackAlreadyRevoked
        if extended.is_past_expiry(self.now):
            raise PackExpired
        before = extended.expires_at
        if before is None or check_instant(expires_at) <= before:
            raise RequestInvalid
        extended.expires_at = expires_at
        self.write("extend", 0, extended)
        self.tell_pack("pack.extended", extended, expired_before=before)
        return {"answer": "extended", "pack": extended.id, "before": before, "expires_at": expires_at}

    # Holds

    def admit(self, estimate: int) -> None:
        """Refuse a request that the balance does not allow."""
        balance = self.balance(self.now)
        available = balance - self.held(self.now)
        _, reserve = self.thresholds()
        if self.state_of(balance) == "ai_stopped":
            raise AiStopped
        if available < reserve or estimate > available:
            raise BalanceHeld

    def open_hold(
        self, *, amount: object, ttl: timedelta = timedelta(minutes=10), key: str | None = None, new_id: str = ""
    ) -> Answer:
        """Reserve tokens for a time."""
        tokens = whole(amount, least=1)
        check_ttl(ttl)
        self.admit(tokens)
        hold_id = new_id or f"hold-{len(self.holds) + 1}"
        could_spend = [pack.id for pack in self.packs if pack.closed_by is None and not pack.is_past_expiry(self.now)]
        hold = Hold(hold_id, key or hold_id, tokens, self.now, self.now + ttl, could_spend)
        self.holds[hold_id] = hold
        return {"answer": "held", "hold": hold_id, "request": hold.request, "tokens": tokens, "lapses_at": hold.lapses_at}

    def extend_hold(self, *, hold_id: str, more_tokens: object, ttl: timedelta | None = None) -> Answer:
        """Reserve more for a hold; one that lapsed is admitted anew as a whole."""
        more = whole(more_tokens, least=1 if ttl is None else 0)
        if ttl is not None:
            check_ttl(ttl)
        hold = self.hold(hold_id)
        if hold.status != "open":
            raise HoldAlreadySettled if hold.status == "settled" else HoldAlreadyReleased
        has_lapsed = not hold.reserves(self.now)
        if has_lapsed or more:
            self.admit(more + (hold.tokens if has_lapsed else 0))
        if ttl is not None:
            hold.lapses_at = max(hold.lapses_at, self.now + ttl)
        elif has_lapsed:
            hold.lapses_at = self.now + (hold.lapses_at - hold.opened_at)
        hold.tokens += more
        return {"answer": "held", "hold": hold.id, "request": hold.request, "tokens": hold.tokens, "lapses_at": hold.lapses_at}

    def close(self, hold: Hold, status: str, answer: Answer) -> Answer:
        """End a hold and keep what its closing answered."""
        hold.status = status
        balance = self.balance(self.now)
        hold.closing_answer = answer | {"at": self.now, "balance": balance, "state": self.state_of(balance)}
        return answer

    def release(self, *, hold_id: str) -> Answer:
        """Give a hold back unused."""
        hold = self.hold(hold_id)
        if hold.status == "settled":
            raise HoldAlreadySettled
        return self.close(hold, "released", {"answer": "released", "hold": hold_id})

    def settle(
        self,
        *,
        hold_id: str,
        amount: object = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        model: str | None = None,
    ) -> Answer:
        """Charge what a held request used, whenever it comes."""
        hold = self.hold(hold_id)
        if hold.status == "released":
            raise HoldAlreadyReleased
        if hold.status == "settled":
            raise HoldAlreadySettled
        split = split_of(prompt_tokens, completion_tokens)
        used = whole(amount, least=0) if amount is not None else price(split, model)
        spendable = [pack for pack in self.packs if pack.id in hold.may_spend or pack.status(self.now) == "active"]
        answer = self.charge(hold.request, used, split, spendable) | {"late": not self.now < hold.lapses_at}
        if hold.request in self.requests:
            self.requests[hold.id] = self.requests[hold.request]
        return self.close(hold, "settled", answer)

    # Requests

    def debit(
        self,
        *,
        amount: object = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        model: str | None = None,
        already_used: bool = False,
        key: str = "",
    ) -> Answer:
        """Charge a request without a hold."""
        split = split_of(prompt_tokens, completion_tokens)
        used = whole(price(split, model) if amount is None else amount, least=1)
        if not already_used:
            self.admit(used)
        return self.charge(key, used, split, self.active(self.now))

    def charge(self, request_id: str, amount: int, split: Split, spendable: list[Pack]) -> Answer:
        """Take tokens one by one from the first spendable pack that has one left, then from nowhere."""
        first = len(self.lines)
        left = {pack.id: pack.remaining for pack in sorted(spendable, key=Pack.burn_order)}
        payers = []
        for _ in range(amount):
            payer = next((pack_id for pack_id, tokens in left.items() if tokens > 0), OVERAGE)
            payers.append(payer)
            if payer != OVERAGE:
                left[payer] -= 1
        parts = [(payer, len(list(tokens))) for payer, tokens in groupby(payers)]
        for payer, tokens in parts:
            if payer != OVERAGE and (closed_by := self.pack(payer).closed_by):
                self.write(closed_by, -tokens, self.pack(payer))
        first_part = len(self.lines)
        cuts = cut([tokens for _, tokens in parts], split)
        for (payer, tokens), (prompt, completion) in zip(parts, cuts, strict=True):
            shown: dict[str, Any] = {"prompt": prompt, "completion": completion, "request": request_id}
            if payer == OVERAGE:
                self.write("overage", tokens, **shown)
                self.overage += tokens
            else:
                self.write("debit", tokens, self.pack(payer), **shown)
        self.number_parts(first_part)
        if payers:
            self.requests[request_id] = Request(request_id, payers)
        return self.receipt(request_id, first) | ({} if payers else {"prompt": 0, "completion": 0})

    def refund(self, *, request_id: str, amount: object = None, note: str = "", key: str = "") -> Answer:
        """Give tokens of a request back one by one, the last spent first. The refund is known by its own key."""
        if request_id not in self.requests:
            raise RequestNotFound
        request = self.requests[request_id]
        tokens = len(request.payers) if amount is None else whole(amount, least=1)
        if not 1 <= tokens <= len(request.payers):
            raise AmountInvalid
        first = len(self.lines)
        given = [self.give_back(request.payers.pop()) for _ in range(tokens)]
        went = [(*to, len(list(alike))) for to, alike in groupby(given)]
        for _, pack, count in went:
            if pack is None:
                self.write("overage", -count, request=key)
            else:
                self.write("refund", count, pack, request=key)
        for _, pack, count in went:
            if pack is not None and (pack.closed_by or pack.is_past_expiry(self.now)):
                self.forfeit(pack.closed_by or "expire", count, pack, request=key)
        self.number_parts(first)
        return self.receipt(key, first)

    def give_back(self, payer: str) -> tuple[str, Pack | None]:
        """Return where one token goes back to, in whose stead it goes, and the pack."""
        if payer != OVERAGE:
            return "debited", self.pack(payer)
        if self.overage > 0:
            self.overage -= 1
            return OVERAGE, None
        pack = [pack for pack in self.packs if pack.repaid > pack.returned][-1]
        pack.returned += 1
        return "repaid", pack

    def receipt(self, request_id: str, first: int) -> Answer:
        """Return what the lines from `first` on say to the caller."""
        lines = self.lines[first:]
        drawn = [line for line in lines if line.kind in ("debit", "refund")]
        overage = [abs(line.amount) for line in lines if line.kind == "overage"]
        parts = [line for line in lines if line.prompt is not None]
        return {
            "answer": "receipt",
            "request": request_id,
            "amount": sum(line.amount for line in drawn) + sum(overage),
            "overage": sum(overage),
            "forfeited": sum(line.amount for line in lines if line.kind in ("expire", "revoke") and line.amount > 0),
            "prompt": sum(line.prompt for line in parts) if parts else None,
            "completion": sum(line.completion for line in parts) if parts else None,
            "drawn": [(line.seq, line.pack, line.amount, line.prompt, line.completion, line.remaining) for line in drawn],
            "late": False,
        }

    # Thresholds

    def set_thresholds(self, *, warning: int, reserve: int) -> Answer:
        """Set the organization's own thresholds."""
        self.own = check_thresholds(warning, reserve)
        return {"answer": "thresholds", "warning": warning, "reserve": reserve}

    def clear_thresholds(self) -> Answer:
        """Return to the platform's thresholds."""
        self.own = None
        warning, reserve = self.platform
        return {"answer": "thresholds", "warning": warning, "reserve": reserve}
