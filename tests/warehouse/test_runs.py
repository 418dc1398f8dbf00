"""A whole run on every engine, from pending texts to labels, and what else happens to them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from connector.errors import WarehouseError
from connector.ledger import State
from connector.run import Settings
from connector.warehouse.tables import Ledger
from connector.warehouse.texts import count_labels, count_texts
from tests.books import check_money
from tests.command import QUICKLY, Command
from tests.lab import Lab, Server


def test_every_text_gets_its_own_label_once_and_nothing_is_sent_again(lab: Lab, server: Server) -> None:
    task = lab.project.tasks[0]
    assert count_texts(lab.project, task).pending == {"new": 3}
    assert lab.run(server.provider()).labelled == 3
    assert set(lab.labels()) == {"Loved it", "Hated it", "The music was fine"}
    assert lab.states() == ["loaded"]
    assert lab.run(server.provider()).submitted == []
    assert len(server.executions()) == 3
    counts = count_texts(lab.project, task)
    assert (counts.pending, counts.labelled, counts.in_flight) == ({}, 3, 0)
    assert (counts.comments, counts.distinct_texts) == (6, 4)
    shown = count_labels(lab.project, task)
    assert sum(shown["sentiment"].values()) == 3
    themes = [value for _, themes in lab.labels().values() for value in themes.strip("[]").split(",") if value]
    assert sum(shown["themes"].values()) == len(themes)
    lab.sql("insert into main_labels.comment_labels select * from main_labels.comment_labels")
    assert count_labels(lab.project, task) == shown, "a label that was loaded twice counts once"


def test_the_commands_work_as_they_are(command: Command, lab: Lab) -> None:
    planned = command("plan", "--json").json
    assert planned[0]["pending"] == {"new": 3}
    assert command("build", "--json", *QUICKLY).json["run"]["labelled"] == 3
    assert command("build", "--json", *QUICKLY).json["run"]["submitted"] == []
    assert command("status").code == 0
    assert command("debug").code == 0
    assert command("ddl", "--json").json == []
    missing = command("ddl", "--vars", "dbt_labels_schema: elsewhere", "--json").json
    assert len(missing) == 5
    for statement in missing:
        lab.sql(statement)
    assert command("ddl", "--vars", "dbt_labels_schema: elsewhere", "--json").json == []


def test_a_raised_version_labels_everything_again_and_keeps_what_there_was(lab: Lab, server: Server) -> None:
    lab.run(server.provider())
    lab.edit_task(version=2)
    lab.build()
    assert count_texts(lab.project, lab.project.tasks[0]).pending == {"version raised": 3}
    assert lab.run(server.provider()).labelled == 3
    assert (len(lab.labels(1)), len(lab.labels(2))) == (3, 3)
    check_ledger(lab)


def test_what_failed_is_tried_again_and_what_was_rejected_can_be_put_back(
    lab: Lab, server: Server, command: Command
) -> None:
    server.faults(row_not_json={"share": 1.0, "times": 1}, row_refusal={"share": 0.5, "by": "content"})
    summary = lab.run(server.provider())
    assert summary.problems == []
    outcomes = lab.outcomes()
    assert outcomes.get("failed:invalid", 0) > 0
    rejected = outcomes.get("rejected:refused", 0)
    assert len(lab.labels()) + rejected == 3
    server.faults(row_refusal={"share": 1.0})
    lab.add_comments(["one more"])
    assert lab.run(server.provider()).rejected == 1
    server.faults()
    assert command("retry", "--reason", "refused", "--yes", "--json").json == {"texts": rejected + 1, "batches": []}
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == rejected + 1
    assert len(lab.labels()) == 4
    check_ledger(lab)


def test_a_batch_that_is_loaded_twice_changes_nothing(lab: Lab, server: Server) -> None:
    lab.run(server.provider())
    ledger = Ledger(lab.project, "again")
    [batch] = ledger.batches(["comment_labels"], [State.LOADED])
    before = lab.sql("select * from main_labels.comment_labels order by text_key")
    with ledger.leased(["comment_labels"]):
        ledger.load(batch, [], 0)
    assert lab.sql("select * from main_labels.comment_labels order by text_key") == before
    assert lab.sql("select count(*) from main_labels.label_events where event = 'loaded'") == [(1,)]


def test_a_column_of_another_type_is_named_before_anything_is_sent(lab: Lab, server: Server) -> None:
    fields = [{"name": "sentiment", "type": "integer", "min": 1, "max": 5}, {"name": "themes", "type": "boolean"}]
    lab.edit_task(fields=fields)
    with pytest.raises(WarehouseError) as told:
        lab.run(server.provider())
    assert "is varchar, the field's type asks for bigint" in told.value.message
    assert "is varchar, the field's type asks for boolean" in told.value.message
    lab.sql("drop table main_labels.label_claims cascade")
    with pytest.raises(WarehouseError, match="missing in the labels schema: create table if not exists"):
        lab.run(server.provider())
    assert server.executions() == []


def test_a_new_field_of_every_type_becomes_a_column_and_is_filled(lab: Lab, server: Server) -> None:
    fields = [
        {"name": "sentiment", "type": "one_of", "values": ["positive", "negative", "neutral"]},
        {"name": "themes", "type": "any_of", "values": ["acting", "plot", "music"], "max": 2},
        {"name": "calm", "type": "boolean"},
        {"name": "stars", "type": "integer", "min": 1, "max": 5},
        {"name": "gist", "type": "text", "max": 100},
    ]
    unreasoned = {"reasoning_effort": "none"}
    lab.edit_task(fields=fields, params=unreasoned, run={"max_output_tokens": 100, "confidence": True})
    lab.build()
    assert lab.run(server.provider()).labelled == 3
    rows = lab.sql("select calm, stars, gist, cost_usd from main_labels.comment_labels")
    for calm, stars, gist, cost in rows:
        assert isinstance(calm, bool)
        assert stars in range(1, 6)
        assert isinstance(gist, str)
        assert isinstance(cost, Decimal)
    assert set(count_labels(lab.project, lab.project.tasks[0])["calm"]) <= {"true", "false"}
    lab.dbt("build")


def test_fields_may_have_the_names_that_sql_of_ours_uses_itself(lab: Lab, server: Server) -> None:
    fields = [
        {"name": "member", "type": "any_of", "values": ["acting", "plot"]},
        {"name": "value", "type": "any_of", "values": ["acting", "plot"]},
        {"name": "labels", "type": "one_of", "values": ["good", "bad"]},
        {"name": "col", "type": "boolean"},
    ]
    lab.edit_task(fields=fields)
    lab.build()
    assert lab.run(server.provider()).labelled == 3
    assert count_labels(lab.project, lab.project.tasks[0]).keys() == {"member", "value", "labels", "col"}
    lab.dbt("build")


def test_a_build_with_empty_passes_and_the_next_one_is_whole_again(lab: Lab, server: Server) -> None:
    assert lab.run(server.provider(), Settings(limit=1, poll_seconds=0.01)).labelled == 1
    lab.dbt("build", "--empty")
    lab.dbt("build")
    assert count_texts(lab.project, lab.project.tasks[0]).pending == {"new": 2}
    assert len(lab.labels()) == 1


def test_the_comments_are_those_of_the_model_that_has_them_and_not_of_a_list_to_leave_out(lab: Lab) -> None:
    models = lab.folder / "models"
    left_out = "select comment_text, text_key from {{ ref('stg_comments') }} where comment_text = 'Hated it'"
    (models / "a_list.sql").write_text("{{ config(materialized='table') }}" + left_out)
    pending = (models / "comments_to_label.sql").read_text()
    listed = "select * from texts where text_key not in (select text_key from {{ ref('a_list') }})"
    (models / "comments_to_label.sql").write_text(f"with texts as (select * from ({pending}) as p) {listed}")
    lab.reparse()
    lab.build()
    counts = count_texts(lab.project, lab.project.tasks[0])
    assert (counts.pending, counts.comments, counts.distinct_texts, counts.blank) == ({"new": 2}, 6, 4, 1)


def test_a_plain_dbt_build_makes_every_model_of_the_package_and_its_tests_pass(lab: Lab, server: Server) -> None:
    server.faults(row_refusal={"share": 0.5, "by": "content"})
    lab.run(server.provider())
    lab.dbt("build")
    [(batches, texts, cost)] = lab.sql("select batches, texts, cost_usd from main.label_spend")
    assert (batches, texts) == (1, 3)
    assert lab.sql("select sum(cost_usd) from main_labels.comment_labels") == [(cost,)]
    assert lab.sql("select state, is_live from main.label_batches") == [("loaded", False)]
    [(rejected,)] = lab.sql("select count(*) from main.label_rejections")
    assert rejected == 3 - len(lab.labels())
    assert lab.sql("select count(*) from main.label_quality") == [(0,)]


def check_ledger(lab: Lab) -> None:
    """No text has two labels of a version, no batch is unresolved, and the money adds up."""
    twice = "select text_key from main_labels.comment_labels where outcome = 'labelled' group by text_key, version"
    assert lab.sql(f"{twice} having count(*) > 1") == []
    assert set(lab.states()) == {"loaded"}
    check_money(lab)
