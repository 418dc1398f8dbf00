"""A run with nothing to do, from a cold process: what a cron job costs when no comment came.

    python -m benchmarks.idle FOLDER

Is `dbt-labels run --yes` with clocks in it: `dbt` has the import of dbt and its adapter, the parsing of the project and
dbt's own command; `sql` what DuckDB answers to the connector; `connector` the rest, its imports included. What the
process took as a whole, its start and end included, is for the caller to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from pathlib import Path

from benchmarks.process import Stopwatch, report, without_pandas


def main() -> None:
    """Print what a run took, by part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    how = parser.parse_args()
    without_pandas()
    os.environ["LAB_DUCKDB"] = str(how.folder / "warehouse.duckdb")
    watch, code = Stopwatch(), None
    with watch.on("dbt"):
        for name in ("dbt.cli.main", "dbt.adapters.duckdb"):
            importlib.import_module(name)
    with watch.on("connector"), contextlib.redirect_stdout(sys.stderr):
        cli = importlib.import_module("connector.cli")
        project = importlib.import_module("connector.warehouse.project")
        project.invoke = watch.wrap("dbt", project.invoke)
        handle = importlib.import_module("connector.warehouse.duckdb").Handle
        for name in ("rows", "columns", "execute"):
            setattr(handle, name, watch.wrap("sql", getattr(handle, name)))
        folder = str(how.folder / "project")
        sys.argv = ["dbt-labels", "run", "--yes", "--project-dir", folder, "--profiles-dir", folder]
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
    assert not code, "a run with nothing to do ends well"
    report(seconds={what: round(took, 3) for what, took in watch.seconds.items()})


if __name__ == "__main__":
    main()
