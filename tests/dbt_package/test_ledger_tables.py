"""The tables of labels and the ledger: when they are made, where they are, and what tests and freshness say of them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from connector.cli import cli
from connector.warehouse.project import parse_project
from connector.warehouse.texts import read_spool, spool_texts
from tests.dbt_package import ODD, key, label, list_everything, pending, tables
from tests.dbt_package.conftest import Built
from tests.demo import dbt, insert
from tests.lab import Lab

OURS = ["comment_labels", "label_claims", "label_events", "label_leases"]

# The hook


@pytest.mark.parametrize("command", ["parse", "compile", "ls", "docs generate", "test", "seed", "source freshness"])
def test_a_command_that_builds_nothing_makes_no_table(built: Built, command: str) -> None:
    lab = built.restore()
    lab.sql("drop schema main_labels cascade")
    before = tables(lab)
    dbt(lab, *command.split())
    assert tables(lab) == before
    assert lab.sql("select count(*) from information_schema.schemata where schema_name = 'main_labels'") == [(0,)]


@pytest.mark.parametrize("command", ["build", "run"])
def test_a_command_that_builds_makes_what_is_missing_and_keeps_what_is_there(lab: Lab, command: str) -> None:
    insert(lab, "main_labels.comment_labels", [label("Loved it")])
    lab.sql("drop table main_labels.label_claims")
    outcome = dbt(lab, command, "--select", "comments_to_label")
    assert outcome.success, outcome.message
    assert lab.sql("select count(*) from main_labels.label_claims") == [(0,)]
    assert lab.sql("select count(*) from main_labels.comment_labels") == [(1,)]


def test_a_new_field_becomes_a_column_and_the_rows_stay(fresh: Lab) -> None:
    assert dbt(fresh, "run").success
    insert(fresh, "main_labels.comment_labels", [label("Loved it")])
    rows = fresh.sql("select * from main_labels.comment_labels")
    fresh.edit_task(
        fields=[
            {"name": "sentiment", "type": "one_of", "values": ["positive", "negative"]},
            {"name": "themes", "type": "any_of", "values": ["acting", "plot"]},
            {"name": "is_spam", "type": "boolean"},
            {"name": "stars", "type": "integer", "min": 1, "max": 5},
            {"name": "quote", "type": "text", "max": 100},
            {"name": "select", "type": "one_of", "values": ["a", "b"]},
        ]
    )
    outcome = dbt(fresh, "run")
    assert outcome.success, outcome.message
    described = dict(row[:2] for row in fresh.sql("describe main_labels.comment_labels"))
    wanted = {"is_spam": "BOOLEAN", "stars": "BIGINT", "quote": "VARCHAR", "select": "VARCHAR"}
    assert wanted.items() <= described.items()
    assert [row[: len(rows[0])] for row in fresh.sql("select * from main_labels.comment_labels")] == rows
    assert fresh.sql('select text_key, "select" from main.current_labels') == [(key("Loved it"), None)]


def test_every_target_has_a_labels_schema_of_its_own(lab: Lab) -> None:
    insert(lab, "main_labels.comment_labels", [label("Loved it")])
    outcome = dbt(lab, "run", "--target", "other")
    assert outcome.success, outcome.message
    assert lab.sql("select count(*) from other_labels.comment_labels") == [(0,)]
    assert pending(lab, "other.comments_to_label") == {"Loved it", "Hated it", "The music was fine"}
    assert dbt(lab, "run").success
    assert pending(lab) == {"Hated it", "The music was fine"}


def test_a_role_without_the_right_leaves_the_tables_to_who_runs_the_printed_statements(fresh: Lab) -> None:
    off = ("--vars", "{dbt_labels_make_tables: false}")
    assert dbt(fresh, "run", "--select", "stg_comments", *off).success
    assert tables(fresh) == {"main.stg_comments"}
    options = ["--json", "--project-dir", str(fresh.folder), "--profiles-dir", str(fresh.folder)]
    printed = CliRunner().invoke(cli, ["ddl", *options])
    assert printed.exit_code == 0, printed.exception
    for statement in json.loads(printed.stdout):
        fresh.sql(statement)
    outcome = dbt(fresh, "build", *off)
    assert outcome.success, outcome.message
    assert pending(fresh) == {"Loved it", "Hated it", "The music was fine"}
    again = CliRunner().invoke(cli, ["ddl", *options])
    assert json.loads(again.stdout) == []


def test_a_project_may_do_without_the_models_of_the_package(fresh: Lab) -> None:
    off = "{+enabled: false}"
    with (fresh.folder / "dbt_project.yml").open("a") as config:
        config.write(f"models: {{dbt_labels: {{ledger: {off}, quality: {off}}}}}\n")
    outcome = dbt(fresh, "build")
    assert outcome.success, outcome.message
    assert {name for name in tables(fresh) if "label_" in name} == {f"main_labels.{name}" for name in OURS[1:]}


BROKEN: dict[str, Any] = {
    "a_word": "comment_labels",
    "a_list": ["comment_labels"],
    "empty": {},
    "no_table": {"fields": [{"name": "a", "type": "boolean"}]},
    "no_fields": {"table": "t01"},
    "fields_a_word": {"table": "t02", "fields": "sentiment"},
    "fields_a_mapping": {"table": "t03", "fields": {"name": "a", "type": "boolean"}},
    "fields_of_words": {"table": "t04", "fields": ["sentiment", None, 7]},
    "field_without_a_name": {"table": "t05", "fields": [{"type": "boolean"}]},
    "field_of_no_type": {"table": "t06", "fields": [{"name": "a"}, {"name": "b", "type": "colour"}]},
    "field_of_a_list_as_type": {"table": "t07", "fields": [{"name": "a", "type": ["boolean"]}]},
    "field_twice": {"table": "t08", "fields": [{"name": "a", "type": "boolean"}, {"name": "a", "type": "boolean"}]},
    "field_twice_but_for_case": {
        "table": "t09",
        "fields": [{"name": "a", "type": "boolean"}, {"name": "A", "type": "boolean"}],
    },
    "field_named_as_ours": {"table": "t10", "fields": [{"name": "outcome", "type": "boolean"}]},
    "field_with_a_quote": {"table": "t11", "fields": [{"name": 'a" boolean, "b', "type": "boolean"}]},
    "table_with_a_quote": {"table": "t'12\"", "fields": [{"name": "a", "type": "boolean"}]},
    "table_of_the_ledger": {"table": "label_claims", "fields": [{"name": "a", "type": "boolean"}]},
    "table_a_number": {"table": 13, "fields": [{"name": "a", "type": "boolean"}]},
    "version_a_word": {"table": "t14", "version": "two", "fields": [{"name": "a", "type": "boolean"}]},
}


def test_a_broken_task_stops_no_other_model(fresh: Lab) -> None:
    models = fresh.folder / "models"
    document = {"models": [{"name": n, "config": {"meta": {"dbt_labels": block}}} for n, block in BROKEN.items()]}
    (models / "broken.yml").write_text(yaml.safe_dump(document))
    for name in BROKEN:
        (models / f"{name}.sql").write_text("select 1 as one")
    outcome = dbt(fresh, "build")
    assert outcome.success, outcome.message
    claims = {name for name, *_ in fresh.sql("describe main_labels.label_claims")}
    assert "batch_key" in claims
    assert "a" not in claims
    assert pending(fresh) == {"Loved it", "Hated it", "The music was fine"}
    insert(fresh, "main_labels.comment_labels", [label("Loved it", outcome="rejected", reason="refused")])
    assert fresh.sql("select text_key, reason from main.label_rejections") == [(key("Loved it"), "refused")]


def test_a_model_without_a_task_is_told_what_it_needs(lab: Lab, tmp_path: Path) -> None:
    path = lab.folder / "models" / "lost.sql"
    path.write_text('{{ dbt_labels.current_labels(source("labels", "comment_labels"), task="no_such_model") }}')
    try:
        outcome = dbt(lab, "run", "--select", "lost")
    finally:
        path.unlink()
    assert not outcome.success
    assert "`no_such_model` has no task" in outcome.message


# Where the tables are


def test_one_variable_moves_every_table_for_dbt_and_for_the_connector(lab: Lab, tmp_path: Path) -> None:
    moved = "{dbt_labels_schema: paid_labels}"
    lab.sql("drop schema main_labels cascade")
    for command in ("run", "build"):
        outcome = dbt(lab, command, "--vars", moved)
        assert outcome.success, outcome.message
        assert not any(name.startswith("main_labels") for name in tables(lab))
        assert {f"paid_labels.{name}" for name in OURS} <= tables(lab)
        insert(lab, "paid_labels.comment_labels", [label("Loved it")])
    assert pending(lab) == {"Hated it", "The music was fine"}
    assert dbt(lab, "source", "freshness", "--vars", moved).success
    project = parse_project(lab.options(variables=moved))
    spool_texts(project, project.tasks[0], tmp_path / "spool")
    assert {text.text for text in read_spool(tmp_path / "spool")} == {"Hated it", "The music was fine"}


def test_what_another_schema_has_labelled_is_not_pending_here_and_nothing_is_written_there(
    lab: Lab, tmp_path: Path
) -> None:
    assert dbt(lab, "run", "--target", "other").success
    lab.sql("alter table other_labels.comment_labels drop column themes")
    theirs = label("Loved it", sentiment="negative", batch_key="theirs")
    theirs.pop("themes")
    rejected = theirs | {"text_key": key("Hated it"), "outcome": "rejected"}
    older = theirs | {"text_key": key("The music was fine"), "version": 0}
    insert(lab, "other_labels.comment_labels", [theirs, rejected, older])
    insert(lab, "main_labels.comment_labels", [label("Hated it", themes='["plot"]')])
    there = lab.sql("select * from other_labels.comment_labels order by all")

    variables = "{dbt_labels_read_from: other_labels}"
    outcome = dbt(lab, "build", "--vars", variables)
    assert outcome.success, outcome.message
    assert pending(lab) == {"The music was fine"}
    current = "select text_key, version, sentiment, themes from main.current_labels order by version, sentiment"
    assert lab.sql(current) == [
        (key("The music was fine"), 0, "negative", None),
        (key("Loved it"), 1, "negative", None),
        (key("Hated it"), 1, "positive", '["plot"]'),
    ]
    project = parse_project(lab.options(variables=variables))
    list_everything(lab)
    spool_texts(project, project.tasks[0], tmp_path / "spool")
    assert {text.text for text in read_spool(tmp_path / "spool")} == {"The music was fine"}
    assert lab.sql("select * from other_labels.comment_labels order by all") == there

    insert(lab, "main_labels.comment_labels", [label("Loved it", sentiment="positive", batch_key="ours")])
    assert dict(lab.sql("select text_key, batch_key from main.current_labels"))[key("Loved it")] == "ours"


def test_a_schema_to_read_from_that_is_not_there_is_warned_of(lab: Lab) -> None:
    outcome = dbt(lab, "run", "--select", "comments_to_label", "--vars", "{dbt_labels_read_from: nowhere}")
    assert outcome.success, outcome.message
    assert any("nowhere" in warning for warning in outcome.warnings)


# Tests and freshness on the source


def test_every_value_that_the_task_declares_is_accepted_and_any_other_fails(lab: Lab) -> None:
    right = [label(value, sentiment=value, themes=json.dumps([value], ensure_ascii=False)) for value in ODD]
    right += [
        label("no themes", themes="[]"),
        label("an older version's", version=0, sentiment="angry", themes='["angry"]'),
        label("failed", outcome="failed", sentiment=None, themes=None),
    ]
    insert(lab, "main_labels.comment_labels", right)
    outcome = dbt(lab, "test", "--select", "source:labels.comment_labels")
    assert outcome.success, outcome.message
    wrong = [
        label("a", sentiment="Positive"),
        label("b", sentiment="it''s"),
        label("c", themes='["plot","it is"]'),
        label("d", themes="[null]"),
        label("e", themes='["acting","say \\"ho\\""]'),
    ]
    insert(lab, "main_labels.comment_labels", wrong)
    outcome = dbt(lab, "test", "--select", "source:labels.comment_labels")
    assert (outcome.of("comment_labels_sentiment"), outcome.of("comment_labels_themes")) == ("fail", "fail")
    assert sorted(outcome.failures.values()) == [2, 3]


def test_an_empty_table_is_fresh_and_one_without_new_labels_gets_stale(lab: Lab) -> None:
    assert dbt(lab, "source", "freshness").of("comment_labels") == "pass"
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    insert(lab, "main_labels.comment_labels", [label("old", labelled_at=now - timedelta(days=8))])
    assert dbt(lab, "source", "freshness").of("comment_labels") == "warn"
    insert(lab, "main_labels.comment_labels", [label("new", labelled_at=now - timedelta(days=6))])
    assert dbt(lab, "source", "freshness").of("comment_labels") == "pass"
