"""Watching a run: lines of a log, live lines on a terminal, nothing beside JSON; logs as JSON without texts."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from rich.console import Console

from connector.report.watching import age, progress_line, progress_table
from connector.run import Progress
from tests.between import LOOK, Between
from tests.command import QUICKLY, Command
from tests.lab import KEY, QUICK, ROOT, Lab, Server
from tests.limit import limited
from tests.terminal import run_on_terminal

SECRET = "a comment that no log may have 91c2"
LOOKS, MOST_LOOKS = 5, 200  # at a batch that runs; that many take a run far longer than a screen takes to draw
SO_FAR = Progress("k1", "comments_to_label", "in_progress", 627, 410, 3, 3_754.0, Decimal("0.0031"))


def test_a_line_says_texts_done_failed_age_and_cost_so_far() -> None:
    assert progress_line(SO_FAR) == (
        "batch k1 in_progress: 410 of 627 texts done, 3 failed, 1 h 2 min, about $0.0031 so far"
    )
    assert [age(seconds) for seconds in (0, 59.9, 60, 3_600, 90_061)] == ["0 s", "59 s", "1 min", "1 h", "1 d 1 h"]


@pytest.mark.parametrize("width", [70, 80, 160])
def test_a_narrow_terminal_cuts_the_name_of_the_task_and_no_number(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(progress_table([SO_FAR, replace(SO_FAR, batch_key="k2", failed=0)]))
    lines = console.export_text().splitlines()
    assert len(lines) == 2, lines
    assert max(map(len, lines)) <= width
    for line, failed in zip(lines, ("3 failed", "0 failed"), strict=True):
        shown = line.replace("…", " ").split()
        for part in ("in_progress", "627 texts", "410 done", failed, "1 h 2 min", "~$0.0031"):
            assert part in " ".join(shown), lines
    assert ("comments_to_label" in lines[0]) == (width > 80)


def test_a_live_line_says_failed_only_where_some_did() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(progress_table([replace(SO_FAR, failed=0)]))
    assert "failed" not in console.export_text()


def test_progress_counts_texts_where_a_request_carries_several(lab: Lab, server: Server) -> None:
    lab.edit_task(run={"rows_per_request": 3})
    server.faults(slow=3600)
    lab.run(server.provider(), replace(QUICK, once=True))
    [batch] = _batches(lab)
    assert (batch.claims, batch.requests) == (3, 1)
    now = batch.submitted_at + timedelta(minutes=5)
    found = Progress.of(batch, "in_progress", 1, 0, now)
    assert (found.texts, found.done, found.age_seconds) == (3, 3, 300.0)
    assert found.cost_usd == batch.expected_usd


@pytest.fixture
def watched(command: Command, between: Between, monkeypatch: pytest.MonkeyPatch) -> Between:
    """Give what stands between the lab's commands and the server: its looks are what a person watches."""
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    return between


def test_a_log_gets_a_line_for_each_batch_and_none_beside_json(lab: Lab, watched: Between, command: Command) -> None:
    watched.keep_running(lambda looks: looks > LOOKS)
    said = command("run", *QUICKLY)
    assert said.code == 0, said.err
    [line] = [line for line in said.err.splitlines() if " texts done, " in line]
    assert re.match(r"batch \w+ in_progress: 0 of 3 texts done, \d+ s, ", line)
    assert len(watched.times(LOOK)) > LOOKS, "a line when its status or a tenth of it changes, not one a look"
    lab.add_comments(["One more"])
    watched.keep_running(lambda looks: looks > LOOKS)
    quiet = command("run", "--json", *QUICKLY)
    assert quiet.json["run"]["labelled"] == 1
    assert "texts done" not in quiet.err


def test_a_terminal_shows_a_live_line_that_goes_when_the_batch_is_loaded(lab: Lab, watched: Between) -> None:
    where = ("--project-dir", str(lab.folder), "--profiles-dir", str(lab.folder))
    shown = bytearray()
    watched.keep_running(lambda looks: b"0 done" in shown or looks > MOST_LOOKS)
    seen = run_on_terminal("run", *QUICKLY, *where, shown=shown)
    assert seen.code == 0, seen
    assert "3 texts" in seen.screen
    assert "0 done" in seen.screen
    assert "\x1b[2K" in seen.screen, "it is taken away"
    assert "1 batch sent, 3 labelled" in seen.out
    lab.add_comments(["One more"])
    watched.keep_running(lambda looks: looks > LOOKS)
    seen = run_on_terminal("run", "--json", *QUICKLY, *where)
    assert json.loads(seen.out)["run"]["labelled"] == 1
    assert "\x1b[2K" not in seen.screen


def test_status_is_a_table_and_watches_until_nothing_is_in_flight(lab: Lab, server: Server, command: Command) -> None:
    server.faults(slow=3600)
    command("run", "--once", *QUICKLY)
    said = command("status")
    assert "task               table           version  model       comments  texts  labelled" in said.out
    assert "comments_to_label  comment_labels        1  gpt-6-luna         6      4         0" in said.out
    [line] = [line for line in said.out.splitlines() if " submitted " in line]
    assert "comments_to_label version 1" in line
    refused = command("status", "--watch", "--json")
    assert refused.code == 2
    assert "exclude each other" in refused.err
    refused = command("status", "--every", "5")
    assert (refused.code, refused.out) == (2, "")
    assert "`--watch` too" in refused.err
    called = [sys.executable, "-m", "connector", "status", "--watch", "--every", "0.5"]
    where = ["--project-dir", str(lab.folder), "--profiles-dir", str(lab.folder)]
    watcher = subprocess.Popen([*called, *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert watcher.stdout is not None
    with limited(watcher):
        first = [watcher.stdout.readline() for _ in range(5)]
        assert any(" submitted " in line for line in first), first
        server.faults(slow=0)
        lab.run(server.provider())  # without dbt, which does not wait for a database that somebody has just opened
        rest, err = watcher.communicate()
    assert watcher.returncode == 0, err
    assert all(" is locked by process " in line for line in err.splitlines()), err
    assert " loaded " in rest
    assert rest.count("version  model") <= 4, "written when it is another, not every time"


def test_a_log_of_json_has_a_line_for_each_event_with_its_batch_and_no_text(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.add_comments([SECRET])
    lab.dbt("run")
    server.faults(row_break_schema={"share": 0.5, "times": 2})
    said = command("--log-format", "json", "build", "--json", *QUICKLY)
    assert said.json["run"]["labelled"] == 4
    lines = [json.loads(line) for line in said.err.splitlines()]
    ours = [line for line in lines if "event" in line]
    assert all(datetime.fromisoformat(line["time"].replace("Z", "+00:00")) and line["level"] for line in ours)
    events = [line["event"] for line in ours]
    for event in (
        "plan",
        "run_started",
        "batch_planned",
        "batch_submitted",
        "batch_ended",
        "batch_loaded",
        "run_ended",
    ):
        assert event in events
    loaded = [line for line in ours if line["event"] == "batch_loaded"]
    assert sum(line["labelled"] for line in loaded) == 4
    assert {line["batch_key"] for line in loaded} == set(said.json["run"]["submitted"])
    assert {line["task"] for line in loaded} == {"comments_to_label"}
    assert any("info" in line for line in lines), "dbt's own lines are JSON as well"
    assert not [text for text in (SECRET, "Loved it", "Hated it", KEY) if text in said.err]


def test_an_error_in_a_log_of_json_is_a_line_of_it(lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_LABELS_LOG_FORMAT", "json")
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    said = command("run", *QUICKLY)
    assert (said.code, said.out) == (1, "")
    *_, last = [json.loads(line) for line in said.err.splitlines()]
    assert (last["event"], last["level"], last["exit_code"]) == ("error", "error", 1)
    assert last["hint"].startswith("check OPENAI_API_KEY")


def _batches(lab: Lab) -> list:  # type: ignore[type-arg]
    from connector.ledger import State
    from connector.warehouse.tables import Ledger

    return Ledger(lab.project, "").batches(["comment_labels"], State)
