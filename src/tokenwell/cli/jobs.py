"""Jobs: the commands that run them beside the server, and that show how they go."""

from __future__ import annotations

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, root, when
from tokenwell.service.jobs import job_records, period_of


@command(root, "worker")
@click.option("--once", is_flag=True, help="Run each job that is due once, and stop.")
def worker(call: Call, once: bool) -> None:
    """Run jobs until Ctrl-C or SIGTERM: expiries, alerts, schedules, retention. As many workers as you like share them.

    The server runs them as well, unless TOKENWELL_RUN_JOBS is false.

    \b
    Examples:
      tokenwell worker --once
    """
    names = [job.name for job in wiring.JOBS]
    if once:
        ran = wiring.work_once(call.settings())
        call.show({"jobs": ran}, f"Done: {', '.join(ran) or 'nothing was due'}.")
    else:
        wiring.work(call.settings(), ready=lambda: call.show({"jobs": names}, f"Working: {', '.join(names)}."))


@root.group()
def job() -> None:
    """Jobs: what Tokenwell does by itself."""


@command(job, "list")
def list_jobs(call: Call) -> None:
    """List the jobs: how often each runs, who has its turn, when it ran last, and why it failed last.

    \b
    Examples:
      tokenwell job list
      tokenwell job list --json
    """
    with wiring.open_meter(call.settings()) as meter:
        known = job_records(meter.engine)
    shown = [(each, known.get(each.name)) for each in wiring.JOBS]
    answer = {
        "jobs": [
            {
                "name": each.name,
                "every_seconds": each.every.total_seconds(),
                "does": each.does,
                "owner": record and record.owner,
                "leased_until": record and record.leased_until,
                "started_at": record and record.started_at,
                "took_millis": record and record.took_millis,
                "runs": record.runs if record else 0,
                "done": record.done if record else 0,
                "failures": record.failures if record else 0,
                "failed_at": record and record.failed_at,
                "failure": record.failure if record else "",
            }
            for each, record in shown
        ]
    }
    table = Table(
        {
            "Job": lambda pair: pair[0].name,
            "Every": lambda pair: period_of(pair[0].every),
            "Last run": lambda pair: when(pair[1].started_at) if pair[1] and pair[1].started_at else "",
            "Runs": lambda pair: f"{pair[1].runs:,}" if pair[1] else "0",
            "Failures": lambda pair: f"{pair[1].failures:,}" if pair[1] else "0",
            "Turn of": lambda pair: (pair[1] and pair[1].owner) or "",
        }
    )
    call.show(answer, table.render(shown))
