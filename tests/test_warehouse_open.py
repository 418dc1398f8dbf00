"""How long the warehouse is held: over a stretch of our own work, and never while the provider is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from connector.errors import WarehouseError
from connector.warehouse.project import Project
from tests.between import Between
from tests.lab import Lab


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list that gets an entry each time the warehouse is opened."""
    times: list[str] = []
    open_session: Callable[[Project], Any] = Project._open_session
    monkeypatch.setattr(Project, "_open_session", lambda project: (times.append("open"), open_session(project))[1])
    return times


def test_kept_open_it_is_opened_once_and_again_only_after_it_was_let_go_of(lab: Lab, opened: list[str]) -> None:
    project = lab.project
    with project.kept_open():
        for _ in range(3):
            with project.connect() as session:
                session.handle.rows("select 1 as one")
        assert opened == ["open"]
        project.let_go()
        with project.connect() as session, project.connect() as same:
            assert session is same
            project.let_go()
            assert session.handle.rows("select 1 as one") == [{"one": 1}], "nobody is cut off in the middle"
        assert opened == ["open", "open"]
        project.let_go()
        assert opened == ["open", "open"], "it is opened only when it is needed"


def test_an_error_or_a_query_of_dbts_leaves_nothing_behind_for_the_next_use(lab: Lab, opened: list[str]) -> None:
    project = lab.project
    with project.kept_open():
        with pytest.raises(WarehouseError, match="no_such_table"), project.connect() as session, session.transaction():
            session.handle.execute("select * from no_such_table")
        with project.connect() as session:
            session.macro("ddl", tasks=[task.model_dump(mode="json") for task in project.tasks])
        with project.connect() as session, session.transaction():
            session.handle.execute("create table main.made as select 1 as one")
    assert opened == ["open", "open"]
    assert lab.sql("select one from main.made") == [(1,)]


def test_a_run_holds_the_warehouse_during_no_call_to_the_provider(lab: Lab, between: Between) -> None:
    held: list[str] = []
    between.keep_running(lambda looks: looks > 3)

    def look(asked: str) -> None:
        opens = f"import duckdb; duckdb.connect({str(lab.database)!r})"
        elsewhere = subprocess.run([sys.executable, "-c", opens], capture_output=True, text=True, check=False)
        if elsewhere.returncode:
            held.append(f"{asked}: {elsewhere.stderr}")

    between.listen = look
    assert lab.run(between.provider()).labelled == 3
    assert len(between.asked) > 6
    assert held == []
