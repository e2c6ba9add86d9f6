"""Metrics of the gateway, beside those that count every HTTP request."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from tokenwell.observability import REGISTRY

ESTIMATED = Counter(
    "tokenwell_gateway_estimated_charges", "Requests charged by an estimate: the provider reported no usage.", registry=REGISTRY
)
ABANDONED = Counter("tokenwell_gateway_abandoned_streams", "Streams whose client went away before their end.", registry=REGISTRY)
GROWN = Counter(
    "tokenwell_gateway_hold_growths",
    "Growths of holds that streams asked for, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)
CUT = Counter("tokenwell_gateway_cut_streams", "Streams that ended early, since the balance covered no more.", registry=REGISTRY)
DRAINED = Counter(
    "tokenwell_gateway_drained_streams", "Streams read to their end for their true usage after the client left.", registry=REGISTRY
)
UPSTREAM_ERRORS = Counter(
    "tokenwell_gateway_upstream_errors", "Requests that the AI provider failed, by the error's code.", ["code"], registry=REGISTRY
)
UNSETTLED = Gauge(
    "tokenwell_gateway_unsettled_requests",
    "Answered requests whose charge waits for the database.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
LOST = Counter("tokenwell_gateway_lost_charges", "Answered requests that were never charged; the log has each.", registry=REGISTRY)
MODELS_READ = Counter(
    "tokenwell_gateway_models_file_reads",
    "How often the models file was read again after a change: used, or refused since something is wrong with it.",
    ["outcome"],
    registry=REGISTRY,
)
RECOVERED = Counter(
    "tokenwell_gateway_recovered_calls",
    "Calls that a process which is gone had under way, by what was done: charged or released.",
    ["outcome"],
    registry=REGISTRY,
)
AWAY = Counter(
    "tokenwell_gateway_away_requests",
    "Requests of organizations that are served while the database cannot be reached: served, or refused at the bound.",
    ["outcome"],
    registry=REGISTRY,
)
CLAMPED = Counter(
    "tokenwell_gateway_clamped_requests", "Requests whose output was limited to what the balance affords.", registry=REGISTRY
)
ESTIMATE_RATIO = Histogram(
    "tokenwell_gateway_estimate_ratio",
    "What a request's provider reported, as a share of what was expected: prompt and completion.",
    ["part"],
    registry=REGISTRY,
    buckets=(0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0),
)
PROVIDER_REQUESTS = Counter(
    "tokenwell_gateway_provider_requests",
    "Requests by provider: answered, refused (429 or 5xx), failed (no answer), spared (its breaker was open).",
    ["provider", "outcome"],
    registry=REGISTRY,
)
PROVIDER_BREAKERS = Counter(
    "tokenwell_gateway_provider_breakers",
    "How often a provider was left alone because it kept failing.",
    ["provider"],
    registry=REGISTRY,
)
