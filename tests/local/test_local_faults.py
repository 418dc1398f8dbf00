"""Each fault does what its line in the table says, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from connector.local import faults

CREATE = "create_batch"


def set_faults(lab: Any, client: openai.OpenAI, **values: Any) -> None:
    """Make these the active faults."""
    lab.control(client).put("/local/faults", json=values).raise_for_status()


def answer_of(line: dict[str, Any]) -> Any:
    """Give the parsed answer of an output line."""
    return json.loads(line["response"]["body"]["choices"][0]["message"]["content"])


Run = tuple[list[Any], Any, list[Any], list[Any]]


@pytest.fixture
def rows(shared_lab: Any, client: openai.OpenAI) -> Iterator[Callable[..., Run]]:
    """Give a way to run a batch under faults: it returns executions, batch, output lines and error lines."""

    def run(count: int = 8, **values: Any) -> Run:
        set_faults(shared_lab, client, **values)
        batch = shared_lab.run(client, shared_lab.lines(count))
        output = shared_lab.read(client, batch.output_file_id) if batch.output_file_id else []
        errors = shared_lab.read(client, batch.error_file_id) if batch.error_file_id else []
        executed = [e for e in shared_lab.executions(client) if e["batch_id"] == batch.id]
        return executed, batch, output, errors

    yield run
    set_faults(shared_lab, client)


def test_a_lost_reply_leaves_the_work_done(lab: Any) -> None:
    client = lab.open()
    file_id = lab.upload(client, lab.lines(1))
    asks: dict[str, Callable[[], Any]] = {
        "create_batch": lambda: lab.create_from(client, file_id),
        "upload": lambda: lab.upload(client, b"x"),
        "retrieve": lambda: client.batches.retrieve(next(iter(client.batches.list())).id),
        "cancel": lambda: client.batches.cancel(next(iter(client.batches.list())).id),
    }
    for route, ask in asks.items():
        set_faults(lab, client, lost_reply={"route": route, "times": 1}, slow=3600)
        with pytest.raises(openai.APIConnectionError):
            ask()
        if route != "cancel":
            ask()
    assert len(list(client.batches.list())) == 2
    assert len(list(client.files.list())) >= 3
    newest = next(iter(client.batches.list())).id
    assert lab.finish(client, newest).status == "cancelled"


def test_a_refused_connection_leaves_the_work_undone(lab: Any) -> None:
    client = lab.open(faults={"refuse_before": CREATE})
    file_id = lab.upload(client, lab.lines(1))
    with pytest.raises(openai.APIConnectionError):
        lab.create_from(client, file_id)
    assert not list(client.batches.list())
    assert lab.create_from(client, file_id).status == "validating"


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, openai.RateLimitError), (500, openai.InternalServerError), (503, openai.InternalServerError)],
)
def test_an_http_fault_answers_its_status_so_many_times(lab: Any, status: int, error: type[Exception]) -> None:
    client = lab.open(faults={f"http_{status}": {"route": "list", "times": 2, "retry_after": 0.5}})
    for _ in range(2):
        with pytest.raises(error) as caught:
            client.batches.list()
        assert isinstance(caught.value, openai.APIStatusError)
        assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (status, "0.5")
    assert not list(client.batches.list())


def test_the_clients_own_retries_get_past_a_fault_that_ends(lab: Any) -> None:
    client = lab.open(faults={"http_503": {"route": "models", "times": 1, "retry_after": 0.01}})
    assert list(client.with_options(max_retries=2).models.list())


def test_no_quota_refuses_create_only(lab: Any) -> None:
    client = lab.open(faults={"quota": True})
    file_id = lab.upload(client, lab.lines(1))
    for _ in range(3):
        with pytest.raises(openai.RateLimitError) as caught:
            lab.create_from(client, file_id)
        assert caught.value.code == "insufficient_quota"
    assert not list(client.batches.list())


def test_a_lagging_list_hides_a_new_batch_for_so_many_calls(lab: Any) -> None:
    client = lab.open(faults={"list_lag": 2})
    batch_id = lab.create(client, lab.lines(1))
    assert client.batches.retrieve(batch_id).id == batch_id
    assert [[b.id for b in client.batches.list()] for _ in range(3)] == [[], [], [batch_id]]


def test_a_lagging_list_hides_a_new_batch_for_so_long() -> None:
    now = 100.0
    lagging = faults.Faults({"list_lag": {"seconds": 5}}, clock=lambda: now)
    lagging.lag("b")
    assert lagging.lagging(first_page=True) == ["b"]
    now = 105.0
    assert lagging.lagging(first_page=True) == []


def test_dropped_metadata_never_comes_back(lab: Any) -> None:
    client = lab.open(faults={"drop_metadata": True})
    assert lab.run(client, lab.lines(1), metadata={"k": "v"}).metadata is None


def test_a_batch_told_to_fail_validation_says_the_given_error_so_many_times(lab: Any) -> None:
    client = lab.open(faults={"fail_validation": {"code": "odd", "message": "why", "times": 1}})
    failed = lab.run(client, lab.lines(1))
    assert (failed.status, failed.errors.data[0].code, failed.errors.data[0].message) == ("failed", "odd", "why")
    assert lab.run(client, lab.lines(1)).status == "completed"


def test_an_expired_batch_keeps_its_share_and_lists_the_rest(rows: Callable[..., Run]) -> None:
    executed, batch, output, errors = rows(10, expire_after=0.3)
    assert batch.status == "expired"
    assert batch.expired_at
    assert (len(output), len(errors)) == (3, 7)
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert batch.request_counts.failed == 0
    assert len(executed) == 3


def test_rows_an_expired_batch_does_not_list_are_in_neither_file(rows: Callable[..., Run]) -> None:
    _, batch, output, errors = rows(10, expire_after=0.3, expire_unlisted=True)
    assert (batch.status, len(output), errors, batch.error_file_id) == ("expired", 3, [], None)


def test_a_batch_that_expires_before_its_first_row_has_no_output_file(rows: Callable[..., Run]) -> None:
    _, batch, output, errors = rows(4, expire_after=0)
    assert (batch.output_file_id, output, len(errors)) == (None, [], 4)


def test_a_batch_someone_cancels_midway_keeps_half(rows: Callable[..., Run]) -> None:
    _, batch, output, errors = rows(10, cancel_midway=True)
    assert batch.status == "cancelled"
    assert batch.cancelling_at
    assert (len(output), len(errors)) == (5, 5)
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}


def test_a_completed_batch_shows_its_output_only_after_so_many_retrieves(lab: Any) -> None:
    client = lab.open(faults={"output_id_null_first": 2})
    batch = lab.run(client, lab.lines(1))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert client.batches.retrieve(batch.id).output_file_id is None
    assert client.batches.retrieve(batch.id).output_file_id


def test_a_clean_batch_may_have_an_empty_error_file_id(rows: Callable[..., Run]) -> None:
    _, batch, _, _ = rows(1, error_file_id_empty_string=True)
    assert batch.error_file_id == ""


def test_content_is_not_found_so_many_times_for_each_file(lab: Any) -> None:
    client = lab.open(faults={"content_404_first": 1})
    for file_id in (lab.upload(client, b"abc"), lab.upload(client, b"abc")):
        with pytest.raises(openai.NotFoundError):
            client.files.content(file_id)
        assert client.files.content(file_id).content == b"abc"


def test_a_cut_download_breaks_the_connection_or_looks_complete(lab: Any) -> None:
    client = lab.open(faults={"cut_download": 1})
    content = b"x" * 300_000
    file_id = lab.upload(client, content)
    with pytest.raises(openai.APIConnectionError):
        client.files.content(file_id)
    assert client.files.content(file_id).content == content
    set_faults(lab, client, cut_download={"times": 1, "variant": "chunked"})
    assert client.files.content(file_id).content == content[:150_000]
    assert client.files.content(file_id).content == content


def test_a_refused_row_has_a_refusal_and_no_content(rows: Callable[..., Run]) -> None:
    executed, batch, output, _ = rows(row_refusal=1.0)
    messages = [line["response"]["body"]["choices"][0]["message"] for line in output]
    assert all(m["refusal"] and m["content"] is None for m in messages)
    assert batch.request_counts.completed == len(executed) == 8


@pytest.mark.parametrize(("fault", "reason"), [("row_content_filter", "content_filter"), ("row_truncate", "length")])
def test_a_cut_row_says_why_and_is_no_json(rows: Callable[..., Run], fault: str, reason: str) -> None:
    _, _, output, _ = rows(**{fault: 1.0})
    for line in output:
        assert line["response"]["body"]["choices"][0]["finish_reason"] == reason
        with pytest.raises(json.JSONDecodeError):
            answer_of(line)


def test_a_row_may_break_its_schema_with_valid_json(rows: Callable[..., Run]) -> None:
    _, _, output, _ = rows(row_break_schema=1.0)
    assert {answer_of(line)["sentiment"] for line in output} == {"a value outside the enum"}


def test_a_row_may_answer_in_prose(rows: Callable[..., Run]) -> None:
    _, _, output, _ = rows(row_not_json=1.0)
    with pytest.raises(json.JSONDecodeError):
        answer_of(output[0])


def test_a_row_may_have_an_empty_body_or_no_content(rows: Callable[..., Run]) -> None:
    _, _, output, _ = rows(20, row_empty_body=1.0)
    bodies = [line["response"]["body"] for line in output]
    assert {} in bodies
    assert any(body and body["choices"][0]["message"]["content"] is None for body in bodies)
    assert {line["response"]["status_code"] for line in output} == {200}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("row_400", "content_policy_violation"),
        ("row_401", "invalid_api_key"),
        ("row_404", "model_not_found"),
        ("row_429", "rate_limit_exceeded"),
        ("row_500", None),
    ],
)
def test_a_row_refused_with_a_status_is_not_executed(rows: Callable[..., Run], fault: str, code: str | None) -> None:
    executed, batch, output, errors = rows(**{fault: 1.0})
    assert batch.status == "completed"
    assert output == []
    assert batch.output_file_id is None
    assert batch.request_counts.failed == 8
    for line in errors:
        assert line["response"]["status_code"] == int(fault[-3:])
        assert line["response"]["body"]["error"]["code"] == code
        assert line["error"] is None
    assert executed == []


def test_a_row_400_may_have_any_code(rows: Callable[..., Run]) -> None:
    _, _, _, errors = rows(1, row_400={"share": 1, "code": "odd", "message": "why"})
    assert errors[0]["response"]["body"]["error"]["code"] == "odd"


def test_a_row_with_status_0_is_in_the_output_file_and_counted_as_completed(rows: Callable[..., Run]) -> None:
    executed, batch, output, _ = rows(row_status_0=1.0)
    assert {line["response"]["status_code"] for line in output} == {0}
    assert batch.request_counts.completed == 8
    assert executed == []


def test_a_missing_row_is_counted_but_nowhere(rows: Callable[..., Run]) -> None:
    _, batch, output, errors = rows(100, row_missing=0.5)
    assert batch.request_counts.completed == 100
    assert 20 < len(output) < 80
    assert errors == []


def test_a_row_may_come_twice_for_one_execution(rows: Callable[..., Run]) -> None:
    executed, _, output, _ = rows(row_twice=1.0)
    assert len(output) == 16
    assert len({line["custom_id"] for line in output}) == 8
    assert len(executed) == 8


def test_a_poisonous_answer_carries_what_can_not_be_stored(client: openai.OpenAI, rows: Callable[..., Run]) -> None:
    _, batch, output, _ = rows(1, poison_answer=1.0)
    note = answer_of(output[0])["note"]
    assert "\u0000" in note
    assert "\ud800" in note
    assert "\u2028" in note
    raw = client.files.content(batch.output_file_id).content
    assert raw.count(b"\n") == 1
    assert raw.decode("utf-8")


def test_a_completion_may_name_another_model(rows: Callable[..., Run]) -> None:
    _, _, output, _ = rows(wrong_model_echo=1.0)
    assert "gpt-6-luna" not in {line["response"]["body"]["model"] for line in output}


def test_a_share_takes_the_same_rows_every_time_and_other_rows_for_another_seed(lab: Any) -> None:
    client = lab.open()
    struck = []
    for seed in (1, 1, 2):
        set_faults(lab, client, row_500={"share": 0.3, "seed": seed})
        batch = lab.run(client, lab.lines(100))
        struck.append({line["custom_id"] for line in lab.read(client, batch.error_file_id)})
    assert struck[0] == struck[1] != struck[2]
    assert 15 < len(struck[0]) < 45


def test_a_fault_with_times_strikes_a_text_so_often_whatever_its_custom_id_and_across_restarts(lab: Any) -> None:
    fault = {"row_refusal": {"share": 1.0, "times": 2}}
    refusals = []
    for attempt in range(3):
        with lab.server(faults=fault) as server:
            client = lab.client(server.base_url)
            line = {**lab.line(1), "custom_id": f"attempt-{attempt}"}
            batch = lab.run(client, [line])
            (answer,) = lab.read(client, batch.output_file_id)
            refusals.append(bool(answer["response"]["body"]["choices"][0]["message"]["refusal"]))
    assert refusals == [True, True, False]


def test_faults_that_are_set_anew_strike_anew(lab: Any) -> None:
    client = lab.open()
    for _ in range(2):
        set_faults(lab, client, row_500={"share": 1.0, "times": 1})
        assert [lab.run(client, lab.lines(1)).request_counts.failed for _ in range(2)] == [1, 0]


def test_each_row_fault_has_a_share_of_its_own(rows: Callable[..., Run]) -> None:
    _, _, output, errors = rows(200, row_500=0.2, row_refusal=0.2)
    refused = [x for x in output if x["response"]["body"]["choices"][0]["message"]["refusal"]]
    assert 20 < len(errors) < 60
    assert 20 < len(refused) < 60


def test_faults_are_shown_with_their_strikes_and_cleared(lab: Any) -> None:
    client = lab.open(faults={"http_500": "models"})
    with pytest.raises(openai.InternalServerError):
        client.models.list()
    control = lab.control(client)
    assert control.get("/local/faults").json() == {
        "http_500": {"route": "models", "times": 1, "retry_after": None, "strikes": 1}
    }
    assert control.put("/local/faults", json={}).json() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nothing", 1),
        ("http_500", True),
        ("http_500", "nowhere"),
        ("row_400", 2),
        ("row_400", {"share": 0.5, "route": "list"}),
        ("quota", {"times": 1.5}),
        ("slow", "long"),
        ("cut_download", {"variant": "sideways"}),
        ("drop_metadata", 3),
    ],
)
def test_a_wrong_fault_is_refused_and_changes_nothing(
    shared_lab: Any, client: openai.OpenAI, name: str, value: Any
) -> None:
    control = shared_lab.control(client)
    control.put("/local/faults", json={"drop_metadata": True})
    reply = control.put("/local/faults", json={name: value})
    assert reply.status_code == 400
    assert name in reply.json()["error"]["message"]
    assert list(control.get("/local/faults").json()) == ["drop_metadata"]


def test_the_command_line_takes_faults_in_every_form(lab: Any) -> None:
    _, base_url = lab.spawn(
        "--fault", "lost_reply=create_batch", "--fault", 'row_400={"share": 1, "times": 1}', "--fault", "drop_metadata"
    )
    shown = lab.control(lab.client(base_url)).get("/local/faults").json()
    assert shown["lost_reply"]["route"] == "create_batch"
    assert (shown["row_400"]["times"], shown["row_400"]["by"]) == (1, "content")
    assert shown["drop_metadata"]["on"] is True


def test_every_fault_is_in_the_table() -> None:
    documented = {
        name.strip()
        for line in (faults.__doc__ or "").splitlines()
        if line.startswith("| ")
        for name in line.split("|")[1].split(",")
    }
    assert set(faults.KEYS) == documented - {"name"}


def test_hashes_in_the_execution_log_are_those_of_the_texts(rows: Callable[..., Run]) -> None:
    executed, _, _, _ = rows(2, row_truncate=1.0)
    assert {e["content_sha256"] for e in executed} == {
        hashlib.sha256(f"text {n}".encode()).hexdigest() for n in range(2)
    }
