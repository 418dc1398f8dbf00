"""What docs/day-two.md tells of moving labels, of fields that change and of grants, done as it is told there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from connector.run import Settings
from connector.warehouse.project import parse_project
from connector.warehouse.texts import count_texts
from tests.command import Command
from tests.lab import ROOT, Bench, Lab, Server
from tests.warehouse.labs import PostgresLab

PAGE = (ROOT / "docs" / "day-two.md").read_text(encoding="utf-8")
LEDGER = ("comment_labels", "label_claims", "label_events")
ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)


def test_labels_move_from_duckdb_to_postgresql_and_nothing_is_pending_there(
    bench: Bench, postgres_lab: PostgresLab, server: Server, tmp_path: Path
) -> None:
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed")
    there, here = postgres_lab, bench.restored()
    server.faults(row_refusal={"share": 0.5, "by": "content"}, row_not_json={"share": 1.0, "times": 1})
    here.run(server.provider())
    kept = {table: _contents(here, table) for table in LEDGER}
    spent = here.sql("select sum(cost_usd) from main_labels.comment_labels")

    [script] = re.findall(r"^(for table in .*?^done)$", PAGE, re.MULTILINE | re.DOTALL)
    script = script.replace("warehouse.duckdb", str(here.database)).replace("analytics_labels", "main_labels")
    arguments = there.server.arguments(there.name)
    url = f"host=127.0.0.1 port={arguments['port']} dbname={there.name} user=tester password='{arguments['password']}'"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "POSTGRES": url, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    assert {table: _contents(there, table) for table in LEDGER} == kept
    assert there.sql("select sum(cost_usd) from main_labels.comment_labels") == spent
    counts = count_texts(there.project, there.project.tasks[0])
    assert (counts.pending, counts.labelled + counts.rejected) == ({}, 3)
    assert there.run(server.provider()).submitted == []
    assert len(there.labels()) == counts.labelled > 0


def _contents(lab: Lab, table: str) -> list[tuple[str, ...]]:
    columns = lab.sql(
        "select column_name from information_schema.columns where table_schema = 'main_labels' and table_name = ?"
        " order by column_name",
        [table],
    )
    rows = lab.sql(f"select {', '.join(name for (name,) in columns)} from main_labels.{table}")
    return sorted(tuple(map(str, row)) for row in rows)


def test_labels_move_to_another_schema_and_nothing_is_pending_there(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider())
    parse_project(lab.options(target="other")).run_dbt("build", "--select", "+comments_to_label")
    for table in LEDGER:
        columns = lab.sql(
            "select string_agg(column_name, ', ') from information_schema.columns"
            " where table_schema = 'main_labels' and table_name = ?",
            [table],
        )[0][0]
        lab.sql(f"insert into other_labels.{table} ({columns}) select {columns} from main_labels.{table}")
    [planned] = command("plan", "--target", "other", "--json").json
    assert (planned["pending"], planned["labelled"]) == ({}, 3)


def _use_fields(lab: Lab, *fields: dict[str, object]) -> None:
    (lab.folder / "models" / "current.sql").write_text(
        '{{ dbt_labels.current_labels(source("labels", "comment_labels"), task="comments_to_label") }}'
    )
    lab.edit_task(fields=list(fields))
    lab.dbt("run")


THEMES = {"name": "themes", "type": "any_of", "values": ["acting", "plot", "music"], "max": 2}
MOOD = {"name": "mood", "type": "one_of", "values": ["positive", "negative", "neutral"]}


def test_a_renamed_field_keeps_its_labels_where_its_column_is_renamed_before(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider())
    had = {text: found[0] for text, found in lab.labels().items()}
    lab.sql("alter table main_labels.comment_labels rename column sentiment to mood")
    _use_fields(lab, MOOD, THEMES)
    moods = lab.sql("select c.comment_text, l.mood from main.stg_comments c join main.current l using (text_key)")
    assert dict(moods) == had
    [planned] = command("plan", "--json").json
    assert (planned["pending"], planned["changed_wording"]) == ({}, 3)
    lab.add_comments(["asked in the new way"])
    assert lab.run(server.provider()).labelled == 1


def test_a_field_that_is_dropped_or_only_renamed_in_the_yaml_leaves_its_column_and_labels(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider())
    had = lab.labels()
    _use_fields(lab, MOOD)
    assert lab.sql("select mood, count(*) from main.current group by 1") == [(None, 3)]
    assert lab.labels() == had
    assert command("plan", "--json").json[0]["pending"] == {}
    lab.add_comments(["asked in the new way"])
    assert lab.run(server.provider()).labelled == 1
    rows = lab.sql("select mood is null, sentiment is null from main_labels.comment_labels order by labelled_at desc")
    assert rows[0] == (False, True)


def test_a_role_may_read_the_labels_and_nothing_else(lab: Lab, server: Server) -> None:
    [hook] = re.findall(r"^on-run-end: (.*)$", PAGE, re.MULTILINE)
    project = lab.folder / "dbt_project.yml"
    project.write_text(f"{project.read_text()}\non-run-end: {hook}\n")
    lab.reparse()
    is_postgres = isinstance(lab, PostgresLab)
    if is_postgres:
        lab.sql("drop role if exists reporter")
        lab.sql("create role reporter")
    lab.run(server.provider())
    lab.dbt("run")
    if not is_postgres:  # the hook does no harm: whoever can read the file can read the labels
        assert len(lab.labels()) == 3
        return
    import psycopg2

    assert lab.sql("set role reporter; select count(*) from main_labels.comment_labels") == [(3,)]
    for refused in ("select * from main_labels.label_events", "delete from main_labels.comment_labels"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            lab.sql(f"set role reporter; {refused}")


def test_an_answer_under_way_waits_for_the_column_that_it_was_asked_for(lab: Lab, server: Server) -> None:
    lab.run(server.provider(), ONCE)
    lab.sql("alter table main_labels.comment_labels rename column sentiment to mood")
    _use_fields(lab, MOOD, THEMES)
    [problem] = lab.run(server.provider()).problems
    assert "sentiment" in problem
    assert lab.states() == ["ended"]
    lab.sql("alter table main_labels.comment_labels add column sentiment varchar")
    assert lab.run(server.provider()).labelled == 3
    assert len(server.executions()) == 3, "nothing was sent again"
