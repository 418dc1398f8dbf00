"""Fixtures: the small project where rows can be deleted and columns renamed."""

from __future__ import annotations

import pytest

from tests.lab import Bench, Lab


@pytest.fixture(params=["bench", "postgres_bench"], ids=["duckdb", "postgres"])
def lab(request: pytest.FixtureRequest) -> Lab:
    """Give the small project on each engine with transactions in turn, as it was built."""
    bench = request.getfixturevalue(request.param)
    assert isinstance(bench, Bench)
    return bench.restored()
