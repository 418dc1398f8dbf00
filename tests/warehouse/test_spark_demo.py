"""The demo on Spark, in a session of the command's own and on a Connect server: the same project, task and commands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.dataset as files
import pytest

from tests.limit import LONGEST_SECONDS
from tests.warehouse.demos import Demo
from tests.warehouse.spark_server import SparkServer, why_not
from tests.warehouse.test_demo import ODD

MARTS = (
    "comments_labelled",
    "daily_sentiment",
    "theme_sentiment",
    "intent_mix",
    "comment_themes",
    "label_coverage",
    "label_quality",
)


class SparkDemo(Demo):
    """The demo on Spark, whose tables are read from their files: they are all there is, whoever wrote them."""

    # Spark plans each of the demo's many small queries for seconds, on busy processors for half a minute
    longest_seconds = 2 * LONGEST_SECONDS

    def __init__(self, folder: Path, warehouse: Path, environment: dict[str, str | None]) -> None:
        super().__init__(folder, "spark", environment)
        self._warehouse = warehouse

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows."""
        found: list[dict[str, Any]] = files.dataset(self._folder_of(table), format="parquet").to_table().to_pylist()
        return found

    def marts(self) -> dict[str, list[dict[str, Any]]]:
        """Return what the marts show, in order."""
        return {name: sorted(self.rows(f"films.{name}"), key=str) for name in MARTS}

    def load_twice(self) -> None:
        """Put every file of labels and events there again, as a second run would that loads the same batches."""
        for name in ("comment_labels", "label_events"):
            for file in self._folder_of(f"films_labels.{name}").glob("*.parquet"):
                shutil.copy(file, file.with_name(f"again-{file.name}"))

    def _folder_of(self, table: str) -> Path:
        schema, _, name = table.partition(".")
        return self._warehouse / f"{schema}.db" / name


@pytest.fixture(params=["session", "connect"])
def demo(request: pytest.FixtureRequest, tmp_path: Path) -> SparkDemo:
    """Give the demo in a session of its own, then on a Connect server."""
    if reason := why_not():
        pytest.skip(reason)
    if request.param == "session":
        # what a Connect session in this process leaves behind is not a person's environment
        alone = {"SPARK_REMOTE": None, "SPARK_CONNECT_MODE_ENABLED": None, "DBT_LABELS_SPARK": str(tmp_path / "spark")}
        return SparkDemo(tmp_path, tmp_path / "spark" / "warehouse", alone)
    server: SparkServer = request.getfixturevalue("spark_server")
    return SparkDemo(tmp_path, server.warehouse, {"SPARK_REMOTE": server.remote})


def test_the_demo_is_labelled_and_built_by_the_same_commands_on_spark(demo: SparkDemo) -> None:
    demo.add_comments(ODD)
    assert demo.label()["labelled"] > 620
    kept = {str(row["comment_id"]): row["comment_text"] for row in demo.rows("films.raw_comments")}
    assert {key: kept[key] for key in ODD} == ODD
    shown = demo.marts()
    assert all(shown.values())
    for row in shown["label_coverage"]:
        assert row["comments"] == row["labelled"] + row["blank"], row
    assert len([row for row in shown["label_quality"] if row["metric"] == "n" and row["value"] > 300]) == 3

    # the tests, which take Spark longer than all the rest, have been seen to pass by now
    demo.load_twice()
    assert demo.label(has_tests=False)["submitted"] == []
    assert demo.marts() == shown

    demo.add_comments({"new1": "A word nobody wrote before: flumpish.", "new2": "x" * 100_000})
    said = demo.label(has_tests=False)
    assert (said["labelled"], len(said["submitted"])) == (1, 1)
    assert len(demo.rows("films.comments_labelled")) == len(shown["comments_labelled"]) + 2
