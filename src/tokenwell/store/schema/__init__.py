"""The schema: one set of tables for SQLite, PostgreSQL and sharded PostgreSQL.

Every tenant table has organization_id first in its primary key and within every unique index, so that it can be distributed by it.
Instants are microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from tokenwell.store.schema.access import (
    ai_service,
    creation,
    gateway_key,
    membership,
    person,
    platform_key,
    session,
    sign_in_failure,
)
from tokenwell.store.schema.alerts import attempt, channel, delivery, event_read, job, told
from tokenwell.store.schema.answers import stored_answer
from tokenwell.store.schema.browsing import journal_mark, ledger_block, session_summary
from tokenwell.store.schema.codes import code, code_batch
from tokenwell.store.schema.columns import metadata
from tokenwell.store.schema.disputes import dispute, reconciliation, reconciliation_line
from tokenwell.store.schema.doors import access_link, person_identity, person_preference, recovery_code, second_factor
from tokenwell.store.schema.embedding import embedding
from tokenwell.store.schema.happenings import act, event
from tokenwell.store.schema.ledger import account, entry, growth, hold, key_usage, organization, pack, rate, rollup
from tokenwell.store.schema.outlooks import outlook
from tokenwell.store.schema.policies import policy
from tokenwell.store.schema.purchases import offer, purchase
from tokenwell.store.schema.schedules import schedule
from tokenwell.store.schema.topups import topup
from tokenwell.store.schema.writes import api_write

__all__ = [
    "access_link",
    "person_identity",
    "person_preference",
    "recovery_code",
    "second_factor",
    "account",
    "act",
    "api_write",
    "attempt",
    "channel",
    "delivery",
    "ai_service",
    "code",
    "code_batch",
    "creation",
    "embedding",
    "dispute",
    "entry",
    "event",
    "event_read",
    "gateway_key",
    "growth",
    "hold",
    "job",
    "journal_mark",
    "ledger_block",
    "key_usage",
    "membership",
    "metadata",
    "offer",
    "organization",
    "outlook",
    "pack",
    "person",
    "platform_key",
    "policy",
    "purchase",
    "rate",
    "reconciliation",
    "reconciliation_line",
    "rollup",
    "schedule",
    "session",
    "session_summary",
    "sign_in_failure",
    "stored_answer",
    "told",
    "topup",
]
