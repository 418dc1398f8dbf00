"""Two runs at once: one sends, the other says who holds the lease; a dead holder's lease ends by itself."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from connector.errors import LeaseHeld, LeaseLost
from connector.run import Settings
from connector.warehouse import lease
from connector.warehouse.tables import Ledger
from tests.lab import KEY, ROOT, Lab, Server

WAYS = 8


class Contestant:
    """A process of its own that runs the pipeline when it is told to (tests/crash.py)."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.crash", str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self, server: Server, **settings: object) -> None:
        assert self.process.stdin is not None
        command = {"key": KEY, "base_url": server.base_url, "max_requests": 2, "grace_seconds": 60, **settings}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, object]:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def test_of_two_runs_at_once_one_sends_and_the_other_says_who_holds_the_lease(lab: Lab, server: Server) -> None:
    contestants = [Contestant(lab.folder) for _ in range(2)]
    held = 0
    try:
        for way in range(WAYS):
            lab.add_comments([f"way {way}, comment {number}" for number in range(5)])
            for contestant in contestants:
                contestant.go(server)
            answers = [contestant.answer() for contestant in contestants]
            assert 0 in [answer["code"] for answer in answers], answers
            for answer in answers:
                if answer["code"] != 0:
                    held += 1
                    assert "another run may send and load for `comment_labels` now: process" in str(answer["error"])
            assert set(Counter(row["content_sha256"] for row in server.executions()).values()) == {1}
            assert len(lab.labels()) == 3 + 5 * (way + 1)
    finally:
        for contestant in contestants:
            contestant.end()
    assert held > 0, "the runs never met: the test shows nothing"


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
    _insert_lease(lab, f"{dead.pid}:1.00:{lease._namespace()}", host=None)
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
    server.faults(slow={"seconds": 1})
    summary = lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=60, once=True))
    assert len(summary.in_flight) == 1
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
