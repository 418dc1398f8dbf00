"""Bad input in the project: the task's YAML, the pending model, and what dbt needs to read them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector import __version__
from tests.bad_input import MODEL, YAML, Command, edit, refused, set_pending
from tests.lab import ROOT, Lab

# The task's YAML


def test_every_mistake_in_the_yaml_is_said_at_once_with_file_key_and_fix(lab: Lab, command: Command) -> None:
    text = (lab.folder / YAML).read_text()
    text = text.replace("[positive, negative, neutral]", "[yes, no, on, 1, a, a, '']").replace("model:", "modell:")
    text = text.replace("version: 1", "version: '1'").replace("[acting, plot, music]", "{acting: a, acting: b}")
    (lab.folder / YAML).write_text(text)
    said = command("run", "--yes")
    refused(
        said,
        f"{YAML}: model `comments_to_label`: `model` is missing",
        "`modell` is not a key of a task",
        "`version` must be a whole number, not '1'",
        "`fields.1.values`: YAML turned this into `true`: quote it; YAML turned this into `false`: quote it;",
        "YAML turned this into 1: quote it; `a` appears twice",
        "`fields.2.values`: `acting` appears twice",
        "hint: keys are under `config.meta.dbt_labels`; see docs/task.md",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda task: task.update(table="label_events"), ["is a table of the ledger: choose another name"]),
        (
            lambda task: task.update(instructions_file=f"{task.pop('instructions')}.md"),
            ["`instructions_file`: ", "can not be read: No such file or directory"],
        ),
    ],
)
def test_a_mistake_in_the_yaml_stops_before_anything_else(
    lab: Lab, command: Command, change: Callable[[dict[str, Any]], Any], words: list[str]
) -> None:
    edit(lab, change)
    refused(command("run", "--yes"), f"{YAML}: model `comments_to_label`: ", *words)


def test_a_text_column_that_is_not_there_is_named_beside_those_that_are(lab: Lab, command: Command) -> None:
    edit(lab, lambda task: task.update(text="order_notes"))
    refused(
        command("plan"),
        "task `comments_to_label`: `text: order_notes`: ",
        "has no such column; it has `comment_id`, `comment_text`",
        "hint: correct `text` in the task's YAML",
    )


def test_two_tasks_with_one_table_are_refused(lab: Lab, command: Command) -> None:
    document = yaml.safe_load((lab.folder / YAML).read_text())
    document["models"].append({**document["models"][0], "name": "again"})
    (lab.folder / YAML).write_text(yaml.safe_dump(document))
    shutil.copy(lab.folder / MODEL, lab.folder / "models" / "again.sql")
    refused(command("run", "--yes"), "models `again`, `comments_to_label`: two tasks with one table, `comment_labels`")


def test_a_block_on_a_folder_is_refused_where_it_lands_on_several_models_and_taken_on_one(
    lab: Lab, command: Command
) -> None:
    meta = yaml.safe_load((lab.folder / YAML).read_text())["models"][0]["config"]["meta"]
    (lab.folder / YAML).unlink()
    project = (lab.folder / "dbt_project.yml").read_text()
    (lab.folder / "dbt_project.yml").write_text(project + yaml.safe_dump({"models": {"small": {"+meta": meta}}}))
    refused(
        command("run", "--yes"),
        "dbt_project.yml: one `dbt_labels` block under a folder's `+meta` landed on several models: ",
        "`stg_comments`",
        "`comments_to_label`",
        "move it to the YAML of the one pending model",
    )
    only = {"models": {"small": {"comments_to_label": {"+meta": meta}}}}
    (lab.folder / "dbt_project.yml").write_text(project + yaml.safe_dump(only))
    assert command("plan").code == 0


def test_instructions_that_jinja_changed_are_noted_before_the_plan(lab: Lab, command: Command) -> None:
    edit(lab, lambda task: task.update(instructions="Answer like {{ target.name }}."))
    said = command("plan")
    assert said.code == 0
    assert said.err.startswith("note: model `comments_to_label`: dbt rendered the braces in `instructions`")
    assert "name it in `instructions_file`" in said.err


def test_a_project_without_a_task_or_with_another_says_what_there_is(lab: Lab, command: Command) -> None:
    refused(command("run", "--task", "reviews"), "no task is called `reviews`; there are `comments_to_label`")
    (lab.folder / YAML).unlink()
    set_pending(lab, "select 1 as one")
    refused(command("run", "--yes"), "the project has no task", "give a model `config.meta.dbt_labels`")


# The pending model

FROM = "from {{ ref('stg_comments') }}"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (f"select distinct text_key, comment_text as body {FROM}", ["has no column `comment_text`; it has `text_key`"]),
        (f"select distinct comment_text {FROM}", ["has no column `text_key`", "`dbt_labels.text_key` makes the key"]),
        (f"select null::varchar as text_key, comment_text {FROM}", ["3 rows with a null `text_key`"]),
        (f"select 'k' as text_key, comment_text {FROM}", ["2 rows whose `text_key` appears before"]),
        (f"select text_key, null::varchar as comment_text {FROM}", ["3 rows with a null `comment_text`"]),
        (f"select text_key, 1 as comment_text {FROM}", ["`comment_text` is integer, not text", "cast it to varchar"]),
        (f"select 7 as text_key, comment_text {FROM}", ["`text_key` is integer, not text"]),
        ("{{ config(materialized='ephemeral') }} select 1 as one", ["is ephemeral", "make it a view or a table"]),
        (f"select text_key, nonsense {FROM}", ['Referenced column "nonsense" not found']),
    ],
)
def test_a_pending_model_that_is_not_one_row_per_text_is_refused(
    lab: Lab, command: Command, sql: str, words: list[str]
) -> None:
    set_pending(lab, sql)
    refused(command("run", "--yes"), "comments_to_label", *words)


def test_a_pending_model_that_is_not_built_is_named_with_the_command_that_builds_it(lab: Lab, command: Command) -> None:
    set_pending(lab, "{{ config(materialized='table') }} select text_key, comment_text " + FROM)
    lab.sql("drop view main.comments_to_label")
    refused(
        command("run", "--yes"),
        "model `comments_to_label` is not built: there is no ",
        "hint: run `dbt build --indirect-selection buildable --select +comments_to_label`",
    )


def test_a_stale_table_as_pending_model_never_has_a_settled_text_planned_again(lab: Lab, command: Command) -> None:
    set_pending(lab, "{{ config(materialized='table') }} select text_key, comment_text " + FROM)
    lab.reparse()
    lab.dbt("run", "--select", "comments_to_label")
    assert lab.sql("select count(*) from main.comments_to_label") == [(3,)]
    [plan] = command("plan", "--json").json
    assert (plan["labelled"], plan["pending"], plan["requests"]) == (1, {"new": 2}, 2)


def test_a_pending_view_built_with_empty_is_built_again(lab: Lab, command: Command) -> None:
    lab.reparse()
    lab.dbt("run", "--select", "comments_to_label", "--empty")
    assert lab.sql("select count(*) from main.comments_to_label") == [(0,)]
    assert command("plan", "--json").json[0]["requests"] == 2


def test_a_whole_build_with_empty_is_named_as_why_nothing_is_pending(lab: Lab, command: Command) -> None:
    lab.reparse()
    lab.dbt("run", "--empty")
    how = "`dbt build --indirect-selection buildable --select +comments_to_label`"
    assert f"as a build with --empty leaves it; {how}" in command("plan").out


# dbt, the package and the profile


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select {{ nope( }}", ["unexpected '}'", "models/broken.sql"]),
        ("select * from {{ ref('nope') }}", ["models/broken.sql", "depends on a node named 'nope'"]),
    ],
)
def test_errors_of_dbt_come_in_its_own_words(lab: Lab, command: Command, sql: str, words: list[str]) -> None:
    (lab.folder / "models" / "broken.sql").write_text(sql)
    refused(command("run", "--yes"), "dbt could not parse the project: Compilation Error", *words)


def test_broken_yaml_and_vars_come_in_dbt_s_own_words(lab: Lab, command: Command) -> None:
    refused(command("run", "--vars", "{a: ["), "'{a: [' is not valid YAML")
    (lab.folder / YAML).write_text("models: [")
    refused(command("run", "--yes"), "dbt could not parse the project: Parsing Error", "comments_to_label.yml")


@pytest.mark.parametrize("key", ["dbt_label", "dbt-labels"])
def test_a_task_under_a_name_that_is_nearly_right_is_said(lab: Lab, command: Command, key: str) -> None:
    written = (lab.folder / YAML).read_text()
    (lab.folder / YAML).write_text(written.replace("dbt_labels:", f"{key}:"))
    refused(command("run", "--yes"), YAML, f"`meta.{key}` is no task: did you mean `dbt_labels`?")


def test_a_missing_package_is_said_with_dbt_deps(lab: Lab, command: Command) -> None:
    (lab.folder / "dbt_packages" / "dbt_labels").unlink()
    refused(command("run", "--yes"), 'Run "dbt deps"')
    (lab.folder / "packages.yml").unlink()
    refused(command("run", "--yes"), "a source named 'label_ledger.", "hint: is the dbt package", "run `dbt deps`")
    set_pending(lab, "select 1 as one")
    refused(command("run", "--yes"), "does not have the dbt package `dbt_labels`", "run `dbt deps`")


def test_a_package_that_is_switched_off_is_refused(lab: Lab, command: Command) -> None:
    with (lab.folder / "dbt_project.yml").open("a") as config:
        config.write("models: {dbt_labels: {+enabled: false}}\n")
    refused(command("run", "--yes"), "dbt_project.yml", "`models: dbt_labels:`", "under `ledger:` and `quality:`")


def test_package_and_command_of_different_versions_are_refused(lab: Lab, command: Command) -> None:
    installed = lab.folder / "dbt_packages" / "dbt_labels"
    installed.unlink()
    shutil.copytree(ROOT / "connector" / "dbt_package", installed)
    macro = installed / "macros" / "package_version.sql"
    ours = macro.read_text()
    for version, what_to_do in (
        ("9.9.9", "hint: pip install"),
        ("0.0.1", "hint: `dbt-labels init` brings the package to"),
    ):
        macro.write_text(ours.replace(__version__, version))
        said = f"dbt-labels is {__version__}, but the project's dbt package `dbt_labels` is {version}"
        refused(command("run", "--yes"), said, what_to_do)


def test_a_missing_profile_or_target_is_named(lab: Lab, command: Command) -> None:
    refused(command("run", "--target", "prod"), "does not have a target named 'prod'", " - dev", "hint: `--target` or")
    (lab.folder / "profiles.yml").write_text("another: {target: dev, outputs: {dev: {type: duckdb}}}")
    refused(
        command("run", "--yes"),
        "Could not find profile named 'small'",
        "hint: profiles.yml is looked for in",
        "`profile` in dbt_project.yml names one of those in it",
    )


def test_a_folder_without_a_project_is_named(lab: Lab, command: Command, tmp_path: Path) -> None:
    refused(command("run", "--project-dir", str(tmp_path)), "dbt_project.yml", str(tmp_path))


@pytest.mark.parametrize("name", ["build", "plan"])
def test_a_database_in_memory_is_refused(lab: Lab, command: Command, name: str) -> None:
    (lab.folder / "profiles.yml").write_text("small: {target: dev, outputs: {dev: {type: duckdb}}}")
    refused(command(name), "DuckDB database is in memory", "give the profile's output a `path`")


@pytest.mark.parametrize(
    ("output", "scheme"),
    [
        ("{type: duckdb, path: 'md:reviews?motherduck_token=secret'}", "md:"),
        ("{type: duckdb, path: 'ducklake:catalogue.ducklake'}", "ducklake:"),
        ("{type: duckdb, path: 's3://bucket/reviews.duckdb'}", "s3:"),
        (
            "{type: duckdb, path: x.duckdb, database: p, attach: [{path: 'dbname=x', type: postgres, alias: p}]}",
            "postgres:",
        ),
    ],
)
def test_a_duckdb_that_is_no_file_is_refused(lab: Lab, command: Command, output: str, scheme: str) -> None:
    (lab.folder / "profiles.yml").write_text(f"small: {{target: dev, outputs: {{dev: {output}}}}}")
    refused(command("plan"), f"DuckDB database is no file (`{scheme}`)", "see docs/warehouses.md")
