"""The plan: what is said before is what is sent, counted by the model's own tokens, and never less than it costs."""

from __future__ import annotations

import json
import random
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import plan as plan_module
from connector.estimate import make_estimate
from connector.plan import Cost, measure, sample_key
from connector.price import batch_price, synchronous_price
from connector.request import ROW_TOKENS, make_template, messages
from connector.shard import Pending, Room, Shard, group, write_shards
from connector.task import Task
from connector.token import counter, is_countable
from tests.books import check_money
from tests.command import run_command
from tests.lab import Lab, Server
from tests.test_result import _task

_texts = st.lists(st.text(max_size=200), min_size=1, max_size=30)


def _asked(rows: int = 1, **changes: Any) -> Task:
    return _task(model="gpt-6-luna", run={"rows_per_request": rows, "max_output_tokens": 40}, **changes)


def _pending(texts: list[str]) -> list[Pending]:
    return [Pending(f"{number:064x}", text, 1, 0) for number, text in enumerate(texts)]


def _cost(task: Task, texts: list[Pending], of_texts: int | None = None, of_comments: int | None = None) -> Cost:
    estimate = make_estimate(task)
    prices = batch_price(task), synchronous_price(task)
    return measure(task, texts, estimate, *prices, len(texts) if of_texts is None else of_texts, of_comments)


@settings(deadline=None)  # the first loads the encoding
@given(_texts, st.sampled_from([1, 3, 20]))
def test_the_plan_says_what_the_shards_will_be(texts: list[str], rows: int) -> None:
    task = _asked(rows)
    cost = _cost(task, _pending(texts))
    room = Room(make_estimate(task), batch_price(task))
    with tempfile.TemporaryDirectory() as folder:
        requests = group(_pending(texts), lambda: rows)
        [shard] = write_shards(requests, make_template(task), Path(folder), lambda: room)
    assert isinstance(shard, Shard)
    assert (cost.requests, cost.input_tokens, cost.bound_usd, cost.expected_usd) == (
        shard.requests,
        shard.tokens,
        shard.bound_usd,
        shard.expected_usd,
    )
    assert 40 * len(texts) <= cost.most_output_tokens <= (40 + ROW_TOKENS) * len(texts)


def test_input_tokens_are_counted_in_the_models_encoding() -> None:
    count = counter("gpt-6-luna")
    assert [count(text) for text in ("Hello, world!", "", "👍", "\ud800")] == [4, 0, 1, 1]
    task = _asked()
    [turn] = messages(task)
    estimate, text = make_estimate(task), "I loved it"
    tokens = estimate.measure(make_template(task), text).tokens
    constant = tokens - count(text)
    assert constant == estimate.single_tokens > count(turn["content"])
    assert (is_countable("gpt-6-luna"), is_countable("ft:gpt-4o-mini:me::1"), is_countable("my-llama")) == (
        True,
        True,
        False,
    )
    assert counter("gpt-4")("Привет, мир") != count("Привет, мир"), "older models have another encoding"


@settings(deadline=None)
@given(_texts, st.sampled_from([1, 4]))
def test_every_byte_is_a_token_at_most_where_the_encoding_is_not_known(texts: list[str], rows: int) -> None:
    known, unknown = _asked(rows), _asked(rows).model_copy(update={"model": "my-llama"})
    exact, rough = make_estimate(known), make_estimate(unknown)
    assert (exact.is_exact, rough.is_exact) == (True, False)
    content = "\n".join(texts)
    template = make_template(known)
    sizes = [estimate.measure(template, content, rows) for estimate in (exact, rough)]
    assert sizes[0].tokens <= sizes[0].most_tokens <= sizes[1].most_tokens
    asked = sum(len(message["content"].encode()) for message in messages(known, rows > 1))
    assert sizes[1].most_tokens >= asked + len(content.encode("utf-8", "surrogatepass"))


def test_what_was_saved_and_what_is_spent_is_what_asking_for_each_comment_alone_would_cost() -> None:
    texts = [f"comment number {number} on the film" for number in range(100)]
    cost = _cost(_asked(20), _pending(texts), of_comments=130)
    alone = _cost(_asked(1), _pending(texts)).synchronous_usd
    saved = [cost.saved_by_deduplication_usd, cost.saved_by_packing_usd, cost.saved_by_batch_usd]
    assert None not in (*saved, alone, cost.expected_usd)
    together = sum((amount or Decimal(0) for amount in saved), cost.expected_usd or Decimal(0))
    assert abs(together - (alone or Decimal(0)) * 130 / 100) < Decimal("1e-11")
    assert all(amount and amount > 0 for amount in saved)


def test_a_sample_says_its_error_and_lies_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SAMPLE_ABOVE", 5_000)
    monkeypatch.setattr(plan_module, "SAMPLE_TEXTS", 2_000)
    chosen = random.Random(3)
    texts = [
        Pending(f"{chosen.randrange(16**64):064x}", "word " * chosen.randrange(1, 60), 1, 0) for _ in range(20_000)
    ]
    below = sample_key(len(texts))
    assert below is not None
    sample = [text for text in texts if text.text_key < below]
    assert 1_800 < len(sample) < 2_200
    whole, part = _cost(_asked(), texts), _cost(_asked(), sample, of_texts=len(texts))
    assert (whole.input_tokens_error, part.requests) == (0, 20_000)
    assert 0 < part.input_tokens_error < whole.input_tokens * 0.02
    assert abs(part.input_tokens - whole.input_tokens) <= part.input_tokens_error
    assert part.expected_usd is not None
    assert whole.expected_usd is not None
    assert abs(part.expected_usd / whole.expected_usd - 1) < Decimal("0.02")
    assert sample_key(5_000) is None


def test_batches_are_at_least_as_many_as_the_limits_of_a_file_ask_for() -> None:
    assert _cost(_asked(), _pending(["x"] * 10), of_texts=150_001).shards == 4
    assert _cost(_asked(20), _pending(["x"] * 20), of_texts=150_000).shards == 3
    of_queue = _task(model="gpt-6-luna", run={"enqueued_tokens": 16_000})
    filled = _cost(of_queue, _pending(["x"] * 100))
    assert filled.shards == -(-filled.input_tokens // 1_000) > 1, "sixteen of them fill the provider's queue"


def _plan(lab: Lab, capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return run_command(lab, capfd, "plan", *arguments)


def test_the_plan_of_a_command_is_what_the_run_then_costs(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    [said] = _plan(lab, capfd, "--json").json
    lab.run(server.provider())
    check_money(lab)
    [[requests, tokens, expected, bound, cost]] = lab.sql(
        "select max(requests), max(enqueued_tokens), max(expected_usd), max(bound_usd), max(cost_usd)"
        " from main_labels.label_events"
    )
    assert (said["requests"], said["texts"], said["pending"]) == (requests, 3, {"new": 3})
    blank = "count(*) filter (trim(comment_text) = '')"
    [counts] = lab.sql(f"select count(*), count(distinct text_key), {blank} from main.stg_comments")
    assert (said["comments"], said["distinct_texts"], said["blank"]) == counts
    assert Decimal(said["bound_usd"]) >= cost > 0
    assert abs(float(said["expected_usd"]) / float(expected) - 1) < 0.3
    assert bound >= cost
    assert tokens > 0
    assert Decimal(said["synchronous_usd"]) == Decimal(said["expected_usd"]) * 2
    [after] = _plan(lab, capfd, "--json").json
    assert (after["requests"], after["expected_usd"], after["labelled"]) == (0, "0", 3)


def test_the_plan_says_what_raising_the_version_would_cost(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    lab.run(server.provider())
    lab.edit_task(instructions="Label the comment with care.")
    [said] = _plan(lab, capfd, "--json").json
    [[cost]] = lab.sql("select sum(cost_usd) from main_labels.comment_labels")
    assert (said["changed_wording"], said["raise_texts"]) == (3, 3)
    assert abs(float(said["raise_usd"]) / float(cost) - 1) < 0.3, (
        "as it is asked today, with the schema counted as text"
    )
    assert Decimal(said["raise_bound_usd"]) > Decimal(said["raise_usd"])
    said_to_people = " ".join(_plan(lab, capfd).out.split())
    assert "3 labels of version 1 had another wording, model or fields;" in said_to_people
    assert "`version: 2` would label 3 texts again, for about $0.0" in said_to_people


def test_what_raising_the_version_would_cost_is_what_its_plan_says_then(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    lab.run(server.provider())
    lab.sql("delete from raw.comments where comment_text = 'Hated it'")
    lab.edit_task(instructions="Label the comment with care. " * 200, run={"max_output_tokens": 90})
    [before] = _plan(lab, capfd, "--json").json
    lab.edit_task(version=2)
    lab.build()
    [after] = _plan(lab, capfd, "--json").json
    assert (before["raise_texts"], after["texts"]) == (2, 2)
    assert (before["raise_usd"], before["raise_bound_usd"]) == (after["expected_usd"], after["bound_usd"])


def test_a_budget_without_a_price_is_an_error_of_the_plan_too(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.edit_task(model="my-llama", run={"max_output_tokens": 50, "budget_usd": 1})
    said = _plan(lab, capfd)
    assert (said.code, "has a budget, but the price of `my-llama` is not known" in said.err) == (2, True)


def test_expected_output_comes_from_the_labels_so_far(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    lab.run(server.provider())
    lab.sql("update main_labels.comment_labels set output_tokens = 33")
    lab.add_comments(["one more"])
    [said] = _plan(lab, capfd, "--json").json
    assert (said["texts"], said["output_tokens"], said["most_output_tokens"]) == (1, 33, 50)


def test_an_edited_comment_is_told_from_a_new_one(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    path = lab.folder / "models" / "comments_to_label.sql"
    edited = "comment_text like 'Hated%'"
    path.write_text(path.read_text().replace(") }}", f', edited="{edited}") }}}}'))
    lab.reparse()
    [said] = _plan(lab, capfd, "--json").json
    assert said["pending"] == {"edited": 1, "new": 2}


def test_a_model_without_a_price_is_planned_in_tokens(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.edit_task(model="my-llama")
    said = _plan(lab, capfd)
    assert "the price of my-llama is not known; say it in the task's `price`" in said.out
    assert "estimated: the encoding of this model is not known" in said.out
    [as_json] = json.loads(_plan(lab, capfd, "--json").out)
    assert (as_json["expected_usd"], as_json["bound_usd"], as_json["is_exact"]) == (None, None, False)
    assert as_json["input_tokens"] > 0


def test_what_costs_more_than_it_saves_is_said_as_such(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.edit_task(price={"input_usd_per_mtok": 50, "output_usd_per_mtok": 50})
    said = _plan(lab, capfd).out
    assert re.search(r"costs more: \$0\.\d+ by batches", said), "a price of one's own is above the list's"
    assert "$-" not in said
