"""Auth: who calls, by the key that is sent, how often they may, and what they may do.

A platform key (`tw_plat_…`) may do what its scopes say, in every organization or in one. A gateway key (`tw_live_…`) may read the
balance and the ledger of its own organization and charge it, unless its scopes say less.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import datetime

import msgspec
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from tokenwell.api.problems import answer_error
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import CredentialsInvalid, RequestsLimited, TokenwellError
from tokenwell.service.access.keys import GatewayKey, Keys, KeyScope
from tokenwell.service.access.platform_keys import PlatformKeys
from tokenwell.service.access.scopes import Principal, Scope
from tokenwell.service.ports import Clock

GATEWAY_PREFIX = "tw_live_"
PLATFORM_PREFIX = "tw_plat_"
GATEWAY_SCOPES = frozenset({Scope.ORGANIZATIONS_READ, Scope.PACKS_READ, Scope.LEDGER_READ, Scope.USAGE_WRITE, Scope.RATES_READ})
"""What a gateway key may do in its own organization."""

OPEN_PATHS = frozenset({"/v1/openapi.json"})
"""What is answered to anybody."""

_BUCKETS_LIMIT = 10_000

_LONGEST_INTEGER = 10**15 - 1
"""The largest number that a structured header can carry (RFC 9651)."""

_POLICIES = (
    ("requests_per_minute", b'"%b";q=%d;w=60'),
    ("tokens_per_day", b'"%b";q=%d;qu="tokens";w=86400'),
    ("tokens_per_month", b'"%b";q=%d;qu="tokens";w=2678400'),
)
"""How the limits of a key are written. Their windows are those of the calendar; `w` is the longest that a window may be."""


class Caller(msgspec.Struct, frozen=True):
    """Who calls. `key` is set where it is a gateway key."""

    principal: Principal
    key: GatewayKey | None = None

    @property
    def actor(self) -> Actor:
        """Who acts, as the audit log names them."""
        return self.principal.actor


class Authenticator:
    """Finds out who calls, by their key."""

    def __init__(self, keys: Keys, platform_keys: PlatformKeys) -> None:
        self._keys = keys
        self._platform_keys = platform_keys

    async def authenticate(self, header: bytes, source: str) -> Caller:
        """Return who sends this Authorization header. Raises CredentialsInvalid, KeyRevoked, StoreUnavailable."""
        scheme, _, secret = header.decode("latin-1").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise CredentialsInvalid("send a key: Authorization: Bearer tw_plat_… or tw_live_…")
        if secret.startswith(PLATFORM_PREFIX):
            return Caller(await asyncio.to_thread(self._platform_keys.authenticate, secret, source=source))
        if not secret.startswith(GATEWAY_PREFIX):
            raise CredentialsInvalid("this is no key of Tokenwell")
        key = self._keys.recall(secret)
        if key is None:
            key = await asyncio.to_thread(self._keys.authenticate, secret)
        actor = Actor(kind=ActorKind.GATEWAY_KEY, id=key.id, name=key.name, source=source)
        scopes = GATEWAY_SCOPES if _may_charge(key) else GATEWAY_SCOPES - {Scope.USAGE_WRITE}
        return Caller(Principal(actor=actor, organization_scopes={key.organization_id: scopes}), key)


def _may_charge(key: GatewayKey) -> bool:
    return key.scopes is None or KeyScope.GENERATE in key.scopes


class Limiter:
    """Lets each caller make so many requests a minute: a bucket that fills steadily and holds a minute's worth."""

    def __init__(self, requests_per_minute: int, clock: Clock) -> None:
        self._limit = requests_per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[datetime, int]] = OrderedDict()

    def take(self, caller_id: str) -> list[tuple[bytes, bytes]]:
        """Count a request and return the headers that tell what is left. Raises RequestsLimited."""
        # Counted in millionths of a request, so that what fills in a moment is a whole number.
        full, now = self._limit * 1_000_000, self._clock()
        filled_at, level = self._buckets.pop(caller_id, (now, full))
        passed_micros = max(0, int((now - filled_at).total_seconds() * 1_000_000))
        level = min(full, level + passed_micros * self._limit // 60)
        allowed = level >= 1_000_000
        self._buckets[caller_id] = (max(now, filled_at), level - 1_000_000 if allowed else level)
        while len(self._buckets) > _BUCKETS_LIMIT:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RequestsLimited(
                limit=self._limit, retry_after_seconds=-(-(1_000_000 - level) * 60 // (self._limit * 1_000_000)) or 1
            )
        left = (level - 1_000_000) // 1_000_000
        until_full = (full - level + 1_000_000) * 60 // full
        return [
            (b"ratelimit-policy", b'"minute";q=%d;w=60' % self._limit),
            (b"ratelimit", b'"minute";r=%d;t=%d' % (left, until_full)),
        ]


def policies_of(key: GatewayKey | None) -> list[tuple[bytes, bytes]]:
    """Return the header that tells what limits a key has of its own; they are counted when it charges."""
    limits = () if key is None else ((name, getattr(key, name), form) for name, form in _POLICIES)
    told = [form % (name.encode(), most) for name, most, form in limits if most is not None and most <= _LONGEST_INTEGER]
    return [(b"ratelimit-policy", b", ".join(told))] if told else []


class Gate:
    """Lets a request in once it is known who calls; what is behind it finds the caller in the request's state."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, limiter: Limiter) -> None:
        self._app = app
        self._authenticator = authenticator
        self._limiter = limiter

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        source = (scope.get("client") or ("", 0))[0]
        try:
            caller = await self._authenticator.authenticate(header, source)
            told = self._limiter.take(caller.actor.id) + policies_of(caller.key)
        except TokenwellError as error:
            await answer_error(error)(scope, receive, send)
            return

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *told]
            await send(message)

        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send_told)
