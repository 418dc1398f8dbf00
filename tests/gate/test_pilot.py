"""The pilot: gold alone is sent, priced and judged."""

from __future__ import annotations

from decimal import Decimal

import pytest

from connector.run import Settings
from tests.command import QUICKLY, Command
from tests.gate import GOLD, KEYS, NOT_HELD, ONCE, OUTSIDE, REST, TEXTS, Gated, executed
from tests.lab import Server


def test_a_pilot_labels_the_gold_alone_and_says_that_the_gate_holds(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    said = command("pilot", *QUICKLY)
    assert said.code == 0, said
    assert "sentiment: 3 texts with gold and a label" in said.out
    assert "accuracy" in said.out
    assert said.out.rstrip().endswith("the quality gate holds")
    assert (executed(server), gated.sent()) == (GOLD, [GOLD])
    again = command("pilot", "--json").json
    assert again["run"]["submitted"] == [], "with nothing to send nobody is asked"
    assert again["failures"] == {"comments_to_label": []}
    [quality] = again["quality"]
    assert {"version": 1, "field": "sentiment", "metric": "accuracy", "value": 1.0} in [
        {name: metric[name] for name in ("version", "field", "metric", "value")} for metric in quality["metrics"]
    ]
    assert executed(server) == GOLD
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 5, "the run goes on from the pilot"
    assert gated.sent() == [GOLD, REST]


def test_a_pilot_whose_gate_does_not_hold_ends_with_1_and_what_is_missing(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=False)
    for arguments in (("--json", *QUICKLY), QUICKLY):
        said = command("pilot", *arguments)
        assert said.code == 1
        assert f"Error: task `comments_to_label`: {NOT_HELD}" in said.err
        assert "raise `version`, and pilot again" in said.err
        assert NOT_HELD in said.out if "--json" in arguments else "the quality gate does not hold" in said.out
    assert executed(server) == GOLD


def test_a_pilot_without_a_gate_says_so(gated: Gated, server: Server, command: Command) -> None:
    gated.gate()
    gated.judge(GOLD, agree=False)
    said = command("pilot", *QUICKLY)
    assert said.code == 0
    assert "there is no quality gate: put a `dbt_labels.label_quality` test on the pending model" in said.out
    assert gated.sent() == [GOLD]


def test_a_pilot_without_gold_is_a_clear_error(gated: Gated, server: Server, command: Command) -> None:
    gated.gate()
    gated.lab.edit_task(gold=None)
    said = command("pilot", *QUICKLY)
    assert said.code == 1
    assert "task `comments_to_label` has no `gold` to measure its labels against" in said.err
    assert "\nhint: name there the model or seed of what people say" in said.err
    assert server.control("GET", "/local/stats")["files"] == 0


def test_a_pilot_never_sends_the_rest_when_what_was_in_flight_comes_back_unanswered(
    gated: Gated, server: Server
) -> None:
    gated.gate()
    server.faults(row_429={"share": 1.0, "times": 1})
    gated.lab.run(server.provider(), ONCE)
    gated.judge(GOLD, agree=True)
    gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, pilot=True))
    assert gated.sent() == [TEXTS, GOLD]


def test_a_pilots_plan_and_price_are_of_the_gold_alone_and_it_is_asked_first(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    whole = command("plan")
    assert "8 pending: 8 new" in whole.out
    assert "to send: 8 requests" in whole.out
    asked = command("pilot")
    assert asked.code == 2
    assert "there is no terminal to ask on, so nothing was sent" in asked.err
    assert "3 pending: 3 new" in asked.err
    assert "to send: 3 requests in 1 batch" in asked.err
    [bound_whole], [bound_pilot] = (
        [Decimal(line.partition("at most $")[2].split()[0]) for line in said.splitlines() if line.startswith("  cost:")]
        for said in (whole.out, asked.err)
    )
    assert bound_pilot == pytest.approx(bound_whole * 3 / 8, rel=Decimal("0.05"))
    assert server.executions() == []


@pytest.mark.parametrize("of_run", [("run", *QUICKLY), ("pilot", *QUICKLY)], ids=["run", "pilot"])
def test_gold_that_nobody_commented_is_priced_and_sent_from_its_own_text(
    gated: Gated, server: Server, command: Command, of_run: tuple[str, ...]
) -> None:
    gated.judge([*GOLD, OUTSIDE], agree=True)
    said = command(*of_run)
    assert said.code == 0, said
    gold = sorted([*GOLD, OUTSIDE])
    assert gated.sent() == ([gold, REST] if of_run[0] == "run" else [gold])
    assert executed(server) == sorted(text for texts in gated.sent() for text in texts)
    priced = len(executed(server))
    assert f"to send: {priced} requests in 1 batch" in said.err, "what is sent was shown before"


def test_gold_that_nobody_commented_is_in_the_plan_of_a_gated_task_only(gated: Gated, server: Server) -> None:
    gated.judge([*GOLD, OUTSIDE], agree=True)
    assert gated.plan().standing.pending == {"new": 9}
    gated.gate()
    assert gated.plan().standing.pending == {"new": 8}
    assert gated.lab.run(server.provider()).labelled == 8
    assert gated.sent() == [TEXTS]


def test_a_pilot_sends_what_people_corrected_as_well_where_its_text_is_still_there(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.gate()
    gated.judge(GOLD, agree=True)
    keys = {text: key for key, text in KEYS.items()}
    corrected = [keys[GOLD[0]], keys[REST[0]], keys[OUTSIDE]]  # gold as well, not gold, not among the comments
    rows = " union all ".join(f"select '{key}' as text_key, 'positive' as sentiment" for key in corrected)
    (gated.lab.folder / "models" / "corrections.sql").write_text(rows)
    gated.lab.edit_task(overrides="corrections")
    gated.lab.dbt("run", "--select", "corrections")
    assert command("pilot", *QUICKLY).code == 0
    assert gated.sent() == [sorted([*GOLD, REST[0]])]
