"""Changes: a pack revoked or extended, a request refunded, an organization's thresholds; each shown before it is done."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from tokenwell.console.acting import Done, Sent, acting, form_of
from tokenwell.console.frame import frame_of, organization_of, path_of
from tokenwell.console.presenters import pack_label
from tokenwell.console.records.ledger import receipt_view
from tokenwell.console.sheets import sheet_of
from tokenwell.console.supply.granting import change_of, tokens_per_day
from tokenwell.console.visits import Visit
from tokenwell.core.health import State, Thresholds, state_of
from tokenwell.core.packs import Pack, PackStatus
from tokenwell.errors import ThresholdsInvalid
from tokenwell.service.access.scopes import Scope


def pack_of(visit: Visit, organization_id: str) -> Pack:
    """Return the pack an address names, by id or number. Raises PackNotFound, HTTPException 404."""
    name = visit.request.path_params["pack"]
    if len(name) > 64:
        raise HTTPException(404)
    return visit.console.suite.proving.pack(organization_id, name)


def revoke(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what leaves the balance with a pack, or revoke it. Where AI would stop, the organization's name must be typed."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    meter = visit.console.meter
    pack, balance = pack_of(visit, organization.id), meter.balance(organization.id)
    formats = visit.formats(balance.as_of)
    leaves = pack.remaining_tokens if pack.status(balance.as_of) is PackStatus.ACTIVE else 0
    change = change_of(balance, -leaves, tokens_per_day=tokens_per_day(visit, balance))
    stops = change.state_after is State.AI_STOPPED and change.state_before is not State.AI_STOPPED
    note = sent.note()
    if not note:
        sent.problems["note"] = "reason"
    if stops and sent.text("confirm") != organization.name:
        sent.problems["confirm"] = "confirm"
    if sent.is_final and not sent.problems:
        meter.revoke(
            organization.id,
            pack.id,
            cancel_holds="cancel_holds" in sent.fields,
            note=note,
            key=sent.key,
            by=visit.principal.actor,
        )
        return Done(path=path_of(organization.id, "packs", pack_label(pack.number)), said="revoked", about=pack_label(pack.number))
    if not sent.is_final:
        _only(sent, "form")
    return (
        frame_of(visit, organization)
        | form_of(sent, formats)
        | {"f": formats, "pack": pack, "label": pack_label(pack.number), "change": change, "stops": stops, "leaves": leaves}
        | {"held": balance.held_tokens, "pack_status": pack.status(balance.as_of)}
    )


def extend(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show how a pack's expiry moves, or extend it."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    meter = visit.console.meter
    pack, now = pack_of(visit, organization.id), meter.clock()
    formats = visit.formats(now)
    if "expires" not in sent.fields:
        sent = Sent(fields={"expires": "90", **sent.fields}, is_final=False, problems={})
    note, expires_at = sent.note(), sent.expiry(formats)
    if expires_at is not None and pack.expires_at is not None and expires_at < pack.expires_at:
        sent.problems.setdefault("date", "earlier")
    if sent.is_final and not sent.problems:
        meter.extend(organization.id, pack.id, expires_at=expires_at, note=note, key=sent.key, by=visit.principal.actor)
        return Done(path=path_of(organization.id, "packs", pack_label(pack.number)), said="extended", about=pack_label(pack.number))
    return (
        frame_of(visit, organization)
        | form_of(sent, formats)
        | {"f": formats, "pack": pack, "label": pack_label(pack.number), "expiry": expires_at, "pack_status": pack.status(now)}
    )


def note(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show a pack's note, or change it."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    pack = pack_of(visit, organization.id)
    label = pack_label(pack.number)
    if "note" not in sent.fields:
        sent = Sent(fields={"note": pack.note, **sent.fields}, is_final=False, problems={})
    wanted, back = sent.note(), path_of(organization.id, "packs", label)
    if sent.is_final and not sent.problems:
        visit.console.suite.packs.set_note(organization.id, pack.id, wanted, by=visit.principal.actor)
        return Done(path=back, said="noted", about=label)
    return sheet_of(visit, sent, organization, "pack_note", back, nav="packs", pack=pack, label=label, wanted=wanted)


def refund(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what a refund gives back, or give it back: all that is left of the request unless less is asked for."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    meter = visit.console.meter
    request_id = sent.text("request")
    lines = meter.request(organization.id, request_id)
    receipt, balance = receipt_view(lines), meter.balance(organization.id)
    if receipt.is_refund:
        raise HTTPException(404)
    formats = visit.formats(balance.as_of)
    amount = sent.amount("amount") if sent.text("amount") else receipt.amount_tokens
    if amount is not None and amount > receipt.amount_tokens:
        sent.problems["amount"] = "amount_left"
    note = sent.note()
    if not note:
        sent.problems["note"] = "reason"
    if sent.is_final and not sent.problems:
        given = sent.text("amount")
        answer = meter.refund(organization.id, request_id, given or None, note=note, key=sent.key, by=visit.principal.actor)
        return Done(path=f"{path_of(organization.id)}#ledger-h", said="refunded", about=formats.tokens(answer.amount_tokens))
    if not sent.is_final:
        _only(sent, "form", "amount")
    change = change_of(balance, amount or 0)
    return (
        frame_of(visit, organization)
        | form_of(sent, formats)
        | {"f": formats, "receipt": receipt, "amount": amount, "change": change}
    )


def thresholds(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show which state new thresholds give, or set them; `default` returns the organization to the platform's."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    meter = visit.console.meter
    balance, platform = meter.balance(organization.id), meter.thresholds
    formats = visit.formats(balance.as_of)
    if "warning" not in sent.fields:
        typed = {"warning": f"{balance.warning_tokens:,}", "reserve": f"{balance.reserve_tokens:,}"}
        sent = Sent(fields={**typed, **sent.fields}, is_final=False, problems={})
    is_default = "default" in sent.fields
    wanted = platform if is_default else _lines(sent)
    stops = wanted is not None and _stops(balance.balance_tokens, wanted, balance.state)
    if stops and sent.text("confirm") != organization.name:
        sent.problems["confirm"] = "confirm"
    if sent.is_final and not sent.problems and wanted is not None:
        if is_default:
            meter.clear_thresholds(organization.id, by=visit.principal.actor)
        else:
            meter.set_thresholds(
                organization.id, warning=wanted.warning_tokens, reserve=wanted.reserve_tokens, by=visit.principal.actor
            )
        return Done(path=path_of(organization.id), said="thresholds")
    if not sent.is_final:
        _only(sent, "form", "warning", "reserve")
    return (
        frame_of(visit, organization)
        | form_of(sent, formats)
        | {"f": formats, "balance": balance, "platform": platform, "wanted": wanted, "stops": stops, "is_default": is_default}
        | {"state_after": None if wanted is None else state_of(balance.balance_tokens, wanted)}
    )


def _lines(sent: Sent) -> Thresholds | None:
    warning, reserve = sent.amount("warning", least=0), sent.amount("reserve", least=0)
    if warning is None or reserve is None:
        return None
    try:
        return Thresholds(warning, reserve)
    except ThresholdsInvalid:
        sent.problems["reserve"] = "lines"
        return None


def _stops(balance_tokens: int, wanted: Thresholds, state: State) -> bool:
    return state_of(balance_tokens, wanted) is State.AI_STOPPED and state is not State.AI_STOPPED


def _only(sent: Sent, *fields: str) -> None:
    """Keep the problems of these fields: a form that is only looked at is not told what is still missing."""
    for name in [name for name in sent.problems if name not in fields]:
        del sent.problems[name]


ROUTES = [
    *acting("/o/{organization}/packs/{pack}/revoke", "revoke", revoke),
    *acting("/o/{organization}/packs/{pack}/extend", "extend", extend),
    *acting("/o/{organization}/packs/{pack}/note", "sheet", note),
    *acting("/o/{organization}/refund", "refund", refund),
    *acting("/o/{organization}/thresholds", "thresholds", thresholds),
]
