"""Posting: one HTTP request to an address that was checked, with bounds on its time and its answer."""

from __future__ import annotations

import asyncio
import email.utils
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta

import httpx2
import msgspec

from tokenwell.alerts.addresses import Guard, Target
from tokenwell.errors import RequestInvalid

TIMEOUT_SECONDS = 15.0
"""How long a receiver may take, from resolving its name to the end of its answer."""

CONNECT_SECONDS = 5.0
_GONE = 410
ANSWER_BYTES = 4_096
"""How much of an answer is read."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of sending something: whether it arrived, and what was sent and answered as it may be shown. `wait` is how long the
    receiver asked to be left alone; `is_final`: trying again is of no use."""

    is_delivered: bool
    request: str
    answer: str
    status: int | None = None
    wait: timedelta | None = None
    is_final: bool = False


class Poster:
    """Sends requests to addresses that `guard` lets through."""

    def __init__(self, guard: Guard, *, user_agent: str = "Tokenwell", tls: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._user_agent = user_agent
        self._tls = tls or ssl.create_default_context()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, shown: str) -> Outcome:
        """Send a request; `shown` is the address as the log may have it. Never raises but when cancelled."""
        request = "\n".join([f"POST {shown}", *(f"{name}: {value}" for name, value in headers.items()), "", body.decode()])
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                target = await self._guard.target_of(url)
                status, answer, wait = await self._send(url, target, body, headers)
        except RequestInvalid as error:
            return Outcome(is_delivered=False, request=request, answer=error.message)
        except TimeoutError:
            return Outcome(is_delivered=False, request=request, answer=f"no answer within {TIMEOUT_SECONDS:.0f} seconds")
        except (httpx2.HTTPError, OSError, ValueError) as error:
            return Outcome(is_delivered=False, request=request, answer=_reason(error))
        if 300 <= status < 400:
            answer = f"redirects are not followed\n{answer}"
        is_final = status == _GONE
        return Outcome(
            is_delivered=200 <= status < 300, request=request, answer=answer, status=status, wait=wait, is_final=is_final
        )

    async def _send(self, url: str, target: Target, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, timedelta | None]:
        """Try the addresses of the target one after the other until one is connected to."""
        error: httpx2.HTTPError | None = None
        for address in target.addresses:
            try:
                return await self._send_to(url, address, target, body, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as failure:
                error = failure
        assert error is not None
        raise error

    async def _send_to(
        self, url: str, address: str, target: Target, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str, timedelta | None]:
        # The address stands in the URL, the name in the Host header and in the TLS handshake. No connection is kept: another name
        # may have the same address.
        parsed = httpx2.URL(url)
        sent = {**headers, "Host": parsed.netloc.decode("ascii"), "User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        transport = httpx2.AsyncHTTPTransport(
            verify=self._tls, trust_env=False, limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0)
        )
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
        async with httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False) as client:
            request = client.build_request(
                "POST",
                parsed.copy_with(host=address),
                content=body,
                headers=sent,
                extensions={"sni_hostname": parsed.raw_host.decode("ascii")},
            )
            answer = await client.send(request, stream=True)
            try:
                return answer.status_code, await _read(answer), _asked_wait(answer)
            finally:
                await answer.aclose()


async def _read(answer: httpx2.Response) -> str:
    """Return the beginning of an answer."""
    read = b""
    async for chunk in answer.aiter_raw():
        read += chunk
        if len(read) >= ANSWER_BYTES:
            break
    return read[:ANSWER_BYTES].decode(errors="replace").replace("\x00", "")


def _asked_wait(answer: httpx2.Response) -> timedelta | None:
    """Return how long the receiver asks to be left alone (RFC 9110 10.2.3), by its own clock where it names an instant."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 8:
        return timedelta(seconds=int(text))
    until, sent = _date(text), _date(answer.headers.get("date", ""))
    return max(until - sent, timedelta()) if until is not None and sent is not None else None


def _date(text: str) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError):
        return None


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    return f"{type(error).__name__}: {error}" + (f" ({cause})" if cause and str(cause) not in str(error) else "")
