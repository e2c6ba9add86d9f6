"""Writes the reference pages from the code: `make reference`. A test fails where a page and the code differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from prometheus_client.metrics import MetricWrapperBase

from tokenwell import cli, errors, observability, wiring
from tokenwell.cli.terminal import EXIT_CODES, FAILED
from tokenwell.config import describe
from tokenwell.gateway import metrics as gateway_metrics
from tokenwell.gateway.telling import how_to_tell
from tokenwell.service.jobs import period_of

HERE = Path(__file__).parent
JOBS_PAGE = HERE.parent / "operating" / "jobs.md"
NOTICE = "<!-- Written by `make reference` from the code; do not edit. -->\n"


def pages() -> dict[str, str]:
    """Return every page by its name."""
    return {"settings.md": settings_page(), "cli.md": cli_page(), "errors.md": errors_page(), "metrics.md": metrics_page()}


def settings_page() -> str:
    """Return the page of the settings."""
    rows = [
        (f"`{each.variable}`", f"`{each.default}`" if each.default else "empty", each.unit, each.help, each.allowed)
        for each in describe()
    ]
    return f"""{NOTICE}
# Settings

Every setting is an environment variable. One that begins with `TOKENWELL_` and is not listed here is refused at the start, since it
is most likely misspelt; so is a value that cannot be used. What a command line gives (`--database`, `--host`, `--port`) goes before
the environment.

{table(("Variable", "Default", "Unit", "Meaning", "Allowed"), rows)}
Without `TOKENWELL_UPSTREAM_URL`, a key in `OPENAI_API_KEY` or else in `ANTHROPIC_API_KEY` chooses that provider's OpenAI-compatible
API.
"""


def errors_page() -> str:
    """Return the page of the errors."""
    rows = []
    for error in error_classes():
        status = how_to_tell(error()).status
        retry = "yes" if error.retryable else "with the same key" if error is errors.CommitUnknown else "no"
        code = EXIT_CODES.get(error.category, FAILED)
        rows.append((f"{error.__name__}", f"`{error.code}`", error().message, retry, str(status), str(code)))
    return f"""{NOTICE}
# Errors

The library raises these from `tokenwell.errors`; all are a `tokenwell.TokenwellError`, and some stand for others (`NotFound` for
`PackNotFound`). The gateway answers with the status, in the shape of the provider's own errors. The command line prints one line
(an object with `--json`) on standard error and exits with the code. *Try again*: whether the same call may succeed later as it is.

{table(("Error", "Code", "Message", "Try again", "Status", "Exit code"), rows)}
"""


def cli_page() -> str:
    """Return the page of the commands."""
    parts = [
        f"{NOTICE}\n# Command line\n",
        "`--json` gives one stable object: tokens are integers, instants are UTC, absent values are `null`. With `--all` it is one",
        "object a line. Passwords are asked for, piped in or generated, never given as words of a command.\n",
    ]
    for path, command in commands():
        context = click.Context(command, info_name=path, terminal_width=100, help_option_names=["-h", "--help"])
        parts.append(f"## {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def metrics_page() -> str:
    """Return the page of the metrics."""
    rows = []
    for metric in metrics():
        family = next(iter(metric.describe()))
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((f"`{name}`", family.type, ", ".join(f"`{label}`" for label in metric._labelnames), family.documentation))
    return f"""{NOTICE}
# Metrics

`/metrics` has them in the format of Prometheus. With several workers each answer is the sum over all of them. The address is open
to whoever reaches the port: a proxy in front of it should keep it to the monitoring.

{table(("Metric", "Type", "Labels", "Meaning"), rows)}
"""


def error_classes() -> Iterator[type[errors.TokenwellError]]:
    """Give every error, from the root of the tree down."""
    waiting = [errors.TokenwellError]
    while waiting:
        error = waiting.pop(0)
        yield error
        waiting = error.__subclasses__() + waiting


def commands(path: str = "tokenwell", group: click.Group = cli.root) -> Iterator[tuple[str, click.Command]]:
    """Give every command with the words it is called by."""
    yield path, group
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(f"{path} {name}", command)
        else:
            yield f"{path} {name}", command


def metrics() -> list[MetricWrapperBase]:
    """Return every metric, in the order of their definition."""
    found = [*vars(observability).values(), *vars(gateway_metrics).values()]
    return [metric for metric in found if isinstance(metric, MetricWrapperBase)]


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def jobs_page() -> str:
    """Return the operating page of the jobs, its table written anew."""
    page = JOBS_PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition("<!-- table -->\n")
    _, end, after = rest.partition("<!-- end of table -->\n")
    rows = [(each.name, period_of(each.every), each.does) for each in wiring.JOBS]
    return before + begin + table(("Job", "Every", "What it does"), rows) + end + after


def main() -> None:
    """Write the pages."""
    JOBS_PAGE.write_text(jobs_page(), encoding="utf-8")
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{HERE / name}\n")


if __name__ == "__main__":
    main()
