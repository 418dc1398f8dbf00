"""How much may be in flight: tokens enqueued per model, batches an hour, and batches that take their time."""

from __future__ import annotations

import math
import time
from typing import Any

import openai
import pytest

from connector.local.__main__ import parse_arguments
from connector.local.queue import Queue
from connector.local.rate import HourlyRate

MODEL = "gpt-6-luna"


def test_a_batch_enqueues_the_tokens_of_its_prompts(lab: Any) -> None:
    client = lab.open()
    tokens = lab.run(client, lab.lines(10)).usage.input_tokens
    for number, (limit, status) in enumerate(((tokens, "completed"), (tokens - 1, "failed"))):
        limited = lab.open(state=f"limited-{number}", enqueued_token_limit=limit)
        batch = lab.run(limited, lab.lines(10))
        assert batch.status == status
    (error,) = batch.errors.data
    assert error.code == "token_limit_exceeded"
    assert f"Limit: {tokens - 1:,} enqueued tokens" in error.message


def test_batches_in_sum_fill_the_queue_of_their_model_until_they_are_over(lab: Any) -> None:
    tokens = lab.run(lab.open(), lab.lines(10)).usage.input_tokens
    client = lab.open(state="limited", enqueued_token_limit=2 * tokens, faults={"duration": 3600})
    waiting = [lab.create(client, lab.lines(10)) for _ in range(2)]
    other = lab.create(client, [lab.line(n, model="gpt-4o-mini") for n in range(10)])
    lab.wait(lambda: all(client.batches.retrieve(i).status == "in_progress" for i in [*waiting, other]))
    assert lab.run(client, lab.lines(1)).errors.data[0].code == "token_limit_exceeded"
    queues = lab.stats(client)["queues"]
    assert {model: queue["enqueued_tokens"] for model, queue in queues.items()} == {
        MODEL: 2 * tokens,
        "gpt-4o-mini": tokens,
    }
    client.batches.cancel(waiting[0])
    lab.finish(client, waiting[0])
    assert lab.stats(client)["queues"][MODEL]["enqueued_tokens"] == tokens
    lab.control(client).put("/local/faults", json={})
    assert lab.run(client, lab.lines(10)).status == "completed"


def test_a_restarted_server_knows_what_is_enqueued(lab: Any) -> None:
    with lab.server(faults={"duration": 3600}) as server:
        client = lab.client(server.base_url)
        batch_id = lab.create(client, lab.lines(10))
        lab.wait(lambda: client.batches.retrieve(batch_id).status == "in_progress")
        tokens = lab.stats(client)["queues"][MODEL]["enqueued_tokens"]
    client = lab.open(enqueued_token_limit=tokens)
    assert lab.stats(client)["queues"][MODEL]["enqueued_tokens"] == tokens
    assert lab.run(client, lab.lines(1)).status == "failed"
    client.batches.cancel(batch_id)
    lab.finish(client, batch_id)
    assert lab.run(client, lab.lines(10)).status == "completed"


def test_a_queue_integrates_its_tokens_over_time() -> None:
    now = 100.0
    queue = Queue(1000, clock=lambda: now)
    assert queue.show("a") == {}
    assert queue.enter("one", "a", "m", 600)
    now = 110.0
    assert not queue.enter("two", "a", "m", 401)
    assert queue.enter("two", "a", "m", 400)
    assert queue.enter("two", "a", "m", 400)
    now = 112.0
    queue.leave("one")
    queue.leave("one")
    now = 115.0
    assert queue.enter("of another", "b", "m", 1000)
    assert queue.show("a") == {
        "m": {"enqueued_tokens": 400, "enqueued_token_seconds": 600 * 12 + 400 * 5, "seconds": 15.0}
    }


def test_stats_tell_how_long_tokens_were_enqueued(lab: Any) -> None:
    client = lab.open(faults={"duration": 0.5})
    started = time.monotonic()
    batch = lab.run(client, lab.lines(10))
    (queue,) = lab.stats(client)["queues"].values()
    took = time.monotonic() - started
    assert queue["enqueued_tokens"] == 0
    tokens = batch.usage.input_tokens
    assert 0.2 * tokens < queue["enqueued_token_seconds"] < took * tokens
    assert 0.2 < queue["seconds"] < took


def test_a_batch_takes_its_time_though_its_rows_are_done(lab: Any) -> None:
    client = lab.open(workers=1, faults={"duration": 3600})
    slow = lab.create(client, lab.lines(10))
    lab.wait(lambda: client.batches.retrieve(slow).request_counts.completed == 10)
    batch = client.batches.retrieve(slow)
    assert (batch.status, batch.output_file_id) == ("in_progress", None)
    lab.control(client).put("/local/faults", json={})
    assert lab.run(client, lab.lines(2)).status == "completed"
    assert client.batches.retrieve(slow).status == "in_progress"
    client.batches.cancel(slow)
    assert lab.finish(client, slow).status == "cancelled"
    lab.control(client).put("/local/faults", json={"duration": 1.0})
    started = time.monotonic()
    assert lab.run(client, lab.lines(2)).status == "completed"
    assert time.monotonic() - started >= 1.0


def test_more_batches_than_an_hour_has_are_refused_with_the_time_to_wait(lab: Any) -> None:
    server = lab.serve(batches_an_hour=2, tokens=("token-a", "token-b"))
    client, other = lab.client(server.base_url), lab.client(server.base_url, "token-b")
    file_id = lab.upload(client, lab.lines(1))
    with pytest.raises(openai.BadRequestError):
        lab.create_from(client, file_id, completion_window="1h")
    started = time.monotonic()
    for _ in range(2):
        lab.create_from(client, file_id)
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            lab.create_from(client, file_id)
        assert caught.value.code == "rate_limit_exceeded"
        earliest = 3600 - math.ceil(time.monotonic() - started)
        assert earliest <= int(caught.value.response.headers["retry-after"]) <= 3600
    assert len(list(client.batches.list())) == 2
    assert lab.run(other, lab.lines(1)).status == "completed"


def test_an_hour_later_there_is_room_again() -> None:
    now = 0.0
    rate = HourlyRate(2, clock=lambda: now)
    assert rate.take("a") is None
    now = 600.0
    assert rate.take("a") is None
    assert rate.take("a") == 3000.0
    assert rate.take("b") is None
    now = 3600.0
    assert rate.take("a") is None
    assert rate.take("a") == 600.0


def test_the_command_line_takes_the_limits() -> None:
    given = parse_arguments(["--state-dir", "x", "--batches-an-hour", "9", "--enqueued-token-limit", "7"])
    assert (given.batches_an_hour, given.enqueued_token_limit) == (9, 7)
