"""The lease without transactions: on Spark, on an adapter of which only its driver is known, and on DuckDB used so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
import yaml

from connector.errors import LeaseHeld, LeaseLost, WarehouseError
from connector.importing import import_labels
from connector.ledger import State
from connector.warehouse import doorway, foreign
from connector.warehouse import duckdb as duckdb_module
from connector.warehouse.holder import DURATION_SECONDS
from connector.warehouse.session import Session
from connector.warehouse.tables import Ledger
from tests.lab import ROOT, Lab
from tests.warehouse.labs import force_dbapi
from tests.warehouse.spark_lab import SparkLab

TABLE = "comment_labels"
LEASES = "main_labels.label_leases"
TAKERS, ROUNDS, APPENDS = 4, 3, 8


@pytest.fixture(params=["duckdb", "dbapi", "spark"])
def lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Give the small project on an engine without transactions."""
    if request.param == "duckdb":
        monkeypatch.setattr(duckdb_module.Handle, "has_transactions", False)
        monkeypatch.setattr(duckdb_module.Handle, "lock", None)
    if request.param == "dbapi":
        force_dbapi(monkeypatch)
    name = "bench" if request.param == "duckdb" else f"{request.param}_bench"
    restored = request.getfixturevalue(name).restored()
    assert isinstance(restored, Lab)
    return restored


def _row(session: Session, owner: str, since: int, until: int | None) -> None:
    """Write a taking of a run on another machine: since and until so many seconds from now, or its end."""
    now = session.clock().replace(microsecond=0)
    row = {"label_table": TABLE, "owner": owner, "host": "elsewhere", "process": "1:1.00:elsewhere"}
    row |= {"taken_at": now + timedelta(seconds=since)}
    session.handle.insert(LEASES, {**row, "until_at": None if until is None else now + timedelta(seconds=until)})


def _after(monkeypatch: pytest.MonkeyPatch, lab: Lab, method: str, acts: dict[int, Callable[[Session], None]]) -> None:
    """Do something after the first, second, ... call that writes or reads the leases."""
    with lab.project.connect() as session:
        handle = type(session.handle)
    original, calls = getattr(handle, method), 0

    def wrapped(self: Any, sql: str, *rest: Any) -> Any:
        nonlocal calls
        result = original(self, sql, *rest)
        if "label_leases" in sql:
            calls += 1
            if act := acts.pop(calls, None):
                with lab.project.connect() as session:
                    act(session)
        return result

    monkeypatch.setattr(handle, method, wrapped)


def _alive(lab: Lab) -> list[str]:
    ended = "group by owner, taken_at having count(*) > count(until_at)"
    gone = {owner for (owner,) in lab.sql(f"select owner from {LEASES} {ended}")}
    return sorted({owner for (owner,) in lab.sql(f"select owner from {LEASES}")} - gone)


def _take(lab: Lab, owner: str = "mine") -> None:
    with Ledger(lab.project, owner).leased([TABLE]):
        assert owner in _alive(lab)


def test_of_two_that_both_found_it_free_the_higher_withdraws(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    _after(monkeypatch, lab, "insert", {1: lambda session: _row(session, "other", -5, 600)})
    with pytest.raises(LeaseHeld, match="process 1 on elsewhere, since"):
        _take(lab)
    assert _alive(lab) == ["other"]


def test_of_two_that_both_found_it_free_the_lower_waits_until_the_other_withdrew(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def leave(session: Session) -> None:
        seen.append(_alive(lab))
        taken = session.handle.rows(f"select * from {LEASES} where owner = 'other'")[0]
        session.handle.insert(LEASES, {**taken, "until_at": None})

    _after(monkeypatch, lab, "insert", {1: lambda session: _row(session, "other", 5, 600)})
    _after(monkeypatch, lab, "rows", {2: leave})
    _take(lab)
    assert seen == [["mine", "other"]]
    assert _alive(lab) == []


def test_who_sees_a_holder_tries_nothing(lab: Lab) -> None:
    with lab.project.connect() as session:
        _row(session, "other", -5, 600)
    with pytest.raises(LeaseHeld):
        _take(lab)
    assert lab.sql(f"select count(*) from {LEASES}") == [(1,)]


def test_storage_that_does_not_show_what_was_written_gives_nobody_a_lease(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lab.project.connect() as session:
        handle = type(session.handle)
    monkeypatch.setattr(handle, "insert", lambda *_: None)
    with pytest.raises(WarehouseError, match="does not show what was just written"):
        _take(lab)


def test_a_lease_is_renewed_when_less_than_half_of_it_is_left(lab: Lab) -> None:
    ledger = Ledger(lab.project, "mine")
    with ledger.leased([TABLE]):
        ledger.renew([TABLE])
        [(taken_at, until_at)] = lab.sql(f"select taken_at, until_at from {LEASES}")
        assert (until_at - taken_at).total_seconds() == pytest.approx(DURATION_SECONDS, abs=30)
        lab.clear(LEASES)
        _own(lab, since=-400, until=200)
        ledger.renew([TABLE])
        assert lab.sql(f"select count(*) from {LEASES}") == [(2,)]
        with pytest.raises(LeaseHeld):
            _take(lab, "another")


def _own(lab: Lab, since: int, until: int) -> None:
    with lab.project.connect() as session:
        _row(session, "mine", since, until)


def test_a_lease_that_ended_goes_on_only_if_nobody_tried_for_it_since(lab: Lab) -> None:
    ledger = Ledger(lab.project, "mine")
    _own(lab, since=-1200, until=-600)
    with lab.project.connect() as session:
        _row(session, "before", -1300, -700)
    ledger.renew([TABLE])
    lab.clear(LEASES)
    _own(lab, since=-1200, until=-600)
    with lab.project.connect() as session:
        _row(session, "thief", -500, 100)
        taken = session.handle.rows(f"select * from {LEASES} where owner = 'thief'")[0]
        session.handle.insert(LEASES, {**taken, "until_at": None})
    with pytest.raises(LeaseLost):
        ledger.renew([TABLE])
    assert _alive(lab) == []


def test_who_took_a_lease_by_a_clock_that_is_ahead_is_seen_by_its_holder(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _own(lab, since=-540, until=60)
    # in the minute that by our clock is left
    _after(monkeypatch, lab, "insert", {1: lambda session: _row(session, "thief", 70, 670)})
    with pytest.raises(LeaseLost):
        Ledger(lab.project, "mine").renew([TABLE])
    assert _alive(lab) == ["thief"]


def test_two_that_both_have_the_lease_do_nothing_more(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "_WITHDRAWN_SECONDS", 0.0)
    _own(lab, since=-60, until=540)
    with lab.project.connect() as session:
        _row(session, "other", -30, 570)
    with pytest.raises(LeaseLost):
        Ledger(lab.project, "mine").renew([TABLE])
    assert _alive(lab) == ["other"]


def test_a_holder_waits_for_who_found_the_lease_free_before_it_was_taken(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(session: Session) -> None:
        taken = session.handle.rows(f"select * from {LEASES} where owner = 'other'")[0]
        session.handle.insert(LEASES, {**taken, "until_at": None})

    _own(lab, since=-1, until=599)
    with lab.project.connect() as session:
        _row(session, "other", 0, 600)
    _after(monkeypatch, lab, "rows", {1: leave})
    Ledger(lab.project, "mine").renew([TABLE])
    assert _alive(lab) == ["mine"]


def test_who_was_stopped_between_its_look_and_its_write_creates_nothing_once_another_took_the_lease(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_for_long(session: Session) -> None:
        lab.clear(LEASES)
        _own(lab, since=-1200, until=-600)
        _row(session, "thief", -500, 100)

    _own(lab, since=-100, until=500)
    _after(monkeypatch, lab, "rows", {1: stopped_for_long})
    with pytest.raises(LeaseLost):
        Ledger(lab.project, "mine").record("batch", State.UPLOADED, lab.project.tasks[0], then=State.CREATING)
    assert _alive(lab) == ["thief"]
    # whoever did not see these events has the lease, which is what was just found
    assert lab.sql("select count(*) from main_labels.label_events") == [(2,)]


def test_whoever_lost_the_lease_writes_nothing(lab: Lab) -> None:
    ledger = Ledger(lab.project, "late")
    with ledger.leased([TABLE]):
        lab.clear(LEASES)
        with pytest.raises(LeaseLost):
            ledger.record("batch", State.SUBMITTED, lab.project.tasks[0])
    assert lab.sql("select count(*) from main_labels.label_events") == [(0,)]


def test_an_import_that_takes_longer_than_its_lease_ends_where_another_run_took_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.folder / "models" / "raw.yml"
    document = yaml.safe_load(path.read_text())
    document["sources"][0]["tables"].append({"name": "old_labels"})
    path.write_text(yaml.safe_dump(document))
    lab.reparse()
    lab.sql(lab.ddl("create table raw.old_labels (comment_text varchar, sentiment varchar, themes varchar)"))
    for text in ("Loved it", "Hated it", "The music was fine"):
        lab.sql("insert into raw.old_labels values (?, 'positive', '[]')", [text])
    with lab.project.connect() as session:
        handle = type(session.handle)
    append, appended = handle.append, []

    def slow(self: Any, relation: str, rows: pa.Table) -> None:
        append(self, relation, rows)
        if "sentiment" in rows.column_names:
            appended.append(rows.num_rows)
            _taken_by_another(lab)

    monkeypatch.setattr(handle, "append", slow)
    monkeypatch.setattr(foreign, "_CHUNK_ROWS", 1)
    with pytest.raises(LeaseLost):
        import_labels(lab.project, lab.project.tasks[0], "raw.old_labels", "elsewhere", lambda _: None)
    assert appended == [1]
    assert _alive(lab) == ["thief"]


def _taken_by_another(lab: Lab) -> None:
    """Have the lease that is held be over, and taken since."""
    [(owner,)] = lab.sql(f"select distinct owner from {LEASES}")
    lab.clear(LEASES)
    with lab.project.connect() as session:
        _row(session, owner, -1200, -600)
        _row(session, "thief", -500, 100)


def _takers(lab: SparkLab, rounds: int, what: str) -> list[list[str]]:
    if os.environ.get("DBT_LABELS_TEST_SPARK") == "session":
        pytest.skip("Spark's own metastore (Derby) lets one process in at a time")
    command = [sys.executable, "-m", "tests.warehouse.takers", str(lab.folder), str(TAKERS), str(rounds), what]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answers, list)
    return answers


def test_of_processes_that_try_at_once_on_spark_never_two_get_the_lease(spark_lab: SparkLab) -> None:
    answers = _takers(spark_lab, ROUNDS, "take")
    for round_ in answers:
        others = [answer for answer in round_ if answer != "taken"]
        assert len(others) >= TAKERS - 1, answers
        assert all("another run may send and load for `comment_labels` now: process" in other for other in others)
    assert any("taken" in round_ for round_ in answers)
    assert _alive(spark_lab) == []


def test_processes_that_append_to_one_table_at_once_on_spark_lose_nothing(spark_lab: SparkLab) -> None:
    answers = _takers(spark_lab, APPENDS, "append")
    assert answers == [["appended"] * TAKERS] * APPENDS
    found = spark_lab.sql("select batch_key, count(*) from main_labels.label_events group by batch_key")
    assert dict(found) == {f"batch {number}": TAKERS for number in range(APPENDS)}
