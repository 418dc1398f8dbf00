"""Names from YAML and vars where they meet SQL: refused, or quoted and read back as they are; never run as SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from connector.errors import TaskError, WarehouseError
from connector.task import OWN_COLUMNS, OWN_TABLES
from connector.warehouse.declaration import parse_task
from connector.warehouse.project import Project
from connector.warehouse.session import Session
from connector.warehouse.texts import count_labels
from tests.lab import Lab

ATTACKS = [
    'x"; drop table main.canary; --',
    "x'; drop table main.canary; --",
    "x`; drop table main.canary; --",
    "x\\'; drop table main.canary; --",
    'x" (text_key varchar); drop table main.canary; create table "y',
    "1) or 1=1; drop table main.canary; --",
    "x; drop table main.canary",
    "x/*", "--", '"', "'", '""', "x\n; drop table main.canary;", "x\0y", "$$", "?", "%s", ":x", "@x",
    "{{ target.name }}", "{% raw %}", "main.canary", "main_labels.label_events", "../x", " ", "X", "é", "select",
    "table", "order", "group", "user", "null", "true", "a" * 63, "a" * 64, "_x", "x_", "x1",
]  # fmt: skip
NAMES = st.sampled_from(ATTACKS) | st.from_regex(re.compile(r"[a-z][a-z0-9_]{0,12}", re.ASCII), fullmatch=True)
NAMES |= st.text(st.sampled_from("ab_1\"'`\\;-/*(){}%$.\n \0é"), min_size=1, max_size=12)
SOME = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
PLAIN = re.compile(r"[a-z][a-z0-9_]{0,62}")
COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@pytest.fixture
def guarded(lab: Lab) -> Iterator[Lab]:
    """Give a lab with a table that an attack would drop."""
    lab.sql("create table main.canary as select 1 as alive")
    before = _schemas_and_tables(lab)
    yield lab
    assert _schemas_and_tables(lab) == before
    assert lab.sql("select alive from main.canary") == [(1,)]


def _schemas_and_tables(lab: Lab) -> set[tuple[str, str]]:
    return {(schema, table) for schema in lab.schemas() for table in (*lab.tables(schema), "")}


def _is_task(table: str, text: str, field: str) -> bool:
    """Tell, by rules written out here, whether these names are such as a task may have."""
    fits = bool(PLAIN.fullmatch(table) and COLUMN.fullmatch(text) and PLAIN.fullmatch(field))
    return fits and table not in OWN_TABLES and field not in {*OWN_COLUMNS, "text"} and field != text


@SOME
@given(table=NAMES, text=NAMES, field=NAMES)
@example(table="select", text="Order", field="group")
@example(table="a" * 63, text="_x", field="b" * 63)
def test_a_name_in_a_task_is_refused_or_made_and_read_back_as_it_is(
    guarded: Lab, table: str, text: str, field: str
) -> None:
    block = {"table": table, "text": text, "model": "m", "instructions": "Label."}
    block["fields"] = [{"name": field, "type": "one_of", "values": ATTACKS[:4]}]  # type: ignore[assignment]
    parsed = parse_task("comments_to_label", block)
    assert isinstance(parsed, list) is not _is_task(table, text, field), parsed
    if isinstance(parsed, list):
        assert all(mistake.startswith(("`table`", "`text`", "`fields", "fields:")) for mistake in parsed), parsed
        return
    with guarded.project.connect() as session:
        relation = session.relation(table)
        for sql in session.macro("ddl", tasks=[parsed.model_dump(mode="json")]):
            session.handle.execute(sql)
        try:
            assert {field, "text_key"} <= session.handle.columns(relation).keys()
            rows = {"text_key": ["key"], field: [ATTACKS[0]], "outcome": ["labelled"], "version": [1]}
            session.handle.append(relation, pa.table(rows))
            assert session.handle.rows(f"select {session.quote(field)} as found from {relation}") == [
                {"found": ATTACKS[0]}
            ]
            assert _sendable(session, table, text) == {"other"}
        finally:
            session.handle.execute(f"drop table {relation}")
            session._adapter.cache.clear()


def _sendable(session: Session, table: str, text: str) -> set[str]:
    """Return the keys that may be sent of two texts, one of them labelled, in a column of this name."""
    names = {name: session.relation(name) for name in ("label_claims", "label_events")}
    sql = session.macro(
        "sendable",
        pending="texts_of_test",
        text=text,
        table=table,
        version=1,
        labels=session.relation(table),
        claims=names["label_claims"],
        events=names["label_events"],
    )
    with session.handle.lent("texts_of_test", pa.table({"text_key": ["key", "other"], text: ATTACKS[:2]})):
        return {row["text_key"] for row in session.handle.rows(sql)}


@SOME
@given(schema=NAMES)
@example(schema="with space")
@example(schema="Upper-Case.$")
def test_a_schema_from_a_var_is_refused_or_made_and_read_back_as_it_is(guarded: Lab, schema: str) -> None:
    assume(not re.search("{[{%#]", schema))  # dbt renders what a var says
    project = guarded.project
    project._config.cli_vars["dbt_labels_schema"] = schema
    project._rendered.clear()
    is_refused = not guarded.schema_names.fullmatch(schema) or not schema.strip()
    try:
        if is_refused:
            with pytest.raises(WarehouseError, match=r"dbt_labels_schema: .* can not be a schema's name"):
                _use_schema(guarded, project, schema)
        else:
            _use_schema(guarded, project, schema)
    finally:
        project._config.cli_vars.clear()
        project._rendered.clear()


def _use_schema(lab: Lab, project: Project, schema: str) -> None:
    """Make the ledger in the schema that the var names, write and read a row, and take it away by its name."""
    with project.connect() as session:
        for sql in session.macro("ddl", tasks=[]):
            session.handle.execute(sql)
        assert lab.name_of(schema) in lab.schemas()
        session.handle.insert(session.relation("label_leases"), {"label_table": "x"})
        assert len(session.handle.rows(f"select * from {session.relation('label_leases')}")) == 1
        session.handle.execute(f"drop schema {session.quote(schema)} cascade")


@pytest.mark.parametrize("schema", ATTACKS[:4])
def test_a_schema_that_is_only_read_is_refused_in_the_same_way(guarded: Lab, schema: str) -> None:
    project = guarded.project
    project._config.cli_vars["dbt_labels_read_from"] = schema
    try:
        with pytest.raises(WarehouseError, match="dbt_labels_read_from: "), project.connect() as session:
            session.macro("read_from_relation", table="comment_labels")
    finally:
        project._config.cli_vars.clear()


@SOME
@given(table=NAMES, text=NAMES, field=NAMES, version=st.sampled_from(ATTACKS) | st.integers() | st.booleans())
def test_a_block_that_only_dbt_reads_meets_sql_with_plain_names_or_not_at_all(
    guarded: Lab, table: str, text: str, field: str, version: Any
) -> None:
    """`dbt build` alone never comes by the connector's own checks."""
    project = guarded.project
    node = project.model(project.tasks[0])
    kept = node.config.meta["dbt_labels"]
    node.config.meta["dbt_labels"] = {"table": table, "text": text, "version": version, "fields": [{"name": field}]}
    try:
        project.manifest.build_flat_graph()
        with project.connect() as session:
            found = session.macro("tasks")
    finally:
        node.config.meta["dbt_labels"] = kept
        project.manifest.build_flat_graph()
    fits = PLAIN.fullmatch(table) and COLUMN.fullmatch(text) and PLAIN.fullmatch(field) and table not in OWN_TABLES
    assert bool(found) == bool(fits and isinstance(version, int) and not isinstance(version, bool))


@pytest.mark.parametrize("name", ATTACKS[:4])
def test_a_relation_with_a_name_that_ends_its_quotes_is_refused(guarded: Lab, name: str) -> None:
    project = guarded.project
    node = project.model(project.tasks[0])
    kept, node.alias = node.alias, name
    try:
        with pytest.raises(TaskError, match=r"model `comments_to_label`: its alias .* can not be quoted in SQL"):
            project.check_names()
    finally:
        node.alias = kept


@pytest.mark.parametrize("name", ["with space", "x -- y", "x; drop table main.canary", "/**/"])
def test_a_relation_that_dbt_writes_without_quotes_is_refused_unless_its_name_is_plain(guarded: Lab, name: str) -> None:
    project = guarded.project
    node = project.model(project.tasks[0])
    kept = node.alias, node.relation_name
    try:
        node.alias, node.relation_name = name, f'"main"."{name}"'
        project.check_names()
        node.relation_name = f"main.{name}"
        with pytest.raises(TaskError, match=r"model `comments_to_label`: its alias .* is not quoted in SQL by dbt"):
            project.check_names()
    finally:
        node.alias, node.relation_name = kept


def test_values_that_look_like_sql_are_counted_as_what_they_are(guarded: Lab) -> None:
    guarded.edit_task(fields=[{"name": "sentiment", "type": "one_of", "values": ATTACKS[:4]}])
    guarded.build()
    project = guarded.project
    with project.connect() as session:
        rows = {"text_key": ATTACKS[:4], "sentiment": ATTACKS[:4], "outcome": ["labelled"] * 4, "version": [1] * 4}
        session.handle.append(session.relation("comment_labels"), pa.table(rows))
    assert count_labels(project, project.tasks[0]) == {"sentiment": dict.fromkeys(sorted(ATTACKS[:4]), 1)}
