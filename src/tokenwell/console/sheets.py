"""Sheets: short forms on services, keys and people. Each has its words in `templates/sheets/`; what may go wrong is shown in it."""

from __future__ import annotations

from typing import Any

from tokenwell.console.acting import Done, Sent, form_of
from tokenwell.console.frame import around
from tokenwell.console.visits import Visit
from tokenwell.errors import AccessDenied, AiStopped, Conflict, NotFound, RequestInvalid
from tokenwell.service.ports import Organization


def sheet_of(visit: Visit, sent: Sent, organization: Organization | None, code: str, back: str, **context: Any) -> dict[str, Any]:
    """Return what a sheet shows: `code` names its words, `back` where one goes without sending it."""
    frame = around(visit, organization)
    return frame | form_of(sent, frame["f"]) | {"sheet": code, "back": back, "action": visit.request.url.path} | context


def refused(sent: Sent, error: AccessDenied | AiStopped | Conflict | NotFound | RequestInvalid) -> None:
    """Note why an act was refused beside the field it is about, or above the form."""
    field = str(error.details.get("field", "form"))
    sent.problems[field if field in sent.fields else "form"] = error.code


def listed(text: str) -> list[str]:
    """Return the words of a field that holds several, apart by commas or spaces."""
    return [word for word in text.replace(",", " ").split() if word]


__all__ = ["Done", "Sent", "listed", "refused", "sheet_of"]
