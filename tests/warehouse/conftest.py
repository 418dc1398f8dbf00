"""Fixtures: every engine that is installed here, and a small project on each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import Bench, Lab
from tests.warehouse.labs import PostgresBench, PostgresLab, built
from tests.warehouse.server import PostgresServer, why_not

ENGINES = ("duckdb", "postgres")


@pytest.fixture(scope="package", autouse=True)
def _environment() -> Iterator[None]:
    had = {name: os.environ.get(name) for name in ("LAB_DUCKDB", "DBT_LABELS_DUCKDB")}
    yield
    for name, value in had.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL server for all tests, or skip with what is missing."""
    if reason := why_not():
        pytest.skip(reason)
    server = PostgresServer()
    yield server.start()
    server.end()


@pytest.fixture(scope="session")
def postgres_bench(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> PostgresBench:
    """Give the small project on PostgreSQL, built up to its pending model."""
    folder = tmp_path_factory.mktemp("postgres")
    return PostgresBench(folder, built(PostgresLab(folder, postgres)))


@pytest.fixture(scope="session", params=ENGINES)
def engine_bench(request: pytest.FixtureRequest) -> Bench:
    """Give the small project on each engine in turn, built up to its pending model."""
    bench = request.getfixturevalue("bench" if request.param == "duckdb" else "postgres_bench")
    assert isinstance(bench, Bench)
    return bench


@pytest.fixture
def lab(engine_bench: Bench) -> Lab:
    """Give the small project on each engine in turn, as it was built."""
    return engine_bench.restored()


@pytest.fixture
def postgres_lab(postgres_bench: PostgresBench) -> PostgresLab:
    """Give the small project on PostgreSQL, as it was built."""
    return postgres_bench.restored()
