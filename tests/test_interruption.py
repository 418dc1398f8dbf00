"""An interruption: Ctrl-C and SIGTERM end a command whatever it is doing, the database included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import duckdb
import pytest

from connector.errors import WarehouseError
from connector.interruption import Interruption
from connector.warehouse.tables import Ledger
from tests.lab import ROOT, Lab
from tests.limit import limited

_LEASES = "main_labels.label_leases"
# minutes of work in one operator, which Python hears nothing during
_LONG = "select count(*) as n from range(300000) a(i), range(300000) b(j) where (i * j) % 1000003 = 7"


@pytest.mark.skipif(
    duckdb.__version__ < "2", reason="DuckDB 1.x sometimes waits for a query before it closes its database"
)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_long_query_at_once(lab: Lab, sent: signal.Signals) -> None:
    project = lab.project
    sent_at: list[float] = []

    def send_once_it_runs(connection: object) -> None:
        while connection.query_progress() < 0:  # type: ignore[attr-defined]
            pass
        sent_at.append(time.monotonic())
        os.kill(os.getpid(), sent)

    with Interruption.caught() as interruption:
        interruption.end_query = project.end_query
        with suppress(KeyboardInterrupt, WarehouseError), project.connect() as session:
            session.handle.execute("set enable_progress_bar = true")
            session.handle.execute("set enable_progress_bar_print = false")
            threading.Thread(target=send_once_it_runs, args=(session.handle._connection,), daemon=True).start()
            session.handle.rows(_LONG)
    assert interruption.happened
    assert time.monotonic() - sent_at[0] < 10
    assert lab.sql(f"select count(*) from {_LEASES}") == [(0,)]


def test_a_lease_is_given_up_whatever_ends_queries_meanwhile(lab: Lab) -> None:
    project, is_given_up = lab.project, threading.Event()

    def end_queries() -> None:
        while not is_given_up.wait(0.001):
            project.end_query()

    ending = threading.Thread(target=end_queries, daemon=True)
    try:
        with Ledger(project, "mine").leased(["comment_labels"]):
            # so many that giving them up takes far longer than it takes to end a query
            lab.sql(f"insert into {_LEASES} select l.* from {_LEASES} l, range(3000000)")
            ending.start()
    finally:
        is_given_up.set()
    ending.join()
    assert lab.sql(f"select count(*) from {_LEASES}") == [(0,)]


_DEAF = """
import sys
from connector.interruption import Interruption
with Interruption.caught(patience_seconds=float(sys.argv[1])):
    said = "begun"
    while True:
        try:
            print(said, flush=True)
            while True:
                pass
        except KeyboardInterrupt:
            said = "heard"
"""


def _deaf(patience_seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _DEAF, str(patience_seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)


def test_a_second_signal_ends_what_the_first_does_not() -> None:
    with _deaf(3600) as process:
        assert process.stdout is not None
        with limited(process):
            for said in (b"begun\n", b"heard\n"):
                assert process.stdout.readline() == said
                process.send_signal(signal.SIGINT)
            assert process.wait() == 130
        assert process.stderr is not None
        assert b"Interrupted; nothing is lost. What was under way did not end, and is left." in process.stderr.read()


def test_what_does_not_end_after_one_signal_is_ended_in_time() -> None:
    with _deaf(0.5) as process:
        assert process.stdout is not None
        with limited(process):
            assert process.stdout.readline() == b"begun\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == b"heard\n"
            assert process.wait() == 130


_LEFT_BEHIND = f"""
import os, signal, threading, time
import click, duckdb
from connector import cli

@click.command()
def leave():
    connection = duckdb.connect()
    threading.Thread(target=lambda: connection.execute("{_LONG}"), daemon=True).start()
    while connection.query_progress() < 0:
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(3600)

cli.cli.add_command(leave)
cli.main(["leave"])
"""


def test_a_query_that_is_left_behind_does_not_keep_the_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", _LEFT_BEHIND], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with limited(process):
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Interrupted; nothing is lost." in err


_INTERRUPTED = """
import multiprocessing, os, signal, time
import click
from connector import cli

held = multiprocessing.get_context("spawn").Semaphore()  # as dbt has some

@click.command()
def wait():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(3600)

cli.cli.add_command(wait)
cli.main(["--log-format", "json", "wait"])
"""


_WHILE_IMPORTED = """
import importlib.abc, os, signal, sys

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from connector.__main__ import main
main()
"""


def test_a_command_interrupted_while_it_is_imported_ends_without_a_word() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _WHILE_IMPORTED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_an_interrupted_command_writes_nothing_but_json_where_that_is_asked_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", _INTERRUPTED], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with limited(process):
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["interrupted"]


def test_dbt_interrupted_says_no_traceback(lab: Lab) -> None:
    staging = lab.folder / "models" / "stg_comments.sql"
    staging.write_text("{{ config(materialized='table') }}\n" + staging.read_text() + f", ({_LONG}) as work")
    where = ["--project-dir", str(lab.folder), "--profiles-dir", str(lab.folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "build", "--yes", *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stderr is not None
    before = ""
    with limited(process):
        while "START sql table model" not in (line := process.stderr.readline()):
            assert line, before
            before += line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    # dbt may wait for its own threads until it is left behind
    ends = ("Nothing is in flight.", "What was under way did not end, and is left.")
    assert [end for end in ends if f"Interrupted; nothing is lost. {end}" in err], err
