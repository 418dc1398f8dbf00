"""Providers that answer oddly: what could cost money, lose an answer or never end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.answer import read_answers
from connector.errors import (
    InDoubt,
    KeyRefused,
    NotThere,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    UsageError,
)
from connector.judgement import judge_batch
from connector.ledger import LONGEST_MESSAGE, read_queue_limit, shorten
from connector.price import FREE
from connector.provider import Provider, connect
from connector.result import judge
from connector.retry_after import read_retry_after
from connector.run import Settings
from tests.http import serving
from tests.lab import Lab, Server
from tests.test_result import CLAIM, GOOD, TASK

ONCE = Settings(poll_seconds=0.01, grace_seconds=60.0, once=True)


@pytest.fixture
def answer_with(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[Request], Response]], Provider]]:
    """Give what makes a provider whose every request is answered by a function."""
    opened: list[Any] = []

    def make(answer: Callable[[Request], Response]) -> Provider:
        async def endpoint(asked: Request) -> Response:
            return answer(asked)

        route = Route("/{path:path}", endpoint, methods=["GET", "POST", "DELETE"])
        server = serving(Starlette(routes=[route]))
        opened.append((server, Provider("sk-test", server.__enter__() + "/v1")))
        return opened[-1][1]

    yield make
    for server, provider in opened:
        provider.close()
        server.__exit__(None, None, None)


def _listed(number: int, created_at: int | None, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"batch_{number}",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": f"file-{number}",
        "completion_window": "24h",
        "status": "completed",
        "created_at": created_at,
        "metadata": None,
        **changes,
    }


@pytest.mark.parametrize("times", [list(range(10)), list(range(10, 0, -1)), [5, None, 3, 8, 1, 9], [4] * 6])
def test_a_batch_is_found_in_a_list_of_any_order(answer_with: Any, times: list[int | None]) -> None:
    data = [_listed(number, at) for number, at in enumerate(times)]
    data[-1]["input_file_id"] = "file-ours"
    provider = answer_with(lambda _: JSONResponse({"object": "list", "data": data, "has_more": False}))
    since = min(at for at in times if at is not None)
    found = provider.find("key", "file-ours", since)
    assert found is not None
    assert found.id == f"batch_{len(times) - 1}"


def test_a_list_that_gives_the_same_page_for_ever_proves_nothing(answer_with: Any) -> None:
    data = [_listed(number, 100) for number in range(3)]
    provider = answer_with(lambda _: JSONResponse({"object": "list", "data": data, "has_more": True}))
    with pytest.raises(InDoubt, match="repeats itself"):
        provider.find("key", "file-ours", 0)


@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>Sign in</html>", media_type="text/html"),
        Response("<html>Sign in</html>", media_type="application/json"),
        JSONResponse({}),
        JSONResponse([]),
        JSONResponse(None),
    ],
)
def test_a_page_in_place_of_an_answer_is_a_doubt_and_no_traceback(answer_with: Any, answer: Response) -> None:
    provider = answer_with(lambda _: answer)
    for call in (
        lambda: provider.create("file-1", "key", 5.0),
        lambda: provider.retrieve("batch_1"),
        lambda: provider.see_file("file-1"),
        lambda: provider.upload_witness("key"),
    ):
        with pytest.raises(InDoubt):
            call()


@pytest.mark.parametrize(
    ("status", "code", "ours"),
    [
        (400, "invalid", RequestRefused),
        (401, "invalid_api_key", KeyRefused),
        (403, None, KeyRefused),
        (404, None, NotThere),
        (408, None, InDoubt),
        (409, None, InDoubt),
        (410, None, NotThere),
        (422, None, RequestRefused),
        (429, "rate_limit_exceeded", RateLimited),
        (429, "insufficient_quota", QuotaExhausted),
        (400, "billing_hard_limit_reached", QuotaExhausted),
        (500, None, InDoubt),
        (503, None, InDoubt),
    ],
)
def test_every_refusal_has_its_own_error_and_what_may_have_happened_is_a_doubt(
    answer_with: Any, status: int, code: str | None, ours: type[ProviderError]
) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.method)
        return JSONResponse(
            {"error": {"message": "no", "code": code}}, status_code=status, headers={"retry-after": "7"}
        )

    with pytest.raises(ProviderError) as raised:
        answer_with(answer).create("file-1", "key", 5.0)
    assert type(raised.value) is ours
    assert asked == ["POST"], "create is sent once, without retries"
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after_seconds == 7.0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0.5", 0.5),
        ("Tue, 01 Dec 2026 12:00:30 GMT", 30.0),
        ("Tue, 01 Dec 2026 12:00:30", 30.0),
        ("Wed, 02 Dec 2026 12:00:00 GMT", 3_600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("1e9", 3_600.0),
        ("-1", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_how_long_a_provider_wants_to_be_left_alone_is_read_in_seconds_and_as_a_date(
    said: str, seconds: float | None
) -> None:
    assert read_retry_after(said, datetime(2026, 12, 1, 12, tzinfo=timezone.utc)) == seconds


def test_a_key_that_may_not_read_models_leaves_the_model_to_the_batchs_validation(answer_with: Any) -> None:
    refusal = {"error": {"message": "You have insufficient permissions for this operation.", "code": None}}
    assert answer_with(lambda _: JSONResponse(refusal, 403)).check_model("gpt-6-luna") is None
    unknown = {"error": {"message": "Project has no access to it", "code": "model_not_found"}}
    with pytest.raises(ProviderError, match="does not know the model `gpt-6-luna`, or does not give it"):
        answer_with(lambda _: JSONResponse(unknown, 403)).check_model("gpt-6-luna")
    with pytest.raises(InDoubt, match="answered with something else"):
        answer_with(lambda _: Response("{", media_type="application/json")).check_model("gpt-6-luna")


def test_the_key_is_in_no_message(answer_with: Any) -> None:
    echo = {"error": {"message": "bad key sk-test\nand more", "code": "invalid_api_key"}}
    provider = answer_with(lambda _: JSONResponse(echo, status_code=401))
    with pytest.raises(KeyRefused) as refused:
        provider.identify()
    assert "sk-test" not in refused.value.message
    assert "and more" not in refused.value.message


def test_a_key_with_a_line_end_is_used_without_it_and_one_that_is_no_key_is_refused_unseen() -> None:
    connect("sk-secret\n", "http://127.0.0.1:9/v1").close()
    for key in ("sk-é", "sk-\x01secret", "  \n"):
        with pytest.raises(KeyRefused) as refused:
            connect(key, None)
        assert "secret" not in refused.value.message
    with pytest.raises(ProviderError, match="not a URL"):
        connect("sk-secret", "http://host:port/v1")


def test_the_address_is_said_and_kept_without_its_password() -> None:
    provider = Provider("key", "http://me:hush@127.0.0.1:9/v1?token=hush")
    with pytest.raises(InDoubt) as doubt:
        provider.see_file("file-1")
    provider.close()
    assert "hush" not in doubt.value.message
    assert "127.0.0.1:9/v1" in doubt.value.message


def _write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines))
    return path


def test_an_answer_that_is_written_oddly_is_still_an_answer(tmp_path: Path) -> None:
    body = {"choices": [{"message": {"content": json.dumps(GOOD)}, "finish_reason": "stop"}]}

    def line(custom_id: str, status: Any, **changes: Any) -> bytes:
        return json.dumps(
            {"custom_id": custom_id, "response": {"status_code": status, "body": body, **changes}}
        ).encode()

    path = _write(
        tmp_path / "odd.jsonl",
        [b"\xef\xbb\xbf" + line("mark", 200), line("word", "200"), line("point", 200.0), line("more", 200, extra=[1])],
    )
    answers = dict(read_answers(path))
    assert list(answers) == ["mark", "word", "point", "more"]
    assert {judge(TASK, CLAIM, answer).outcome for answer in answers.values()} == {"labelled"}


def test_a_line_of_ours_that_is_no_json_is_a_paid_failure_with_its_raw(tmp_path: Path) -> None:
    broken = b'{"custom_id": "ab12-0", "response": {"status_code": 200, "body": {"choices": [{"mess'
    deep = b'{"custom_id": "ab12-1", "response": {"body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    answers = dict(read_answers(_write(tmp_path / "broken.jsonl", [broken, deep])))
    assert set(answers) == {"ab12-0", "ab12-1"}
    outcome = judge(TASK, CLAIM, answers["ab12-0"])
    assert (outcome.outcome, outcome.reason) == ("failed", "invalid")
    assert (outcome.raw or "").strip() == broken.decode()


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("Enqueued token limit reached. Limit: 2,000,000 enqueued tokens.", 2_000_000),
        ("Limit: 90000, Requested: 5", 90_000),
        ("Limit: , Requested: 5", None),
        ("Limit: 1,,2", 1),
        ("Limit: ٣", None),
        ("Limit: " + "9" * 5_000, None),
        ("no reason given", None),
    ],
)
def test_a_queue_limit_is_a_number_or_nothing_whatever_a_message_says(message: str, limit: int | None) -> None:
    assert read_queue_limit(message) == limit
    assert read_queue_limit(shorten(f"{'word ' * 100}{message}")) == limit
    assert len(shorten(f"{'word ' * 100}{message}")) == LONGEST_MESSAGE


def test_no_message_can_keep_an_answer_or_a_refusal_out_of_the_warehouse(lab: Lab, server: Server) -> None:
    said = "Rate limit reached. Limit: , Requested: 5"
    server.faults(fail_validation={"code": "odd", "message": said, "times": 1})
    assert said in "".join(lab.run(server.provider()).problems)
    server.faults(row_400={"share": 0.7, "by": "content", "code": "insufficient_quota", "message": said})
    summary = lab.run(server.provider())
    assert said in "".join(summary.problems)
    assert 0 < summary.labelled == len(lab.labels()) < 3
    assert lab.states() == ["refused", "loaded"]


@pytest.mark.parametrize("tokens", [10**30, True, -1, "7", 1.5])
def test_no_count_of_tokens_can_keep_an_answer_out_of_the_warehouse(tmp_path: Path, tokens: Any) -> None:
    body = {"choices": [{"message": {"content": json.dumps(GOOD)}, "finish_reason": "stop"}]}
    body["usage"] = {"prompt_tokens": tokens, "completion_tokens": 3}  # type: ignore[assignment]
    line = json.dumps({"custom_id": "a-0", "response": {"status_code": 200, "body": body}}).encode()
    answer = dict(read_answers(_write(tmp_path / "tokens.jsonl", [line])))["a-0"]
    judged = judge_batch(TASK, [CLAIM], [(CLAIM.custom_id, answer)], FREE)
    assert (judged.outcomes[0].outcome, judged.outcomes[0].usage, judged.uncosted) == ("labelled", None, 1)


def test_moving_the_table_while_a_batch_is_live_asks_before_it_pays_again(lab: Lab, server: Server) -> None:
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), ONCE)
    lab.move_table("moved_labels")
    with pytest.raises(UsageError, match="3 in `comment_labels`"):
        lab.run(server.provider(), ONCE)
    settings = Settings(poll_seconds=0.01, grace_seconds=60, once=True, confirmed=frozenset({"other-provider"}))
    with pytest.raises(UsageError, match="3 in `comment_labels`"):
        lab.run(server.provider(), settings)
    assert lab.sql("select count(*) from main_labels.label_claims") == [(3,)]


def test_a_limit_holds_for_texts_that_come_back_from_an_earlier_run_too(lab: Lab, server: Server) -> None:
    server.faults(expire_after={"share": 0.0, "times": 1})
    lab.run(server.provider(), ONCE)
    server.ended("expired")
    summary = lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=1))
    assert summary.labelled == 1
    assert lab.sql("select count(*) from main_labels.label_claims") == [(3 + 1,)]


def test_a_dropped_table_keeps_its_own_batch_back_and_no_other(lab: Lab, server: Server) -> None:
    server.faults(slow=3600)
    lab.run(server.provider(), ONCE)
    lab.move_table("moved_labels")
    lab.sql("drop table main_labels.comment_labels")
    server.faults(slow=0)
    settings = Settings(poll_seconds=0.01, grace_seconds=0.0, confirmed=frozenset({"moved-table"}))
    summary = lab.run(server.provider(), settings)
    assert summary.labelled == 3
    assert "comment_labels" in summary.problems[0]


def test_a_snapshot_of_another_release_is_read_without_the_keys_that_this_one_does_not_know(
    lab: Lab, server: Server
) -> None:
    server.faults(slow=3600)
    lab.run(server.provider(), ONCE)
    lab.sql(
        "update main_labels.label_events set task_snapshot = replace(replace(task_snapshot,"
        ' \'"max_attempts":3\', \'"max_attempts":3,"later":1\'), \'"type":"any_of"\', \'"type":"any_of","new":1\')'
        " where event = 'planned'"
    )
    assert "later" in lab.sql("select task_snapshot from main_labels.label_events where event = 'planned'")[0][0]
    server.faults(slow=0)
    assert lab.run(server.provider()).labelled == 3


def test_a_full_queue_of_others_is_asked_again_ever_more_rarely(lab: Lab, server: Server) -> None:
    message = "Enqueued token limit reached for m in organization o. Limit: 1,000,000 enqueued tokens."
    server.faults(fail_validation={"code": "token_limit_exceeded", "message": message, "times": 4})
    said: list[str] = []
    assert lab.run(server.provider(), say=said.append).labelled == 3
    assert lab.states() == ["refused"] * 4 + ["loaded"]
    assert server.control("GET", "/local/stats")["files"] <= 2


def test_a_text_too_big_for_any_queue_is_rejected_and_the_others_are_labelled(
    lab: Lab, start_server: Callable[..., Server]
) -> None:
    lab.add_comments(["x" * 60_000])
    server = start_server("--enqueued-token-limit", "5000")
    summary = lab.run(server.provider())
    assert (summary.labelled, summary.rejected) == (3, 1)
    assert lab.outcomes() == {"labelled": 3, "rejected:token_limit_exceeded": 1}
