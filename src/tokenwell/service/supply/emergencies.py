"""Emergency tokens: an organization that runs out advances itself a few, within a limit of the platform, until the next grant."""

from __future__ import annotations

from tokenwell.core.amounts import parse_amount
from tokenwell.core.happenings import Actor
from tokenwell.core.health import State
from tokenwell.core.receipts import Balance, Granted
from tokenwell.errors import AmountInvalid, Conflict, EmergencyRefused
from tokenwell.service.meter import Meter


class Emergencies:
    """The emergency tokens of the organizations in the meter's database: at most `limit_tokens` at a time, 0 for none."""

    def __init__(self, meter: Meter, *, limit_tokens: int) -> None:
        self.limit_tokens = limit_tokens
        self._meter = meter

    def take(self, organization_id: str, amount: int | str, *, note: str = "", key: str | None = None, by: Actor) -> Granted:
        """Grant an organization a small pack now that the next grant repays; the same key gives the first answer, replayed.

        Raises EmergencyRefused while the balance is Normal, while anything is owed, and where the platform has no emergency tokens;
        AmountInvalid for more than its limit.
        """
        tokens = parse_amount(amount)
        refusal = self._refusal(self._meter.balance(organization_id), tokens)
        try:
            # With the amount as the limit nothing may be owed before it, which the transaction decides: of two at once, one is
            # granted. With 0 nothing is granted, and what was taken before with the same key is still answered.
            return self._meter.advance(organization_id, tokens, limit=0 if refusal else tokens, note=note, key=key, by=by)
        except AmountInvalid as error:
            if "limit_tokens" not in error.details:
                raise
            raise refusal or _owed(int(error.details["overage_tokens"])) from None

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
        return _owed(balance.overage_tokens) if balance.overage_tokens else None


def _owed(overage_tokens: int) -> EmergencyRefused:
    return EmergencyRefused("tokens are owed already; the next grant repays them", overage_tokens=overage_tokens)
