"""The gate: gold is sent and loaded first, and where its labels are too bad the rest stays."""

from __future__ import annotations

import json

import yaml

from connector.run import Settings
from tests.command import QUICKLY, Command
from tests.gate import ASKED, GOLD, NOT_HELD, ONCE, REST, TEXTS, Gated, executed
from tests.lab import Server


def test_gold_is_sent_and_loaded_first_and_where_the_gate_holds_the_rest_follows_in_the_same_run(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    said = command("run", "--json", *QUICKLY)
    assert said.json["run"]["labelled"] == 8
    assert gated.sent() == [GOLD, REST]
    assert executed(server) == TEXTS
    order = gated.lab.sql(
        "select event, claims from main_labels.label_events where event in ('planned', 'loaded') order by event_at"
    )
    assert [event for event, _ in order] == ["planned", "loaded", "planned", "loaded"]
    assert command("run", "--json", *QUICKLY).json["run"]["submitted"] == []


def test_where_the_gate_does_not_hold_only_gold_is_sent_however_often_it_runs(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=False)
    for _ in range(2):
        said = command("run", *QUICKLY)
        assert said.code == 1
        assert f"its quality gate does not hold, so only gold texts are sent: {NOT_HELD}" in said.err
        assert "Traceback" not in said.err
        assert executed(server) == GOLD
    assert gated.sent() == [GOLD]
    assert gated.lab.outcomes() == {"labelled": 3}


def test_a_raised_version_asks_the_gate_again(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    assert gated.lab.run(server.provider()).labelled == 8
    server.faults(row_refusal={"share": 1.0})
    gated.raise_version(2)
    [problem] = gated.lab.run(server.provider()).problems
    assert "no text of `gold_labels` has an answer of version 2 yet" in problem
    assert gated.sent(2) == [GOLD]
    server.faults()
    gated.raise_version(3)
    assert gated.lab.run(server.provider()).labelled == 8
    assert gated.sent(3) == [GOLD, REST]


def test_with_once_nothing_else_is_sent_while_gold_is_in_flight(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(slow=3600)
    first = gated.lab.run(server.provider(), ONCE)
    assert (len(first.submitted), first.in_flight, gated.sent()) == (1, first.submitted, [GOLD])
    for _ in range(2):
        summary = gated.lab.run(server.provider(), ONCE)
        assert (summary.submitted, summary.problems, gated.sent()) == ([], [], [GOLD])
    server.faults(slow=0)
    while not (summary := gated.lab.run(server.provider(), ONCE)).labelled:
        pass
    assert summary.labelled == 3
    assert gated.sent() == [GOLD, REST], "the pass that loads the gold sends the rest"
    while gated.lab.run(server.provider(), ONCE).in_flight:
        pass
    assert gated.lab.outcomes() == {"labelled": 8}
    assert gated.sent() == [GOLD, REST]


def test_with_once_a_gate_that_does_not_hold_is_told_by_every_pass(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=False)
    server.faults(slow=3600)
    summary = gated.lab.run(server.provider(), ONCE)
    assert (len(summary.in_flight), summary.problems) == (1, [])
    server.faults(slow=0)
    while summary.in_flight:
        summary = gated.lab.run(server.provider(), ONCE)
    for _ in range(2):
        assert NOT_HELD in summary.problems[0]
        assert gated.sent() == [GOLD]
        summary = gated.lab.run(server.provider(), ONCE)


def test_gold_that_fails_is_tried_again_before_the_gate_is_asked(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(row_not_json={"share": 1.0, "times": 1})
    summary = gated.lab.run(server.provider())
    assert (summary.labelled, summary.problems) == (8, [])
    assert gated.sent() == [GOLD, GOLD, REST, REST]


def test_gold_that_is_all_rejected_holds_the_rest_back(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(row_refusal={"share": 1.0})
    summary = gated.lab.run(server.provider())
    assert "no text of `gold_labels` has an answer of version 1 yet" in summary.problems[0]
    assert gated.sent() == [GOLD]


def test_gold_that_is_mostly_rejected_holds_the_rest_back_however_right_what_is_left_is(
    gated: Gated, server: Server
) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(row_refusal={"share": 1.0})
    assert gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=2)).rejected == 2
    server.faults()
    [problem] = gated.lab.run(server.provider()).problems
    assert "sentiment: 2 of 3 gold texts are rejected in version 1, more than may be wrong with" in problem
    assert gated.lab.outcomes() == {"labelled": 1, "rejected:refused": 2}
    gated.gate(**{**ASKED, "at_least": 0.3})
    assert gated.lab.run(server.provider()).labelled == 5, "as many as may be wrong may be without an answer"


def test_a_gate_by_labels_of_an_earlier_wording_is_told_as_such(gated: Gated, server: Server, command: Command) -> None:
    gated.judge(GOLD, agree=True)
    assert "the quality gate holds\n" in command("pilot", *QUICKLY).out
    gated.lab.edit_task(instructions="Label the comment as a film critic would.")
    note = "by labels of an earlier wording too: raise `version` to measure today's"
    assert f"the quality gate holds, {note}\n" in command("pilot", *QUICKLY).out
    assert f": holds\n    measured {note}\n" in command("plan").out


def test_gold_in_a_lost_batch_ends_the_run_and_says_what_to_do(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, once=True, limit=1))
    gated.lab.sql("delete from main_labels.comment_labels")
    gated.lab.sql("delete from main_labels.label_events where event = 'loaded'")
    gated.lab.sql(
        "insert into main_labels.label_events by name select batch_key, 'lost' as event from"
        " main_labels.label_events where event = 'planned'"
    )
    assert gated.lab.states() == ["lost"]
    summary = gated.lab.run(server.provider())
    assert "nothing more is known of batches with 1 gold texts" in summary.problems[0]
    assert [len(texts) for texts in gated.sent()] == [1, 2], "the other gold texts are sent, the rest is not"


def test_gold_that_was_sent_with_another_key_ends_the_run(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(slow=3600)
    gated.lab.run(server.provider(), ONCE)
    for settings in (Settings(poll_seconds=0.01, grace_seconds=0.0), ONCE):
        summary = gated.lab.run(server.provider("other-key"), settings)
        assert any("nothing more is known of batches with 3 gold texts" in problem for problem in summary.problems)
        assert any("proves nothing" in problem for problem in summary.problems)
    assert gated.sent() == [GOLD]


def test_a_gate_that_only_warns_is_no_gate(gated: Gated, server: Server) -> None:
    gated.gate("warn", **ASKED)
    gated.judge(GOLD, agree=False)
    assert gated.plan().gates == []
    assert gated.lab.run(server.provider()).labelled == 8
    assert gated.sent() == [TEXTS]


def test_a_gate_of_a_task_without_gold_is_told_before_anything_is_sent(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.lab.edit_task(gold=None)
    said = command("run", *QUICKLY)
    assert (said.code, "task `comments_to_label` has no `gold`" in said.err) == (1, True)
    assert server.control("GET", "/local/stats")["files"] == 0


def test_the_plan_shows_the_gate_and_whether_it_holds(gated: Gated, server: Server, command: Command) -> None:
    gated.judge(GOLD, agree=False)
    asked, nothing_yet = (
        "sentiment accuracy at least 0.9",
        "sentiment: no text of `gold_labels` has an answer of version",
    )
    before = command("plan").out
    assert f"  gate: {asked}: does not hold yet\n    {nothing_yet} 1 yet\n" in before
    command("run", *QUICKLY)
    assert f"  gate: {asked}: does not hold yet\n    {NOT_HELD}\n" in command("plan").out
    gated.judge(GOLD, agree=True)
    assert f"  gate: {asked}: holds\n" in command("plan").out
    [plan] = command("plan", "--json").json
    assert (plan["gates"], plan["gate_failures"]) == ([asked], [])


def test_a_build_whose_gate_does_not_hold_goes_on_with_nothing(gated: Gated, server: Server, command: Command) -> None:
    gated.judge(GOLD, agree=False)
    said = command("build", *QUICKLY)
    assert said.code == 1, said
    assert NOT_HELD in said.err
    assert executed(server) == GOLD
    made = "select count(*) from information_schema.tables where table_name = 'moods' and table_schema = 'main'"
    assert gated.lab.sql(made) == [(0,)], "what reads the labels is skipped"
    gated.judge(GOLD, agree=True)
    assert command("build", *QUICKLY).code == 0
    assert gated.lab.sql("select count(*) from main.moods") == [(8,)]


def test_a_gate_that_no_longer_holds_when_nothing_is_pending_stops_a_build_as_well(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    assert gated.lab.run(server.provider()).labelled == 8
    gated.judge(GOLD, agree=False)
    before = len(server.executions())
    said = command("build", *QUICKLY)
    assert (said.code, NOT_HELD in said.err) == (1, True), said
    made = "select count(*) from information_schema.tables where table_name = 'moods' and table_schema = 'main'"
    assert (gated.lab.sql(made), len(server.executions())) == ([(0,)], before)
    assert json.loads(command("run", "--json", *QUICKLY).out)["run"]["gated"] == ["comment_labels"]


def test_a_budget_that_ends_before_the_gate_is_judged_leaves_what_reads_the_labels(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    said = command("build", *QUICKLY, "--budget-usd", "0.000001")
    assert (said.code, server.executions()) == (4, []), said
    made = "select count(*) from information_schema.tables where table_name = 'moods' and table_schema = 'main'"
    assert gated.lab.sql(made) == [(0,)]


def test_a_task_whose_gate_does_not_hold_does_not_stop_the_others(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.lab.add_task()
    document = yaml.safe_load((gated.lab.folder / "models" / "comments_to_label.yml").read_text())
    document["models"][1]["config"]["meta"]["dbt_labels"].pop("gold")
    (gated.lab.folder / "models" / "comments_to_label.yml").write_text(yaml.safe_dump(document))
    gated.lab.reparse()
    gated.lab.dbt("run", "--select", "moods_to_label")
    gated.judge(GOLD, agree=False)
    server.faults(row_not_json={"share": 1.0, "times": 2})  # the other has something to send after the first stopped
    said = command("run", *QUICKLY)
    assert (said.code, NOT_HELD in said.err) == (1, True)
    assert {text for texts in gated.sent() for text in texts} == set(GOLD)
    assert gated.lab.sql("select count(*) from main_labels.comment_moods where outcome = 'labelled'") == [(8,)]
    assert gated.lab.outcomes()["labelled"] == 3
    piloted = command("pilot", *QUICKLY)
    assert "moods_to_label" not in piloted.out + piloted.err, "a task without gold is passed over"


def test_gold_that_nobody_can_read_keeps_no_paused_task_from_collecting(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    gated.lab.run(server.provider(), ONCE)
    gated.lab.edit_task(run={"paused": True})
    gated.lab.sql("drop view main.gold_labels")
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 3


def test_labels_that_were_imported_open_no_gate(gated: Gated, server: Server, command: Command) -> None:
    gated.judge(GOLD, agree=False)
    old = "select text_key, comment_text, sentiment, '[]' as themes from {{ ref('gold_labels') }}"
    (gated.lab.folder / "models" / "old_labels.sql").write_text(old)
    gated.lab.reparse()
    gated.lab.dbt("run", "--select", "old_labels")
    assert command("import", "--from", "old_labels", "--yes", "--json").json["labels"] == 3
    said = command("run", *QUICKLY)
    assert said.code == 1
    of_imported = "(labels of 3 of them were imported, which says nothing of the model: raise `version`"
    assert f"no text of `gold_labels` has an answer of version 1 yet {of_imported}" in said.err
    assert gated.sent() == []
    assert of_imported in command("evaluate").err


def test_a_model_that_reads_a_gated_task_and_another_stays_as_it_is(
    gated: Gated, server: Server, command: Command
) -> None:
    lab = gated.lab
    lab.add_task()
    path = lab.folder / "models" / "comments_to_label.yml"
    document = yaml.safe_load(path.read_text())
    document["models"][1]["config"]["meta"]["dbt_labels"].pop("gold")
    path.write_text(yaml.safe_dump(document))
    both = " union all ".join(
        f"select text_key from {{{{ source('labels', '{table}') }}}}" for table in ("comment_labels", "comment_moods")
    )
    (lab.folder / "models" / "both.sql").write_text(both)
    lab.reparse()
    gated.judge(GOLD, agree=False)
    said = command("build", *QUICKLY)
    assert (said.code, NOT_HELD in said.err) == (1, True), said
    made = "select table_name from information_schema.tables where table_schema = 'main' and table_name in "
    assert lab.sql(f"{made} ('moods', 'both')") == [("moods",)], "the other task's alone is built"
    assert lab.sql(f"{made} ('label_spend')") == [("label_spend",)], "the package's own say how far it is"
