"""Bad input: each kind says what is wrong and what to do, nothing is sent and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector import __version__
from connector.errors import WarehouseError, WarehouseLocked
from connector.run import Settings
from connector.warehouse.project import parse_project
from tests.lab import KEY, QUICK, ROOT, Lab, Server
from tests.test_cli import Bench, Said, run_command

MODEL = "models/comments_to_label.sql"
YAML = "models/comments_to_label.yml"
Command = Callable[..., Said]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Server]]:
    """Give a bench with one text labelled and two pending, and the server that labelled it."""
    folder = tmp_path_factory.mktemp("bad_input")
    lab = Lab(folder)
    lab.add_comments(["Loved it", "Hated it", "The music was fine"])
    lab.build()
    server = Server(folder / "server").start()
    lab.run(server.provider(), Settings(QUICK.poll_seconds, QUICK.grace_seconds, limit=1))
    yield Bench(folder, lab), server
    server.kill()


@pytest.fixture
def lab(place: tuple[Bench, Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Give the lab as it was at first; at the end of the test nothing may have been sent, and nothing be gone."""
    bench, server = place
    lab = bench.restored()
    monkeypatch.setenv("LAB_DUCKDB", str(lab.database))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    before, rows = _sent(server), _rows(lab)
    assert before["executions"] == rows["comment_labels"] == 1
    yield lab
    assert _sent(server) == before, "something was sent"
    assert _rows(lab) == rows, "the ledger changed"


@pytest.fixture
def command(lab: Lab, capfd: pytest.CaptureFixture[str]) -> Command:
    """Give what runs a command on the lab, in this process."""
    return lambda *arguments: run_command(lab, capfd, *arguments)


def _sent(server: Server) -> dict[str, int]:
    stats = server.control("GET", "/local/stats")
    return {name: stats[name] for name in ("files", "batches", "executions")}


def _rows(lab: Lab) -> dict[str, int]:
    tables = ("comment_labels", "label_claims", "label_events", "label_leases")
    return {table: lab.sql(f"select count(*) from main_labels.{table}")[0][0] for table in tables}


def _edit(lab: Lab, change: Callable[[dict[str, Any]], Any]) -> None:
    path = lab.folder / YAML
    document = yaml.safe_load(path.read_text())
    change(document["models"][0]["config"]["meta"]["dbt_labels"])
    path.write_text(yaml.safe_dump(document))


def _pending(lab: Lab, sql: str) -> None:
    (lab.folder / MODEL).write_text(sql)


def _refused(said: Said, *words: str, code: int = 1) -> None:
    assert said.code == code, said
    assert said.out == ""
    assert [line[:7] for line in said.err.splitlines()].count("Error: ") == 1
    assert "Traceback" not in said.err
    missing = [word for word in words if word not in said.err]
    assert not missing, f"{missing} not in:\n{said.err}"


# The task's YAML


def test_every_mistake_in_the_yaml_is_said_at_once_with_file_key_and_fix(lab: Lab, command: Command) -> None:
    text = (lab.folder / YAML).read_text()
    text = text.replace("[positive, negative, neutral]", "[yes, no, on, 1, a, a, '']").replace("model:", "modell:")
    text = text.replace("version: 1", "version: '1'").replace("[acting, plot, music]", "{acting: a, acting: b}")
    (lab.folder / YAML).write_text(text)
    said = command("run", "--yes")
    _refused(
        said,
        f"{YAML}: model `comments_to_label`: `model` is missing",
        "`modell` is not a key of a task",
        "`version` must be a whole number, not '1'",
        "`fields.1.values`: YAML turned this into `true`: quote it; YAML turned this into `false`: quote it;",
        "YAML turned this into 1: quote it; `a` appears twice",
        "`fields.2.values`: `acting` appears twice",
        'hint: keys are under `config.meta.dbt_labels`; see "The task" in README.md',
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
    _edit(lab, change)
    _refused(command("run", "--yes"), f"{YAML}: model `comments_to_label`: ", *words)


def test_two_tasks_with_one_table_are_refused(lab: Lab, command: Command) -> None:
    document = yaml.safe_load((lab.folder / YAML).read_text())
    document["models"].append({**document["models"][0], "name": "again"})
    (lab.folder / YAML).write_text(yaml.safe_dump(document))
    shutil.copy(lab.folder / MODEL, lab.folder / "models" / "again.sql")
    _refused(command("run", "--yes"), "models `again`, `comments_to_label`: two tasks with one table, `comment_labels`")


def test_a_block_on_a_folder_is_refused_where_it_lands_on_several_models_and_taken_on_one(
    lab: Lab, command: Command
) -> None:
    meta = yaml.safe_load((lab.folder / YAML).read_text())["models"][0]["config"]["meta"]
    (lab.folder / YAML).unlink()
    project = (lab.folder / "dbt_project.yml").read_text()
    (lab.folder / "dbt_project.yml").write_text(project + yaml.safe_dump({"models": {"small": {"+meta": meta}}}))
    _refused(
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
    _edit(lab, lambda task: task.update(instructions="Answer like {{ target.name }}."))
    said = command("plan")
    assert said.code == 0
    assert said.err.startswith("note: model `comments_to_label`: dbt rendered the braces in `instructions`")
    assert "name it in `instructions_file`" in said.err


def test_a_project_without_a_task_or_with_another_says_what_there_is(lab: Lab, command: Command) -> None:
    _refused(command("run", "--task", "reviews"), "no task is called `reviews`; there are `comments_to_label`")
    (lab.folder / YAML).unlink()
    _pending(lab, "select 1 as one")
    _refused(command("run", "--yes"), "the project has no task", "give a model `config.meta.dbt_labels`")


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
    _pending(lab, sql)
    _refused(command("run", "--yes"), "comments_to_label", *words)


def test_a_pending_model_that_is_not_built_is_named_with_the_command_that_builds_it(lab: Lab, command: Command) -> None:
    _pending(lab, "{{ config(materialized='table') }} select text_key, comment_text " + FROM)
    lab.sql("drop view main.comments_to_label")
    _refused(
        command("run", "--yes"),
        "model `comments_to_label` is not built: there is no ",
        "hint: run `dbt build --select +comments_to_label`",
    )


def test_a_stale_table_as_pending_model_never_has_a_settled_text_planned_again(lab: Lab, command: Command) -> None:
    _pending(lab, "{{ config(materialized='table') }} select text_key, comment_text " + FROM)
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
    assert "as a build with --empty leaves it; `dbt build --select +comments_to_label`" in command("plan").out


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
    _refused(command("run", "--yes"), "dbt could not parse the project: Compilation Error", *words)


def test_broken_yaml_and_vars_come_in_dbt_s_own_words(lab: Lab, command: Command) -> None:
    _refused(command("run", "--vars", "{a: ["), "'{a: [' is not valid YAML")
    (lab.folder / YAML).write_text("models: [")
    _refused(command("run", "--yes"), "dbt could not parse the project: Parsing Error", "comments_to_label.yml")


def test_a_missing_package_is_said_with_dbt_deps(lab: Lab, command: Command) -> None:
    (lab.folder / "dbt_packages" / "dbt_labels").unlink()
    _refused(command("run", "--yes"), 'Run "dbt deps"')
    (lab.folder / "packages.yml").unlink()
    _refused(command("run", "--yes"), "a source named 'label_ledger.", "hint: is the dbt package", "run `dbt deps`")
    _pending(lab, "select 1 as one")
    _refused(command("run", "--yes"), "does not have the dbt package `dbt_labels`", "run `dbt deps`")


def test_package_and_command_of_different_versions_are_refused(lab: Lab, command: Command) -> None:
    installed = lab.folder / "dbt_packages" / "dbt_labels"
    installed.unlink()
    shutil.copytree(ROOT / "connector" / "dbt_package", installed)
    macro = installed / "macros" / "package_version.sql"
    macro.write_text(macro.read_text().replace(__version__, "9.9.9"))
    _refused(
        command("run", "--yes"),
        f"dbt-labels is {__version__}, but the project's dbt package `dbt_labels` is 9.9.9",
        "bring both to the same version",
    )


def test_a_missing_profile_or_target_is_named(lab: Lab, command: Command) -> None:
    _refused(command("run", "--target", "prod"), "does not have a target named 'prod'", " - dev", "hint: profiles.yml")
    (lab.folder / "profiles.yml").write_text("another: {target: dev, outputs: {dev: {type: duckdb}}}")
    _refused(command("run", "--yes"), "Could not find profile named 'small'", "hint: profiles.yml is looked for in")


def test_a_folder_without_a_project_is_named(lab: Lab, command: Command, tmp_path: Path) -> None:
    _refused(command("run", "--project-dir", str(tmp_path)), "dbt_project.yml", str(tmp_path))


@pytest.mark.parametrize("name", ["build", "plan"])
def test_a_database_in_memory_is_refused(lab: Lab, command: Command, name: str) -> None:
    (lab.folder / "profiles.yml").write_text("small: {target: dev, outputs: {dev: {type: duckdb}}}")
    _refused(command(name), "DuckDB database is in memory", "give the profile's output a `path`")


# The warehouse


@pytest.fixture
def holder(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """Give a process that holds the database until its stdin is closed."""
    code = f"import duckdb, sys; held = duckdb.connect({str(lab.database)!r}); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate()


def test_a_locked_database_is_waited_for_and_used_when_the_lock_ends(lab: Lab, holder: subprocess.Popen[str]) -> None:
    project = parse_project(lab.options())
    heard: list[str] = []

    def end_the_lock(line: str) -> None:
        heard.append(line)
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait()

    project.say = end_the_lock
    project.run_dbt("run", "--select", "comments_to_label", quiet=True)
    assert len(heard) == 1
    assert f"locked by process {holder.pid} (" in heard[0]
    assert "waiting up to 30 s" in heard[0]
    holder.stdin = None


def test_a_lock_that_does_not_end_names_the_process_that_holds_it(lab: Lab, holder: subprocess.Popen[str]) -> None:
    project = parse_project(lab.options())
    project.lock_patience_seconds = 0.0
    for use in (lambda: project.run_dbt("run"), lambda: project.connect().__enter__()):
        with pytest.raises(WarehouseLocked, match=f"locked by process {holder.pid} ") as caught:
            use()
        assert caught.value.hint == "close it, or wait until it is done, and run again"


def test_an_error_of_the_database_in_a_run_is_ours(lab: Lab) -> None:
    with (
        pytest.raises(WarehouseError, match="the warehouse refused: Catalog Error"),
        lab.reparse().connect() as session,
    ):
        session.handle.rows("select * from nowhere")
    with pytest.raises(WarehouseError, match="dbt refused: "), lab.project.connect() as session:
        session.macro("text_key_of_nothing")


def test_a_file_that_is_no_database_is_named(lab: Lab, command: Command) -> None:
    kept = lab.database.read_bytes()
    lab.database.write_text("this is no database, but a text that is long enough to be taken for one")
    said = command("run", "--yes")
    lab.database.write_bytes(kept)
    _refused(said, "the DuckDB database could not be opened: ")


def test_a_column_of_another_type_than_its_field_is_refused(lab: Lab, command: Command) -> None:
    lab.sql("alter table main_labels.comment_labels add column stars varchar")
    _edit(lab, lambda task: task["fields"].append({"name": "stars", "type": "integer", "min": 1, "max": 5}))
    _refused(
        command("run", "--yes"),
        "task `comments_to_label`: column `stars` of ",
        "is varchar, the field's type asks for bigint: name the field anew, or move the task to another `table`",
    )


def test_a_labels_schema_that_nobody_made_is_said_where_the_hook_is_off(lab: Lab, command: Command) -> None:
    off = "{dbt_labels_make_tables: false, dbt_labels_schema: elsewhere}"
    _refused(command("run", "--yes", "--vars", off), "elsewhere")
    assert "create schema" in command("ddl", "--vars", off).out


# The provider


def test_without_a_key_the_plan_is_shown_and_the_way_to_try_it_without(
    lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    said = command("run", "--yes")
    _refused(said, "2 pending: 2 new", "OPENAI_API_KEY is not set", "add --local")


def test_a_wrong_key_is_refused_with_what_the_provider_said(
    lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key")
    said = command("run", "--yes")
    _refused(said, "answered 401: Incorrect API key provided", "check OPENAI_API_KEY")
    assert "wrong-key" not in said.err


def test_a_base_url_where_nobody_answers_is_named(lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    _refused(command("run", "--yes"), "no answer from http://127.0.0.1:9/v1", "check OPENAI_BASE_URL and the network")


def test_a_base_url_that_is_something_else_is_named(
    lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", os.environ["OPENAI_BASE_URL"] + "/nothing/here")
    _refused(command("run", "--yes"), "/nothing/here", " answered 404")


def test_a_model_that_the_provider_does_not_know_is_named(lab: Lab, command: Command) -> None:
    _edit(lab, lambda task: task.update(model="gpt-nope"))
    _refused(command("run", "--yes"), "the provider does not know the model `gpt-nope`", "change `model`")


def test_without_a_terminal_and_without_yes_nothing_is_sent(lab: Lab, command: Command) -> None:
    for name in ("run", "build"):
        _refused(command(name), "there is no terminal to ask on, so nothing was sent", "add --yes", code=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--limit", "0"], ["Invalid value for '--limit'"]),
        (["run", "--poll-seconds", "x"], ["Invalid value for '--poll-seconds'"]),
        (["run", "--confirm", "all"], ["Invalid value for '--confirm'"]),
        (["run", "--frobnicate"], ["No such option '--frobnicate'"]),
        (["label"], ["No such command 'label'"]),
    ],
)
def test_an_option_that_does_not_fit_ends_with_the_usage(
    lab: Lab, command: Command, arguments: list[str], words: list[str]
) -> None:
    _refused(command(*arguments), *words, code=2)


def test_debug_shows_a_traceback_and_nothing_else_does(lab: Lab, command: Command) -> None:
    (lab.folder / YAML).write_text("models: [")
    assert "Traceback" not in command("run").err
    said = command("--debug", "run")
    assert said.code == 1
    assert "Traceback" in said.err
    assert "connector.errors.ProjectError" in said.err
