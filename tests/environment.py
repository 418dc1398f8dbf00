"""The environment that labs and engines change: put back for whoever comes after a package of tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def kept_environment() -> Iterator[None]:
    """Put the variables back after the tests of the package whose conftest imports this."""
    had = {name: os.environ.get(name) for name in ("LAB_DUCKDB", "DBT_LABELS_DUCKDB", "SPARK_REMOTE")}
    yield
    for name, value in had.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
