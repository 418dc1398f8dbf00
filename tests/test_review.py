"""What a hostile review found that could cost money, lose an answer, or never end."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from connector import backoff, pipeline, sending
from connector.pipeline import Voice
from connector.price import Usage, batch_price
from connector.reopening import find_reopening
from connector.run import Settings
from connector.task import Task
from tests.between import AT_ONCE, CANCEL, DOWNLOAD, LOOK, Between, edited
from tests.books import check_money
from tests.lab import QUICK, Lab, Server
from tests.test_result import _task

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
PATIENT = Settings(poll_seconds=0.01, grace_seconds=3600.0, once=True)


def test_a_packed_answer_with_half_a_character_is_loaded_like_any_other(
    lab: Lab, server: Server, between: Between
) -> None:
    lab.edit_task(run={"max_output_tokens": 50, "rows_per_request": 3})

    def cut(answer: httpx.Response) -> Response:
        line = json.loads(answer.content)
        line["response"]["body"]["choices"][0]["message"]["content"] = '{"rows": "\ud83d'
        return Response(json.dumps(line).encode() + b"\n")

    between.change(DOWNLOAD, cut)
    lab.run(between.provider(), ONCE)
    while lab.states() == ["submitted"]:
        lab.run(between.provider(), ONCE)
    between.heal()
    assert lab.run(between.provider()).labelled == 3
    assert lab.outcomes() == {"failed:unpacked": 3, "labelled": 3}
    check_money(lab)


def test_a_cancel_without_an_answer_is_asked_again(lab: Lab, server: Server, between: Between) -> None:
    server.faults(slow={"seconds": 3600})
    lab.run(between.provider(), ONCE)
    between.drop(CANCEL, JSONResponse({"error": {"message": "sorry"}}, 500, headers=AT_ONCE))
    said: list[str] = []
    heal_later = lambda _: between.heal() if len(between.times(CANCEL)) == 2 else None  # noqa: E731
    voice = Voice(said.append, heal_later, lambda plans: None)
    provider = between.provider()
    pipeline.cancel(lab.project, lab.project.tasks, provider, QUICK, voice)
    provider.close()
    assert len(between.times(CANCEL)) == 3
    assert lab.states() == ["loaded"]
    assert sum("is asked to stop" in line for line in said) == 1


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_answers_that_a_stopped_batch_shows_late_are_waited_for(
    lab: Lab, server: Server, between: Between, status: str
) -> None:
    nothing = {"status": status, "output_file_id": None, "error_file_id": None, "request_counts": None}
    between.change(LOOK, edited(**nothing))
    lab.run(between.provider(), PATIENT)
    lab.run(between.provider(), PATIENT)
    assert lab.states() == ["ended"]
    assert lab.outcomes() == {}
    between.heal()
    _until_loaded(lab, between)
    assert (lab.outcomes(), len(server.executions())) == ({"labelled": 3}, 3)


def _until_loaded(lab: Lab, between: Between) -> None:
    while "ended" in lab.states() or "submitted" in lab.states():
        lab.run(between.provider(), PATIENT)


def test_what_is_counted_as_answered_and_never_shown_is_charged_at_the_bound(lab: Lab, server: Server) -> None:
    lab.add_comments([f"take {number}" for number in range(9)])
    server.faults(row_missing={"share": 0.5, "times": 1, "by": "content"})
    lab.run(server.provider())
    [[missing, bound]] = lab.sql(
        "select max(l.uncosted), max(p.bound_usd) from main_labels.label_events l"
        " join main_labels.label_events p using (batch_key) where l.event = 'loaded' and p.event = 'planned'"
    )
    assert 0 < missing < 12
    check_money(lab)
    with lab.project.connect() as session:
        batches = session.macro("batches", events=session.relation("label_events"))
        found = session.handle.rows(
            f"select min({session.macro('batch_charge')}) as charge from ({batches}) as batches where uncosted > 0"
        )
    assert found[0]["charge"] == bound


def test_a_run_ends_at_its_budget_although_a_batch_of_another_key_stays(lab: Lab, server: Server) -> None:
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, once=True, limit=1))
    lab.sql("update main_labels.label_events set organisation = null, provider_project = null")
    [[bound]] = lab.sql("select bound_usd from main_labels.label_events where event = 'planned'")
    server.faults()
    summary = lab.run(server.provider("other-key"), Settings(0.01, 0.0, budget_usd=bound * Decimal("1.5")))
    assert (len(summary.over_budget), summary.submitted) == (1, [])
    assert "was sent to" in summary.problems[0]


def test_a_provider_that_never_answers_a_create_stops_the_task(
    lab: Lab, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_MOST_DOUBTS", 3)
    dropped = JSONResponse({"error": {"message": "sorry", "code": None}}, 500, headers=AT_ONCE)
    between.drop("POST /v1/batches", dropped)
    summary = lab.run(between.provider())
    assert "3 batches in a row were created without an answer" in summary.problems[0]
    assert len(between.times("POST /v1/batches")) == 3
    assert set(lab.states()) == {"released"}


def test_nothing_more_is_sent_for_a_table_while_a_batch_of_it_is_in_doubt(
    lab: Lab, server: Server, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "MAX_REQUESTS", 1)
    dropped = JSONResponse({"error": {"message": "sorry", "code": None}}, 500, headers=AT_ONCE)
    between.drop("POST /v1/batches", dropped)
    for _ in range(3):
        lab.run(between.provider(), PATIENT)
    assert lab.states() == ["creating"]
    assert len(between.times("POST /v1/batches")) == 1


def test_a_batch_that_nobody_has_seen_for_a_month_is_lost_and_can_be_given_up(lab: Lab, server: Server) -> None:
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), ONCE)
    lab.sql("update main_labels.label_events set organisation = null, provider_project = null")
    lab.run(server.provider("other-key"), ONCE)
    assert lab.states() == ["submitted"], "another key proves nothing"
    lab.sql("update main_labels.label_events set event_at = event_at - interval 31 day")
    lab.run(server.provider("other-key"), ONCE)
    assert lab.states() == ["lost"]
    [task] = lab.project.tasks
    found = find_reopening(lab.project, task, [], lost=True)
    assert (found.lost_texts, found.cost.texts) == (3, 3)


def test_the_price_is_that_of_who_is_asked() -> None:
    task = _task(model="gpt-4o-mini")
    openai = batch_price(task)
    for same in ("https://api.openai.com/v1", "http://127.0.0.1:1/v1"):
        assert batch_price(task, same) == openai
    assert batch_price(task, "https://my.gateway/v1") is None
    priced = _task(model="gpt-4o-mini", price={"input_usd_per_mtok": 1, "output_usd_per_mtok": 2})
    assert batch_price(priced, "https://my.gateway/v1") is not None


def test_a_price_of_ones_own_bounds_what_is_written_to_a_cache() -> None:
    own: dict[str, Any] = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}
    price = batch_price(_task(price=own))
    assert price is not None
    assert price.cost(Usage(100, 0, cache_write_tokens=100)) == Decimal("0.000125") == price.bound(100, 0)
    said = batch_price(_task(price={**own, "cache_write_usd_per_mtok": 3}))
    assert said is not None
    assert said.bound(100, 0) == Decimal("0.0003")


@pytest.mark.parametrize("param", ["service_tier", "web_search_options", "prediction", "modalities", "audio"])
def test_what_no_bound_covers_can_not_be_passed_on(param: str) -> None:
    block = {**_task().model_dump(mode="json"), "params": {param: "x"}}
    with pytest.raises(ValueError, match=f"sets `{param}` itself"):
        Task.model_validate(block, strict=False)


def test_a_retry_prices_texts_that_go_alone_as_such(lab: Lab, server: Server) -> None:
    lab.edit_task(run={"max_output_tokens": 50, "rows_per_request": 3})
    server.faults(row_refusal={"share": 1.0})
    assert lab.run(server.provider()).rejected == 3
    [task] = lab.project.tasks
    assert find_reopening(lab.project, task, ["refused"], lost=False).cost.requests == 3


def test_what_answers_must_take_is_within_the_limit_of_a_packed_request(lab: Lab, server: Server) -> None:
    lab.edit_task(run={"max_output_tokens": 25, "rows_per_request": 3})
    assert lab.run(server.provider()).labelled == 3
    assert lab.outcomes() == {"labelled": 3}
