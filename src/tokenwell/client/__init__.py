"""Client: the SDK of the REST API, and the shapes that both of them speak.

from tokenwell.client import Tokenwell

with Tokenwell("https://ai.example.com", "tw_plat_…") as tokenwell:
    print(tokenwell.balance("acme").balance_tokens)
"""

from __future__ import annotations

from tokenwell.client.alert_calls import PLATFORM
from tokenwell.client.bodies import BatchDebit, UsagePools
from tokenwell.client.sdk import AsyncTokenwell, Tokenwell

__all__ = ["PLATFORM", "AsyncTokenwell", "BatchDebit", "Tokenwell", "UsagePools"]
