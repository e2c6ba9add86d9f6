"""What people are told of an organization: two latches, one for each line, and the events that follow from a command's lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

RECOVERED = Fraction(105, 100)


class Event(NamedTuple):
    """Something that was told."""

    kind: str
    at: datetime
    detail: dict[str, Any]


@dataclass
class Teller:
    """Remembers below which of the two lines the balance fell and from which it has not recovered, and everything it told."""

    below_warning: bool = False
    below_reserve: bool = False
    events: list[Event] = field(default_factory=list)

    def believed(self) -> str:
        """Return the state in which people believe the organization to be."""
        if self.below_reserve:
            return "ai_stopped"
        return "running_low" if self.below_warning else "normal"

    def tell(self, kind: str, at: datetime, **detail: Any) -> None:
        """Tell something."""
        self.events.append(Event(kind, at, detail))

    def look(self, at: datetime, *, balance: int, seq: int, warning: int, reserve: int, granted: int = 0) -> None:
        """Set and release the latches, and tell what that changes, and which grant did it."""
        before = self.believed()
        self.below_warning = balance < (RECOVERED * warning if self.below_warning else warning)
        line = max(1, reserve)
        self.below_reserve = balance < (RECOVERED * line if self.below_reserve else line)
        state = self.believed()
        if state == before:
            return
        detail = {"state": state, "before": before, "warning_tokens": warning, "reserve_tokens": reserve}
        detail |= {"granted_tokens": granted} if granted else {}
        worse = self.below_reserve or before == "normal"
        self.tell("state." + (state if worse else "recovered"), at, **detail, balance_tokens=balance, seq=seq)
        if "ai_stopped" in (state, before):
            self.tell("service." + ("restricted" if worse else "restored"), at, **detail, balance_tokens=balance, seq=seq)
