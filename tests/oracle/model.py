"""The oracle of one organization: a world for every command that was carried out, and what was answered by which key."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from tests.oracle.shapes import Answer, Line
from tests.oracle.telling import Event
from tests.oracle.world import World
from tokenwell.errors import IdempotencyConflict

Arguments = dict[str, Any]

BEARING = ("grant", "advance", "open_hold")
"""The commands that bring something with an id into being."""

NAMED_BY_KEY = ("debit", "open_hold", "refund")
"""The commands whose key is the name of what they bring about."""


class Oracle:
    """Knows what every command must answer and write, and what every reading must show, now and as of any past instant."""

    def __init__(self, *, created_at: datetime, warning: int = 8, reserve: int = 3) -> None:
        self.worlds = [World(created_at, (warning, reserve))]
        self.answered: dict[tuple[str, str | None], tuple[str, Arguments, Answer]] = {}

    @property
    def world(self) -> World:
        """The organization as the last command left it."""
        return self.worlds[-1]

    @property
    def lines(self) -> list[Line]:
        """The whole journal."""
        return self.world.lines

    @property
    def events(self) -> list[Event]:
        """Everything that was told."""
        return self.world.teller.events

    def fork(self) -> Oracle:
        """Return an oracle that knows the same and learns on its own."""
        other = copy.copy(self)
        other.worlds, other.answered = list(self.worlds), dict(self.answered)
        return other

    def do(self, wall: datetime, command: str, *, new_id: str = "", **arguments: Any) -> Answer:
        """Carry a command out and return its answer; raises its refusal, and then nothing has changed.

        `new_id` is the id of the pack or the hold that comes into being, if one does.
        """
        first = self.first_answer(command, arguments)
        if first is not None:
            return first | {"replayed": True}
        world = self.world_at(wall)
        seq, overage = len(world.lines), world.overage
        answer: Answer = getattr(world, command)(
            **self.told(command, arguments), **({"new_id": new_id} if command in BEARING else {})
        )
        world.tell_since(seq, overage_before=overage)
        balance = world.balance(world.now)
        assert not world.lines or balance == world.lines[-1].balance, "the sum of the active packs is the sum of the changes"
        answer |= {"at": world.now, "balance": balance, "state": world.state_of(balance), "replayed": False}
        if command == "settle":
            world.holds[arguments["hold_id"]].settled_with = arguments
        if arguments.get("key"):
            self.answered[self.key_of(command, arguments)] = (command, arguments, answer)
        self.worlds.append(world)
        return answer

    def world_at(self, wall: datetime) -> World:
        """Return a copy of the world at the later of the wall clock and the last write, with every pack closed that is due."""
        world = copy.deepcopy(self.world)
        world.now = max(wall, world.now)
        world.close_due()
        return world

    def close_due(self, wall: datetime) -> Oracle:
        """Return an oracle whose due packs and holds are closed: all that a refused or repeated command may leave behind."""
        other = self.fork()
        before, closed = other.world, other.world_at(wall)
        lapsed = any(hold.reserves(before.now) and not hold.reserves(closed.now) for hold in before.holds.values())
        if lapsed or closed.lines != before.lines:
            other.worlds.append(closed)
        return other

    def first_answer(self, command: str, arguments: Arguments) -> Answer | None:
        """Return what the same command was answered before; raises IdempotencyConflict for a key used with other input."""
        if command in ("settle", "release"):
            hold = self.world.holds.get(arguments["hold_id"])
            again = hold is not None and (hold.status == "released" if command == "release" else hold.settled_with == arguments)
            return hold.closing_answer if hold is not None and again else None
        before = self.answered.get(self.key_of(command, arguments))
        if before is None:
            return None
        if before[:2] != (command, arguments):
            raise IdempotencyConflict
        return before[2]

    def key_of(self, command: str, arguments: Arguments) -> tuple[str, str | None]:
        """Return a command's key in its own world of keys: holds have theirs, all other writes share one."""
        worlds = {"open_hold": "hold", "extend_hold": arguments.get("hold_id", "")}
        return (worlds.get(command, "write"), arguments.get("key"))

    def told(self, command: str, arguments: Arguments) -> Arguments:
        """Return what the world is told of a command: the key only where it is a name."""
        return {name: value for name, value in arguments.items() if name != "key" or command in NAMED_BY_KEY}

    # Reading

    def as_of(self, at: datetime) -> World:
        """Return the organization as the last command by `at` left it."""
        return [world for world in self.worlds if world.now <= at][-1]

    def balance_at(self, at: datetime) -> dict[str, Any]:
        """Return what a balance read at `at` must show; the state by today's thresholds."""
        world = self.as_of(at)
        active = world.active(at)
        balance = world.balance(at)
        return {
            "balance": balance,
            "held": world.held(at),
            "overage": world.overage,
            "state": self.world.state_of(balance),
            "active_packs": len(active),
            "active_total": sum(pack.total for pack in active),
        }

    def packs_at(self, at: datetime) -> list[dict[str, Any]]:
        """Return what a list of packs read at `at` must show, the newest first."""
        return [
            {"number": pack.number, "status": pack.status(at), "remaining": pack.remaining, "total": pack.total}
            | {"expires_at": pack.expires_at, "priority": pack.priority, "granted_at": pack.granted_at}
            for pack in reversed(self.as_of(at).packs)
        ]
