"""Intents: commands before it is known which packs, holds and requests there are. A number says which is meant, counted from the
newest that the command can still do something to; where there is none, the command names one that does not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from tests.doubles import START
from tests.oracle.side_by_side import Command, SideBySide

T = TypeVar("T")


class Intent(Protocol):
    """A command in the making."""

    def command(self, side: SideBySide) -> Command:
        """Return the command that is meant, as things stand."""
        ...


def newest(things: Sequence[T], which: int, *, missing: T) -> T:
    """Return one of the things, counted from the newest and round again; `missing` if there are none."""
    return things[-1 - which % len(things)] if things else missing


def moment(side: SideBySide, seconds: int | None) -> datetime | None:
    """Return the instant that many seconds from now, None for never."""
    return None if seconds is None else side.now() + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Grant:
    """Grant a pack."""

    amount: int
    expires_in: int | None
    priority: int

    def command(self, side: SideBySide) -> Command:
        said = {"amount": self.amount, "expires_at": moment(side, self.expires_in), "priority": self.priority}
        return Command("grant", said | {"key": side.fresh_key()})


@dataclass(frozen=True)
class Advance:
    """Grant a pack that is owed."""

    amount: int
    limit: int

    def command(self, side: SideBySide) -> Command:
        return Command("advance", {"amount": self.amount, "limit": self.limit, "key": side.fresh_key()})


@dataclass(frozen=True)
class Revoke:
    """Revoke a pack, by its id or its number."""

    which: int
    by_number: bool
    cancel_holds: bool

    def command(self, side: SideBySide) -> Command:
        said = {"pack": pack_named(side, self.which, by_number=self.by_number), "cancel_holds": self.cancel_holds}
        return Command("revoke", said | {"key": side.fresh_key()})


@dataclass(frozen=True)
class Extend:
    """Move a pack's expiry."""

    which: int
    by_number: bool
    expires_in: int | None

    def command(self, side: SideBySide) -> Command:
        pack = pack_named(side, self.which, by_number=self.by_number)
        return Command("extend", {"pack": pack, "expires_at": moment(side, self.expires_in), "key": side.fresh_key()})


@dataclass(frozen=True)
class OpenHold:
    """Reserve tokens, with a key or without one."""

    amount: int
    ttl: int
    keyed: bool

    def command(self, side: SideBySide) -> Command:
        said: dict[str, Any] = {"amount": self.amount, "ttl": timedelta(seconds=self.ttl)}
        if self.keyed:
            said["key"] = side.fresh_key()
        return Command("open_hold", said)


@dataclass(frozen=True)
class ExtendHold:
    """Reserve more for a hold, or for longer."""

    which: int
    more: int
    ttl: int | None
    keyed: bool

    def command(self, side: SideBySide) -> Command:
        said: dict[str, Any] = {"hold_id": hold_named(side, self.which), "more_tokens": self.more}
        said["ttl"] = None if self.ttl is None else timedelta(seconds=self.ttl)
        if self.keyed:
            said["key"] = side.fresh_key()
        return Command("extend_hold", said)


@dataclass(frozen=True)
class Settle:
    """Charge what a held request used."""

    which: int
    usage: dict[str, Any]

    def command(self, side: SideBySide) -> Command:
        return Command("settle", {"hold_id": hold_named(side, self.which)} | self.usage)


@dataclass(frozen=True)
class Release:
    """Give a hold back."""

    which: int

    def command(self, side: SideBySide) -> Command:
        return Command("release", {"hold_id": hold_named(side, self.which)})


@dataclass(frozen=True)
class Debit:
    """Charge a request without a hold."""

    usage: dict[str, Any]
    already_used: bool

    def command(self, side: SideBySide) -> Command:
        return Command("debit", self.usage | {"already_used": self.already_used, "key": side.fresh_key()})


@dataclass(frozen=True)
class Refund:
    """Give tokens of a request back; None for all that is left."""

    which: int
    amount: int | None

    def command(self, side: SideBySide) -> Command:
        return Command("refund", {"request_id": request_named(side, self.which), "amount": self.amount, "key": side.fresh_key()})


@dataclass(frozen=True)
class SetThresholds:
    """Set the organization's own thresholds; None returns to the platform's."""

    warning_reserve: tuple[int, int] | None

    def command(self, side: SideBySide) -> Command:
        if self.warning_reserve is None:
            return Command("clear_thresholds", {})
        warning, reserve = self.warning_reserve
        return Command("set_thresholds", {"warning": warning, "reserve": reserve})


def pack_named(side: SideBySide, which: int, *, by_number: bool) -> str:
    """Return the id or the number of a pack, first of those that were not revoked."""
    packs = sorted(side.oracle.world.packs, key=lambda pack: pack.revoked_at is None)
    missing = "PK-1" if by_number else "pack_00000000000000000000000000"
    return newest([f"PK-{pack.number}" if by_number else pack.id for pack in packs], which, missing=missing)


def hold_named(side: SideBySide, which: int) -> str:
    """Return the id of a hold, first of those that are not settled or released."""
    holds = sorted(side.oracle.world.holds.values(), key=lambda hold: hold.status == "open")
    return newest([hold.id for hold in holds], which, missing="hold_00000000000000000000000000")


def request_named(side: SideBySide, which: int) -> str:
    """Return the key of a charged request or the id of its hold, first of those that have something left to give back."""
    requests = sorted(side.oracle.world.requests.items(), key=lambda request: len(request[1].payers) > 0)
    return newest([name for name, _ in requests], which, missing="no such request")


WHICH = st.integers(0, 5)
SECONDS = st.integers(1, 40)

MODELS = st.sampled_from([None, None, "dear", "cheap"])
SPLIT: dict[str, st.SearchStrategy[Any]] = {"prompt_tokens": st.integers(0, 12), "completion_tokens": st.integers(0, 12)}


def usages(*, least: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a request may say it used: an amount, prompt and completion tokens of some model, or both."""
    amounts = st.integers(least, 40)
    counted = st.fixed_dictionaries(SPLIT | {"model": MODELS}).filter(
        lambda said: said["prompt_tokens"] + said["completion_tokens"] >= least
    )
    return st.one_of(st.fixed_dictionaries({"amount": amounts}), counted, st.fixed_dictionaries({"amount": amounts} | SPLIT))


GRANTS = st.builds(Grant, st.integers(1, 40), st.none() | SECONDS, st.integers(-1, 1))
ADVANCES = st.builds(Advance, st.integers(1, 15), st.integers(0, 40))
REVOKES = st.builds(Revoke, WHICH, st.booleans(), st.booleans())
EXTENDS = st.builds(Extend, WHICH, st.booleans(), st.none() | SECONDS)
HOLDS = st.builds(OpenHold, st.integers(1, 20), SECONDS, st.booleans())
GROWTHS = st.builds(ExtendHold, WHICH, st.integers(0, 10), st.none() | SECONDS, st.booleans())
GROWTHS_OF_TOKENS = st.builds(ExtendHold, WHICH, st.integers(1, 10), st.none(), st.booleans())
SETTLES = st.builds(Settle, WHICH, usages(least=0))
RELEASES = st.builds(Release, WHICH)
DEBITS = st.builds(Debit, usages(least=1), st.booleans())
REFUNDS = st.builds(Refund, WHICH, st.none() | st.integers(1, 15))
THRESHOLDS = st.builds(
    SetThresholds, st.none() | st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda pair: (max(pair), min(pair)))
)
REVOKES_BY_ID = st.builds(Revoke, WHICH, st.just(False), st.booleans())
ANY: st.SearchStrategy[Intent] = st.one_of(GRANTS, ADVANCES, DEBITS, HOLDS, GROWTHS, SETTLES, RELEASES, REFUNDS, REVOKES, EXTENDS)

INVALID = [
    *(
        Command(name, {"amount": amount})
        for name in ("grant", "debit", "open_hold")
        for amount in (0, -1, 10**16 + 1, True, 2.0, "many")
    ),
    *(Command("grant", {"amount": 5, "expires_at": at}) for at in (START, START - timedelta(microseconds=1), datetime(2030, 1, 1))),
    *(Command("set_thresholds", {"warning": warning, "reserve": reserve}) for warning, reserve in ((2, 3), (-1, -1), (0, 1))),
    *(Command("open_hold", {"amount": 1, "ttl": timedelta(seconds=seconds)}) for seconds in (0, -1, 86_401)),
]
"""Commands that are refused whatever the state is, unless the balance refuses them before."""
