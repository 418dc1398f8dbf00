"""Fixtures: a small project with gold and overrides that tests fill, built once and put back for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from connector.source import source_yaml
from tests.demo import NO_DEPRECATIONS, dbt
from tests.environment import kept_environment  # noqa: F401
from tests.evaluation import FIELDS
from tests.lab import Lab

COLUMNS = "text_key varchar, comment_text varchar, sentiment varchar, spoiler boolean, stars integer, themes varchar"


def make(folder: Path) -> Lab:
    """Return a small project, not built: gold and overrides are views of tables in the schema of raw data."""
    lab = Lab(folder)
    lab.add_comments(["Loved it", "Hated it", "Loved it", "The music was fine", "  ", None])
    lab.sql(f"create table raw.gold ({COLUMNS}, summary varchar)")
    lab.sql(f"create table raw.overrides ({COLUMNS}, summary varchar)")
    models = lab.folder / "models"
    raw = yaml.safe_load((models / "raw.yml").read_text())
    raw["sources"] = [source for source in raw["sources"] if source["name"] == "raw"]
    raw["sources"][0]["tables"] = [{"name": name} for name in ("comments", "gold", "overrides")]
    (models / "raw.yml").write_text(yaml.safe_dump(raw))
    (models / "gold_labels.sql").write_text('select * from {{ source("raw", "gold") }}')
    (models / "label_overrides.sql").write_text('select * from {{ source("raw", "overrides") }}')
    (models / "current_labels.sql").write_text(
        '{{ dbt_labels.current_labels(source("labels", "comment_labels"), task="comments_to_label",'
        ' overrides=ref("label_overrides")) }}'
    )
    accepted = [{"dbt_labels.accepted_label": {"arguments": {"task": "comments_to_label"}}}]
    columns = [{"name": name, "data_tests": accepted} for name in ("sentiment", "themes")]
    (models / "current_labels.yml").write_text(
        yaml.safe_dump({"models": [{"name": "current_labels", "columns": columns}]})
    )
    labels = models / "labels.yml"
    labels.write_text("sources: [{name: labels, tables: [{name: comment_labels}]}]")
    lab.edit_task(fields=FIELDS, gold="gold_labels", overrides="label_overrides")
    labels.write_text(source_yaml(lab.project.tasks))
    lab.reparse()
    return lab


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, bytes]:
    lab = make(tmp_path_factory.mktemp("evaluation"))
    outcome = dbt(lab, "build", *NO_DEPRECATIONS)
    assert outcome.success, outcome.message
    return lab, lab.database.read_bytes()


@pytest.fixture
def lab(built: tuple[Lab, bytes]) -> Lab:
    """Give the small project as its first build left it: no labels, no gold, no overrides."""
    lab, empty = built
    lab.database.write_bytes(empty)
    os.environ["LAB_DUCKDB"] = str(lab.database)
    return lab


@pytest.fixture
def fresh(tmp_path: Path, built: tuple[Lab, bytes]) -> Iterator[Lab]:
    """Give a small project of its own on which nothing was built."""
    yield make(tmp_path)
    os.environ["LAB_DUCKDB"] = str(built[0].database)
    built[0].reparse()  # dbt has one adapter for a process, of the project it parsed last
