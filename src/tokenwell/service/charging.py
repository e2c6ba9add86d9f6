"""Charging: what a request says it used, checked, priced at its model's rate and made into a charge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tokenwell.core.amounts import MAX_CHARGE_TOKENS, parse_amount
from tokenwell.core.commands import Charge
from tokenwell.core.identifiers import check_label
from tokenwell.core.rates import Rate, charge_of
from tokenwell.core.usage import Usage
from tokenwell.errors import AmountInvalid, RequestInvalid
from tokenwell.service.checks import check_note
from tokenwell.service.ratebook import RateBook

RAW_USAGE_LIMIT = 8_192
"""The largest raw usage kept with a line, in bytes of JSON; a larger one is not kept."""

_encode = msgspec.json.Encoder().encode


def charge_given(
    ratebook: RateBook,
    amount: int | str | None,
    *,
    usage: Usage | None,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    model: str | None,
    session: str | None,
    reason: str | None,
    service_id: str | None,
    key_id: str | None,
    note: str,
    raw_usage: Mapping[str, Any] | None,
    facts: Mapping[str, Any] | None,
    estimated: bool,
    least: int,
) -> tuple[Charge, tuple[Any, ...]]:
    """Return what to charge, and what was given: a retry is the same input even if the rate has changed since."""
    if usage is None:
        if prompt_tokens is not None or completion_tokens is not None:
            usage = Usage(
                input_tokens=0 if prompt_tokens is None else prompt_tokens,
                output_tokens=0 if completion_tokens is None else completion_tokens,
            )
    elif prompt_tokens is not None or completion_tokens is not None:
        raise RequestInvalid("give either usage or prompt and completion tokens", field="usage")
    elif not isinstance(usage, Usage):
        raise RequestInvalid("usage must be a Usage", field="usage")
    rate = None
    if amount is not None:
        amount = tokens = parse_amount(amount, least=least, most=MAX_CHARGE_TOKENS)
    elif usage is None:
        raise AmountInvalid("give an amount, or the prompt and completion tokens", field="amount")
    else:
        rate = ratebook.rate_for(model)
        tokens = parse_amount(charge_of(usage, rate), least=least, most=MAX_CHARGE_TOKENS)
    charge = Charge(
        amount_tokens=tokens,
        prompt_tokens=None if usage is None else usage.prompt_tokens,
        completion_tokens=None if usage is None else usage.completion_tokens,
        model=None if model is None else check_label(model, field="model"),
        session=None if session is None else check_label(session, field="session"),
        reason=None if reason is None else check_label(reason, field="reason"),
        service_id=None if service_id is None else check_label(service_id, field="service_id"),
        key_id=None if key_id is None else check_label(key_id, field="key_id"),
        detail=_detail_of(usage, rate, raw_usage, facts),
        estimated=bool(estimated),
        note=check_note(note),
    )
    return charge, (amount, usage, model, session, reason, service_id, key_id, note, raw_usage, bool(estimated))


def _detail_of(
    usage: Usage | None, rate: Rate | None, raw_usage: Mapping[str, Any] | None, facts: Mapping[str, Any] | None
) -> str | None:
    """Return what is kept with a line as JSON: pools beyond prompt and completion, the rate, the provider's own usage, facts."""
    detail: dict[str, Any] = {}
    if usage is not None and (usage.cache_read_tokens or usage.cache_write_tokens or usage.reasoning_tokens):
        detail["usage"] = usage
    if rate is not None:
        detail["rate"] = rate
    raw = _json_of(raw_usage, field="raw_usage")
    if len(raw) <= RAW_USAGE_LIMIT and raw_usage is not None:
        detail["raw"] = msgspec.Raw(raw)
    kept = _json_of(facts, field="facts")
    if len(kept) <= RAW_USAGE_LIMIT and facts:
        detail["facts"] = msgspec.Raw(kept)
    return _encode(detail).decode() if detail else None


def _json_of(given: Mapping[str, Any] | None, *, field: str) -> bytes:
    if given is None:
        return b""
    if not isinstance(given, Mapping):
        raise RequestInvalid(f"{field} must be a JSON object", field=field)
    try:
        return _encode(given)
    except (TypeError, ValueError, RecursionError):
        raise RequestInvalid(f"{field} must be JSON", field=field) from None
