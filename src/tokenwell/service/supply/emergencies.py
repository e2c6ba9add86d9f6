"""Emergency tokens: an organization that runs out advances itself a few, within a limit of the platform, until the next grant."""

from __future__ import annotations

from tokenwell.core.amounts import parse_amount
from tokenwell.core.happenings import Actor
from tokenwell.core.health import State
from tokenwell.core.receipts import Balance, Granted
from tokenwell.errors import AmountInvalid, Conflict, EmergencyRefused
from tokenwell.service.meter import Meter

TRIES = 10
"""How often it is looked again where more is owed than was read a moment ago."""


class Emergencies:
    """The emergency tokens of the organizations in the meter's database: at most `limit_tokens` at a time, 0 for none."""

    def __init__(self, meter: Meter, *, limit_tokens: int) -> None:
        self.limit_tokens = limit_tokens
        self._meter = meter

    def take(self, organization_id: str, amount: int | str, *, note: str = "", key: str | None = None, by: Actor) -> Granted:
        """Grant an organization a small pack now that the next grant repays; the same key gives the first answer, replayed.

        Overage is no obstacle. Raises EmergencyRefused while the balance is Normal, until grants have repaid what was taken before,
        and where the platform has no emergency tokens; AmountInvalid for more than its limit.
        """
        tokens = parse_amount(amount)
        for _ in range(TRIES):
            balance = self._meter.balance(organization_id)
            refusal = self._refusal(balance, tokens)
            # The limit is what was owed when this was read, and the amount: the transaction decides, and of two at once one is
            # granted. With 0 nothing is granted, and what was taken before with the same key is still answered.
            limit = 0 if refusal else balance.overage_tokens + tokens
            try:
                return self._meter.advance(organization_id, tokens, limit=limit, note=note, key=key, by=by)
            except AmountInvalid as error:
                if "limit_tokens" not in error.details:
                    raise
                if refusal is not None:
                    raise refusal from None
                failure = error
                # More is owed than was read: another took some, which is seen now, or a request used more, which is no obstacle.
        raise failure

    def offered(self, balance: Balance) -> int:
        """Return how many tokens an organization with this balance could take now; 0 where it can take none."""
        return 0 if self._refusal(balance, 1) else self.limit_tokens

    def _refusal(self, balance: Balance, tokens: int) -> AmountInvalid | Conflict | None:
        """Return why an organization cannot have emergency tokens now, None where it can."""
        if not self.limit_tokens:
            return EmergencyRefused("the platform gives no emergency tokens", limit_tokens=0)
        if tokens > self.limit_tokens:
            most = f"at most {self.limit_tokens:,} emergency tokens can be taken"
            return AmountInvalid(most, field="amount", limit_tokens=self.limit_tokens)
        if balance.state is State.NORMAL:
            return EmergencyRefused("the balance is not low", state=balance.state.value)
        return self._owed(balance)

    def _owed(self, balance: Balance) -> EmergencyRefused | None:
        """Return a refusal while something of what was taken before is owed. The oldest is repaid first: it is, as long as more is
        owed than was used beyond the balance since then."""
        if not balance.overage_tokens:
            return None
        incurred = self._meter.reading.incurred_since_advance(balance.organization_id)
        if incurred is None or balance.overage_tokens <= incurred:
            return None
        what = "emergency tokens were taken already; the next grant repays them"
        return EmergencyRefused(what, overage_tokens=balance.overage_tokens)
