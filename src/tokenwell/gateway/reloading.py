"""Reloading: the models file, read again when it changes, without a restart. A file that cannot be used changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from tokenwell.errors import RequestInvalid
from tokenwell.gateway.metrics import MODELS_READ
from tokenwell.gateway.models import Catalogue, load_catalogue
from tokenwell.gateway.routing import Router
from tokenwell.gateway.upstream import UpstreamAnswer

LOOK_SECONDS = 2.0
"""How often is looked whether the file has changed."""

log = structlog.get_logger("tokenwell.gateway")


class ReloadingRouter:
    """Routes as the models file says, and as it says anew once it was changed: requests under way go on as they began.

    `changed` is told each catalogue that comes into force. Raises RequestInvalid for a file that cannot be used at first.
    """

    def __init__(self, path: Path, *, changed: Callable[[Catalogue], None], look_seconds: float = LOOK_SECONDS) -> None:
        self._path = path
        self._changed = changed
        self._look_seconds = look_seconds
        self._seen = _mark_of(path)
        catalogue = load_catalogue(path)
        self._router = Router(catalogue)
        self._old: list[Router] = []
        self._task: asyncio.Task[None] | None = None
        changed(catalogue)

    async def open(self) -> None:
        """Get ready on the running event loop, and look from now on whether the file has changed."""
        await self._router.open()
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="models-file")

    def check(self, path: str, model: str) -> None:
        """Return if a model can be asked under a path. Raises ModelNotFound."""
        self._router.check(path, model)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        model: str | None = None,
        served_by: str = "",
    ) -> UpstreamAnswer:
        """Send a request to a provider of its model, as `Router` does."""
        return await self._router.send(method, path, body=body, headers=headers, model=model, served_by=served_by)

    async def close(self) -> None:
        """Stop looking and close every connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for router in (*self._old, self._router):
            await router.close()

    async def look(self) -> None:
        """Read the file again if it has changed. What is wrong with it is logged, and what was in force stays."""
        mark = await asyncio.to_thread(_mark_of, self._path)
        if mark == self._seen:
            return
        self._seen = mark
        try:
            catalogue = await asyncio.to_thread(load_catalogue, self._path)
            router = Router(catalogue)
            await router.open()
        except RequestInvalid as error:
            MODELS_READ.labels("refused").inc()
            log.error("models_file_refused", error=error.message)
            return
        before, self._router = self._router, router
        self._changed(catalogue)
        await before.close()  # what is under way keeps its connection, and the last is closed with the server
        self._old = [before]
        MODELS_READ.labels("used").inc()
        log.info("models_file_read", models=len(catalogue.models), providers=len(catalogue.providers))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self.look()
            except Exception:
                log.exception("models_file_not_watched")


def _mark_of(path: Path) -> tuple[int, int, int]:
    """Return what tells one version of a file from another; zeros where there is none."""
    try:
        told = path.stat()
    except OSError:
        return (0, 0, 0)
    return (told.st_mtime_ns, told.st_size, told.st_ino)
