"""Budgets and limits of a task with a gate."""

from __future__ import annotations

from decimal import Decimal

from connector import pipeline
from connector.pipeline import Voice
from connector.plan import Plan
from connector.run import Settings
from tests.books import highest_charges
from tests.command import QUICKLY, Command
from tests.gate import GOLD, REST, Gated
from tests.lab import QUICK, Server


def _bound(gated: Gated, texts: str) -> Decimal:
    """Return what so many texts cost at most; they are equally long."""
    bound_usd = gated.plan().cost.bound_usd
    assert bound_usd is not None
    return bound_usd / 8 * Decimal(texts)


def test_a_budget_is_a_wall_for_the_gold_and_for_the_rest(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(no_usage={"share": 1.0})  # each answer counts at its bound
    quick = Settings(poll_seconds=0.01, grace_seconds=0.0, budget_usd=_bound(gated, "1.5"))
    for _ in range(4):
        summary = gated.lab.run(server.provider(), quick)
        assert (summary.labelled, len(summary.over_budget), summary.problems) == (1, 1, [])
    assert {text for [text] in gated.sent()[:3]} == set(GOLD)
    assert gated.sent()[3][0] in REST
    assert max(highest_charges(gated.lab).values()) <= quick.budget_usd


def test_a_budget_that_ends_within_the_rest_is_kept_from_the_first_gold_text_on(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    budget = _bound(gated, "5.5")
    server.faults(no_usage={"share": 1.0})
    said = command("run", "--budget-usd", str(budget), *QUICKLY)
    assert said.code == 4, said
    assert "the next month its own `budget_usd_per_month`" in said.err
    assert [len(texts) for texts in gated.sent()] == [3, 2]
    assert gated.sent()[0] == GOLD
    assert highest_charges(gated.lab).popitem()[1] <= budget


def test_a_limit_is_of_gold_and_rest_together(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    for limit in (2, 3, 10):
        gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=limit))
    assert [len(texts) for texts in gated.sent()] == [2, 1, 2, 3]
    assert {*gated.sent()[0], *gated.sent()[1]} == set(GOLD)
    assert gated.lab.outcomes() == {"labelled": 8}


def test_a_limit_counts_a_gold_text_once_however_often_it_is_tried(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(row_not_json={"share": 1.0, "times": 1})
    summary = gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=5))
    assert summary.labelled == 5
    assert [len(texts) for texts in gated.sent()] == [3, 3, 2, 2]


def test_what_arrives_while_the_gate_waits_for_its_gold_is_for_the_next_run_and_its_own_price(
    gated: Gated, server: Server
) -> None:
    gated.judge(GOLD, agree=True)
    prices: list[Plan] = []
    late = ["That came late", "And that too"]

    def say(line: str) -> None:
        if "submitted as" in line and late:
            gated.lab.add_comments([late.pop(), late.pop()])

    for labelled in (8, 2, 0):
        project, voice = gated.lab.project, Voice(say, lambda progress: None, prices.extend)
        summary = pipeline.label(project, project.tasks, server.provider, QUICK, voice)
        assert (summary.labelled, summary.problems) == (labelled, [])
    assert [sum(plan.standing.pending.values()) for plan in prices] == [8, 2, 0]
