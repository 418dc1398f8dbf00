"""What is pending when all is labelled: the anti-join of all comments with all labels, as dbt and the connector ask it.

    python -m benchmarks.pending FOLDER

After `connector_run FOLDER collect`. `view` counts the pending model, `standing` is all that `dbt-labels plan` counts,
`spool` what a run reads before it sends.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.comments import open_project
from benchmarks.process import Stopwatch, report, without_pandas
from connector.warehouse.texts import count_texts, spool_texts


def main() -> None:
    """Print what each question took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    how = parser.parse_args()
    without_pandas()
    project, watch = open_project(how.folder), Stopwatch()
    [task] = project.tasks
    with project.kept_open():
        with project.connect() as session:
            relation = project.model(task).relation_name
            with watch.on("view"):
                [found] = session.handle.rows(f"select count(*) as texts from {relation}")
        with watch.on("standing"):
            counts = count_texts(project, task)
        with watch.on("spool"):
            spooled = spool_texts(project, task, how.folder / "spool.arrow")
    seconds = {what: round(took, 3) for what, took in watch.seconds.items()}
    report(pending=found["texts"], spooled=spooled, labelled=counts.labelled, seconds=seconds)


if __name__ == "__main__":
    main()
