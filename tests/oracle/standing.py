"""What is true of one organization at one instant, and how its lines are written and told of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.oracle.shapes import BALANCE_SIGN, REMAINING_SIGN, Hold, Line, Pack, Request
from tests.oracle.telling import Teller
from tokenwell.errors import HoldNotFound, PackNotFound


@dataclass
class Standing:
    """Everything known about an organization."""

    now: datetime
    platform: tuple[int, int]
    own: tuple[int, int] | None = None
    overage: int = 0
    packs: list[Pack] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    teller: Teller = field(default_factory=Teller)

    # What can be read

    def active(self, now: datetime) -> list[Pack]:
        """Return the packs that count at `now`."""
        return [pack for pack in self.packs if pack.status(now) == "active"]

    def balance(self, now: datetime) -> int:
        """Return the sum of what remains of the active packs."""
        return sum(pack.remaining for pack in self.active(now))

    def held(self, now: datetime) -> int:
        """Return the sum of the holds that reserve something."""
        return sum(hold.tokens for hold in self.holds.values() if hold.reserves(now))

    def thresholds(self) -> tuple[int, int]:
        """Return warning and reserve: the organization's own, else the platform's."""
        return self.own or self.platform

    def state_of(self, balance: int) -> str:
        """Return the state that a balance means."""
        warning, reserve = self.thresholds()
        if balance < reserve or balance == 0:
            return "ai_stopped"
        return "running_low" if balance < warning else "normal"

    # Lines

    def write(self, kind: str, amount: int, pack: Pack | None = None, *, at: datetime | None = None, **shown: Any) -> None:
        """Append one line and do to the pack what its kind says."""
        before = self.lines[-1].balance if self.lines else 0
        if pack is not None:
            pack.remaining += REMAINING_SIGN.get(kind, 0) * amount
        line = Line(
            seq=len(self.lines) + 1,
            at=at or self.now,
            kind=kind,
            amount=amount,
            balance=before + BALANCE_SIGN[kind] * amount,
            pack=pack.id if pack else None,
            remaining=pack.remaining if pack else None,
        )
        self.lines.append(line._replace(**shown))

    def close_due(self) -> None:
        """Close every pack that is due by now: by expiry, then in burn-down order."""
        due = [pack for pack in self.packs if pack.status(self.now) == "expired" and pack.closed_by is None]
        for pack in sorted(due, key=lambda pack: (pack.expires_at, pack.burn_order())):
            self.forfeit("expire", pack.remaining, pack, at=pack.expires_at)
            at = self.lines[-1].at
            self.tell_pack("pack.expired", pack, at=at, forfeited_tokens=pack.remaining)
            self.look(at)

    def forfeit(self, kind: str, amount: int, pack: Pack, **shown: Any) -> None:
        """Write a line that forfeits tokens of a pack; the first one closes it."""
        self.write(kind, amount, pack, **shown)
        pack.closed_by = pack.closed_by or kind

    def number_parts(self, first: int) -> None:
        """Let the lines from `first` on say which part they are of how many."""
        parts = len(self.lines) - first
        for part in range(1, parts + 1):
            self.lines[first + part - 1] = self.lines[first + part - 1]._replace(part=part, parts=parts)

    # Telling

    def tell(self, kind: str, at: datetime | None = None, **detail: Any) -> None:
        """Tell something, with the balance and the number of the last line."""
        line = self.lines[-1]
        self.teller.tell(kind, at or self.now, **detail, balance_tokens=line.balance, seq=line.seq)

    def tell_pack(self, kind: str, pack: Pack, at: datetime | None = None, **detail: Any) -> None:
        """Tell something about a pack."""
        about = {"pack_id": pack.id, "pack_number": pack.number, "total_tokens": pack.total, "remaining_tokens": pack.remaining}
        self.tell(kind, at, **about, expires_at=pack.expires_at, **detail)

    def look(self, at: datetime | None = None, *, granted: int = 0) -> None:
        """Tell the state if it is another than was told, once there was a pack; `granted` is what was granted just now."""
        if self.packs:
            warning, reserve = self.thresholds()
            line = self.lines[-1]
            self.teller.look(at or self.now, balance=line.balance, seq=line.seq, warning=warning, reserve=reserve, granted=granted)

    def tell_since(self, seq: int, *, overage_before: int) -> None:
        """Tell what the lines after `seq` did: packs that ran out, the first overage, the state."""
        for line in self.lines[seq:]:
            if line.kind in ("debit", "overage_repaid") and line.remaining == 0 and line.pack:
                pack = self.pack(line.pack)
                if pack.closed_by is None:
                    self.tell_pack("pack.depleted", pack)
        if any(line.kind == "overage" and line.amount > 0 for line in self.lines[seq:]) and overage_before == 0:
            self.tell("overage.incurred", overage_tokens=self.overage)
        self.look(granted=sum(line.amount for line in self.lines[seq:] if line.kind == "grant"))

    # Things by name

    def pack(self, name: str) -> Pack:
        """Return a pack by its id or its number (`PK-7`)."""
        for pack in self.packs:
            if name in (pack.id, f"PK-{pack.number}"):
                return pack
        raise PackNotFound

    def hold(self, hold_id: str) -> Hold:
        """Return a hold."""
        if hold_id not in self.holds:
            raise HoldNotFound
        return self.holds[hold_id]
