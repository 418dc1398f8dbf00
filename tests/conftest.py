"""Fixtures: a small project and a local server, each test with its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS
from hypothesis import HealthCheck, settings
from starlette.applications import Starlette
from starlette.routing import Route

from tests.between import Between
from tests.command import Command, run_command
from tests.http import serving
from tests.lab import KEY, Bench, Lab, Server
from tests.seeds import ALL

# the same examples each time, so that a change is judged by what it changed; HYPOTHESIS_PROFILE=default looks for new
settings.register_profile(
    # how long one takes is of the machine it runs on
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# what somebody's shell tells dbt, the client or us is not meant for a test
for _name in list(os.environ):
    if _name.startswith(("DBT_", "OPENAI_", "LAB_")) and not _name.startswith("DBT_LABELS_TEST_"):
        del os.environ[_name]

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_report_header() -> str:
    """Say what is not run, beside the tests that are skipped."""
    return "random cases: " + ("all" if ALL else "a quarter of them (DBT_LABELS_TEST_SEEDS=all runs all)")


@pytest.fixture(autouse=True)
def flags() -> Iterator[None]:
    """Keep dbt's list of behavior flags as short as it is in a process with one adapter.

    Each adapter that is made adds its own flags to the list that all share (dbt-adapters, `BaseAdapter.behavior`), and
    looks through the whole stack for each flag there is: with dbt-postgres, hundreds of parses make one take seconds.
    """
    had = len(DEFAULT_BASE_BEHAVIOR_FLAGS)
    yield
    del DEFAULT_BASE_BEHAVIOR_FLAGS[had:]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Give a small project with six comments of four texts, one of them blank, built up to its pending model."""
    folder = tmp_path_factory.mktemp("bench")
    lab = Lab(folder)
    lab.add_comments(["Loved it", "Hated it", "Loved it", "The music was fine", "  ", None])
    lab.build()
    return Bench(folder, lab)


@pytest.fixture
def lab(bench: Bench) -> Lab:
    """Give the small project as it was built."""
    return bench.restored()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Give what starts a local server with these arguments; all are ended with the test."""
    started: list[Server] = []

    def start(*arguments: str, state: str = "server") -> Server:
        (tmp_path / state).mkdir(exist_ok=True)
        started.append(Server(tmp_path / state, *arguments).start())
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """Give a local server with the instant engine and no faults."""
    return start_server()


@pytest.fixture
def command(lab: Lab, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Give what runs a command on the lab with the server as provider, in this process."""
    monkeypatch.setenv("LAB_DUCKDB", str(lab.database))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    return lambda *arguments: run_command(lab, capfd, *arguments)


@pytest.fixture
def between(server: Server) -> Iterator[Between]:
    """Give what stands between the client and the local server, and changes nothing unless told to."""
    made = Between(server)
    route = Route("/{path:path}", made.answer, methods=["GET", "POST", "DELETE"])
    with serving(Starlette(routes=[route])) as base_url:
        made.base_url = f"{base_url}/v1"
        yield made
