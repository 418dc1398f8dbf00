"""The Dagster recipe, executed by Dagster where it is installed (it needs an environment of its own)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.lab import KEY, ROOT, Lab, Server
from tests.limit import rounds

dg: Any = pytest.importorskip("dagster")


@pytest.fixture
def recipe(lab: Lab, server: Server, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give the recipe's module, with the lab as its project and the server as its provider."""
    for name, value in {
        "DBT_PROJECT_DIR": str(lab.folder),
        "DBT_PROFILES_DIR": str(lab.folder),
        "LAB_DUCKDB": str(lab.database),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.base_url,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    spec = importlib.util.spec_from_file_location("labels", ROOT / "examples" / "dagster" / "labels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_job(recipe: ModuleType) -> Any:
    job = recipe.defs.resolve_job_def("label")
    return job.execute_in_process(raise_on_error=False)


def test_the_job_sends_loads_and_says_how_the_task_stands(lab: Lab, recipe: ModuleType) -> None:
    for _ in rounds():
        done = _run_job(recipe)
        assert done.success
        [made] = done.asset_materializations_for_node("labels__comment_labels")
        assert made.asset_key.path == ["labels", "comment_labels"]
        if made.metadata["labelled"].value == 3:
            break
    assert {made.metadata[name].value for name in ("in flight", "pending", "rejected")} == {0}
    assert len(lab.labels()) == 3
    [check] = done.get_asset_check_evaluations()
    assert check.passed


def test_a_reached_budget_is_a_warning_of_a_check_and_no_failure(lab: Lab, recipe: ModuleType) -> None:
    lab.edit_task(run={"budget_usd_per_month": "0.000001"})
    done = _run_job(recipe)
    assert done.success
    [check] = done.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "has no room" in check.metadata["said"].value


def test_a_trouble_fails_the_job(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key that nobody knows")
    done = _run_job(recipe)
    assert not done.success
    [failure] = [event for event in done.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "dbt-labels ended with 1" in str(failure.event_specific_data.error)


def test_the_schedule_is_every_quarter_of_an_hour(recipe: ModuleType) -> None:
    [schedule] = recipe.defs.schedules
    assert schedule.cron_schedule == "*/15 * * * *"
