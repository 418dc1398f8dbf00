"""What only Spark does: a session remembers which files a table has, and others write in the meantime."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.errors import WarehouseError
from connector.ledger import State
from connector.warehouse.project import Project
from connector.warehouse.tables import Ledger
from connector.warehouse.texts import count_texts, spool_texts
from tests.warehouse.spark_lab import SparkLab

TABLE = "comment_labels"


@pytest.fixture
def elsewhere(spark_lab: SparkLab) -> Iterator[Any]:
    """Give a session of another run's, on the same tables."""
    from pyspark.sql import SparkSession

    if os.environ.get("DBT_LABELS_TEST_SPARK") == "session":
        yield spark_lab.spark.newSession()
        return
    session = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).create()
    yield session
    session.stop()


def test_what_another_run_sent_since_the_plan_is_not_sent_again(
    spark_lab: SparkLab, elsewhere: Any, tmp_path: Path
) -> None:
    project = spark_lab.project
    task = project.tasks[0]
    assert count_texts(project, task).pending == {"new": 3}
    elsewhere.sql(
        "insert into main_labels.label_claims (batch_key, project, label_table, version, custom_id, text_key, attempt)"
        f" select 'b', '{project.name}', '{TABLE}', 1, text_key, text_key, 1 from main.comments_to_label"
    )
    for event in (State.PLANNED, State.UPLOADING, State.UPLOADED, State.CREATING, State.SUBMITTED):
        elsewhere.sql(
            "insert into main_labels.label_events (batch_key, event, project, label_table, version, event_at)"
            f" values ('b', '{event.value}', '{project.name}', '{TABLE}', 1, localtimestamp())"
        )
    with Ledger(project, "mine").leased([TABLE]):
        assert spool_texts(project, task, tmp_path / "texts.arrow") == 0
        assert count_texts(project, task).in_flight == 3


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) as n from main.kept",
        "select count(*) as n from `main`.`kept`",
        "with a as (select * from Main.KEPT) select count(*) as n from a",
        "select count(*) as n from main.all_kept",
        "select 3 - count(*) as n from main.not_kept",
        "select count(*) as n from main.kept where place > ? and place not in (select place from main.not_kept)",
    ],
)
def test_every_table_that_a_query_reads_is_read_as_it_is_now(spark_lab: SparkLab, elsewhere: Any, query: str) -> None:
    parameters = [0] if "?" in query else []
    for statement in (
        "create table main.kept (place bigint) using parquet",
        "create view main.all_kept as select * from main.kept",
        "create view main.not_kept as select id + 1 as place from range(3) as r"
        " where not exists (select 1 from main.all_kept as kept where kept.place = r.id + 1)",
    ):
        elsewhere.sql(statement)
    with spark_lab.project.connect() as session:
        for rows in range(3):
            assert session.handle.rows(query, parameters) == [{"n": rows}]
            assert session.handle.stream(query.replace("?", "0")).read_all().to_pylist() == [{"n": rows}]
            elsewhere.sql(f"insert into main.kept values ({rows + 1})")


def test_a_statement_that_can_not_be_planned_says_so_in_sparks_own_words(spark_lab: SparkLab) -> None:
    with pytest.raises(WarehouseError, match="INVALID_INDEX_OF_ZERO"):
        with spark_lab.project.connect() as session:
            session.handle.rows("select 1 as n from range(1) where element_at(array(1), 0) = 1")


def test_a_column_that_another_run_added_is_seen(spark_lab: SparkLab, elsewhere: Any) -> None:
    with spark_lab.project.connect() as session:
        assert "calm" not in session.columns("main_labels.comment_labels")
        elsewhere.sql("alter table main_labels.comment_labels add columns (calm boolean)")
        assert session.columns("main_labels.comment_labels")["calm"] == "boolean"
        assert session.handle.rows("select count(calm) as n from main_labels.comment_labels") == [{"n": 0}]


def _render(project: Project) -> None:
    with project.connect() as session:
        session.relation(TABLE)
        session.macro("read_from_relation", table=TABLE)


@pytest.mark.parametrize("name", ["dbt_labels_schema", "dbt_labels_read_from"])
@pytest.mark.parametrize("schema", ["with space", "main -- x", "main; drop table x", "a.b", "é"])
def test_a_schema_whose_name_is_not_plain_is_refused(spark_lab: SparkLab, name: str, schema: str) -> None:
    project = spark_lab.project
    project._config.cli_vars[name] = schema
    project._rendered.clear()
    try:
        with pytest.raises(WarehouseError, match=f"{name}: .* can not be a schema's name on Spark"):
            _render(project)
    finally:
        project._config.cli_vars.clear()
        project._rendered.clear()
