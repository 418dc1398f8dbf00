"""Every refusal of the real service has its like here: at create, in validation, and per request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.local import schema, validation

Change = Callable[[dict[str, Any]], Any]


def spoil_with(change: Change) -> Callable[[Any], bytes]:
    """Make a file of one good line and one that is changed."""

    def content(lab: Any) -> bytes:
        good, bad = lab.line(1), lab.line(2)
        change(bad)
        return b"".join(json.dumps(line).encode() + b"\n" for line in (good, bad))

    return content


def without(name: str) -> Change:
    """Make a change that takes a key away."""
    return lambda line: line.pop(name)


LINE_FAULTS: list[tuple[str, Callable[[Any], bytes], str, str | None]] = [
    ("not json", lambda lab: json.dumps(lab.line(1)).encode() + b"\n{nope\n", "invalid_json_line", None),
    ("not an object", lambda lab: json.dumps(lab.line(1)).encode() + b"\n[1]\n", "invalid_json_line", None),
    (
        "invalid utf-8",
        lambda lab: (
            json.dumps(lab.line(1)).encode() + b"\n" + json.dumps(lab.line(2, "@")).encode().replace(b"@", b"\xff")
        ),
        "invalid_json_line",
        None,
    ),
    ("lone surrogate", spoil_with(lambda line: line["body"].update(user="\ud800")), "invalid_json_line", None),
    ("NaN", spoil_with(lambda line: line["body"].update(temperature=float("nan"))), "invalid_json_line", None),
    *[
        (f"no {name}", spoil_with(without(name)), "missing_required_parameter", name)
        for name in ("custom_id", "method", "url", "body")
    ],
    ("number as id", spoil_with(lambda line: line.update(custom_id=7)), "invalid_type", "custom_id"),
    ("same id", spoil_with(lambda line: line.update(custom_id="c1")), "duplicate_custom_id", "custom_id"),
    ("get", spoil_with(lambda line: line.update(method="GET")), "invalid_method", "method"),
    ("other url", spoil_with(lambda line: line.update(url="/v1/embeddings")), "invalid_url", "url"),
    ("text as body", spoil_with(lambda line: line.update(body="x")), "invalid_type", "body"),
    ("no model", spoil_with(lambda line: line["body"].pop("model")), "invalid_request", "body.model"),
    ("unknown model", spoil_with(lambda line: line["body"].update(model="gpt-0")), "model_not_found", "body.model"),
    ("two models", spoil_with(lambda line: line["body"].update(model="gpt-4o-mini")), "mismatched_model", "body.model"),
    ("no messages", spoil_with(lambda line: line["body"].pop("messages")), "invalid_request", "body.messages"),
    ("stream", spoil_with(lambda line: line["body"].update(stream=True)), "streaming_unsupported", "body.stream"),
]


@pytest.mark.parametrize(("content", "code", "param"), [f[1:] for f in LINE_FAULTS], ids=[f[0] for f in LINE_FAULTS])
def test_a_wrong_line_fails_the_batch_with_its_number(
    shared_lab: Any, client: openai.OpenAI, content: Callable[[Any], bytes], code: str, param: str | None
) -> None:
    batch = shared_lab.run(client, content(shared_lab))
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert batch.failed_at
    assert [(e.code, e.line, e.param) for e in batch.errors.data] == [(code, 2, param)]
    assert batch.errors.data[0].message
    assert not [e for e in shared_lab.executions(client) if e["batch_id"] == batch.id]


def test_a_byte_order_mark_is_refused(shared_lab: Any, client: openai.OpenAI) -> None:
    batch = shared_lab.run(client, b"\xef\xbb\xbf" + json.dumps(shared_lab.line(1)).encode())
    assert [(e.code, e.line) for e in batch.errors.data] == [("invalid_json_line", 1)]


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_fails_the_batch(shared_lab: Any, client: openai.OpenAI, content: bytes) -> None:
    batch = shared_lab.run(client, content)
    assert [(e.code, e.line) for e in batch.errors.data] == [("empty_file", None)]


def test_all_wrong_lines_are_reported_together(shared_lab: Any, client: openai.OpenAI) -> None:
    batch = shared_lab.run(client, b"{\n" * 3)
    assert [e.line for e in batch.errors.data] == [1, 2, 3]


def test_more_than_fifty_thousand_requests_are_refused() -> None:
    line = b'{"custom_id": "1"}\n'
    verdict = validation.validate((line for _ in range(50_001)), frozenset())
    assert [e["code"] for e in verdict.errors] == ["maximum_requests_exceeded"]


@given(st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)), max_size=20))
def test_no_bytes_whatever_break_validation(lines: list[bytes]) -> None:
    verdict = validation.validate(lines, frozenset(["m"]))
    assert verdict.errors


def test_a_full_queue_fails_the_batch_until_it_has_room(lab: Any) -> None:
    # A request is of 90 to 100 tokens.
    client = lab.open(enqueued_token_limit=600, faults={"slow": 3600})
    waiting = lab.create(client, lab.lines(4))
    lab.wait(lambda: client.batches.retrieve(waiting).status == "in_progress")
    failed = lab.run(client, lab.lines(4))
    (error,) = failed.errors.data
    assert (failed.status, error.code, error.line) == ("failed", "token_limit_exceeded", None)
    assert (
        "Enqueued token limit reached for gpt-6-luna in organization dbt-labels-serve. Limit: 600 enq" in error.message
    )
    client.batches.cancel(waiting)
    lab.finish(client, waiting)
    lab.control(client).put("/local/faults", json={})
    assert lab.run(client, lab.lines(4)).status == "completed"


def test_an_unknown_or_deleted_input_file_fails_the_batch_after_create(lab: Any) -> None:
    client = lab.open()
    deleted = lab.upload(client, lab.lines(1))
    client.files.delete(deleted)
    for file_id in ("file-unknown", deleted):
        batch = lab.finish(client, lab.create_from(client, file_id).id)
        assert [(e.code, e.param) for e in batch.errors.data] == [("invalid_request", "file_id")]


def test_a_running_batch_needs_its_input_file_no_more(lab: Any) -> None:
    with lab.server(faults={"slow": 1}) as server:
        client = lab.client(server.base_url)
        file_id = lab.upload(client, lab.lines(4))
        batch_id = lab.create_from(client, file_id).id
        lab.wait(lambda: client.batches.retrieve(batch_id).status == "in_progress")
        client.files.delete(file_id)
    client = lab.open()
    assert lab.finish(client, batch_id).request_counts.completed == 4
    assert {path.suffix for path in (lab.directory / "state" / "files").iterdir()} == {""}


def test_an_output_file_can_not_be_an_input_file(shared_lab: Any, client: openai.OpenAI) -> None:
    batch = shared_lab.run(client, shared_lab.lines(1))
    with pytest.raises(openai.BadRequestError) as caught:
        shared_lab.create_from(client, batch.output_file_id)
    assert caught.value.param == "input_file_id"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata." + "k" * 65),
        ({"metadata": {"k": "x" * 513}}, "metadata.k"),
        ({"metadata": {"k": ["x"]}}, "metadata.k"),
        ({"metadata": "x"}, "metadata"),
        ({"extra_body": {"surprise": 1}}, "surprise"),
    ],
)
def test_create_refuses_wrong_parameters_at_once(
    shared_lab: Any, client: openai.OpenAI, more: dict[str, Any], param: str
) -> None:
    before = len(list(client.batches.list()))
    with pytest.raises(openai.BadRequestError) as caught:
        shared_lab.create_from(client, "file-any", **more)
    assert caught.value.param == param
    assert len(list(client.batches.list())) == before


def test_metadata_at_its_limits_is_kept(shared_lab: Any, client: openai.OpenAI) -> None:
    metadata = {f"{n:064}": "é" * 512 for n in range(16)}
    assert shared_lab.run(client, shared_lab.lines(1), metadata=metadata).metadata == metadata


def with_schema(**changes: Any) -> dict[str, Any]:
    """Build a response format around a changed schema."""
    whole = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
        **changes,
    }
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": whole}}


BODY_FAULTS: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"surprise": 1}, "unknown_parameter", "surprise"),
    ({"max_tokens": 5}, "unsupported_parameter", "max_tokens"),
    ({"temperature": 0}, "unsupported_value", "temperature"),
    ({"logprobs": True, "reasoning_effort": "low"}, "unsupported_parameter", "logprobs"),
    ({"reasoning_effort": "much"}, "invalid_value", "reasoning_effort"),
    ({"max_completion_tokens": 0}, "integer_below_min_value", "max_completion_tokens"),
    ({"max_completion_tokens": "9"}, "invalid_type", "max_completion_tokens"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
    ({"messages": "x"}, "invalid_type", "messages"),
    ({"n": 2}, "unsupported_value", "n"),
    ({"response_format": "json"}, "invalid_type", "response_format"),
    ({"response_format": {"type": "yaml"}}, "invalid_value", "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "missing_required_parameter", "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "invalid_value",
        "response_format.json_schema.name",
    ),
    ({"response_format": with_schema(additionalProperties=True)}, None, "response_format"),
    ({"response_format": with_schema(required=[])}, None, "response_format"),
    ({"response_format": with_schema(required=["a", "b"])}, None, "response_format"),
    ({"response_format": with_schema(properties={"a": {"type": "string", "maxLength": 5}})}, None, "response_format"),
    ({"response_format": with_schema(properties={"a": {"type": "array"}})}, None, "response_format"),
    ({"response_format": with_schema(properties={"a": {"type": "text"}})}, None, "response_format"),
    ({"response_format": with_schema(properties={"a": {"enum": []}})}, None, "response_format"),
    ({"response_format": with_schema(type="array")}, None, "response_format"),
]


def test_a_request_the_chat_endpoint_refuses_fails_alone(shared_lab: Any, client: openai.OpenAI) -> None:
    bad = [shared_lab.line(n, **changes) for n, (changes, _, _) in enumerate(BODY_FAULTS)]
    batch = shared_lab.run(client, [*bad, shared_lab.line(1000)])
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, len(bad))
    errors = {line["custom_id"]: line for line in shared_lab.read(client, batch.error_file_id)}
    for number, (changes, code, param) in enumerate(BODY_FAULTS):
        line = errors[f"c{number}"]
        error = line["response"]["body"]["error"]
        assert line["error"] is None
        assert line["response"]["status_code"] == 400
        assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error"), changes


def test_the_chat_endpoint_refuses_the_same(shared_lab: Any, client: openai.OpenAI) -> None:
    for changes, code, param in BODY_FAULTS:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{**shared_lab.line(1)["body"], **without_surprise(changes)})
        assert (caught.value.code, caught.value.param) == (code, param), changes
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-0", messages=[{"role": "user", "content": "x"}])


def without_surprise(changes: dict[str, Any]) -> dict[str, Any]:
    """Send unknown parameters the way the client lets them through."""
    return {"extra_body": changes} if "surprise" in changes else changes


def test_older_models_take_max_tokens_and_temperature(shared_lab: Any, client: openai.OpenAI) -> None:
    line = shared_lab.line(1, model="gpt-4o-mini", max_tokens=500, temperature=0)
    assert shared_lab.run(client, [line]).request_counts.completed == 1
    line = shared_lab.line(1, model="gpt-4o-mini", reasoning_effort="none")
    assert shared_lab.run(client, [line]).request_counts.failed == 1


def test_reasoning_models_that_do_not_reason_take_a_temperature(shared_lab: Any, client: openai.OpenAI) -> None:
    line = shared_lab.line(1, reasoning_effort="none", temperature=0, max_completion_tokens=500)
    assert shared_lab.run(client, [line]).request_counts.completed == 1


@pytest.mark.parametrize(
    ("properties", "phrase"),
    [
        ({f"p{n}": {"type": "string"} for n in range(5001)}, "5001 properties"),
        ({"a": {"type": "string", "enum": [str(n) for n in range(1001)]}}, "1001 enum values"),
        ({"a": {"type": "string", "enum": ["x" * 120_001]}}, "characters"),
    ],
)
def test_a_schema_above_the_limits_is_described(properties: dict[str, Any], phrase: str) -> None:
    whole = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    assert phrase in (schema.find_schema_fault(whole) or "")
