"""Two servers on one database, on either: what the limits of a key let pass is exact, whichever of them is asked."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2

from tests.wiring.processes import running
from tokenwell import Meter
from tokenwell.service.access.keys import Keys

CALLS = 40
REQUESTS_A_MINUTE = 5
TOKENS_A_MONTH = 100
AMOUNT = 7


def keys_on(database_url: str) -> tuple[str, str]:
    """Make an organization with a pack, and return a key limited in requests and one limited in tokens."""
    with Meter(database_url) as meter:
        meter.create_organization("acme")
        meter.grant("acme", 1_000_000)
        keys = Keys(meter.engine)
        per_minute = keys.create("acme", name="Minute", requests_per_minute=REQUESTS_A_MINUTE).secret
        per_month = keys.create("acme", name="Month", tokens_per_month=TOKENS_A_MONTH).secret
        keys.close()
    return per_minute, per_month


def test_the_limits_of_a_key_are_exact_over_two_servers(database_url: str, tmp_path: Path) -> None:
    secrets = keys_on(database_url)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running("serve", directory=tmp_path, TOKENWELL_DATABASE_URL=database_url)).address for _ in range(2)
        ]

        def debit(number: int) -> httpx2.Response:
            headers = {"authorization": f"Bearer {secrets[number % 2]}", "idempotency-key": f"d-{number}"}
            url = f"{servers[number // 2 % 2]}/v1/organizations/acme/debits"
            return httpx2.post(url, json={"amount": AMOUNT}, headers=headers, timeout=60)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(debit, range(2 * CALLS)))
        repeated = debit(next(number for number in range(2 * CALLS) if answers[number].status_code == 201))
    by_minute, by_month = answers[::2], answers[1::2]
    # A minute or a month may end in between: none of them lets more pass, and one had more asked of it than that.
    minutes = Counter(answer.json()["at"][:16] for answer in by_minute if answer.status_code == 201)
    months = Counter(answer.json()["at"][:7] for answer in by_month if answer.status_code == 201)
    assert max(minutes.values()) == REQUESTS_A_MINUTE
    assert max(months.values()) == TOKENS_A_MONTH // AMOUNT
    for answer, limit in ((by_minute, "requests_per_minute"), (by_month, "tokens_per_month")):
        refused = [each for each in answer if each.status_code != 201]
        assert {(each.status_code, each.json()["code"], each.json()["details"]["limit"]) for each in refused} == {
            (429, "limit_reached", limit)
        }
        assert all(int(each.headers["retry-after"]) > 0 for each in refused)
        assert all(f'"{limit}";r=' in each.headers["ratelimit"] for each in refused)
    assert f'"requests_per_minute";q={REQUESTS_A_MINUTE};w=60' in by_minute[0].headers["ratelimit-policy"]
    assert (repeated.status_code, repeated.headers["idempotent-replayed"]) == (201, "true")
    with Meter(database_url) as meter:
        passed = sum(minutes.values()) + sum(months.values())
        assert meter.balance("acme").balance_tokens == 1_000_000 - passed * AMOUNT
        (verified,) = meter.verify("acme")
    assert verified.problems == ()
