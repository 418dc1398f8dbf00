"""Fixtures: every engine that is installed here, and a small project on each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.environment import kept_environment  # noqa: F401
from tests.lab import Bench, Lab
from tests.warehouse.labs import COMMENTS, DbapiLab, PostgresBench, PostgresLab, built, force_dbapi
from tests.warehouse.server import PostgresServer, why_not
from tests.warehouse.spark_lab import Catalog, SparkBench, SparkLab
from tests.warehouse.spark_server import SparkServer, settings
from tests.warehouse.spark_server import why_not as why_no_spark

ENGINES = ("duckdb", "postgres", "dbapi", "spark")


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


@pytest.fixture(scope="session")
def dbapi_bench(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> PostgresBench:
    """Give the small project on PostgreSQL as any adapter is used, built up to its pending model."""
    folder = tmp_path_factory.mktemp("dbapi")
    with pytest.MonkeyPatch.context() as patch:
        force_dbapi(patch)
        return PostgresBench(folder, built(DbapiLab(folder, postgres)))


@pytest.fixture(scope="session")
def spark_server() -> Iterator[SparkServer]:
    """Give a Spark Connect server for all tests, or skip with what is missing."""
    if reason := why_no_spark():
        pytest.skip(reason)
    server = SparkServer()
    yield server.start()
    server.end()


@pytest.fixture(scope="session")
def spark_catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Give a catalog on the Connect server or in a session of this process, or skip with what is missing.

    A process can have one of the two only. DBT_LABELS_TEST_SPARK=session asks for the second.
    """
    if reason := why_no_spark():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SPARK_REMOTE", raising=False)
        if os.environ.get("DBT_LABELS_TEST_SPARK") == "session":
            catalog = Catalog(None, settings(tmp_path_factory.mktemp("spark_session")))
        else:
            catalog = Catalog(request.getfixturevalue("spark_server").remote, {})
        catalog.enter()
        yield catalog
        from pyspark.sql import SparkSession

        catalog.enter()  # `kept_environment` ended before
        SparkSession.builder.getOrCreate().stop()


@pytest.fixture(scope="session")
def spark_bench(spark_catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> SparkBench:
    """Give the small project on Spark, built up to its pending model."""
    folder = tmp_path_factory.mktemp("spark")
    lab = SparkLab(folder, spark_catalog)
    built(lab)
    return SparkBench(folder, lab, COMMENTS)


@pytest.fixture(scope="session", params=ENGINES)
def engine_bench(request: pytest.FixtureRequest) -> Bench:
    """Give the small project on each engine in turn, built up to its pending model."""
    bench = request.getfixturevalue("bench" if request.param == "duckdb" else f"{request.param}_bench")
    assert isinstance(bench, Bench)
    return bench


@pytest.fixture
def lab(engine_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Give the small project on each engine in turn, as it was built."""
    lab = engine_bench.restored()
    if isinstance(lab, DbapiLab):
        force_dbapi(monkeypatch)
    return lab


@pytest.fixture
def postgres_lab(postgres_bench: PostgresBench) -> PostgresLab:
    """Give the small project on PostgreSQL, as it was built."""
    return postgres_bench.restored()


@pytest.fixture
def dbapi_lab(dbapi_bench: PostgresBench, monkeypatch: pytest.MonkeyPatch) -> PostgresLab:
    """Give the small project on PostgreSQL as any adapter is used, as it was built."""
    force_dbapi(monkeypatch)
    return dbapi_bench.restored()


@pytest.fixture
def spark_lab(spark_bench: SparkBench) -> SparkLab:
    """Give the small project on Spark, as it was built."""
    return spark_bench.restored()
