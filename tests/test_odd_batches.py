"""Batches that end oddly, and times that are not what they seem: no answer is lost and none is paid for twice."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from starlette.responses import JSONResponse, Response

from connector import pipeline
from connector.errors import InDoubt, LeaseHeld
from connector.files import work_folder
from connector.pipeline import Voice
from connector.run import Settings
from connector.warehouse.holder import this_holder
from tests.between import AT_ONCE, CANCEL, CREATE, DESCRIBE, DOWNLOAD, LOOK, UPLOAD, Between, edited, refusal
from tests.lab import QUICK, Lab, Server
from tests.limit import limited, rounds

ONCE_QUICK = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
PATIENT_ONCE = Settings(poll_seconds=0.01, grace_seconds=3600.0, once=True)


def _sent(server: Server) -> tuple[int, int]:
    """Return the batches that were created and the requests that were carried out."""
    return server.control("GET", "/local/stats")["batches"], len(server.executions())


def test_an_id_that_names_somebody_elses_batch_is_left_as_it_is_and_nothing_is_sent_again(
    lab: Lab, server: Server
) -> None:
    lab.run(server.provider(), PATIENT_ONCE)
    server.control("POST", "/local/batches", {"count": 1})
    ours = lab.sql("select provider_batch_id from main_labels.label_events where event = 'submitted'")[0][0]
    listed = server.control("GET", "/v1/batches?limit=100")["data"]
    other = next(batch["id"] for batch in listed if batch["id"] != ours)
    rename = "update main_labels.label_events set provider_batch_id = ? where event = 'submitted'"
    lab.sql(rename, [other])

    summary = lab.run(server.provider())
    assert f"{other} is another batch here" in summary.problems[0]
    assert (summary.submitted, lab.states(), lab.outcomes()) == ([], ["submitted"], {})
    lab.sql(rename, [ours])
    assert lab.run(server.provider()).labelled == 3
    assert _sent(server) == (1 + 1, 3)


def test_a_batch_that_never_ends_is_left_after_two_days_and_loaded_once_it_has(lab: Lab, between: Between) -> None:
    between.change(LOOK, edited(status="resting", output_file_id=None))
    assert lab.run(between.provider(), PATIENT_ONCE).problems == [], "a word that is not known is waited for at first"
    between.server.ended("completed")
    lab.sql("update main_labels.label_events set event_at = event_at - interval 49 hour")
    [problem] = lab.run(between.provider()).problems
    assert "after 2 days the provider still calls batch_" in problem
    assert "`resting`" in problem
    assert (lab.states(), lab.outcomes(), _sent(between.server)) == (["submitted"], {}, (1, 3))
    between.heal()
    assert lab.run(between.provider()).labelled == 3
    assert _sent(between.server) == (1, 3)


def test_a_batch_of_another_provider_keeps_no_round_waiting(lab: Lab, server: Server) -> None:
    server.faults(slow=3600)
    lab.run(server.provider(), ONCE_QUICK)
    lab.sql(
        "update main_labels.label_events set provider = 'https://elsewhere.example/v1',"
        " event_at = event_at - interval 20 hour"
    )
    server.faults(slow=0)
    lab.add_comments(["One more"])
    waits: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.time, "sleep", waits.append)
        summary = lab.run(server.provider())
    assert summary.labelled == 1
    assert max(waits, default=0) < 1


def _fail(**changes: Any) -> Callable[[httpx.Response], Response | None]:
    """Show a completed batch as one that failed."""
    reasons = {"object": "list", "data": [{"code": "server_error", "message": "it broke at the end"}]}
    failed = edited(status="failed", errors=reasons, **changes)
    return lambda answer: failed(answer) if answer.json()["status"] == "completed" else None


@pytest.mark.parametrize("counts", [{}, {"request_counts": {"total": 3, "completed": 0, "failed": 0}}])
def test_a_failed_batch_with_an_output_file_is_collected_for_its_answers_are_paid(
    lab: Lab, between: Between, counts: dict[str, Any]
) -> None:
    between.change(LOOK, _fail(**counts))
    summary = lab.run(between.provider())
    assert (summary.labelled, summary.problems, lab.states()) == (3, [], ["loaded"])
    status = lab.sql("select provider_status from main_labels.label_events where event = 'ended'")
    assert (status, _sent(between.server)) == ([("failed",)], (1, 3))


def test_a_failed_batch_that_counts_answers_is_held_until_its_file_is_there(lab: Lab, between: Between) -> None:
    between.change(LOOK, _fail(output_file_id=None))
    summary = lab.run(between.provider())
    assert "counts 3 answers but shows no file" in summary.problems[0]
    assert (lab.states(), lab.outcomes()) == (["ended"], {})
    between.change(LOOK, _fail())
    assert lab.run(between.provider()).labelled == 3
    assert (lab.states(), _sent(between.server)) == (["loaded"], (1, 3))


def _grow(answer: httpx.Response) -> Response:
    return edited(bytes=answer.json()["bytes"] + 7)(answer)


def test_a_file_whose_size_never_fits_is_loaded_when_it_answers_every_claim(lab: Lab, between: Between) -> None:
    between.change(DESCRIBE, _grow)
    summary = lab.run(between.provider())
    assert (summary.labelled, summary.problems, lab.states()) == (3, [], ["loaded"])
    assert _sent(between.server) == (1, 3)


def test_a_file_whose_size_never_fits_and_lacks_an_answer_is_left_and_its_texts_are_never_sent_again(
    lab: Lab, between: Between
) -> None:
    between.change(DESCRIBE, _grow)
    between.change(DOWNLOAD, lambda answer: Response(b"".join(answer.content.splitlines(keepends=True)[1:])))
    said: list[str] = []
    for _ in rounds():
        if lab.states() == ["ended"]:
            break
        assert lab.run(between.provider(), PATIENT_ONCE, said.append).problems == []
    assert re.search(r"\d+ of \d+ bytes of the output file arrived; looking again", said[-1])

    summary = lab.run(between.provider())
    assert "bytes of the output file arrived; run again later" in summary.problems[0]
    assert (summary.submitted, lab.states(), lab.outcomes()) == ([], ["ended"], {})
    between.heal()
    assert lab.run(between.provider()).labelled == 3
    assert _sent(between.server) == (1, 3)


def test_a_file_that_can_never_be_had_ends_the_run_in_doubt_and_a_later_run_loads_it(
    lab: Lab, between: Between
) -> None:
    between.change(DOWNLOAD, refusal(500))
    with pytest.raises(InDoubt, match=r"could not download the file: .* answered 500"):
        lab.run(between.provider())
    assert (lab.states(), lab.outcomes()) == (["ended"], {})
    between.heal()
    summary = lab.run(between.provider())
    assert (summary.submitted, summary.labelled, lab.states()) == ([], 3, ["loaded"])
    assert _sent(between.server) == (1, 3)


@pytest.mark.parametrize("status", [400, 409])
def test_to_cancel_what_has_just_ended_is_no_error_and_its_answers_are_loaded(
    lab: Lab, between: Between, status: int
) -> None:
    lab.run(between.provider(), PATIENT_ONCE)
    between.server.ended("completed")

    def still_running(answer: httpx.Response) -> Response | None:
        # for a while after it was asked to stop as well
        running = edited(status="in_progress", output_file_id=None)
        return running(answer) if len(between.times(LOOK)) <= 3 else None

    between.change(LOOK, still_running)
    between.change(CANCEL, refusal(status))
    said: list[str] = []
    voice = Voice(said.append, lambda batches: None, lambda plans: None)
    provider = between.provider()
    summary = pipeline.cancel(lab.project, lab.project.tasks, provider, QUICK, voice)
    provider.close()
    assert (summary.labelled, summary.problems, lab.states()) == (3, [], ["loaded"])
    assert not any("asked to stop" in line for line in said)
    assert (len(between.times(CANCEL)), _sent(between.server)) == (1, (1, 3))


def test_a_provider_that_asks_for_time_while_it_is_polled_is_given_it_and_the_run_finishes(
    lab: Lab, between: Between
) -> None:
    refuse = refusal(429, **{"retry-after": "1"})
    between.change(LOOK, lambda answer: refuse(answer) if len(between.times(LOOK)) <= 2 else None)
    said: list[str] = []
    summary = lab.run(between.provider(), say=said.append)
    assert (summary.labelled, summary.problems, lab.states()) == (3, [], ["loaded"])
    first, second, third, *_ = between.times(LOOK)
    assert (second - first >= 1.0, third - second >= 1.0) == (True, True)
    assert sum("answered 429" in line for line in said) == 2
    assert _sent(between.server) == (1, 3)


def test_a_provider_that_asks_for_time_at_a_create_is_sent_nothing_until_then(lab: Lab, between: Between) -> None:
    lab.add_task()
    lab.dbt("build", "--select", "+moods_to_label")
    between.drop(CREATE, JSONResponse({"error": {"message": "no"}}, 429, {"retry-after": "2", **AT_ONCE}))

    def heal(asked: str) -> None:
        if re.fullmatch(UPLOAD, asked) and len(between.times(UPLOAD)) > 1:
            between.heal()

    between.listen = heal
    summary = lab.run(between.provider())
    assert (summary.labelled, summary.problems) == (6, [])
    refused, *later = between.times(CREATE)
    uploads = [at - refused for at in between.times(UPLOAD)]
    assert len(later) == 2
    assert uploads[0] < 0 <= 2.0 <= min(uploads[1:]), "neither this task nor another sends before"


def test_a_batch_that_costs_more_than_its_bound_stops_its_task(lab: Lab, server: Server) -> None:
    server.faults(slow=3600)
    lab.run(server.provider(), PATIENT_ONCE)
    lab.sql("update main_labels.label_events set bound_usd = 0.000001 where event = 'planned'")
    server.faults(slow=0)
    lab.add_comments(["A fourth text"])
    summary = lab.run(server.provider())
    assert (summary.labelled, summary.submitted) == (3, []), "what is paid for is loaded, and no more is sent"
    [problem] = summary.problems
    assert "more than its bound of 0.000001: bounds and budgets do not hold for `gpt-6-luna`" in problem


def test_a_create_that_arrives_after_the_fence_stops_nothing_and_its_texts_are_sent_once_more(
    lab: Lab, server: Server
) -> None:
    server.faults(refuse_before={"route": "create_batch"})
    lab.run(server.provider(), PATIENT_ONCE)
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, once=True))
    assert lab.states() == ["fencing"]
    key, file_id = lab.sql("select batch_key, input_file_id from main_labels.label_events where event = 'uploaded'")[0]
    late = server.provider()
    late.create(file_id, key, 5.0)
    late.close()

    summary = lab.run(server.provider())
    assert (summary.labelled, summary.problems, lab.states()) == (3, [], ["refused", "loaded"])
    assert (len(summary.submitted), _sent(server)) == (1, (2, 3))


def test_a_full_queue_that_names_no_limit_halves_the_shards_and_rejects_not_even_a_single_text(
    lab: Lab, server: Server
) -> None:
    lab.add_comments(["A fourth text"])
    # 4, then 2 and 2, then one of four single texts
    message = "Too many enqueued tokens for this model."
    server.faults(fail_validation={"code": "token_limit_exceeded", "message": message, "times": 1 + 2 + 1})
    summary = lab.run(server.provider())
    assert (summary.labelled, summary.rejected, summary.problems) == (4, 0, [])
    with lab.project.connect() as session:
        batches = session.macro("batches", events=session.relation("label_events"))
        rows = session.handle.rows(f"select state, claims from ({batches}) as batches order by planned_at, batch_key")
    assert [row["claims"] for row in rows if row["state"] == "refused"] == [4, 2, 2, 1]
    assert [row["claims"] for row in rows if row["state"] == "loaded"] == [1, 1, 1, 1]
    assert (lab.outcomes(), len(server.executions())) == ({"labelled": 4}, 4)


HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline()"


class Reader:
    """A process of its own that opens the database file and holds it until it is told to let go."""

    def __init__(self, database: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(database)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        with limited(self.process):
            assert self.process.stdout.readline() == "held\n"

    def let_go(self) -> None:
        with limited(self.process):
            self.process.communicate("\n")


def test_a_run_outlasts_whoever_holds_the_database_between_two_rounds(lab: Lab, server: Server) -> None:
    lab.project.lock_patience_seconds = 0.1
    readers: list[Reader] = []
    said: list[str] = []

    def open_it(_: object) -> None:
        if not readers:
            readers.append(Reader(lab.database))

    def hear(line: str) -> None:
        said.append(line)
        if sum(earlier.startswith("waiting: ") for earlier in said) == 2 and readers[0].process.poll() is None:
            readers[0].let_go()

    provider = server.provider()
    try:
        voice = Voice(hear, open_it, lambda plans: None)
        summary = pipeline.run(lab.project, lab.project.tasks, provider, QUICK, voice)
    finally:
        provider.close()
        for reader in readers:
            with reader.process:
                reader.process.kill()
    assert any(f"process {readers[0].process.pid}" in line for line in said if line.startswith("waiting: "))
    assert (summary.labelled, summary.problems, lab.states()) == (3, [], ["loaded"])
    assert _sent(server) == (1, 3)


@pytest.mark.parametrize(("ticks", "is_held"), [(0, True), (1, False), (-1, False)])
def test_a_lease_is_of_the_process_that_runs_and_not_of_one_that_had_its_id_before(
    lab: Lab, server: Server, ticks: int, is_held: bool
) -> None:
    process_id, started, machine = this_holder("other").process.split(":", 2)
    lab.sql(
        "insert into main_labels.label_leases values ('comment_labels', 'other', ?, ?,"
        " (now() at time zone 'UTC'), (now() at time zone 'UTC') + interval 10 minute)",
        [socket.gethostname(), f"{process_id}:{int(started) + ticks}:{machine}"],
    )
    if is_held:
        with pytest.raises(LeaseHeld, match=f"process {os.getpid()}"):
            lab.run(server.provider())
        assert (lab.states(), _sent(server)) == ([], (0, 0))
    else:
        assert lab.run(server.provider()).labelled == 3


@pytest.mark.parametrize(("step_seconds", "stays"), [(3, True), (-3, True), (60, False), (-60, False)])
def test_a_running_processs_folder_outlives_a_small_step_of_the_clock_and_not_another_start(
    tmp_path: Path, step_seconds: float, stays: bool
) -> None:
    with work_folder(tmp_path, "first") as first:
        process, _, rest = first.name.split("-", 2)
        other = first.with_name(f"{process}-{psutil.Process().create_time() + step_seconds:.0f}-{rest}-other")
        other.mkdir()
        with work_folder(tmp_path, "second"):
            assert (other.exists(), first.exists()) == (stays, True)


def test_a_line_cut_off_by_a_short_download_is_read_whole_in_a_later_one(
    lab: Lab, server: Server, between: Between
) -> None:
    downloads = 0

    def cut_first(answer: httpx.Response) -> Response | None:
        nonlocal downloads
        downloads += 1
        return Response(answer.content[:-30]) if downloads == 1 else None

    between.change(DOWNLOAD, cut_first)
    said: list[str] = []
    summary = lab.run(between.provider(), Settings(poll_seconds=0.01, grace_seconds=3600.0), said.append)
    assert (summary.labelled, summary.retried, downloads) == (3, 0, 2)
    assert any("bytes of the output file arrived; looking again" in line for line in said), said
    assert _sent(server) == (1, 3)


def test_a_line_that_stays_broken_is_called_invalid_only_after_the_grace_time(
    lab: Lab, server: Server, between: Between
) -> None:
    between.drop(DESCRIBE, Response(status_code=404, headers={"x-should-retry": "false"}))
    between.change(DOWNLOAD, lambda answer: Response(answer.content[:-30]))
    lab.run(between.provider(), PATIENT_ONCE)
    assert lab.run(between.provider(), PATIENT_ONCE).in_flight != [], "nobody knows how long the file is"
    assert lab.outcomes() == {}
    lab.sql("update main_labels.label_events set event_at = event_at - interval 2 hour")
    summary = lab.run(between.provider(), PATIENT_ONCE)
    assert (summary.labelled, summary.retried) == (2, 1), summary.problems


def test_a_file_that_stays_short_is_left_as_it_is(lab: Lab, server: Server, between: Between) -> None:
    between.change(DOWNLOAD, lambda answer: Response(answer.content[:-30]))
    [problem] = lab.run(between.provider()).problems
    assert "bytes of the output file arrived; run again later" in problem
    assert (lab.outcomes(), _sent(server)) == ({}, (1, 3))
    between.heal()
    assert lab.run(between.provider()).labelled == 3
    assert _sent(server) == (1, 3)
