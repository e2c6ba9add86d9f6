"""Observability: structured logs that never show a secret, the metrics, and request ids."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
"""The metrics of this process."""

HTTP_REQUESTS = Counter(
    "tokenwell_http_requests", "Requests answered, by the part that answered and by status.", ["part", "status"], registry=REGISTRY
)
HTTP_SECONDS = Histogram(
    "tokenwell_http_request_seconds",
    "Time until a request was answered to its last byte, by part.",
    ["part"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
HTTP_OPEN = Gauge(
    "tokenwell_http_requests_open", "Requests in progress, by part.", ["part"], registry=REGISTRY, multiprocess_mode="livesum"
)
JOB_RUNS = Counter("tokenwell_job_runs", "Runs of jobs, by job.", ["job"], registry=REGISTRY)
JOB_FAILURES = Counter("tokenwell_job_failures", "Runs of jobs that failed, by job.", ["job"], registry=REGISTRY)
JOB_SECONDS = Histogram(
    "tokenwell_job_seconds",
    "How long a run of a job took, by job.",
    ["job"],
    buckets=(0.001, 0.01, 0.1, 0.5, 1, 5, 30, 60, 300, 1800),
    registry=REGISTRY,
)
JOB_LAG_SECONDS = Gauge(
    "tokenwell_job_lag_seconds",
    "How long after it was due a job's turn was taken last, by job.",
    ["job"],
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
DELIVERIES = Counter(
    "tokenwell_alert_deliveries",
    "Attempts to deliver alerts, by outcome: delivered, refused, failed.",
    ["outcome"],
    registry=REGISTRY,
)

_SECRET_FIELD = re.compile(r"password|secret|token$|authorization|cookie|api_key$|database_url", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"tw_live_\w+|(?<![\w-])sk-[\w-]{8,}|(?i:bearer)\s+\S+|(?<=://)[^\s/@]+:[^\s/@]+(?=@)")
_HIDDEN = "…"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

Format = Literal["json", "console"]


def configure_logging(*, level: str = "info", form: Format = "json") -> None:
    """Send every log line of this process, those of the libraries too, to standard error in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if form == "console":
        # Plain tracebacks: the pretty ones show the values of variables, secrets among them.
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("alembic", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what is secret in a log line: fields named like a secret, and keys, bearer tokens and passwords in any text."""
    return {name: _hide(name, value) for name, value in event.items()}


def _hide(name: str, value: Any) -> Any:
    if _SECRET_FIELD.search(name) and isinstance(value, str | bytes):
        return _HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_HIDDEN, value)
    if isinstance(value, dict):
        return {inner: _hide(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(name, item) for item in value]
    return value


def request_id_in(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the caller's own X-Request-Id if it is short and plain, else None."""
    for name, value in headers:
        if name == b"x-request-id":
            return value if _REQUEST_ID.fullmatch(value) else None
    return None


def render_metrics(multiprocess_directory: str | None = None) -> bytes:
    """Return the metrics as Prometheus reads them; of all worker processes where they share a directory."""
    registry = REGISTRY
    if multiprocess_directory:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=multiprocess_directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
