"""Tokens are counted by OpenAI's own encoding: in usage, at the limit of an answer, and in what a cache has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.local.usage import count_prompt, count_text, load_encoding
from tests.local.conftest import FIELDS, packed_format, schema_format


def count(text: str) -> int:
    """Count tokens by the encoding itself."""
    return len(load_encoding().encode_ordinary(text))


def compact(schema: Any) -> str:
    """Write a schema without spaces."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


def bodies(lab: Any, client: openai.OpenAI, *lines: Any) -> list[Any]:
    """Run a batch and return the completions in the order they were asked."""
    output = lab.read(client, lab.run(client, list(lines)).output_file_id)
    found = {line["custom_id"]: line["response"]["body"] for line in output}
    return [found[line["custom_id"]] for line in lines]


def test_tokens_are_those_of_contents_and_schema_and_a_few_for_each_message(lab: Any) -> None:
    client = lab.open()
    line = lab.line(1, "día uno, 👍 and more")
    (body,) = bodies(lab, client, line)
    messages = line["body"]["messages"]
    schema = schema_format(FIELDS)["json_schema"]["schema"]
    asked = sum(count(message["content"]) + 4 for message in messages) + 3 + count(compact(schema))
    answered = count(body["choices"][0]["message"]["content"])
    assert body["usage"]["prompt_tokens"] == asked
    assert body["usage"]["completion_tokens"] == answered
    assert body["usage"]["total_tokens"] == asked + answered


def test_an_answer_is_cut_at_its_limit_to_the_token(lab: Any) -> None:
    client = lab.open()
    texts = [f"día {n} \U0001f9ff" for n in range(3)]
    (whole,) = bodies(lab, client, lab.packed(1, texts))
    content, tokens = whole["choices"][0]["message"]["content"], whole["usage"]["completion_tokens"]
    limits = range(1, tokens + 2)
    lines = [{**lab.packed(1, texts, max_completion_tokens=n), "custom_id": f"{n}"} for n in limits]
    for limit, body in zip(limits, bodies(lab, client, *lines), strict=True):
        choice = body["choices"][0]
        assert choice["finish_reason"] == ("length" if limit < tokens else "stop")
        assert body["usage"]["completion_tokens"] == min(limit, tokens)
        assert content.startswith(choice["message"]["content"])
        # a character of several tokens may be lost at the end
        assert min(limit, tokens) - 3 < count(choice["message"]["content"]) <= limit


def test_a_long_beginning_that_was_seen_before_is_cached(lab: Any) -> None:
    client = lab.open()
    system = {"role": "system", "content": "Some rule of many. " * 300}
    schema = compact(schema_format(FIELDS)["json_schema"]["schema"])
    prefix = count(system["content"]) + 4 + count(schema)
    assert prefix > 1024

    def cached(*changes: dict[str, Any], instructions: dict[str, Any] = system) -> list[int]:
        lines = []
        for number, change in enumerate(changes):
            messages = [instructions, {"role": "user", "content": f"text {number}"}]
            lines.append(lab.line(number, **{"messages": messages, **change}))
        found = bodies(lab, client, *lines)
        return [body["usage"]["prompt_tokens_details"]["cached_tokens"] for body in found]

    assert cached({}, {}, {}) == [0, prefix // 128 * 128, prefix // 128 * 128]
    assert cached({"model": "gpt-4o-mini"}) == [0]
    assert cached({"response_format": packed_format(FIELDS)}) == [0]
    assert cached({}) == [prefix // 128 * 128]
    assert cached({}, {}, instructions={"role": "system", "content": "a " * 800}) == [0, 0]
    (batch, *_) = client.batches.list(limit=100)
    first = list(client.batches.list(limit=100))[-1]
    assert first.usage
    assert first.usage.input_tokens_details.cached_tokens == 2 * (prefix // 128 * 128)
    assert batch.usage
    assert batch.usage.input_tokens_details.cached_tokens == 0


def test_reasoning_counts_as_said_and_eats_the_limit(lab: Any) -> None:
    client = lab.open()
    (plain,) = bodies(lab, client, lab.line(1))
    lab.control(client).put("/local/faults", json={"reasoning": 100, "row_twice": False}).raise_for_status()
    visible = plain["usage"]["completion_tokens"]
    lines = [
        lab.line(1),
        {**lab.line(1, max_completion_tokens=100 + visible), "custom_id": "fits"},
        {**lab.line(1, max_completion_tokens=103), "custom_id": "cut"},
        {**lab.line(1, max_completion_tokens=60), "custom_id": "only thought"},
    ]
    found = bodies(lab, client, *lines)
    used = [
        (body["usage"]["completion_tokens"], body["usage"]["completion_tokens_details"]["reasoning_tokens"])
        for body in found
    ]
    assert used == [(100 + visible, 100), (100 + visible, 100), (103, 100), (60, 60)]
    reasons = [body["choices"][0]["finish_reason"] for body in found]
    assert reasons == ["stop", "stop", "length", "length"]
    assert found[0]["choices"][0]["message"] == found[1]["choices"][0]["message"] == plain["choices"][0]["message"]
    assert found[3]["choices"][0]["message"]["content"] == ""
    newest = next(iter(client.batches.list()))
    assert newest.usage
    assert newest.usage.output_tokens_details.reasoning_tokens == 360


def test_usage_may_be_left_out(lab: Any) -> None:
    client = lab.open(faults={"no_usage": True, "row_twice": True})
    batch = lab.run(client, lab.lines(3))
    lines = lab.read(client, batch.output_file_id)
    assert [line["response"]["body"]["usage"] for line in lines] == [None] * 6
    assert batch.usage.input_tokens > 100


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=200), min_size=1, max_size=4),
    st.one_of(st.none(), st.dictionaries(st.text(), st.text(max_size=50), max_size=5)),
)
def test_a_prompt_has_no_more_tokens_than_bytes(contents: list[str], fields: dict[str, str] | None) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content} for content in contents]}
    size = sum(len(content.encode()) + 16 for content in contents) + 64
    if fields is not None:
        schema = {"type": "object", "properties": {k: {"description": v} for k, v in fields.items()}}
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        size += len(compact(schema).encode())
    assert 0 < count_prompt(body).tokens <= size


def odd_bodies() -> Iterator[Any]:
    """Give bodies that no endpoint takes."""
    yield {}
    for messages in (7, "x", [7], [{"content": 7}], [{"content": [7, {"text": 7}]}], [None]):
        yield {"messages": messages, "response_format": 7}
    for asked in ({}, {"json_schema": 7}, {"json_schema": {"schema": 7}}, {"json_schema": {"schema": {"a": 2**70}}}):
        yield {"messages": [], "response_format": asked}
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    yield {"response_format": {"json_schema": {"schema": deep}}}
    yield {"messages": [{"content": "\ud800"}], "response_format": {"json_schema": {"schema": {"\ud800": 1}}}}


def test_bodies_of_no_sense_are_counted_without_an_error() -> None:
    for body in odd_bodies():
        assert count_prompt(body).tokens >= 3


def test_texts_beyond_what_the_encoding_takes_are_counted(lab: Any) -> None:
    assert count_text("word " * 300_000) >= 300_000
    assert count_text("\U0001f9ff" * 150_000) > 200_000
    client = lab.open()
    batch = lab.run(client, [lab.line(1, "\U0001f9ff" * 150_000)])
    assert batch.usage.input_tokens > 200_000
