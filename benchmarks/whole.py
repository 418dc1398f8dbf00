"""A whole run against the local batch server with its instant engine: how much of the time is the connector's.

    python -m benchmarks.whole FOLDER ROWS_PER_REQUEST

What `dbt-labels run` does once its project is parsed: stage, plan, send, poll, load, against the real server in a
process of its own. `provider` is the time in calls to it, uploads and downloads included, `waiting` the pauses between
two looks, `dbt` its own command; all else is the connector with its warehouse.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.comments import open_project
from benchmarks.process import Stopwatch, report, without_pandas
from connector import pipeline
from connector.provider import Provider
from connector.run import Settings
from connector.warehouse import project as warehouse
from tests.lab import Server

_CALLS = ("identify", "check_model", "upload", "create", "list_batches", "retrieve", "see_file", "download")
_POLL_SECONDS = 1.0


def main() -> None:
    """Print what a run took, by whose time it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows_per_request", type=int)
    how = parser.parse_args()
    without_pandas()
    _pack(how.folder / "project" / "models" / "comments_to_label.yml", how.rows_per_request)
    project, watch = open_project(how.folder), Stopwatch()
    state = how.folder / "server"
    state.mkdir()
    server = Server(state).start()
    try:
        provider = server.provider()
        _time_calls(provider, watch)
        voice = pipeline.Voice(lambda line: None, lambda batches: None, lambda plans: None)
        settings = Settings(poll_seconds=_POLL_SECONDS, grace_seconds=0.0)
        with watch.on("connector"):
            summary = pipeline.label(project, project.tasks, lambda: provider, settings, voice)
    finally:
        server.kill()
    assert not summary.problems, summary.problems
    seconds = {what: round(took, 3) for what, took in watch.seconds.items()}
    report(labelled=summary.labelled, batches=len(summary.submitted), seconds=seconds)


def _pack(path: Path, rows: int) -> None:
    document: Any = yaml.safe_load(path.read_text())
    document["models"][0]["config"]["meta"]["dbt_labels"]["run"]["rows_per_request"] = rows
    path.write_text(yaml.safe_dump(document))


def _time_calls(provider: Provider, watch: Stopwatch) -> None:
    def quiet(seconds: float) -> None:
        with watch.on("waiting"):
            time.sleep(seconds)

    for name in _CALLS:
        setattr(provider, name, watch.wrap("provider", getattr(provider, name)))
    warehouse.invoke = watch.wrap("dbt", warehouse.invoke)
    pipeline.time = type("Clock", (), {"sleep": staticmethod(quiet)})


if __name__ == "__main__":
    main()
