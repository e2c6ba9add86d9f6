"""Platform: rates, and the proof that the books of an organization balance."""

from __future__ import annotations

from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import bodies, shapes
from tokenwell.core.rates import Rate
from tokenwell.service.access.scopes import Scope

router = Operations(prefix="/v1", tags=["Platform"])


@router.get("/rates", **reads(Scope.RATES_READ, "List rates", answer=shapes.Page[shapes.Rate], anywhere=True))
def list_rates(call: CurrentCall) -> Response:
    """List every rate ever set, by model and date."""
    return call.answer(page_of([shaped(shapes.Rate, rate) for rate in call.suite.meter.rates().rates], None))


@router.put(
    "/rates",
    **writes(
        Scope.RATES_WRITE,
        "Set a rate",
        body=bodies.NewRate,
        answer=shapes.Rate,
        example={"model": "gpt-5", "effective_at": "2027-01-01T00:00:00Z", "output_millionths": 4_000_000},
    ),
)
def set_rate(call: CurrentCall) -> Response:
    """Set what a model costs from a date on; the same model and date again replaces it."""
    body = call.read(bodies.NewRate)
    rate = Rate(**{name: getattr(body, name) for name in Rate.__struct_fields__})
    call.suite.meter.set_rate(rate, by=call.caller.actor)
    return call.answer(shaped(shapes.Rate, rate))


@router.post(
    "/organizations/{organization_id}/verify",
    **writes(Scope.LEDGER_READ, "Verify the books", answer=shapes.Verified),
)
def verify(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Recompute balance, packs, overage, rollups and the hash chain from the journal, and compare. It reads every line."""
    (found,) = call.suite.meter.verify(organization_id)
    return call.answer(shaped(shapes.Verified, found))
