"""The provider's queue: kept full, never passed for long, and shared by all tasks of a model."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from connector import backoff, pipeline, sending
from connector.run import Settings
from connector.task import Task
from connector.warehouse.money import Queue, read_queue
from tests.lab import Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
TEXTS = [f"What a film this was, take number {number}" for number in range(40)]
StartServer = Callable[..., Server]


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Give the small project with 43 texts that can be sent."""
    lab.add_comments(TEXTS)
    return lab


def _tokens(lab: Lab) -> list[int]:
    rows = lab.sql("select enqueued_tokens from main_labels.label_events where event = 'planned' order by event_at")
    return [row[0] for row in rows]


def _queue(lab: Lab, server: Server, task: Task | None = None) -> Queue:
    """Return what a run of the lab's task reads of the queue of another task's model, or its own."""
    [own] = lab.project.tasks
    return read_queue(lab.project, task or own, server.provider().identify(), [own.table])


def test_shards_are_cut_so_that_sixteen_fit_a_limit_that_is_known(lab: Lab, start_server: StartServer) -> None:
    server = start_server("--enqueued-token-limit", "100000")
    lab.edit_task(run={"max_output_tokens": 50, "enqueued_tokens": 16_000})
    summary = lab.run(server.provider())
    assert summary.labelled == 43
    assert set(lab.states()) == {"loaded"}
    sent = _tokens(lab)
    assert len(sent) > 8
    assert max(sent) <= 1_000


def test_a_limit_is_learned_from_a_refusal_and_kept_from_then_on(lab: Lab, start_server: StartServer) -> None:
    server = start_server("--enqueued-token-limit", "5000")
    summary = lab.run(server.provider())
    assert summary.labelled == 43
    states = lab.states()
    assert (states[0], set(states[1:])) == ("refused", {"loaded"}), "one refusal, which costs nothing, tells the limit"
    assert max(_tokens(lab)[1:]) <= max(5_000 // 16, min(_tokens(lab)))
    queue = _queue(lab, server)
    assert (queue.limit, queue.tokens) == (5_000, 0)
    assert (
        max(
            row[0]
            for row in lab.sql(
                "select count(*) from main_labels.label_claims where batch_key in"
                " (select batch_key from main_labels.label_events where event = 'loaded') group by text_key"
            )
        )
        == 1
    )


def test_a_long_refusal_is_quoted_shortly_and_rules_the_queue_for_a_day_from_when_it_was_said(
    lab: Lab, server: Server
) -> None:
    message = f"said back: {'a text of somebody ' * 40} Limit: 5,000,000 enqueued tokens"
    server.faults(fail_validation={"code": "token_limit_exceeded", "message": message, "times": 1})
    said: list[str] = []
    assert lab.run(server.provider(), say=said.append).labelled == 43
    [(batch_key, kept)] = lab.sql("select batch_key, message from main_labels.label_events where event = 'refused'")
    assert (len(kept), any(kept in line for line in said), any(message in line for line in said)) == (300, True, False)
    assert _queue(lab, server).limit == 5_000_000

    lab.sql("update main_labels.label_events set event_at = event_at - interval 2 day")
    lab.sql(
        "insert into main_labels.label_events by name (select * replace ('files_deleted' as event, now() as event_at)"
        f" from main_labels.label_events where batch_key = '{batch_key}' and event = 'refused')"
    )
    assert _queue(lab, server).limit is None, "what is done to its files makes it no newer"


def test_what_waits_in_the_queue_leaves_less_room_for_the_next_run(lab: Lab, server: Server) -> None:
    lab.edit_task(run={"max_output_tokens": 50, "enqueued_tokens": 5_000})
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), ONCE)
    queue = _queue(lab, server)
    assert 5_000 - 5_000 // 16 < queue.tokens <= 5_000
    before = len(lab.states())
    assert lab.run(server.provider(), ONCE).submitted == []
    assert len(lab.states()) == before
    another = lab.project.tasks[0].model_copy(update={"model": "gpt-4o-mini"})
    other = _queue(lab, server, another)
    assert other.tokens == 0, "each model has a queue of its own"


def test_batches_that_nobody_looks_after_hold_the_queue_for_as_long_as_one_may_take(lab: Lab, server: Server) -> None:
    lab.edit_task(run={"max_output_tokens": 50, "enqueued_tokens": 5_000})
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), ONCE)
    lab.sql("update main_labels.label_events set label_table = 'somebody_elses', project = 'another'")
    lab.sql("delete from main_labels.label_claims")
    said: list[str] = []
    assert lab.run(server.provider(), ONCE, said.append).submitted == []
    waits = "waits: batches of other tasks or projects fill the queue of"
    assert len([line for line in said if waits in line]) == 1, said
    lab.sql("update main_labels.label_events set event_at = event_at - interval 49 hour")
    assert lab.run(server.provider(), ONCE).submitted, "whether or not anybody looked, they have ended"


def test_a_limit_named_more_than_a_day_ago_is_forgotten(lab: Lab, start_server: StartServer) -> None:
    server = start_server("--enqueued-token-limit", "5000")
    lab.run(server.provider(), ONCE)
    server.ended("failed")
    lab.run(server.provider(), ONCE)
    assert _queue(lab, server).limit == 5_000
    lab.sql("update main_labels.label_events set event_at = event_at - interval 25 hour")
    assert _queue(lab, server).limit is None


def test_no_more_batches_are_created_in_an_hour_than_can_be(
    lab: Lab, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "BATCHES_AN_HOUR", sending._BATCHES_KEPT_FREE + 3)
    monkeypatch.setattr(backoff, "MAX_REQUESTS", 4)
    said: list[str] = []
    assert len(lab.run(server.provider(), ONCE, said.append).submitted) == 3
    waits = "waits: about 53 batches were created within an hour, as many as can be"
    assert len([line for line in said if waits in line]) == 1, "said once, however often it is looked at"
    lab.sql("update main_labels.label_events set event_at = event_at - interval 61 minute")
    assert len(lab.run(server.provider(), ONCE).submitted) == 3


def test_what_has_been_there_for_long_is_looked_at_less_often(
    lab: Lab, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        server.faults(slow=0)

    monkeypatch.setattr(pipeline, "time", SimpleNamespace(sleep=sleep))
    server.faults(slow=3600)
    lab.run(server.provider(), Settings(poll_seconds=30.0, grace_seconds=0.0, once=True))
    lab.sql("update main_labels.label_events set event_at = event_at - interval 1 hour")
    lab.run(server.provider(), Settings(poll_seconds=30.0, grace_seconds=0.0))
    assert waits
    assert all(70 < seconds < 80 for seconds in waits), "a fiftieth of an hour"
