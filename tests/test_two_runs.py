"""Two runs at once: one sends, the other says who holds the lease; a dead holder's lease ends by itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from connector.errors import LeaseHeld, LeaseLost
from connector.run import Settings
from connector.warehouse.holder import machine
from connector.warehouse.tables import Ledger
from tests.contestant import check_two_at_once
from tests.lab import Lab, Server

WAYS = 8


def test_of_two_runs_at_once_one_sends_and_the_other_says_who_holds_the_lease(lab: Lab, server: Server) -> None:
    check_two_at_once(lab, server, WAYS, [lab.folder, lab.folder])


def _ledger(lab: Lab, owner: str) -> Ledger:
    return Ledger(lab.project, owner)


def test_a_held_lease_names_its_process_and_since_when(lab: Lab, server: Server) -> None:
    with _ledger(lab, "first").leased(["comment_labels"]):
        with pytest.raises(LeaseHeld, match=rf"process {os.getpid()} on .* since \d{{4}}-") as held:
            lab.run(server.provider())
    assert "ends by itself at" in str(held.value.hint)
    assert lab.run(server.provider()).labelled == 3


def test_a_killed_holders_lease_ends_at_once_where_its_process_can_be_seen_to_be_gone(lab: Lab, server: Server) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    lab.sql("delete from main_labels.label_leases")
    _insert_lease(lab, f"{dead.pid}:1:{machine()}", host=None)
    assert lab.run(server.provider()).labelled == 3


def test_a_lease_of_another_host_ends_only_by_the_warehouses_clock(lab: Lab, server: Server) -> None:
    _insert_lease(lab, "1:1.00:elsewhere", host="elsewhere")
    with pytest.raises(LeaseHeld, match="elsewhere"):
        lab.run(server.provider())
    lab.sql("update main_labels.label_leases set until_at = (now() at time zone 'UTC') - interval 1 second")
    assert lab.run(server.provider()).labelled == 3


def test_a_run_whose_lease_was_taken_sends_nothing_more(lab: Lab, server: Server) -> None:
    ledger = _ledger(lab, "late")
    with ledger.leased(["comment_labels"]):
        lab.sql("update main_labels.label_leases set owner = 'thief'")
        with pytest.raises(LeaseLost):
            ledger.renew(["comment_labels"])
    assert lab.sql("select owner from main_labels.label_leases") == [("thief",)]


def test_a_run_collects_what_another_machine_sent(lab: Lab, server: Server, tmp_path: Path) -> None:
    server.faults(slow=3600)
    summary = lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=60, once=True))
    assert len(summary.in_flight) == 1
    server.faults(slow=0)
    elsewhere = Lab(tmp_path / "elsewhere")
    elsewhere.database = lab.database
    os.environ["LAB_DUCKDB"] = str(lab.database)
    summary = elsewhere.run(server.provider())
    assert (summary.submitted, summary.labelled) == ([], 3)
    assert len(server.executions()) == 3


def _insert_lease(lab: Lab, process: str, host: str | None) -> None:
    lab.sql(
        "insert into main_labels.label_leases values ('comment_labels', 'other', ?, ?,"
        " (now() at time zone 'UTC'), (now() at time zone 'UTC') + interval 10 minute)",
        [host or socket.gethostname(), process],
    )
