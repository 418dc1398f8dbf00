"""What answers become: the design's table, row by row, and lines as hostile as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.answer import Answer, read_answers
from connector.judgement import judge_batch
from connector.ledger import Claim
from connector.price import Usage
from connector.result import UNAVAILABLE_CEILING, judge
from connector.task import Task

CLAIM = Claim("b-0", "key", attempt=1)


def _task(**changes: Any) -> Task:
    block = {
        "table": "t",
        "text": "x",
        "model": "m",
        "instructions": "Label.",
        "fields": [
            {"name": "mood", "type": "one_of", "values": ["good", "bad"]},
            {"name": "themes", "type": "any_of", "values": ["a", "b", "c"], "max": 2},
            {"name": "ok", "type": "boolean"},
            {"name": "stars", "type": "integer", "min": 1, "max": 5},
            {"name": "note", "type": "text", "max": 10},
        ],
    }
    return Task.model_validate({**block, **changes, "name": "t"})


TASK = _task()
GOOD = {"mood": "good", "themes": ["b", "a", "b"], "ok": True, "stars": 5, "note": "fine"}


def _completion(content: object, finish: str | None = "stop", refusal: str | None = None) -> Answer:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    return Answer(200, body, None, None)


def _error(status: int, code: str | None, message: str = "why") -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}}, code, message)


def test_a_valid_answer_is_a_label_with_its_columns_model_and_tokens() -> None:
    [outcome] = judge_batch(TASK, [CLAIM], {CLAIM.custom_id: _completion(json.dumps(GOOD))}.items()).outcomes
    assert outcome.outcome == "labelled"
    assert outcome.values == {**GOOD, "themes": '["b","a"]'}
    assert (outcome.model, outcome.usage) == ("m-1", Usage(7, 3))


@pytest.mark.parametrize(
    ("answer", "became", "reason"),
    [
        (_completion('{"mood":', "length"), "failed", "truncated"),
        (_completion(None, refusal="I can not"), "rejected", "refused"),
        (_completion("", "content_filter"), "rejected", "filtered"),
        (_completion("no JSON"), "failed", "invalid"),
        (_completion(None), "failed", "invalid"),
        (_completion(json.dumps({**GOOD, "mood": "so-so"})), "failed", "invalid"),
        (_completion(json.dumps({**GOOD, "themes": ["a", "b", "c"]})), "failed", "invalid"),
        (_completion(json.dumps({**GOOD, "ok": "yes"})), "failed", "invalid"),
        (_completion(json.dumps({**GOOD, "stars": 6})), "failed", "invalid"),
        (_completion(json.dumps({**GOOD, "stars": True})), "failed", "invalid"),
        (_completion(json.dumps({**GOOD, "note": "x" * 11})), "failed", "invalid"),
        (_completion(json.dumps({**GOOD, "more": 1})), "failed", "invalid"),
        (_completion(json.dumps({"mood": "good"})), "failed", "invalid"),
        (_completion(json.dumps([GOOD])), "failed", "invalid"),
        (_completion(json.dumps(GOOD), "tool_calls"), "failed", "invalid"),
        (Answer(200, {}, None, None), "failed", "invalid"),
        (Answer(200, {"choices": []}, None, None), "failed", "invalid"),
        (Answer(200, {"choices": [{"message": "?"}]}, None, None), "failed", "invalid"),
        (_error(400, "context_length_exceeded"), "rejected", "context_length_exceeded"),
        (_error(422, None), "rejected", "http_422"),
        (_error(408, None), "failed", "unavailable"),
        (_error(409, None), "failed", "unavailable"),
        (_error(429, "rate_limit_exceeded"), "failed", "unavailable"),
        (_error(500, "server_error"), "failed", "unavailable"),
        (_error(503, None), "failed", "unavailable"),
        # about the key or the account, and so no text's fault, with whatever status a service sends it
        (_error(403, "forbidden"), "failed", "unavailable"),
        (_error(400, "insufficient_quota"), "failed", "unavailable"),
        (Answer(0, {}, None, None), "failed", "unavailable"),
        (Answer(0, {}, "batch_expired", "expired"), "failed", "unavailable"),
        (Answer(0, {}, "batch_cancelled", "cancelled"), "failed", "unavailable"),
    ],
)
def test_each_answer_becomes_what_the_table_says(answer: Answer, became: str, reason: str) -> None:
    outcome = judge(TASK, CLAIM, answer)
    assert (outcome.outcome, outcome.reason, outcome.values) == (became, reason, None)


def test_what_uses_up_the_last_attempt_is_a_rejection_and_what_is_free_is_not() -> None:
    last = Claim("b-0", "key", attempt=3, failures=TASK.run.max_attempts - 1)
    assert judge(TASK, last, _completion("no")).outcome == "rejected"
    assert judge(TASK, last, _completion("{", "length")).outcome == "rejected"
    assert judge(TASK, last, _error(500, None)).outcome == "failed"
    tired = Claim("b-0", "key", attempt=5, unavailable_in_row=UNAVAILABLE_CEILING - 1)
    outcome = judge(TASK, tired, _error(500, None))
    assert (outcome.outcome, outcome.reason) == ("rejected", "unavailable")


def _claims(size: int) -> list[Claim]:
    return [Claim(f"b-{number}", f"key-{number}", 1) for number in range(size)]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_one_answer_about_key_or_endpoint_stops_the_task_and_rejects_nothing(status: int) -> None:
    claims = _claims(3)
    answers = {"b-0": _completion(json.dumps(GOOD)), "b-1": _error(status, "no"), "b-2": _error(500, None)}
    judged = judge_batch(TASK, claims, answers.items())
    outcomes, stop = judged.outcomes, judged.stop
    assert stop is not None
    assert stop.message == "why"
    assert [(o.outcome, o.reason) for o in outcomes] == [
        ("labelled", None),
        ("failed", "stopped"),
        ("failed", "unavailable"),
    ]


@pytest.mark.parametrize("code", ["insufficient_quota", "invalid_api_key"])
def test_an_answer_with_status_200_is_a_label_whatever_error_stands_beside_it(code: str) -> None:
    answer = _completion(json.dumps(GOOD))
    judged = judge_batch(TASK, [CLAIM], {CLAIM.custom_id: Answer(200, answer.body, code, "why")}.items())
    assert judged.stop is None
    assert [(o.outcome, o.usage) for o in judged.outcomes] == [("labelled", Usage(7, 3))]


def test_a_quota_that_is_used_up_stops_the_task_with_status_200_as_well_where_nothing_is_said_but_that() -> None:
    answer = Answer(200, {"error": {"code": "insufficient_quota"}}, "insufficient_quota", "why")
    judged = judge_batch(TASK, [CLAIM], {CLAIM.custom_id: answer}.items())
    assert judged.stop is not None
    assert [(o.outcome, o.reason) for o in judged.outcomes] == [("failed", "stopped")]


def test_one_code_on_nearly_all_of_a_shard_stops_the_task_and_on_a_few_rejects_them() -> None:
    claims = _claims(20)
    bad = _error(400, "unsupported_parameter")
    good = _completion(json.dumps(GOOD))
    judged = judge_batch(TASK, claims, {c.custom_id: bad if n else good for n, c in enumerate(claims)}.items())
    outcomes, stop = judged.outcomes, judged.stop
    assert stop is not None
    assert {o.reason for o in outcomes} == {None, "stopped"}
    judged = judge_batch(TASK, claims, {c.custom_id: good if n else bad for n, c in enumerate(claims)}.items())
    outcomes, stop = judged.outcomes, judged.stop
    assert stop is None
    assert outcomes[0].reason == "unsupported_parameter"


def test_one_text_alone_that_is_too_long_is_rejected_and_one_alone_that_is_malformed_stops() -> None:
    judged = judge_batch(TASK, _claims(1), {"b-0": _error(400, "context_length_exceeded")}.items())
    stop = judged.stop
    assert stop is None
    judged = judge_batch(TASK, _claims(1), {"b-0": _error(400, "unsupported_value")}.items())
    stop = judged.stop
    assert stop is not None


def test_a_claim_without_a_line_is_tried_again() -> None:
    judged = judge_batch(TASK, _claims(1), [])
    outcomes, stop = judged.outcomes, judged.stop
    assert stop is None
    assert [(o.outcome, o.reason) for o in outcomes] == [("failed", "unavailable")]


def test_quota_on_a_line_stops_the_task() -> None:
    judged = judge_batch(TASK, _claims(1), {"b-0": _error(429, "insufficient_quota")}.items())
    stop = judged.stop
    assert stop is not None


def test_lines_are_split_at_line_feed_bytes_only_and_read_however_broken(tmp_path: Path) -> None:
    def line(custom_id: str, note: str) -> str:
        content = json.dumps({**GOOD, "note": note}, ensure_ascii=False)
        body = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
        return json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": body}}, ensure_ascii=False)

    lone = line("lone", "x").replace('\\"note\\": \\"x\\"', '\\"note\\": \\"\\ud800\\"')
    assert "\\ud800" in lone
    path = tmp_path / "output.jsonl"
    path.write_bytes(
        b"\n".join(
            [
                line("separator", "a\u2028b\u0085c").encode(),
                lone.encode(),
                line("latin", "x").encode().replace(b"good", b"g\xffod"),
                b"",
                b"{not json",
                b'{"custom_id": "empty", "response": null, "error": {"code": "batch_expired", "message": "m"}}',
                line("cut", "x").encode()[:-5],
            ]
        )
    )
    answers = dict(read_answers(path))
    assert set(answers) == {"separator", "lone", "latin", "empty"}
    separator = judge(TASK, CLAIM, answers["separator"])
    assert separator.values is not None
    assert separator.values["note"] == "a\u2028b\u0085c"
    surrogate = judge(TASK, CLAIM, answers["lone"])
    assert surrogate.values is not None
    assert surrogate.values["note"] == "\ufffd"
    assert judge(TASK, CLAIM, answers["latin"]).reason == "invalid"
    assert answers["empty"].error_code == "batch_expired"


def test_what_a_database_can_not_store_is_replaced() -> None:
    outcome = judge(TASK, CLAIM, _completion(json.dumps({**GOOD, "note": "a\x00b"})))
    assert outcome.values is not None
    assert outcome.values["note"] == "a\ufffdb"
    broken = judge(TASK, CLAIM, _completion("no \x00 JSON \ud800"))
    assert broken.raw == "no \ufffd JSON \ufffd"
