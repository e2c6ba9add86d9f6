"""A story of one organization that touches every rule once: the same each time, told to Tokenwell and to the oracle."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.builders import after
from tests.oracle.laws import check_laws
from tests.oracle.side_by_side import Command, Outcome, SideBySide

MICROSECOND = timedelta(microseconds=1)


class Teller:
    """Tells commands and lets time pass; Tokenwell and the oracle are compared after each."""

    def __init__(self, side: SideBySide) -> None:
        self.side = side

    def say(self, name: str, **arguments: Any) -> Outcome:
        """Carry out a command."""
        return self.side.do(Command(name, arguments))

    def hold(self, amount: int, *, seconds: int, key: str) -> str:
        """Open a hold and return its id."""
        held = self.say("open_hold", amount=amount, ttl=timedelta(seconds=seconds), key=key)
        assert isinstance(held, dict), f"the hold was refused: {held}"
        return str(held["hold"])

    def until(self, seconds: float, *, just_before: bool = False) -> None:
        """Let it be so many seconds after the beginning."""
        self.side.clock.now = after(seconds) - (MICROSECOND if just_before else timedelta(0))
        self.side.compare_reading()


def tell(side: SideBySide) -> None:
    """Tell the whole story, then check every past and every law."""
    teller = Teller(side)
    chapters = (
        burn_down,
        hold_and_lapse,
        close_and_settle_late,
        repay_and_refund,
        come_back_to_life,
        withdraw,
        grow,
        advance,
        dither_and_expire,
    )
    for chapter in chapters:
        chapter(teller)
    for seconds in (0, 10, 19, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110):
        side.compare_reading(after(seconds))
    check_laws(side)


def burn_down(teller: Teller) -> None:
    """Packs are spent by priority and expiry, a request is cut over them, keys replay or conflict, equality is not worse."""
    teller.say("grant", amount=6, expires_at=after(60), priority=1, key="grant 1")
    teller.say("grant", amount=5, key="grant 2")
    teller.say("grant", amount=9, expires_at=after(30), key="grant 3")
    teller.say("debit", amount=12, prompt_tokens=5, completion_tokens=4, key="debit 1")
    teller.say("debit", amount=12, prompt_tokens=5, completion_tokens=4, key="debit 1")
    teller.say("debit", amount=11, prompt_tokens=5, completion_tokens=4, key="debit 1")
    teller.say("debit", amount=5, key="debit 2")
    teller.say("debit", amount=1, key="debit 3, at the reserve")
    teller.say("debit", amount=1, key="debit 4, below the reserve")
    teller.say("refund", request_id="debit 2", key="refund 1")
    teller.say("refund", request_id="debit 1", amount=5, key="refund 2")
    teller.say("debit", prompt_tokens=3, completion_tokens=1, model="cheap", key="debit 5")


def hold_and_lapse(teller: Teller) -> None:
    """Holds reserve until they lapse, are charged what was used, and close once."""
    first = teller.hold(6, seconds=20, key="hold 1")
    second = teller.hold(1, seconds=10, key="hold 2")
    teller.say("debit", amount=4, key="debit 6, more than is available")
    teller.until(10, just_before=True)
    teller.until(10)
    teller.say("settle", hold_id=second, amount=0)
    teller.say("settle", hold_id=first, amount=4, prompt_tokens=3, completion_tokens=1)
    teller.say("settle", hold_id=first, amount=4, prompt_tokens=3, completion_tokens=1)
    teller.say("settle", hold_id=first, amount=5)
    teller.say("release", hold_id=first)


def close_and_settle_late(teller: Teller) -> None:
    """A hold spends what expired and was revoked since, not what was granted and closed since; the rest is overage."""
    teller.say("grant", amount=7, expires_at=after(30), key="grant 4")
    late = teller.hold(2, seconds=5, key="hold 3")
    teller.say("grant", amount=3, expires_at=after(25), key="grant 5")
    teller.say("revoke", pack="PK-2", key="revoke 1")
    teller.until(30, just_before=True)
    teller.until(30)
    teller.say("grant", amount=1, priority=-1, key="grant 6")
    teller.say("settle", hold_id=late, amount=29, prompt_tokens=20, completion_tokens=9)


def repay_and_refund(teller: Teller) -> None:
    """Overage is repaid by the next grants; a refund lowers it, returns what was repaid, then goes back through the packs."""
    teller.until(40)
    teller.say("grant", amount=2, key="grant 7")
    teller.say("grant", amount=3, key="grant 8")
    teller.say("refund", request_id="hold 3", amount=6, key="refund 3")
    teller.until(65)
    teller.say("refund", request_id="hold 3", key="refund 4")
    teller.say("refund", request_id="hold 3", key="refund 5")


def come_back_to_life(teller: Teller) -> None:
    """A depleted pack that a refund fills again expires in its time; an extended one later."""
    teller.say("grant", amount=20, expires_at=after(90), priority=-2, key="grant 9")
    teller.say("grant", amount=10, expires_at=after(70), priority=-3, key="grant 10")
    teller.say("debit", amount=30, already_used=True, key="debit 7")
    teller.until(70)
    teller.say("grant", amount=4, expires_at=after(95), key="grant 11")
    teller.say("extend", pack="PK-11", expires_at=after(100), key="extend 1")
    teller.say("refund", request_id="debit 7", amount=15, key="refund 6")
    teller.until(80)
    teller.say("debit", amount=1, key="debit 8")
    teller.until(90)
    teller.say("debit", amount=1, already_used=True, key="debit 9")


def withdraw(teller: Teller) -> None:
    """Revoking releases the holds that could spend the pack, if asked to; time does not run backwards."""
    teller.say("clear_thresholds")
    teller.say("grant", amount=30, key="grant 12")
    teller.hold(3, seconds=60, key="hold 4")
    teller.say("revoke", pack="PK-12", cancel_holds=True, key="revoke 2")
    teller.until(100)
    teller.say("set_thresholds", warning=2, reserve=1)
    teller.until(85)
    teller.say("grant", amount=1, expires_at=after(101), key="grant 13")
    teller.until(110)
    teller.say("grant", amount=2, key="grant 14")


def grow(teller: Teller) -> None:
    """A hold reserves more, once for a key; one that lapsed is admitted anew as a whole."""
    teller.say("clear_thresholds")
    teller.say("grant", amount=30, key="grant for holds that grow")
    growing = teller.hold(5, seconds=5, key="hold 5")
    for _ in range(2):
        teller.say("extend_hold", hold_id=growing, more_tokens=4, ttl=timedelta(seconds=2), key="more 1")
    teller.say("extend_hold", hold_id=growing, more_tokens=5, key="more 1")
    teller.say("extend_hold", hold_id=growing, more_tokens=40, key="more 2")
    teller.say("extend_hold", hold_id=growing, more_tokens=0, ttl=timedelta(seconds=6), key="more 3")
    teller.say("open_hold", amount=5, ttl=timedelta(seconds=5), key="hold 5")
    teller.until(116)
    other = teller.hold(20, seconds=60, key="hold 6")
    teller.say("extend_hold", hold_id=growing, more_tokens=1, key="more 4, which is too much as a whole")
    teller.say("release", hold_id=other)
    teller.until(118)
    teller.say("extend_hold", hold_id=growing, more_tokens=1, key="more 5")
    teller.until(120)
    teller.say("extend_hold", hold_id=growing, more_tokens=1)
    teller.say("settle", hold_id=growing, amount=7)
    teller.say("extend_hold", hold_id=growing, more_tokens=4, ttl=timedelta(seconds=2), key="more 1")
    teller.say("extend_hold", hold_id=growing, more_tokens=1, key="more 6")
    for seconds in (110, 111, 115, 116, 117, 118, 119):
        teller.side.compare_reading(after(seconds))


def advance(teller: Teller) -> None:
    """An advance is owed like overage, and repaid first out of the next grant."""
    teller.say("advance", amount=10, limit=9, key="advance 1, beyond the limit")
    for _ in range(2):
        teller.say("advance", amount=10, limit=10, key="advance 2")
    teller.say("grant", amount=10, key="advance 2")
    teller.say("advance", amount=11, limit=100, key="advance 2")
    teller.say("advance", amount=1, limit=10, key="advance 3, beyond the limit with what is owed")
    balance = teller.side.oracle.world.balance(teller.side.now())
    teller.say("debit", amount=balance + 3, already_used=True, key="debit 9 and overage on top of it")
    teller.say("refund", request_id="debit 9 and overage on top of it", amount=5, key="refund 7")
    teller.say("grant", amount=4, key="grant that repays a part")
    teller.say("advance", amount=2, limit=8, key="advance 4")
    teller.say("grant", amount=30, key="grant that repays the rest")
    teller.say("refund", request_id="debit 9 and overage on top of it", amount=5, key="refund 8")


def dither_and_expire(teller: Teller) -> None:
    """A balance around a line tells once; packs that expire unseen cross the lines at their own instants."""
    teller.say("grant", amount=20, key="grant 15")
    teller.say("set_thresholds", warning=20, reserve=10)
    balance = teller.side.oracle.world.balance(teller.side.now())
    teller.say("debit", amount=balance - 19, key="debit 10, below the warning threshold")
    for number in range(3):
        teller.say("grant", amount=1, key=f"grant 16 {number}, at the warning threshold")
        teller.say("debit", amount=1, key=f"debit 11 {number}, below it again")
    teller.say("debit", amount=14, key="debit 12, below the reserve", already_used=True)
    teller.say("grant", amount=10, expires_at=after(130), key="grant 17")
    teller.say("grant", amount=10, expires_at=after(140), key="grant 18")
    teller.until(150)
    teller.say("grant", amount=1, key="grant 19")
