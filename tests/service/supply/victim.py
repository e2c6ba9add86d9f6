"""A process that kills itself at the grant of a pack: `python -m tests.service.supply.victim before|after`, a task on its stdin.

Before: the grant was not even asked for. After: it is committed, and nothing after it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from tests.doubles import FrozenClock
from tests.house.sources import ROOT
from tokenwell.core.happenings import SYSTEM
from tokenwell.core.instants import parse_instant
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite
from tokenwell.service.supply.stripe_checkout import StripeCheckout


def die_at_grant(when: str, **task: Any) -> None:
    """Run a task in a process of its own, which must die at the grant."""
    command = [sys.executable, "-m", "tests.service.supply.victim", when]
    ended = subprocess.run(command, input=json.dumps(task), text=True, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def main() -> None:
    """Do the task: hear a webhook, or redeem a code."""
    when, task = sys.argv[1], json.load(sys.stdin)
    meter = Meter(task["url"], clock=FrozenClock(parse_instant(task["now"], field="now")), migrate=False)
    submit = meter.batcher.submit

    def killed(command: Any) -> Any:
        if when == "after":
            submit(command)
        os.kill(os.getpid(), signal.SIGKILL)

    meter.batcher.submit = killed  # type: ignore[method-assign]
    if "body" in task:
        checkout = StripeCheckout(url=task["stripe"], secret_key="unused", secrets=(task["secret"],), address="")
        Suite(meter, checkout=checkout).payments.hear(task["body"].encode(), task["signature"])
    else:
        Suite(meter).codes.redeem(task["organization"], task["code"], by=SYSTEM)


if __name__ == "__main__":
    main()
