"""A real run with a provider that takes no time: pending texts to shards and claims, or output files to labels.

    python -m benchmarks.connector_run FOLDER send|collect

`send` leaves every batch in flight and its output file at the stand-in; `collect` loads them all. What is measured is
`pipeline.run` on the project that `benchmarks.comments` made, by what it is doing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.comments import open_project
from benchmarks.process import Stopwatch, report, without_pandas
from benchmarks.stand_in import StandIn
from connector import collecting, pipeline, sending
from connector.run import Settings
from connector.token import counter
from connector.warehouse.tables import Ledger


def main() -> None:
    """Print what a run took, by part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["send", "collect"])
    how = parser.parse_args()
    without_pandas()
    project, watch = open_project(how.folder), Stopwatch()
    _time_parts(watch)
    provider = StandIn(how.folder / "provider", watch, how.what == "collect", keeps_input=False)
    settings = Settings(poll_seconds=0.0, grace_seconds=0.0, once=True)
    voice = pipeline.Voice(lambda line: None, lambda batches: None, lambda plans: None)
    with watch.on("rest"):
        counter(project.tasks[0].model)  # a plan, which comes before a run, has loaded the encoding
        summary = pipeline.run(project, project.tasks, provider, settings, voice)
    provider.close()
    assert not summary.problems, summary.problems
    done = {"batches": len(summary.submitted), "labelled": summary.labelled, "bytes": provider.uploaded_bytes}
    report(**done, seconds={what: round(took, 3) for what, took in watch.seconds.items()})


def _time_parts(watch: Stopwatch) -> None:
    """Have the run's parts count their time."""
    write_shards = sending.write_shards

    def timed_shards(*arguments: Any, **named: Any) -> Any:
        return watch.each("shards", write_shards(*arguments, **named))

    sending.write_shards = timed_shards
    for module, name, what in (
        (sending, "spool_texts", "spool"),
        (collecting, "judge_batch", "judge"),
        (collecting, "_download", "read"),
        (Ledger, "claim", "claim"),
        (Ledger, "claims_of", "claims_of"),
        (Ledger, "load", "load"),
    ):
        setattr(module, name, watch.wrap(what, getattr(module, name)))


if __name__ == "__main__":
    main()
