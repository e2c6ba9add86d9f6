"""Schemathesis along the links of the document: what one operation answers is sent to the next, with input made from the schemas.

    python -m tests.api.schemathesis_links ADDRESS SECRET

It goes on until every link was followed to an answer that is no refusal, and prints how many; what breaks a promise of the document
is raised. A program of its own: hypothesis and its warnings stay out of the tests.
"""

from __future__ import annotations

import sys
from typing import Any

import hypothesis
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.stateful.state_machine import StepInput, StepOutput
from schemathesis.schemas import BaseSchema

CONFIG = """
[phases.stateful]
inference.algorithms = []

[generation]
mode = "positive"
with-security-parameters = false

[checks]
positive_data_acceptance.enabled = false
ignored_auth.enabled = false

[dictionaries]
organizations = { values = ["acme"] }
amounts = { values = [1, 900, 1000000] }
counts = { values = [1, 2] }
instants = { values = ["2029-01-31T00:00:00Z", "2031-01-31T00:00:00Z"] }
dates = { values = ["2029-01-31"] }
addresses = { values = ["https://hooks.acme.example/ai"] }
people = { values = ["mei@acme.example", "bo@acme.example", "ida@acme.example"] }
currencies = { values = ["eur"] }
kinds = { values = ["webhook"] }
zones = { values = ["Europe/Berlin"] }

[parameters]
"path.organization_id" = { dictionary = "organizations", probability = 0.9 }
"body.amount" = { dictionary = "amounts", probability = 0.9 }
"body.more_tokens" = { dictionary = "amounts", probability = 0.5 }
"body.count" = { dictionary = "counts", probability = 0.9 }
"body.expires_at" = { dictionary = "instants", probability = 0.7 }
"body.first_day" = { dictionary = "dates", probability = 0.9 }
"body.last_day" = { dictionary = "dates", probability = 0.9 }
"body.target" = { dictionary = "addresses", probability = 0.9 }
"body.kind" = { dictionary = "kinds", probability = 0.9 }
"body.email" = { dictionary = "people", probability = 0.9 }
"body.currency" = { dictionary = "currencies", probability = 0.9 }
"body.zone" = { dictionary = "zones", probability = 0.9 }
"""
"""Links are those of the document, not guessed ones. Most of what is written is for an organization that there is, and of what a
schema cannot say: amounts, addresses, dates that there are."""

ROUNDS = 20
"""How often a chain of links is tried at most; a round is a few scenarios of a few steps."""


Link = tuple[str, str]
"""The ids of the operations that a link comes from and leads to."""


def links_of(document: dict[str, Any]) -> set[Link]:
    """Return the links of a document."""
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    return {
        (operation["operationId"], link["operationId"])
        for operation in operations
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    }


def chains(links: set[Link]) -> list[set[Link]]:
    """Return the links in groups that hang together: each is followed by itself, so that none is crowded out."""
    groups = list[set[Link]]()
    for link in sorted(links):
        touching = [group for group in groups if {name for each in group for name in each} & set(link)]
        groups = [group for group in groups if group not in touching] + [{link}.union(*touching)]
    return groups


def follow(schema: BaseSchema, links: set[Link]) -> set[Link]:
    """Follow links that hang together; returns those that led to an answer which is no refusal."""
    names = {schema.find_operation_by_id(name).label: name for link in links for name in link}
    machine = schema.include(operation_id=sorted({name for link in links for name in link})).as_state_machine()
    followed = set[Link]()

    class Following(machine):  # type: ignore[misc, valid-type]
        """Notes which links it followed."""

        def step(self, input: StepInput) -> StepOutput:
            """Send one request and check its answer."""
            output: StepOutput = super().step(input)
            if input.transition is not None and input.is_applied and output.response.status_code < 300:
                source = next(label for label in names if input.transition.id.startswith(f"{label} "))
                followed.add((names[source], names[input.case.operation.label]))
            return output

    scenarios = hypothesis.settings(
        max_examples=5, stateful_step_count=8, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    for number in range(ROUNDS):
        hypothesis.seed(number)(Following).run(settings=scenarios)
        if followed >= links:
            break
    return followed


def main(address: str, secret: str) -> None:
    """Follow every link of a server's document."""
    config = SchemathesisConfig.from_str(f'headers = {{ Authorization = "Bearer {secret}" }}\n{CONFIG}')
    schema = schemathesis.openapi.from_url(f"{address}/v1/openapi.json", config=config)
    links = links_of(schema.raw_schema)
    followed = set[Link]().union(*(follow(schema, chain) for chain in chains(links)))
    for source, target in sorted(links - followed):
        print(f"not followed: {source} → {target}")
    print(f"followed {len(followed & links)} of {len(links)} links")


if __name__ == "__main__":
    main(*sys.argv[1:])
