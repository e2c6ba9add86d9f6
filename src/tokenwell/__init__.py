"""Tokenwell: prepaid AI tokens, self-hosted. Packs, balance, ledger, and a gateway that meters every AI call.

from tokenwell import Meter

with Meter("sqlite:///tokenwell.db") as meter:
    meter.create_organization("acme")
    meter.grant("acme", "5M")
    with meter.hold("acme", 2_000) as held:
        held.settle(prompt_tokens=900, completion_tokens=120)
    print(meter.balance("acme").balance_tokens)
"""

from __future__ import annotations

from tokenwell.core.forecast import Forecast, Forfeit, Outlook
from tokenwell.core.health import State, Thresholds
from tokenwell.core.journal import Entry, EntryKind
from tokenwell.core.limits import KeyLimits
from tokenwell.core.packs import Pack, PackStatus
from tokenwell.core.rates import Rate, RateCard
from tokenwell.core.receipts import Balance, Drawn, Extended, Granted, Held, Receipt, Released, Revoked, ThresholdsSet
from tokenwell.core.usage import Usage
from tokenwell.errors import TokenwellError
from tokenwell.service.meter import AsyncMeter, Meter
from tokenwell.service.ports import Organization, Page
from tokenwell.service.shapes import LedgerLine, PackLine, UsageTotals, Verified

__version__ = "0.1.0"

__all__ = [
    "AsyncMeter",
    "Balance",
    "Drawn",
    "Entry",
    "EntryKind",
    "Extended",
    "Forecast",
    "Forfeit",
    "Granted",
    "Held",
    "KeyLimits",
    "LedgerLine",
    "Meter",
    "Organization",
    "Outlook",
    "Pack",
    "PackLine",
    "PackStatus",
    "Page",
    "Rate",
    "RateCard",
    "Receipt",
    "Released",
    "Revoked",
    "State",
    "Thresholds",
    "ThresholdsSet",
    "TokenwellError",
    "Usage",
    "UsageTotals",
    "Verified",
    "__version__",
]
