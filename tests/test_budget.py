"""The budget is a wall: no shard passes it, whatever is in flight, dies, or does not say what it cost."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import Any

import pytest

from connector.budget import Charge, has_budget, nearest_wall
from connector.errors import UsageError
from connector.estimate import Tally, make_estimate
from connector.price import batch_price
from connector.report.standing import dollars
from connector.request import make_template
from connector.run import Settings
from connector.task import Task
from tests.books import check_money, highest_charges
from tests.command import run_command
from tests.lab import Lab, Server
from tests.test_result import _task

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
TEXTS = [f"What a film, take {number}" for number in range(12)]


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Give the small project with fifteen texts that can be sent."""
    lab.add_comments(TEXTS)
    return lab


def _budget(lab: Lab, **run: Any) -> None:
    lab.edit_task(run={"max_output_tokens": 50, **run})


def _bound_of_one(lab: Lab) -> Decimal:
    """Return what the longest text costs at most."""
    [task] = lab.project.tasks
    tally = Tally(batch_price(task))
    tally.add(make_estimate(task).measure(make_template(task), TEXTS[-1]))
    assert tally.bound_usd is not None
    return tally.bound_usd


def _labelled(lab: Lab) -> int:
    [[texts]] = lab.sql("select count(*) from main_labels.comment_labels where version = 1 and outcome = 'labelled'")
    assert isinstance(texts, int)
    return texts


def test_a_run_stops_before_its_budget_and_the_rest_stays_pending(lab: Lab, server: Server) -> None:
    budget = _bound_of_one(lab) * 4
    _budget(lab, budget_usd=str(budget))
    summary = lab.run(server.provider())
    assert "has no room" in summary.over_budget[0]
    assert summary.problems == summary.in_flight == []
    assert 4 <= _labelled(lab) < 15
    assert max(highest_charges(lab).values()) <= budget
    check_money(lab)
    while summary.over_budget:
        before = _labelled(lab)
        summary = lab.run(server.provider())
        assert _labelled(lab) > before
    assert _labelled(lab) == 15
    assert max(highest_charges(lab).values()) <= budget
    assert max(row[0] for row in lab.sql("select count(*) from main_labels.label_claims group by text_key")) == 1


def test_what_batches_cost_less_than_their_bound_is_spent_in_the_same_run(lab: Lab, server: Server) -> None:
    _budget(lab, budget_usd=str(_bound_of_one(lab) * 6))
    said: list[str] = []
    lab.run(server.provider(), say=said.append)
    assert _labelled(lab) > 6
    assert any("waits: more would pass `budget_usd" in line for line in said)


def test_a_budget_below_one_request_sends_nothing(lab: Lab, server: Server) -> None:
    _budget(lab, budget_usd=str(_bound_of_one(lab) / 2))
    before = len(server.executions())
    summary = lab.run(server.provider())
    assert (len(summary.over_budget), summary.submitted, len(server.executions())) == (1, [], before)
    assert lab.sql("select count(*) from main_labels.label_claims") == [(0,)]


def test_what_is_in_flight_from_an_earlier_run_counts_at_its_bound(lab: Lab, server: Server) -> None:
    budget = _bound_of_one(lab) * 4
    _budget(lab, budget_usd=str(budget))
    server.faults(slow={"seconds": 3600})
    first = lab.run(server.provider(), ONCE)
    assert (len(first.submitted), len(first.over_budget)) == (1, 1)
    second = lab.run(server.provider(), ONCE)
    assert (second.submitted, len(second.over_budget)) == ([], 1)
    assert max(highest_charges(lab).values()) <= budget


def test_the_option_lowers_a_budget_and_never_raises_it(lab: Lab, server: Server) -> None:
    one = _bound_of_one(lab)
    _budget(lab, budget_usd=str(one * 6))
    lower = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True, budget_usd=one * 2)
    assert "`--budget-usd" in lab.run(server.provider(), lower).over_budget[0]
    assert max(highest_charges(lab).values()) <= one * 2
    _budget(lab, budget_usd=str(one * 2))
    higher = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True, budget_usd=one * 1000)
    assert "`budget_usd:" in lab.run(server.provider(), higher).over_budget[0]
    assert max(highest_charges(lab).values()) <= one * 2


def test_a_budget_of_all_tasks_waits_for_what_the_others_have_in_flight(lab: Lab, server: Server) -> None:
    lab.add_task()
    lab.dbt("run", "--select", "moods_to_label")
    first, second = lab.project.tasks
    texts = [
        text for (text,) in lab.sql("select distinct comment_text from raw.comments where trim(comment_text) <> ''")
    ]

    def bound(task: Task) -> Decimal:
        tally = Tally(batch_price(task))
        for text in texts:
            tally.add(make_estimate(task).measure(make_template(task), text))
        assert tally.bound_usd is not None
        return tally.bound_usd

    budget = max(bound(first), bound(second)) + Decimal("0.000001")
    summary = lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, budget_usd=budget))
    assert (summary.labelled, summary.over_budget) == (2 * len(texts), [])
    assert max(highest_charges(lab).values()) <= budget


def test_a_months_budget_is_that_of_all_its_runs_and_a_new_month_has_its_own(lab: Lab, server: Server) -> None:
    one = _bound_of_one(lab)
    _budget(lab, budget_usd_per_month=str(one * 3))
    while lab.run(server.provider()).submitted:
        pass
    in_first = _labelled(lab)
    assert 3 <= in_first < 15
    [[spent]] = lab.sql("select sum(cost_usd) from main_labels.label_events")
    assert spent <= one * 3
    assert "`budget_usd_per_month" in lab.run(server.provider()).over_budget[0]
    lab.sql("update main_labels.label_events set event_at = event_at - interval 31 day")
    lab.run(server.provider())
    assert _labelled(lab) > in_first


def test_the_plan_says_what_is_left_of_a_budget(lab: Lab, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    budget = _bound_of_one(lab) * 4
    _budget(lab, budget_usd_per_month=str(budget))
    [before] = run_command(lab, capfd, "plan", "--json").json
    assert Decimal(before["budget_left_usd"]) == budget
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, once=True, limit=1))
    [[in_flight]] = lab.sql("select max(bound_usd) from main_labels.label_events")
    [after] = run_command(lab, capfd, "plan", "--json").json
    assert Decimal(after["budget_left_usd"]) == budget - in_flight
    assert f" a month; {dollars(budget - in_flight, ROUND_DOWN)} left" in run_command(lab, capfd, "plan").out


def test_a_lost_batch_counts_at_its_bound_in_its_month(lab: Lab, server: Server) -> None:
    one = _bound_of_one(lab)
    _budget(lab, budget_usd_per_month=str(one * 3))
    lab.run(server.provider(), ONCE)
    lab.sql(
        "insert into main_labels.label_events (batch_key, event) select batch_key, 'lost' from"
        " main_labels.label_events where event = 'planned'"
    )
    lab.sql("delete from main_labels.label_events where event = 'loaded'")
    assert lab.run(server.provider()).submitted == []


def test_a_batch_without_a_known_price_stops_a_budget_that_came_later(lab: Lab, server: Server) -> None:
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, once=True, limit=1))
    lab.sql("update main_labels.label_events set price = null, bound_usd = null")
    _budget(lab, budget_usd=100)
    summary = lab.run(server.provider(), ONCE)
    assert "1 batches have no known price" in summary.over_budget[0]
    assert summary.submitted == []


def test_a_budget_without_a_price_is_an_error_before_anything_is_sent(
    lab: Lab, start_server: Callable[..., Server]
) -> None:
    server = start_server("--model", "my-llama")
    lab.edit_task(model="my-llama")
    _budget(lab, budget_usd=1)
    with pytest.raises(UsageError, match="the price of `my-llama` is not known"):
        lab.run(server.provider())
    assert server.control("GET", "/local/stats")["files"] == 0
    lab.edit_task(price={"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4})
    assert lab.run(server.provider()).labelled == 15
    check_money(lab)


def test_without_a_price_and_without_a_budget_labels_have_no_cost(
    lab: Lab, start_server: Callable[..., Server]
) -> None:
    server = start_server("--model", "my-llama")
    lab.edit_task(model="my-llama")
    assert lab.run(server.provider()).labelled == 15
    assert lab.sql("select distinct cost_usd, input_tokens > 0 from main_labels.comment_labels") == [(None, True)]


def test_an_answer_that_does_not_say_what_it_used_counts_its_batch_at_the_bound(lab: Lab, server: Server) -> None:
    budget = _bound_of_one(lab) * 5
    server.faults(row_empty_body={"share": 1.0, "times": 1})
    _budget(lab, budget_usd=str(budget))
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0))
    check_money(lab)
    assert max(highest_charges(lab).values()) <= budget
    [[uncosted]] = lab.sql("select sum(uncosted) from main_labels.label_events where event = 'loaded'")
    assert uncosted > 0


def test_the_free_local_model_costs_nothing_and_meets_no_wall(lab: Lab, server: Server) -> None:
    _budget(lab, budget_usd=0)
    summary = lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, is_free=True))
    assert summary.labelled == 15
    assert lab.sql("select sum(cost_usd), sum(input_tokens) > 0 from main_labels.comment_labels") == [(0, True)]


D = Decimal
CHARGES = {"t": Charge(D(3), D(30)), "u": Charge(D(4), D(40))}


@pytest.mark.parametrize(
    ("run", "limit", "left", "name"),
    [
        ({"budget_usd": 5}, None, D(2), "`budget_usd: 5`"),
        ({"budget_usd_per_month": 31}, None, D(1), "`budget_usd_per_month: 31`"),
        ({"budget_usd": 5, "budget_usd_per_month": 31}, None, D(1), "`budget_usd_per_month: 31`"),
        ({}, D(10), D(3), "`--budget-usd 10`"),
        ({"budget_usd": 5}, D(10), D(2), "`budget_usd: 5`"),
        ({"budget_usd": 50}, D(6), D(-1), "`--budget-usd 6`"),
    ],
)
def test_the_nearest_wall_is_the_one_with_the_least_left(run: Any, limit: Any, left: Decimal, name: str) -> None:
    task = _task(run=run)
    assert has_budget(task, limit)
    wall = nearest_wall(task, CHARGES, limit)
    assert (wall.left_usd, wall.name) == (left, name)


def test_no_budget_is_no_wall() -> None:
    assert not has_budget(_task(), None)
    assert has_budget(_task(), D(0)), "nothing may be spent"
