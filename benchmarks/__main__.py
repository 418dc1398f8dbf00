"""One table of ratios: the connector beside what else one would do, by the number of comments.

    python -m benchmarks [COMMENTS.csv] [--rows 100000,1000000] [--folder FOLDER] [--quick]

Without a file the comments are the demo's. The table goes to stdout, what is being measured to stderr. The folder needs
about 4 GB for each million comments; it is emptied at the end. `--quick` shows that all of it runs: what it prints of a
few comments says nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.comments import MEMORY_LIMIT, database_of
from benchmarks.process import ROOT, run_fresh
from benchmarks.table import print_table

_DEMO = ROOT / "dbt_project" / "seeds" / "raw_comments.csv"
# slow ways are measured on so many rows, and compared by the row
_SCRIPT_ROWS = 200_000
_LOOP_ROWS = 20_000
# the local server takes minutes for a million
_WHOLE_ROWS = 1_000_000
# small sizes are measured several times, in turns, and the least disturbed time counts
_SMALL_ROWS, _ROUNDS = 200_000, 3
_QUICK_SIZES = [1_000]

Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks")
    parser.add_argument("comments", type=Path, nargs="?", default=_DEMO, help="a CSV with a column `text`")
    parser.add_argument("--rows", default="100000,1000000", help="numbers of comments, with commas between them")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if it is not said")
    parser.add_argument("--quick", action="store_true", help="only a few comments, once")
    how = parser.parse_args(arguments)
    sizes = _QUICK_SIZES if how.quick else sorted(int(rows) for rows in how.rows.split(","))
    with tempfile.TemporaryDirectory(dir=how.folder) as folder:
        measured = {
            rows: _measure(Path(folder), how.comments, rows, 1 if how.quick or rows > _SMALL_ROWS else _ROUNDS)
            for rows in sizes
        }
    print_table(measured)
    print(
        f"\n{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB of memory;"
        f" DuckDB's memory_limit is {MEMORY_LIMIT} in every measurement of ours"
    )


def _measure(folder: Path, comments: Path, rows: int, rounds: int) -> Figures:
    """Return all figures of one size; each measurement is a process of its own."""
    warehouse, kept = folder / "warehouse", folder / "fresh.duckdb"
    made = _run("comments", warehouse, comments.resolve(), rows)
    shutil.copy(database_of(warehouse), kept)
    figures: Figures = {"made": made}
    for _ in range(rounds):
        _restore(warehouse, kept)
        _keep_least(figures, "script", _run("script", warehouse, "--rows", _SCRIPT_ROWS))
        _keep_least(figures, "send", _run("connector_run", warehouse, "send"))
        _keep_least(figures, "disk", _run("disk", warehouse, figures["send"]["bytes"]))
        _keep_least(figures, "loop", _run("loading", warehouse, "loop", "--rows", _LOOP_ROWS))
        _keep_least(figures, "collect", _run("connector_run", warehouse, "collect"))
        _keep_least(figures, "typed", _run("loading", warehouse, "typed"))
        _keep_least(figures, "pending", _run("pending", warehouse))
        _keep_least(figures, "idle", _run("idle", warehouse))
    if rows <= _WHOLE_ROWS:
        for rows_per_request in (1, 20):
            _restore(warehouse, kept)
            figures[f"whole_{rows_per_request}"] = _run("whole", warehouse, rows_per_request)
    shutil.rmtree(warehouse)
    return figures


def _restore(warehouse: Path, kept: Path) -> None:
    """Put the warehouse back to what it was before anything was sent."""
    database = database_of(warehouse)
    database.with_suffix(".duckdb.wal").unlink(missing_ok=True)
    shutil.copy(kept, database)
    for name in ("provider", "server"):
        shutil.rmtree(warehouse / name, ignore_errors=True)


def _run(module: str, *arguments: object) -> Figures:
    began = time.perf_counter()
    figures = run_fresh(module, *arguments)
    figures["wall"] = time.perf_counter() - began
    print(f"{module} {' '.join(map(str, arguments))}: {figures}", file=sys.stderr)
    return figures


def _keep_least(figures: Figures, name: str, found: Figures) -> None:
    """Keep the quicker of two measurements of the same thing, and the larger memory."""
    had = figures.get(name)
    if had is not None:
        found["peak_mb"] = had["peak_mb"] = max(found["peak_mb"], had["peak_mb"])
    if had is None or sum(found["seconds"].values()) < sum(had["seconds"].values()):
        figures[name] = found


if __name__ == "__main__":
    main()
