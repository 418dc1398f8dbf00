"""Plain `dbt build` on a project whose YAML means harm: nothing of it is run as SQL, and no other model is stopped."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.demo import dbt
from tests.lab import Lab
from tests.limit import LONGEST_SECONDS
from tests.page import BIN

# dbt leaves its threads where a hook fails or a project does not compile
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
DBT = str(BIN / "dbt")
DROP = "drop table main.canary"
BLOCKS: dict[str, dict[str, Any]] = {
    "table": {"table": f'x" (a int); {DROP}; create table "y'},
    "text": {"text": f'comment_text") from main.stg_comments); {DROP}; --'},
    "version": {"version": f"1) or 1=1; {DROP}; --"},
    "version_list": {"version": [1]},
    "field": {"fields": [{"name": f'x" int); {DROP}; --', "type": "integer"}]},
    "field_quote": {"fields": [{"name": f"x' as f); {DROP}; --", "type": "integer"}]},
    "type": {"fields": [{"name": "x", "type": f"int); {DROP}; --"}]},
    "no_fields": {"fields": ["x"]},
    "no_run": {"run": None},
    "run_list": {"run": ["confidence"]},
}


@pytest.fixture(autouse=True)
def _threads_of_dbt() -> Iterator[None]:
    """Have what dbt leaves be found in the test that made it, not in one after it."""
    yield
    gc.collect()


def _add_models(lab: Lab) -> None:
    models = lab.folder / "models"
    [block] = yaml.safe_load((models / "comments_to_label.yml").read_text())["models"]
    task = block["config"]["meta"]["dbt_labels"]
    document = []
    for name, changes in BLOCKS.items():
        meta = {"dbt_labels": {**task, "table": f"labels_of_{name}", **changes}}
        document.append({"name": f"harm_{name}", "config": {"meta": meta}})
        (models / f"harm_{name}.sql").write_text((models / "comments_to_label.sql").read_text())
    (models / "harm.yml").write_text(yaml.safe_dump({"models": document}))


def test_a_block_that_means_harm_runs_no_sql_and_stops_no_other_model(fresh: Lab) -> None:
    fresh.sql("create table main.canary as select 1 as alive")
    _add_models(fresh)
    outcome = dbt(fresh, "run")
    assert fresh.sql("select alive from main.canary") == [(1,)]
    broken = {name for name, status in outcome.statuses.items() if status == "error"}
    # a field of no known type makes no column, what is no `run` asks for none, and nothing else of these meets SQL
    assert broken == {f"harm_{name}" for name in BLOCKS if name not in ("type", "no_run", "run_list")}
    assert outcome.statuses["comments_to_label"] == "success"
    assert "has no task, or a broken one" in outcome.message


@pytest.mark.parametrize("command", ["run", "test", "compile"])
def test_a_schema_that_means_harm_stops_every_command_before_it_meets_sql(lab: Lab, command: str) -> None:
    lab.sql("create table main.canary as select 1 as alive")
    for schema in (f'x"; {DROP}; --', f"x'; {DROP}; --"):
        # a process of its own: where a hook fails dbt leaves a thread at work, and nobody else can close its connection
        called = [*(DBT, command, "--vars", yaml.safe_dump({"dbt_labels_schema": schema})), *lab.options().arguments()]
        around: dict[str, Any] = {"env": {**os.environ, "LAB_DUCKDB": str(lab.database)}, "timeout": LONGEST_SECONDS}
        done = subprocess.run(called, **around, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "can not be a schema's name" in done.stdout, done.stdout + done.stderr
    assert lab.sql("select alive from main.canary") == [(1,)]


@pytest.mark.parametrize(
    "test",
    [
        {
            "dbt_labels.label_quality": {
                "arguments": {"field": "sentiment", "metric": "accuracy", "at_least": f"0; {DROP}"}
            }
        },
        {"dbt_labels.pending_no_older_than": {"arguments": {"column_name": f"x; {DROP}; --", "days": 1}}},
    ],
    ids=["at_least", "column_name"],
)
def test_arguments_of_tests_that_mean_harm_are_refused(fresh: Lab, test: dict[str, Any]) -> None:
    fresh.sql("create table main.canary as select 1 as alive")
    path = fresh.folder / "models" / "comments_to_label.yml"
    document = yaml.safe_load(path.read_text())
    document["models"][0]["data_tests"] = [test]
    document["models"][0]["config"]["meta"]["dbt_labels"]["gold"] = "stg_comments"
    path.write_text(yaml.safe_dump(document))
    outcome = dbt(fresh, "build")
    assert not outcome.success
    assert "must be a" in outcome.message or "can not be a column's name" in outcome.message
    assert fresh.sql("select alive from main.canary") == [(1,)]
