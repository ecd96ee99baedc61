"""A cap that is never passed, whatever is in flight; prices without rounding."""

import asyncio
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.errors import IntegrityError, UserError
from msm.llm.ask import Request, Sampling, Usage
from msm.llm.budget import Budget
from msm.llm.ledger import SHARE, Ledger
from msm.llm.price import Price, cost, most_tokens, per_million, spell, units
from msm.store import StoreConfig, open_store

FIELD = "spec.endpoints.author"
TRIES = st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1)), min_size=1, max_size=150)


class Watched(Budget):
    """Looks at the invariant after every change."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if hasattr(self, "granted"):
            assert 0 <= self.spent + self.reserved <= self.granted <= self.cap


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 500), TRIES, st.integers())
def test_spent_and_reserved_together_never_pass_the_cap_and_nobody_waits_for_ever(cap, tries, seed):
    draw, budget = random.Random(seed), Watched(cap, FIELD)

    async def one(worst, share):
        hold = await budget.reserve(worst)
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        budget.settle(hold, int(worst * share))
        return int(worst * share)

    async def run():
        return await asyncio.wait_for(asyncio.gather(*(one(*each) for each in tries), return_exceptions=True), 10)

    results = asyncio.run(run())
    paid = [result for result in results if isinstance(result, int)]
    stopped = [result for result in results if isinstance(result, UserError)]
    assert len(paid) + len(stopped) == len(tries)
    assert budget.spent == sum(paid) <= cap
    assert budget.reserved == 0
    if stopped:
        assert max(worst for worst, _ in tries) > cap - budget.spent


def test_a_thousand_in_flight_wait_for_room_instead_of_failing():
    async def run():
        budget = Budget(1000, FIELD)

        async def one():
            hold = await budget.reserve(100)
            await asyncio.sleep(0)
            budget.settle(hold, 1)

        await asyncio.gather(*(one() for _ in range(900)))
        return budget.spent

    assert asyncio.run(run()) == 900


def test_the_error_says_what_was_spent_and_what_to_raise():
    async def run():
        budget = Budget(units(1.5), FIELD)
        budget.settle(await budget.reserve(units(1.25)), units(1.25))
        await budget.reserve(units(0.5))

    with pytest.raises(UserError) as caught:
        asyncio.run(run())
    assert str(caught.value).startswith(
        "spec.endpoints.author.maxPrice: 1.25 of 1.50 are spent, and the next question may cost up to 0.50;"
    )
    assert "raise maxPrice above 1.75" in str(caught.value)


def test_a_budget_of_nothing_refuses_the_first_question():
    with pytest.raises(UserError, match=r"0\.00 of 0\.00"):
        asyncio.run(Budget(0, FIELD).reserve(1))


def test_without_a_cap_everything_is_counted_and_nothing_refused():
    async def run():
        budget = Budget(None, FIELD)
        budget.settle(await budget.reserve(10**30), 5)
        return budget.spent

    assert asyncio.run(run()) == 5


PRICES = {
    "input and output": (Price(per_million(3), per_million(0.3), per_million(15)), Usage(1000, 100, 0), 0.0045),
    "cached tokens are cheaper": (Price(per_million(3), per_million(0.3), per_million(15)), Usage(1000, 100, 900), 0.00207),
    "a server that says more is cached than was sent": (Price(per_million(3), 0, 0), Usage(10, 0, 50), 0.0),
    "nothing is free of rounding": (Price(per_million(0.1)), Usage(3, 0, 0), 0.0000003),
}


@pytest.mark.parametrize("case", PRICES.values(), ids=PRICES)
def test_prices(case):
    price, usage, expected = case
    assert cost(price, usage) == units(expected)


def test_a_million_answers_add_up_to_the_cent():
    price = Price(per_million(0.15), per_million(0.075), per_million(0.6))
    assert spell(10**6 * cost(price, Usage(1000, 500, 0))) == "450.00"


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_the_reservation_covers_a_token_for_every_byte(system, prefix, prompt):
    request = Request(prefix=prefix, prompt=prompt, system=system, sampling=Sampling(7), purpose="p")
    most = most_tokens(request)
    assert most.prompt >= len((system + prefix + prompt).encode())
    assert most.completion == 7


@pytest.fixture
def store(tmp_path):
    return open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))


def spend(store, cap, tries, killed_after=None):
    """A process that has so many tries, each of 10 that costs 4; its budget when it ended, None when it was killed."""

    async def run():
        budget = Watched(cap, FIELD, Ledger(store, "scope"))
        for number in range(tries):
            hold = await budget.reserve(10)
            if number == killed_after:
                return None
            budget.settle(hold, 4)
        await budget.close()
        return budget

    return asyncio.run(run())


def test_a_cap_is_shared_with_processes_before_and_what_they_did_not_spend_is_given_back(store):
    assert spend(store, 1000, tries=100).spent == 400
    assert Ledger(store, "scope").total() == 400
    assert spend(store, 1000, tries=100).spent == 400
    with pytest.raises(UserError, match="are spent"):
        spend(store, 1000, tries=100)


def test_a_killed_process_counts_with_all_that_it_had_claimed(store):
    assert spend(store, 1000, tries=100, killed_after=10) is None
    assert 40 + 10 <= Ledger(store, "scope").total() <= 40 + 10 + 1000 // SHARE


def test_a_higher_cap_goes_on_where_the_lower_one_stopped(store):
    with pytest.raises(UserError):
        spend(store, 50, tries=100)
    before = Ledger(store, "scope").total()
    assert spend(store, 1000, tries=10).spent == 40
    assert Ledger(store, "scope").total() == before + 40


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300), st.integers(1, 6), st.integers())
def test_processes_at_the_same_time_never_claim_more_than_the_cap_together(cap, processes, seed):
    with tempfile.TemporaryDirectory() as directory:
        store, draw = open_store(StoreConfig(uri=Path(directory).as_uri())), random.Random(seed)

        async def process():
            budget, paid = Watched(cap, FIELD, Ledger(store, "scope")), 0
            for _ in range(5):
                worst = draw.randint(1, 40)
                hold = await budget.reserve(worst)
                paid += (actual := draw.randint(0, worst))
                budget.settle(hold, actual)
                if draw.random() < 0.1:
                    return budget.granted
            await budget.close()
            return paid

        async def run():
            return await asyncio.gather(*(process() for _ in range(processes)), return_exceptions=True)

        results = asyncio.run(run())
        assert all(isinstance(result, int | UserError) for result in results)
        assert sum(result for result in results if isinstance(result, int)) <= Ledger(store, "scope").total() <= cap


def test_a_damaged_ledger_stops_rather_than_counts_wrongly(store):
    spend(store, 1000, tries=1)
    store.put("answers/spending/scope/000000.json", b"{}")
    with pytest.raises(IntegrityError, match="answers/spending/scope/"):
        Ledger(store, "scope").total()
