"""What memory a large stream and large loads take on Spark: Python's and the driver's, in session mode.

    python -m benchmarks.spark [--rows 200000 2000000] [--heap 1g]

Each figure comes from processes of its own. `stream` reads texts of a hundred characters through the handle, as a spool
does; `load` appends labels, 50,000 at a time, as batches do; `whole` asks Spark for the same rows at once, to compare.
Python's figure is how far its resident memory rose; the driver's is the heap that a collection leaves, looked at twice
a second. In session mode the driver does the executors' work as well, in the same heap.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from connector.warehouse.session import Session
from tests.warehouse.labs import built
from tests.warehouse.spark_lab import SparkLab
from tests.warehouse.spark_server import QUIET, settings

_BATCH = 50_000
_LOOK_SECONDS = 0.5


def main() -> None:
    """Print one line of figures for each way and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--heap", default="1g")
    parser.add_argument("--way", help="measure this one, in this process")
    how = parser.parse_args()
    if how.way:
        measure(how.way, how.rows[0], how.heap)
        return
    for way in WAYS:
        for rows in how.rows:
            one = [sys.executable, "-m", "benchmarks.spark", "--way", way, "--rows", str(rows), "--heap", how.heap]
            done = subprocess.run(one, capture_output=True, text=True, check=False)
            print(done.stdout.splitlines()[-1] if done.returncode == 0 else f"{way} {rows:,}: {_why(done.stderr)}")


def measure(way: str, rows: int, heap: str) -> None:
    """Print what one way takes with so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        told = settings(Path(folder)) | {"spark.driver.memory": heap, "spark.driver.extraJavaOptions": QUIET}
        for name in ("spark.sql.adaptive.enabled", "spark.sql.codegen.wholeStage", "spark.sql.codegen.factoryMode"):
            del told[name]
        lab = SparkLab(Path(folder), told)
        built(lab)
        with lab.project.connect() as session:
            session.handle.execute(
                "create table raw.many using parquet as select id, sha2(cast(id as string), 256) as text_key,"
                f" substr(repeat(sha2(cast(-id as string), 256), 2), 1, 100) as text from range({rows})"
            )
            began = time.monotonic()
            with _watched(session) as peaks:
                found = WAYS[way](session, rows)
            seconds = time.monotonic() - began
    assert found == rows, found
    print(f"{way} {rows:,}: Python +{peaks['python']:.0f} MB, heap {peaks['heap']:.0f} MB, {seconds:.0f} s")


def _stream(session: Session, rows: int) -> int:
    return sum(batch.num_rows for batch in session.handle.stream("select text_key, text from raw.many"))


def _load(session: Session, rows: int) -> int:
    relation = session.relation("comment_labels")
    for start in range(0, rows, _BATCH):
        session.handle.append(relation, _labels(start, min(_BATCH, rows - start)))
    [counted] = session.handle.rows(f"select count(*) as n from {relation}")
    return int(counted["n"])


def _whole(session: Session, rows: int) -> int:
    return int(session.handle._spark.sql("select text_key, text from raw.many").toArrow().num_rows)


WAYS = {"stream": _stream, "load": _load, "whole": _whole}


def _labels(start: int, size: int) -> pa.Table:
    return pa.table(
        {
            "text_key": [f"{number:064x}" for number in range(start, start + size)],
            "version": pa.array([1] * size, pa.int64()),
            "sentiment": ["positive"] * size,
            "themes": ['["acting", "plot"]'] * size,
            "outcome": ["labelled"] * size,
            "model": ["gpt-6-luna"] * size,
            "prompt_hash": ["0" * 64] * size,
            "cost_usd": pa.array([Decimal("0.000012345678")] * size, pa.decimal128(38, 12)),
            "attempt": pa.array([1] * size, pa.int64()),
            "batch_key": [f"batch {start}"] * size,
            "labelled_at": pa.array([datetime(2026, 11, 23)] * size, pa.timestamp("us")),
        }
    )


@contextmanager
def _watched(session: Session) -> Iterator[dict[str, float]]:
    """Give the highest figures while something is done, in MB."""
    runtime: Any = session.handle._spark._jvm.java.lang.Runtime.getRuntime()
    process = psutil.Process()
    before, peaks, ended = process.memory_info().rss, {"python": 0.0, "heap": 0.0}, threading.Event()

    def look() -> None:
        collect_at = 0.0
        while not ended.is_set():
            peaks["python"] = max(peaks["python"], (process.memory_info().rss - before) / 1e6)
            if time.monotonic() > collect_at:
                runtime.gc()
                peaks["heap"] = max(peaks["heap"], (runtime.totalMemory() - runtime.freeMemory()) / 1e6)
                collect_at = time.monotonic() + _LOOK_SECONDS
            ended.wait(0.02)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()


def _why(said: str) -> str:
    """Return the line that tells most of an error."""
    lines = [line for line in said.splitlines() if "Error" in line or "Exception" in line]
    return f"fails: {lines[0][:200]}" if lines else "fails"


if __name__ == "__main__":
    main()
