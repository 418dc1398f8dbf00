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
from pathlib import Path

import psutil
import pytest

from connector.errors import LabelsError, LeaseHeld, LeaseLost
from connector.ledger import State
from connector.warehouse import holder as holder_module
from connector.warehouse.holder import is_gone, machine, process_of
from connector.warehouse.tables import Ledger
from tests.lab import ROOT, Lab
from tests.limit import LONGEST_SECONDS, rounds
from tests.warehouse.labs import FORCED, PostgresLab

TABLE = "comment_labels"
LEASES = "main_labels.label_leases"
TAKERS, ROUNDS = 6, 12
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when the machine was started")


def _insert(lab: Lab, process: str, host: str, seconds: int) -> None:
    """Put somebody else's lease there that ends in so many seconds."""
    with lab.project.connect() as session:
        now = session.clock()
        row = {"label_table": TABLE, "owner": "other", "host": host, "process": process, "taken_at": now}
        session.handle.insert(LEASES, {**row, "until_at": now + timedelta(seconds=seconds)})


def _owners(lab: Lab) -> list[str]:
    # without transactions a lease is given up by a row without an end
    alive = "group by owner, label_table, taken_at having count(*) = count(until_at)"
    return sorted(owner for (owner,) in lab.sql(f"select owner from {LEASES} {alive}"))


def _and_gone(lab: Lab) -> list[str]:
    """Return who still stands there where nothing is deleted."""
    return [] if lab.has_transactions else ["other"]


def test_a_lease_is_taken_once_and_given_up_at_the_end(lab: Lab) -> None:
    with Ledger(lab.project, "first").leased([TABLE]):
        assert _owners(lab) == ["first"]
        with pytest.raises(LeaseHeld, match=rf"process {os.getpid()} on {socket.gethostname()}, since \d{{4}}-"):
            with Ledger(lab.project, "second").leased([TABLE]):
                pass
        with Ledger(lab.project, "third").leased(["another_table"]):
            assert _owners(lab) == ["first", "third"]
        Ledger(lab.project, "first").renew([TABLE])
    assert _owners(lab) == []


def test_a_lease_of_another_machine_ends_by_the_warehouses_clock_only(lab: Lab) -> None:
    _insert(lab, "1:1.00:elsewhere", "elsewhere", seconds=600)
    with pytest.raises(LeaseHeld, match="process 1 on elsewhere, since"):
        with Ledger(lab.project, "mine").leased([TABLE]):
            pass
    lab.clear(LEASES)
    _insert(lab, "1:1.00:elsewhere", "elsewhere", seconds=-1)
    with Ledger(lab.project, "mine").leased([TABLE]):
        assert _owners(lab) == ["mine", *_and_gone(lab)]


def test_a_killed_holders_lease_ends_at_once_where_its_process_can_be_seen_to_be_gone(lab: Lab) -> None:
    holder = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    _insert(lab, process_of(holder.pid), socket.gethostname(), seconds=600)
    with pytest.raises(LeaseHeld), Ledger(lab.project, "mine").leased([TABLE]):
        pass
    holder.kill()
    holder.communicate()
    with Ledger(lab.project, "mine").leased([TABLE]):
        assert _owners(lab) == ["mine", *_and_gone(lab)]


def _is_gone(process: str) -> bool:
    return is_gone({"host": socket.gethostname(), "process": process})


@only_linux
def test_a_process_of_a_machine_with_the_same_name_can_not_be_seen_to_be_gone() -> None:
    boot, _, namespace = machine().partition(":")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert _is_gone(f"999999999:1:{boot}:{namespace}")
    # the first namespace of every machine has the same number
    for elsewhere in (f"{boot[:-1]}{'b' if boot[-1] == 'a' else 'a'}:{namespace}", namespace, f":{namespace}", ""):
        assert not _is_gone(f"999999999:1:{elsewhere}")


@only_linux
def test_nothing_is_gone_where_the_machine_does_not_say_which_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(holder_module, "_BOOT_ID", tmp_path / "none")
    assert machine() == ""
    assert not _is_gone("999999999:1:")


@only_linux
def test_a_clock_that_is_set_makes_no_process_look_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = process_of(os.getpid())
    started = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: started(process) + 3_600)
    assert not _is_gone(mine)
    process_id, ticks, where = mine.split(":", 2)
    assert _is_gone(f"{process_id}:{int(ticks) - 1}:{where}"), "another one had the id before"


@only_linux
def test_a_process_that_linux_hides_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(process_id: int) -> None:
        raise psutil.NoSuchProcess(process_id)

    mine = process_of(os.getpid())
    monkeypatch.setattr(psutil, "Process", hidden)
    assert not _is_gone(mine)


def test_whoever_lost_the_lease_writes_nothing_and_takes_nothing_away(lab: Lab) -> None:
    if not lab.has_transactions:
        pytest.skip("there is no update on this engine: see test_doorway.py")
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
        thread = threading.Thread(target=acting, daemon=True)
        thread.start()
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        for _ in rounds():
            if not thread.is_alive() or lab.sql(waiting) != [(0,)]:
                break
        assert thread.is_alive(), f"it did not wait: {raised}"
        other.commit()
        thread.join(LONGEST_SECONDS)
        assert not thread.is_alive(), "it waits for ever"
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


@pytest.mark.parametrize("engine", ["postgres", "dbapi"])
def test_of_many_that_try_at_once_one_gets_the_lease_and_the_others_hear_of_it(
    request: pytest.FixtureRequest, engine: str
) -> None:
    lab: PostgresLab = request.getfixturevalue(f"{engine}_lab")
    forced = FORCED if engine == "dbapi" else ()
    command = [sys.executable, "-m", *forced, "tests.warehouse.takers", str(lab.folder), str(TAKERS), str(ROUNDS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LONGEST_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert len(heard) == ROUNDS
    for answers in heard:
        others = [answer for answer in answers if answer != "taken"]
        assert len(others) >= TAKERS - 1, answers
        # without transactions it may be nobody's, where one of them stalled
        assert len(others) == TAKERS - 1 or not lab.has_transactions, answers
        assert all("another run may send and load for `comment_labels` now: process" in other for other in others)
    assert any("taken" in answers for answers in heard), heard
    assert _owners(lab) == []
