"""Calls: a request that was admitted, and what it used. Both can be written down and read again."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenwell.core.usage import Usage
from tokenwell.gateway.expecting import Expected
from tokenwell.service.estimates import Kind


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request that was admitted: the hold it runs on, and what its line in the ledger will say.

    `expected` is what it was thought to come to, `limited_to` the output limit it was given where the balance afforded no more;
    both are kept with the line.
    """

    organization_id: str
    request_id: str
    hold_id: str
    key_id: str
    service_id: str | None = None
    model: str
    session: str | None
    reason: str | None
    expected: Expected | None = None
    limited_to: int | None = None

    @property
    def kind(self) -> Kind:
        """What kind of request it is, to expect the next ones by."""
        return (self.organization_id, self.model, self.reason)


class Bill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request used. `facts` are kept with its line."""

    usage: Usage
    raw_usage: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    estimated: bool = False
