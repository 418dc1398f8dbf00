"""Prices: what tokens cost, exactly, and never more than was said before."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.estimate import Size, Tally
from connector.price import (
    FREE,
    USD,
    Price,
    Rate,
    Usage,
    batch_price,
    read_price,
    share,
    share_units,
    synchronous_price,
)
from connector.task import Task
from tests.test_result import _task

_LISTED = ["gpt-6-luna", "gpt-4o-mini", "gpt-5-nano", "o4-mini"]
_tokens = st.integers(0, 2_000_000)
_rate = st.decimals(0, 1000, places=6)


@st.composite
def _prices(draw: st.DrawFn) -> Price:
    """Draw a price whose tiers never become cheaper."""
    first = [draw(_rate) for _ in range(4)]
    second = [rate + draw(_rate) for rate in first]
    tiers = (Rate(0, *first), Rate(272_000, *second)) if draw(st.booleans()) else (Rate(0, *first),)
    return Price(tiers, "drawn")


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    usage = Usage(draw(_tokens), draw(_tokens), draw(_tokens), draw(_tokens))
    return usage


def _asked(model: str, **changes: Any) -> Task:
    return _task(model=model, **changes)


@pytest.mark.parametrize("price", [batch_price, synchronous_price])
def test_openais_regions_cost_a_tenth_more(price: Callable[..., Price | None]) -> None:
    listed, regional = price(_asked("gpt-6-luna")), price(_asked("gpt-6-luna"), "https://eu.api.openai.com/v1")
    assert listed is not None
    assert regional is not None
    usage = Usage(1_000_000, 100_000, 300_000, 200_000)
    assert regional.cost(usage) * 10 == listed.cost(usage) * 11
    assert regional.bound(300_000, 5) * 10 == listed.bound(300_000, 5) * 11
    assert regional.source == f"{listed.source}, 10% more for eu.api.openai.com"


@pytest.mark.parametrize("model", _LISTED)
def test_a_listed_model_costs_half_in_batches(model: str) -> None:
    batch, at_once = batch_price(_asked(model)), synchronous_price(_asked(model))
    assert batch is not None
    assert at_once is not None
    usage = Usage(1_000, 100)
    assert 0 < batch.cost(usage) * 2 == at_once.cost(usage)


def test_the_price_of_the_demos_model_is_the_listed_one() -> None:
    price = batch_price(_asked("gpt-6-luna"))
    assert price is not None
    assert price.cost(Usage(1_000_000 // 10, 0)) == Decimal("0.005")
    assert price.cost(Usage(100_000, 0, cached_tokens=100_000)) == Decimal("0.0005")
    assert price.cost(Usage(100_000, 0, cache_write_tokens=100_000)) == Decimal("0.00625")
    assert price.cost(Usage(0, 1_000_000)) == Decimal("0.25")
    assert price.cost(Usage(300_000, 0)) == Decimal("0.03"), "a very long request has another rate"


def test_a_model_that_nobody_lists_has_no_price_but_the_tasks_own() -> None:
    assert batch_price(_asked("my-llama")) is None
    own = {"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.7}
    price = batch_price(_asked("my-llama", price=own))
    assert price is not None
    assert price.cost(Usage(10, 1)) == Decimal("0.0000017"), "0.1 of YAML is a tenth"
    assert price.cost(Usage(10, 0, cached_tokens=10)) == Decimal("0.000001")
    cheaper = batch_price(_asked("gpt-6-luna", price={**own, "cached_input_usd_per_mtok": 0}))
    assert cheaper is not None
    assert cheaper.cost(Usage(10, 0, cached_tokens=10)) == 0


@given(_prices())
def test_a_price_comes_back_from_the_ledger_as_it_was(price: Price) -> None:
    assert read_price(price.to_json()) == price
    assert json.loads(price.to_json())["source"] == "drawn"


def test_no_price_in_the_ledger_is_no_price() -> None:
    assert read_price(None) is None
    assert FREE.cost(Usage(10**6, 10**6)) == 0


@given(_prices(), _usages(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_no_request_costs_more_than_its_bound(price: Price, usage: Usage, more_in: int, more_out: int) -> None:
    assert price.cost(usage) <= price.bound(usage.input_tokens + more_in, usage.output_tokens + more_out)


@given(_prices(), st.lists(st.tuples(_tokens, st.integers(0, 999), _tokens), max_size=20))
def test_the_bound_of_a_shard_is_never_below_what_its_requests_cost_together(
    price: Price, requests: list[tuple[int, int, int]]
) -> None:
    tally = Tally(price)
    spent = Decimal(0)
    for tokens, spare, output in requests:
        size = Size(tokens, tokens + spare, output, output + spare)
        assert tally.bound_usd_with(size) >= (tally.bound_usd or 0)
        tally.add(size)
        spent += price.cost(Usage(tokens, output))
    bound, expected = tally.bound_usd, tally.expected_usd
    assert bound is not None
    assert expected is not None
    assert bound >= spent
    assert abs(expected - spent) <= len(requests) * USD


@given(st.integers(0, 10**18), st.integers(1, 200))
def test_the_parts_of_an_amount_sum_to_it_exactly(units: int, parts: int) -> None:
    amount = units * USD
    assert sum(share(amount, parts)) == amount
    assert sum(share_units(units, parts)) == units
    assert max(share_units(units, parts)) - min(share_units(units, parts)) <= 1
