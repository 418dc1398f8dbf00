"""The lease on every engine, and on PostgreSQL between connections that meet."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import psutil
import pytest

from connector.errors import LabelsError, LeaseHeld, LeaseLost
from connector.ledger import State
from connector.warehouse import lease
from connector.warehouse.tables import Ledger
from tests.lab import ROOT, Lab
from tests.warehouse.labs import PostgresLab

TABLE = "comment_labels"
LEASES = "main_labels.label_leases"
TAKERS, ROUNDS = 6, 12


def _insert(lab: Lab, process: str, host: str, seconds: int) -> None:
    """Put somebody else's lease there that ends in so many seconds."""
    with lab.project.connect() as session:
        now = lease.clock(session)
        row = {"label_table": TABLE, "owner": "other", "host": host, "process": process, "taken_at": now}
        session.handle.insert(LEASES, {**row, "until_at": now + timedelta(seconds=seconds)})


def _owners(lab: Lab) -> list[str]:
    return [owner for (owner,) in lab.sql(f"select owner from {LEASES}")]


def test_a_lease_is_taken_once_and_given_up_at_the_end(lab: Lab) -> None:
    with Ledger(lab.project, "first").leased([TABLE]):
        assert _owners(lab) == ["first"]
        with pytest.raises(LeaseHeld, match=rf"process {os.getpid()} on {socket.gethostname()}, since \d{{4}}-"):
            with Ledger(lab.project, "second").leased([TABLE]):
                pass
        with Ledger(lab.project, "third").leased(["another_table"]):
            assert sorted(_owners(lab)) == ["first", "third"]
        Ledger(lab.project, "first").renew([TABLE])
    assert _owners(lab) == []


def test_a_lease_of_another_machine_ends_by_the_warehouses_clock_only(lab: Lab) -> None:
    _insert(lab, "1:1.00:elsewhere", "elsewhere", seconds=30)
    with pytest.raises(LeaseHeld, match="process 1 on elsewhere, since"):
        with Ledger(lab.project, "mine").leased([TABLE]):
            pass
    lab.sql(f"delete from {LEASES}")
    _insert(lab, "1:1.00:elsewhere", "elsewhere", seconds=-1)
    with Ledger(lab.project, "mine").leased([TABLE]):
        assert _owners(lab) == ["mine"]


def test_a_killed_holders_lease_ends_at_once_where_its_process_can_be_seen_to_be_gone(lab: Lab) -> None:
    holder = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(holder.pid).create_time()
    _insert(lab, f"{holder.pid}:{started:.2f}:{lease._namespace()}", socket.gethostname(), seconds=600)
    with pytest.raises(LeaseHeld), Ledger(lab.project, "mine").leased([TABLE]):
        pass
    holder.kill()
    holder.communicate()
    with Ledger(lab.project, "mine").leased([TABLE]):
        assert _owners(lab) == ["mine"]


def test_whoever_lost_the_lease_writes_nothing_and_takes_nothing_away(lab: Lab) -> None:
    ledger = Ledger(lab.project, "late")
    with ledger.leased([TABLE]):
        lab.sql(f"update {LEASES} set owner = 'thief'")
        with pytest.raises(LeaseLost):
            ledger.renew([TABLE])
        with pytest.raises(LeaseLost):
            ledger.record("batch", State.SUBMITTED, lab.project.tasks[0])
    assert _owners(lab) == ["thief"]
    assert lab.sql("select count(*) from main_labels.label_events") == [(0,)]


def _meets(lab: PostgresLab, change: str, act: Callable[[], None]) -> list[LabelsError]:
    """Act while another connection has changed the lease and not committed; return what it raised once that has."""
    import psycopg2

    raised: list[LabelsError] = []

    def acting() -> None:
        try:
            act()
        except LabelsError as error:
            raised.append(error)

    other = psycopg2.connect(**lab.server.arguments(lab.name))
    try:
        other.cursor().execute(change)
        thread = threading.Thread(target=acting)
        thread.start()
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        while thread.is_alive() and lab.sql(waiting) == [(0,)]:
            pass
        assert thread.is_alive(), f"it did not wait: {raised}"
        other.commit()
        thread.join()
    finally:
        other.close()
    return raised


def test_a_lease_that_is_being_stolen_is_lost_to_the_write_that_meets_it(postgres_lab: PostgresLab) -> None:
    ledger = Ledger(postgres_lab.project, "late")
    with ledger.leased([TABLE]):
        task = postgres_lab.project.tasks[0]
        steal = f"delete from {LEASES}; insert into {LEASES} values ('{TABLE}', 'thief', 'h', '1:1.0:x', now(), now())"
        [error] = _meets(postgres_lab, steal, lambda: ledger.record("batch", State.SUBMITTED, task))
    assert isinstance(error, LeaseLost)
    assert postgres_lab.sql("select count(*) from main_labels.label_events") == [(0,)]
    assert _owners(postgres_lab) == ["thief"]


def test_a_lease_that_had_ended_and_is_being_renewed_can_not_be_taken(postgres_lab: PostgresLab) -> None:
    def take() -> None:
        with Ledger(postgres_lab.project, "taker").leased([TABLE]):
            pass

    _insert(postgres_lab, "1:1.00:elsewhere", "elsewhere", seconds=-1)
    renewal = f"update {LEASES} set until_at = until_at + interval '10 minutes'"
    [error] = _meets(postgres_lab, renewal, take)
    assert isinstance(error, LeaseHeld)
    assert _owners(postgres_lab) == ["other"]


def test_of_many_that_try_at_once_one_gets_the_lease_and_the_others_hear_of_it(postgres_lab: PostgresLab) -> None:
    command = [sys.executable, "-m", "tests.warehouse.takers", str(postgres_lab.folder), str(TAKERS), str(ROUNDS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rounds = json.loads(done.stdout.splitlines()[-1])
    assert len(rounds) == ROUNDS
    for answers in rounds:
        others = [answer for answer in answers if answer != "taken"]
        assert len(others) == TAKERS - 1, answers
        assert all("another run may send and load for `comment_labels` now: process" in other for other in others)
    assert _owners(postgres_lab) == []
