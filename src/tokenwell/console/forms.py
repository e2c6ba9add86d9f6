"""Forms: what a browser sends, and the proof that it was sent from a page of ours."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request

from tokenwell.console.visits import Visit

FIELD_LIMIT = 20


async def form_of(request: Request) -> dict[str, str]:
    """Return the text fields of a form, the first of each name."""
    async with request.form(max_files=0, max_fields=FIELD_LIMIT) as form:
        fields: dict[str, str] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.setdefault(name, value)
        return fields


async def checked_form(visit: Visit) -> dict[str, str]:
    """Return a form that was sent from a page of ours. Raises HTTPException 403."""
    form = await form_of(visit.request)
    if not visit.allows(form):
        raise HTTPException(403)
    return form
