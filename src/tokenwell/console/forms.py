"""Forms: what a browser sends, and the proof that it was sent from a page of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
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


@asynccontextmanager
async def checked_upload(visit: Visit, name: str = "file") -> AsyncIterator[tuple[dict[str, str], UploadFile | None]]:
    """Give the text fields of a form of ours and the file in it, which is gone afterwards; None where none was chosen.

    Raises HTTPException 403.
    """
    async with visit.request.form(max_files=1, max_fields=FIELD_LIMIT) as form:
        fields = {key: value for key, value in form.multi_items() if isinstance(value, str)}
        if not visit.allows(fields):
            raise HTTPException(403)
        file = form.get(name)
        yield fields, file if isinstance(file, UploadFile) and file.filename else None
