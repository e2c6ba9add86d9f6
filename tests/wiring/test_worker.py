"""`tokenwell worker` as a process: told to stop, it ends what it is in the middle of and gives its turns back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.alerts.receivers import Request, receiving
from tests.wiring.processes import PATIENCE_SECONDS
from tokenwell import wiring
from tokenwell.config import Settings
from tokenwell.service.jobs import job_records
from tokenwell.service.notices.subscriptions import ChannelKind


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_worker_told_to_stop_ends_the_delivery_it_is_at(number: int, tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/tokenwell.db", alerts_allowed_hosts="127.0.0.1")
    is_stopping = threading.Event()

    def slowly(_request: Request) -> int:
        assert is_stopping.wait(PATIENCE_SECONDS)
        return 204

    with receiving() as receiver:
        receiver.answer = slowly
        with wiring.open_meter(settings, create=True) as meter:
            meter.create_organization("acme")
            suite = wiring.open_suite(meter, settings)
            channel = suite.subscriptions.add_channel("acme", kind=ChannelKind.WEBHOOK, target=receiver.url).channel
            meter.grant("acme", "1M", key="first")
            suite.close()
        command = [sys.executable, "-m", "tokenwell", "worker"]
        environment = os.environ | settings.to_env()
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as worker:
            try:
                receiver.wait_for(1)
                worker.send_signal(number)
                assert worker.stderr is not None
                lines = [next(worker.stderr)]
                while "worker_stopping" not in lines[-1]:
                    lines.append(next(worker.stderr))
                is_stopping.set()
                _, rest = worker.communicate(timeout=PATIENCE_SECONDS)
            finally:
                is_stopping.set()
                worker.kill()
        assert len(receiver.requests) == 1
    told = [json.loads(line)["event"] for line in [*lines, *rest.splitlines()]]
    assert worker.returncode == 0, told
    assert (told[0], told[-1]) == ("worker_started", "worker_stopped")
    with wiring.open_meter(settings) as meter:
        suite = wiring.open_suite(meter, settings)
        (delivery,) = suite.subscriptions.deliveries("acme", channel.id).items
        assert (delivery.status.value, delivery.attempts) == ("delivered", 1)
        assert {record.owner for record in job_records(meter.engine).values()} == {None}
        suite.close()
