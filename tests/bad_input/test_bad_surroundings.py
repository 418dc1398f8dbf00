"""Bad input from around the project: the warehouse, the provider and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from connector.errors import WarehouseError, WarehouseLocked
from connector.warehouse.project import parse_project
from tests.bad_input import YAML, Command, edit, refused
from tests.lab import Lab

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
    refused(said, "the DuckDB database could not be opened: ")


def test_a_column_of_another_type_than_its_field_is_refused(lab: Lab, command: Command) -> None:
    lab.sql("alter table main_labels.comment_labels add column stars varchar")
    edit(lab, lambda task: task["fields"].append({"name": "stars", "type": "integer", "min": 1, "max": 5}))
    refused(
        command("run", "--yes"),
        "task `comments_to_label`: column `stars` of ",
        "is varchar, the field's type asks for bigint: name the field anew, or move the task to another `table`",
    )


def test_a_labels_schema_that_nobody_made_is_said_where_the_hook_is_off(lab: Lab, command: Command) -> None:
    off = "{dbt_labels_make_tables: false, dbt_labels_schema: elsewhere}"
    refused(command("run", "--yes", "--vars", off), "elsewhere")
    assert "create schema" in command("ddl", "--vars", off).out


# The provider


def test_without_a_key_the_plan_is_shown_and_the_way_to_try_it_without(
    lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    said = command("run", "--yes")
    refused(said, "2 pending: 2 new", "OPENAI_API_KEY is not set", "with --local")


def test_a_wrong_key_is_refused_with_what_the_provider_said(
    lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key")
    said = command("run", "--yes")
    refused(said, "answered 401: Incorrect API key provided", "check OPENAI_API_KEY")
    assert "wrong-key" not in said.err


def test_a_base_url_where_nobody_answers_is_named(lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    refused(command("run", "--yes"), "no answer from http://127.0.0.1:9/v1", "check OPENAI_BASE_URL and the network")


def test_a_base_url_that_is_something_else_is_named(
    lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", os.environ["OPENAI_BASE_URL"] + "/nothing/here")
    refused(command("run", "--yes"), "/nothing/here", " answered 404")


def test_a_model_that_the_provider_does_not_know_is_named(lab: Lab, command: Command) -> None:
    edit(lab, lambda task: task.update(model="gpt-nope"))
    refused(command("run", "--yes"), "the provider does not know the model `gpt-nope`", "change `model`")


# The command line


def test_without_a_terminal_and_without_yes_nothing_is_sent(lab: Lab, command: Command) -> None:
    for name in ("run", "build"):
        refused(command(name), "there is no terminal to ask on, so nothing was sent", "add --yes", code=2)


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
    refused(command(*arguments), *words, code=2)


def test_debug_shows_a_traceback_and_nothing_else_does(lab: Lab, command: Command) -> None:
    (lab.folder / YAML).write_text("models: [")
    assert "Traceback" not in command("run").err
    said = command("--debug", "run")
    assert said.code == 1
    assert "Traceback" in said.err
    assert "connector.errors.ProjectError" in said.err
    as_json = command("--log-format", "json", "--debug", "run").err.splitlines()
    assert "connector.errors.ProjectError" in json.loads(as_json[-1])["traceback"]
