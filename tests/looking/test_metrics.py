"""The metrics, asked for by MetricFlow's own command, and what SQL says."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Lab

MF = Path(sys.executable).with_name("mf")


def _ask(lab: Lab, folder: Path, metrics: str, group_by: str) -> list[dict[str, str]]:
    """Run `mf query` in the project's folder and return its rows."""
    if not MF.exists():
        pytest.skip("dbt-metricflow is not installed: pip install 'dbt-labels[metrics]'")
    answer = folder / "answer.csv"
    command = [str(MF), "query", "--metrics", metrics, "--group-by", group_by, "--order", group_by]
    environment = {**os.environ, "DBT_PROFILES_DIR": str(lab.folder), "DBT_LABELS_DUCKDB": str(lab.database)}
    done = subprocess.run(
        [*command, "--csv", str(answer), "--quiet"], cwd=lab.folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with answer.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metricflow_gives_the_positive_share_by_week_and_platform_that_sql_gives(labelled: Lab, tmp_path: Path) -> None:
    said = _ask(labelled, tmp_path, "positive_share,labelled_comments", "metric_time__week,comment__platform")
    wanted = labelled.sql(
        "select cast(date_trunc('week', posted_at) as date), platform, avg((sentiment = 'positive')::int), count(*)"
        " from films.comments_labelled group by 1, 2 order by 1, 2"
    )
    found = [
        (
            row["metric_time__week"][:10],
            row["comment__platform"],
            float(row["positive_share"] or 0),
            row["labelled_comments"],
        )
        for row in said
    ]
    assert len(found) > 25
    assert found == [(str(week), platform, pytest.approx(share), str(count)) for week, platform, share, count in wanted]


def test_metricflow_gives_what_labels_cost_and_were_expected_to_cost(labelled: Lab, tmp_path: Path) -> None:
    [said] = _ask(labelled, tmp_path, "label_cost_usd,expected_label_cost_usd,cost_per_label_usd", "batch__asked_model")
    [(paid, labels)] = labelled.sql(
        "select sum(cost_usd), count(*) filter (outcome = 'labelled') from films_labels.comment_labels"
    )
    [(expected,)] = labelled.sql("select sum(expected_usd) from films_labels.label_events where event = 'planned'")
    assert said["batch__asked_model"] == "gpt-6-luna"
    assert float(said["label_cost_usd"]) == pytest.approx(float(paid))
    assert float(said["expected_label_cost_usd"]) == pytest.approx(float(expected))
    assert float(said["cost_per_label_usd"]) == pytest.approx(float(paid) / labels)


def test_every_metric_dimension_measure_and_entity_is_described(labelled: Lab) -> None:
    written = json.loads((labelled.folder / "target" / "semantic_manifest.json").read_text())
    parts = [*written["metrics"], *written["semantic_models"]]
    for model in written["semantic_models"]:
        parts += [*model["dimensions"], *model["measures"], *model["entities"]]
    assert len(parts) > 25
    assert [part["name"] for part in parts if not part["description"]] == []
