"""Fixtures: a lab with one text labelled and two pending, to which nothing may happen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.run import Settings
from tests.bad_input import Command
from tests.command import run_command
from tests.lab import KEY, QUICK, Bench, Lab, Server


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Server]]:
    """Give a bench with one text labelled and two pending, and the server that labelled it."""
    folder = tmp_path_factory.mktemp("bad_input")
    lab = Lab(folder)
    lab.add_comments(["Loved it", "Hated it", "The music was fine"])
    lab.build()
    server = Server(folder / "server").start()
    lab.run(server.provider(), Settings(QUICK.poll_seconds, QUICK.grace_seconds, limit=1))
    yield Bench(folder, lab), server
    server.kill()


@pytest.fixture
def lab(place: tuple[Bench, Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Give the lab as it was at first; at the end of the test nothing may have been sent, and nothing be gone."""
    bench, server = place
    lab = bench.restored()
    monkeypatch.setenv("LAB_DUCKDB", str(lab.database))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    before, rows = _sent(server), _rows(lab)
    assert before["executions"] == rows["comment_labels"] == 1
    yield lab
    assert _sent(server) == before, "something was sent"
    assert _rows(lab) == rows, "the ledger changed"


@pytest.fixture
def command(lab: Lab, capfd: pytest.CaptureFixture[str]) -> Command:
    """Give what runs a command on the lab, in this process."""
    return lambda *arguments: run_command(lab, capfd, *arguments)


def _sent(server: Server) -> dict[str, int]:
    stats = server.control("GET", "/local/stats")
    return {name: stats[name] for name in ("files", "batches", "executions")}


def _rows(lab: Lab) -> dict[str, int]:
    tables = ("comment_labels", "label_claims", "label_events", "label_leases")
    return {table: lab.sql(f"select count(*) from main_labels.{table}")[0][0] for table in tables}
