"""The script that everybody starts with: pandas, `iterrows`, `json.dumps`, one file.

    python -m benchmarks.script FOLDER [--rows N]

It writes what the connector writes for the same pending texts, the custom_id aside.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from benchmarks.comments import database_of, open_project
from benchmarks.process import Stopwatch, report
from connector.request import messages, response_format
from connector.task import Task


def main() -> None:
    """Print what the script took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, required=True, help="at most so many of them")
    how = parser.parse_args()
    [task] = open_project(how.folder).tasks
    watch = Stopwatch()
    path = how.folder / "script.jsonl"
    with watch.on("script"):
        with duckdb.connect(str(database_of(how.folder)), read_only=True) as connection:
            frame = connection.execute(
                "select text_key, comment_text from main.comments_to_label limit ?", [how.rows]
            ).df()
        write(frame, task, path)
    size = path.stat().st_size
    path.unlink()
    report(requests=len(frame), bytes=size, seconds=watch.seconds)


def write(frame: pd.DataFrame, task: Task, path: Path) -> None:
    """Write a line for each row, made anew as a whole."""
    asked, schema = messages(task), response_format(task)
    with path.open("w", encoding="utf-8") as file:
        for _, row in frame.iterrows():
            body: dict[str, Any] = {
                "model": task.model,
                **task.params,
                "response_format": schema,
                "messages": [*asked, {"role": "user", "content": row["comment_text"]}],
                "max_completion_tokens": task.run.max_output_tokens,
            }
            line = {"custom_id": row["text_key"], "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
