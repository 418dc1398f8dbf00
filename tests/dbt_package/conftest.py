"""Fixtures: a small project with its labels source and current labels, built once and put back for each test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.source import source_yaml
from tests.dbt_package import ODD
from tests.demo import NO_DEPRECATIONS, dbt
from tests.environment import kept_environment  # noqa: F401
from tests.lab import Lab


@dataclass(frozen=True)
class Built:
    """A small project with its labels source as `sync` writes it and with current labels, built on its comments."""

    lab: Lab
    empty: bytes

    def restore(self) -> Lab:
        self.lab.database.write_bytes(self.empty)
        return self.lab


def make(folder: Path, **task: Any) -> Lab:
    lab = Lab(folder)
    lab.add_comments(["Loved it", "Hated it", "Loved it", "The music was fine", "  ", None])
    raw = lab.folder / "models" / "raw.yml"
    sources = yaml.safe_load(raw.read_text())
    sources["sources"] = [source for source in sources["sources"] if source["name"] == "raw"]
    raw.write_text(yaml.safe_dump(sources))
    model = '{{ dbt_labels.current_labels(source("labels", "comment_labels"), task="comments_to_label") }}'
    (lab.folder / "models" / "current_labels.sql").write_text(model)
    labels = lab.folder / "models" / "labels.yml"
    labels.write_text("sources: [{name: labels, tables: [{name: comment_labels}]}]")
    lab.edit_task(**task)
    labels.write_text(source_yaml(lab.project.tasks))
    lab.reparse()
    return lab


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    lab = make(
        tmp_path_factory.mktemp("package"),
        fields=[
            {"name": "sentiment", "type": "one_of", "values": ["positive", "negative", *ODD]},
            {"name": "themes", "type": "any_of", "values": ["acting", "plot", *ODD]},
        ],
    )
    outcome = dbt(lab, "build", *NO_DEPRECATIONS)
    assert outcome.success, outcome.message
    assert outcome.warnings == []
    return Built(lab, lab.database.read_bytes())


@pytest.fixture
def lab(built: Built) -> Lab:
    """Give the small project as its first build left it: no labels, claims or events."""
    return built.restore()


@pytest.fixture
def fresh(tmp_path: Path) -> Lab:
    """Give a small project of its own on which nothing was built."""
    return make(tmp_path)
