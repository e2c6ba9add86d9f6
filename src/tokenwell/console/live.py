"""Live: what changes in an organization reaches its open pages, whichever process wrote it.

One task in a process looks at the accounts of the organizations that are open, with one short statement for all, and tells the
pages whose account has moved. A page is told numbers and states, never markup; it fetches what it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tokenwell.console.frame import home_of, signed_in
from tokenwell.console.notices.alertrows import row_of, words_of
from tokenwell.console.visits import Visit
from tokenwell.core.happenings import PLATFORM
from tokenwell.core.health import State
from tokenwell.errors import StoreError
from tokenwell.service.access.scopes import Scope
from tokenwell.service.notices.inbox import UNREAD_LIMIT
from tokenwell.service.records.directory import COUNTED, Pulse
from tokenwell.service.suite import Suite

POLL_SECONDS = 1.0
"""How often the accounts of open organizations are looked at."""

BEAT_SECONDS = 15.0
"""After how long without news a page is told that it is still live."""

LIFETIME_SECONDS = 300.0
"""How long one stream lasts: the page then opens the next, and is asked again who it is."""


Heard = asyncio.Queue[Pulse | None]


class Hub:
    """The open pages of this process, by organization. Its task runs while any page is open."""

    def __init__(self, read: Callable[[Sequence[str]], dict[str, Pulse]], poll_seconds: float = POLL_SECONDS) -> None:
        self._read = read
        self._poll_seconds = poll_seconds
        self._open: dict[str, set[Heard]] = {}
        self._seen: dict[str, Pulse] = {}
        self._task: asyncio.Task[None] | None = None
        self._has_ended = False

    def join(self, organization_id: str) -> Heard:
        """Open a page: what its queue gives is the newest pulse of the organization; what nobody took is replaced. None is the
        last: the page is to ask somebody else."""
        queue: Heard = asyncio.Queue(maxsize=1)
        self._open.setdefault(organization_id, set()).add(queue)
        if self._has_ended:
            queue.put_nowait(None)
            return queue
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        return queue

    def leave(self, organization_id: str, queue: Heard) -> None:
        """Close a page."""
        queues = self._open.get(organization_id, set())
        queues.discard(queue)
        if not queues:
            self._open.pop(organization_id, None)
            self._seen.pop(organization_id, None)

    async def _watch(self) -> None:
        while self._open and not self._has_ended:
            try:
                pulses = await run_in_threadpool(self._read, tuple(self._open))
            except StoreError:
                pulses = {}  # the pages hear nothing, and say so themselves after a while
            for organization_id, pulse in pulses.items():
                if self._seen.get(organization_id) != pulse:
                    self._seen[organization_id] = pulse
                    self._tell(organization_id, pulse)
            await asyncio.sleep(self._poll_seconds)

    def end(self) -> None:
        """End every stream, those that are opened from now on at once: this process stops."""
        self._has_ended = True
        for organization_id in self._open:
            self._tell(organization_id, None)

    def _tell(self, organization_id: str, pulse: Pulse | None) -> None:
        for queue in self._open.get(organization_id, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(pulse)

    def newest(self, organization_id: str) -> Pulse | None:
        """Return the pulse that was told last."""
        return self._seen.get(organization_id)


def pulses_of(suite: Suite) -> Callable[[Sequence[str]], dict[str, Pulse]]:
    """Return what reads the pulses of organizations, and of the platform: of that only its newest event."""

    def read(homes: Sequence[str]) -> dict[str, Pulse]:
        organizations = [home for home in homes if home != PLATFORM]
        pulses = suite.directory.pulses(organizations) if organizations else {}
        if PLATFORM in homes:
            event_id = suite.inbox.newest_anywhere()
            pulses[PLATFORM] = Pulse(seq=0, balance_tokens=0, held_tokens=0, state=State.NORMAL, event_id=event_id)
        return pulses

    return read


class _Rung(msgspec.Struct, frozen=True, kw_only=True):
    newest: str
    unread: int
    count: str
    label: str
    title: str


class _News(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    lines: int
    words: str
    state: str
    balance: str
    held: str
    at: str


async def stream(visit: Visit) -> Response:
    """Answer with the organization's news as server-sent events, from line `after` of its ledger on; without one, with what rings
    its bell only."""
    home, _ = await run_in_threadpool(home_of, visit, Scope.LEDGER_READ)
    text = visit.request.query_params.get("after", "")
    after = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
    return StreamingResponse(
        _events(visit, home, after if home else None),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(visit: Visit, organization_id: str, after: int | None) -> AsyncIterator[bytes]:
    hub: Hub = visit.request.app.state.hub
    queue = hub.join(organization_id)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LIFETIME_SECONDS
    try:
        yield b"retry: 1000\n\n"
        known, rung = hub.newest(organization_id), None
        if known is not None:
            rung = known.event_id
            yield await run_in_threadpool(_told, visit, organization_id, known, after, rings=True)
        while (left := ends_at - loop.time()) > 0:
            try:
                pulse = await asyncio.wait_for(queue.get(), min(BEAT_SECONDS, left))
            except TimeoutError:
                now = visit.console.meter.clock()
                yield _event("beat", {"at": visit.formats(now).clock(now)})
                continue
            if pulse is None or not await run_in_threadpool(_may_still, visit, organization_id):
                return
            told = await run_in_threadpool(_told, visit, organization_id, pulse, after, rings=pulse.event_id != rung)
            rung = pulse.event_id
            if told:
                yield told
    finally:
        hub.leave(organization_id, queue)


def _told(visit: Visit, organization_id: str, pulse: Pulse, after: int | None, *, rings: bool) -> bytes:
    """Return what a page is told of a pulse."""
    news = news_of(visit, organization_id, pulse, after) if after is not None else b""
    return news + (rung_of(visit, organization_id) if rings else b"")


def _may_still(visit: Visit, organization_id: str) -> bool:
    """Return whether the person is still signed in and still sees the organization."""
    token = visit.request.cookies.get(visit.console.cookies.session)
    session = visit.console.people.session(token) if token else None
    if session is None or organization_id == PLATFORM:
        return session is not None and session.person.is_platform_admin
    return visit.console.people.may_read(session.person, organization_id)


def news_of(visit: Visit, organization_id: str, pulse: Pulse, after: int | None) -> bytes:
    """Return the event that tells a page how its organization stands, and how many lines came after line `after`."""
    formats = visit.formats(visit.console.meter.clock())
    lines = visit.console.suite.directory.lines_since(organization_id, after) if after is not None and pulse.seq > after else 0
    words = {"lines": lines, "most": COUNTED, "f": formats}
    news = _News(
        seq=pulse.seq,
        lines=lines,
        words=visit.console.render(visit.language, "news.html.j2", words).strip() if lines else "",
        state=pulse.state.value,
        balance=formats.tokens(pulse.balance_tokens),
        held=formats.tokens(pulse.held_tokens),
        at=formats.clock(formats.now),
    )
    return _event("news", news)


def rung_of(visit: Visit, organization_id: str) -> bytes:
    """Return the event that tells a page's bell how many alerts are unread, and what the newest of them says."""
    assert visit.session is not None
    bell = visit.console.suite.inbox.bell(organization_id, visit.session.person.id, limit=1)
    newest = next((each for each in bell.latest if not each.is_read), None)
    count = bell.unread.count
    words = words_of(visit, visit.formats(visit.console.meter.clock()))
    rung = _Rung(
        newest=bell.unread.newest_id,
        unread=count,
        count=f"{UNREAD_LIMIT - 1}+" if count >= UNREAD_LIMIT else str(count),
        label=visit.console.render(visit.language, "rung.html.j2", {"unread": count, "most": UNREAD_LIMIT}).strip(),
        title="" if newest is None else row_of(newest, words).title,
    )
    return _event("bell", rung)


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n".encode()


ROUTES = [Route("/o/{organization}/live", signed_in(stream)), Route("/admin/live", signed_in(stream))]
