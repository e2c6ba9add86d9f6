"""Rates: dated, added and never overwritten by a card, and what is done with a model that has none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell import Meter
from tokenwell.core.happenings import PLATFORM, Actor, ActorKind
from tokenwell.core.instants import EPOCH
from tokenwell.core.rates import ANY_MODEL, MILLION, Rate
from tokenwell.core.usage import Usage
from tokenwell.errors import ModelUnrated, RequestInvalid
from tokenwell.service.ratebook import Unrated
from tokenwell.service.ratecard import parse_card, shipped_card
from tokenwell.store import schema
from tokenwell.store.reader import reading

ME = Actor(kind=ActorKind.COMMAND_LINE, name="me")
USED = Usage(input_tokens=10, output_tokens=10)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with an organization that has tokens."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        meter.create_organization("acme")
        meter.grant("acme", 10_000_000)
        yield meter


def rate(model: str, clock: FrozenClock, output: int = 2 * MILLION, days: int = 0) -> Rate:
    """Return a rate from some days from now on."""
    return Rate(model=model, effective_at=clock() + timedelta(days=days), output_millionths=output)


def acts(meter: Meter) -> list[tuple[str, str, str | None]]:
    """Return the platform's acts: action, subject, and how it was before."""
    with reading(meter.engine) as connection:
        rows = connection.execute(schema.act.select().where(schema.act.c.organization_id == PLATFORM).order_by(schema.act.c.act_id))
        return [(row.action, row.subject, row.before) for row in rows]


def test_a_card_adds_what_is_not_there_and_changes_nothing_else(meter: Meter, clock: FrozenClock) -> None:
    meter.set_rate(rate("a", clock, output=7))
    added = meter.import_rates([rate("a", clock), rate("a", clock, days=1), rate("b", clock)], by=ME)
    assert [(each.model, each.effective_at > clock()) for each in added] == [("a", True), ("b", False)]
    assert [each.output_millionths for each in meter.rates().rates] == [7, 2 * MILLION, 2 * MILLION]
    assert meter.import_rates(added, by=ME) == []
    assert acts(meter) == [("rates.import", "", None)]


def test_who_sets_a_rate_is_kept_with_what_it_was(meter: Meter, clock: FrozenClock) -> None:
    meter.set_rate(rate("a", clock, output=1), by=ME)
    meter.set_rate(rate("a", clock, output=2), by=ME)
    (first, second) = acts(meter)
    assert first == ("rate.set", "a", None)
    assert second[:2] == ("rate.set", "a")
    assert msgspec.json.decode(second[2] or "")["output_millionths"] == 1


def test_one_card_is_added_whole_or_not_at_all(meter: Meter, clock: FrozenClock) -> None:
    with pytest.raises(RequestInvalid):
        meter.import_rates([rate("a", clock), "no rate"])  # type: ignore[list-item]
    assert meter.rates().rates == ()


def test_the_latest_rate_that_is_effective_is_charged(meter: Meter, clock: FrozenClock) -> None:
    meter.import_rates([rate("a", clock, output=each * MILLION, days=day) for each, day in ((9, 1), (2, -2), (3, -1))])
    assert meter.debit("acme", usage=USED, model="a").amount_tokens == 40


@pytest.mark.parametrize(("policy", "charged"), [(Unrated.ONE_TO_ONE, 20), (Unrated.DEFAULT, 60), (Unrated.REFUSE, None)], ids=str)
def test_a_model_without_a_rate_follows_the_policy(meter: Meter, clock: FrozenClock, policy: Unrated, charged: int | None) -> None:
    meter.set_rate(rate(ANY_MODEL, clock, output=5 * MILLION))
    meter.ratebook.unrated = policy
    if charged is None:
        with pytest.raises(ModelUnrated):
            meter.debit("acme", usage=USED, model="unknown")
    else:
        assert meter.debit("acme", usage=USED, model="unknown").amount_tokens == charged


def test_what_is_used_is_charged_though_its_rate_is_gone(meter: Meter) -> None:
    """Refusing is for requests that are still to be made."""
    meter.ratebook.unrated = Unrated.REFUSE
    held = meter.open_hold("acme", 100).hold.id
    assert meter.settle("acme", held, usage=USED, model="unknown").amount_tokens == 20
    assert meter.debit("acme", usage=USED, model="unknown", already_used=True).amount_tokens == 20
    assert meter.debit("acme", 5, model="unknown").amount_tokens == 5


def test_another_name_stands_in_only_where_a_model_has_no_rate(meter: Meter, clock: FrozenClock) -> None:
    meter.ratebook.rated_names = {"alias": "a", "other": "nothing"}
    meter.set_rate(rate("a", clock))
    meter.ratebook.unrated = Unrated.REFUSE
    assert meter.debit("acme", usage=USED, model="alias").amount_tokens == 30
    with pytest.raises(ModelUnrated):
        meter.debit("acme", usage=USED, model="other")


# The card that ships


def test_the_shipped_card_is_whole_dated_and_sourced(meter: Meter) -> None:
    card = shipped_card()
    rates = card.all_rates()
    assert len(rates) > 30
    assert all(entry.source and entry.effective_at <= entry.seen for entry in card.rates)
    assert all(each.effective_at > EPOCH for each in rates)
    assert len(meter.import_rates(rates)) == len(rates)


def test_the_base_model_of_the_shipped_card_costs_one_token_for_an_input_token() -> None:
    card = shipped_card()
    (base,) = (each for each in card.all_rates() if each.model == card.base_model)
    assert base.input_millionths == MILLION
    assert (base.cache_read_millionths, base.cache_write_millionths, base.output_millionths) == (100_000, 1_250_000, 5_000_000)


def test_what_a_card_leaves_out_costs_like_its_neighbours() -> None:
    text = 'base_model = "b"\n[[rates]]\nmodels = ["m", "n"]\ninput = 2\noutput = 3\neffective_at = 2026-01-01\nsource = "s"\n'
    (first, second) = parse_card(text + "seen = 2026-01-02\n", name="card").all_rates()
    assert first.pools() == (2, 2, 2, 3, 3)
    assert (second.model, second.effective_at.isoformat()) == ("n", "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    "wrong", ["x", 'base_model = "b"', 'base_model = "b"\nrates = 3', 'base_model = "b"\n[[rates]]\nmodels = ["a"]\ninput = -1']
)
def test_a_card_that_cannot_be_read_is_refused(wrong: str) -> None:
    with pytest.raises(RequestInvalid, match="card: "):
        parse_card(wrong, name="card")


def test_a_card_with_two_rates_of_a_model_and_a_day_is_refused() -> None:
    entry = '[[rates]]\nmodels = ["a"]\ninput = 1\noutput = 1\neffective_at = 2026-01-01\nsource = "s"\nseen = 2026-01-01\n'
    with pytest.raises(RequestInvalid, match="two rates"):
        parse_card('base_model = "b"\n' + entry + entry, name="card")
