"""A warehouse with many comments, made of few real ones: DuckDB on disk, built by dbt up to the pending texts.

    python -m benchmarks.comments FOLDER COMMENTS.csv ROWS

The file has a column `text` or `comment_text`. The first rows are the comments as they are; each later pass over them
joins the beginning of each with the end of another, chosen by its text: equal comments stay equal, as often as people
really write the same. The task is the demo's: instructions, an example, three fields.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from benchmarks.process import ROOT, report
from connector.warehouse.project import Options, Project, parse_project
from tests.lab import SMALL, Lab

MEMORY_LIMIT = "128MB"
_DEMO = ROOT / "dbt_project"


def main() -> None:
    """Make the warehouse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("comments", type=Path)
    parser.add_argument("rows", type=int)
    how = parser.parse_args()
    lab = make_lab(how.folder)
    add_comments(lab.database, read_texts(how.comments), how.rows)
    lab.project.run_dbt("run", quiet=True)
    with duckdb.connect(str(lab.database), read_only=True) as connection:
        found = connection.execute("select count(*), count(distinct text_key) from main.stg_comments").fetchone()
        pending = connection.execute("select count(*) from main.comments_to_label").fetchone()
    assert found is not None
    assert pending is not None
    report(rows=found[0], texts=found[1], pending=pending[0], database_bytes=lab.database.stat().st_size)


def database_of(folder: Path) -> Path:
    """Return the DuckDB file of the warehouse in this folder."""
    return folder / "warehouse.duckdb"


def open_project(folder: Path) -> Project:
    """Return the project of the warehouse that was made in this folder, parsed."""
    os.environ["LAB_DUCKDB"] = str(database_of(folder))
    return parse_project(Options(folder / "project", folder / "project"))


def make_lab(folder: Path) -> Lab:
    """Return the small project with the demo's task, a table of keys in staging, and a limit on DuckDB's memory."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lab = Lab(folder, SMALL)
    staging = lab.folder / "models" / "stg_comments.sql"
    staging.write_text("{{ config(materialized='table') }}\n" + staging.read_text())
    profiles: Any = yaml.safe_load((lab.folder / "profiles.yml").read_text())
    profiles["small"]["outputs"]["dev"]["settings"] = {"memory_limit": MEMORY_LIMIT}
    (lab.folder / "profiles.yml").write_text(yaml.safe_dump(profiles))
    demo: Any = yaml.safe_load((_DEMO / "models" / "labeling" / "comments_to_label.yml").read_text())
    asked = demo["models"][0]["config"]["meta"]["dbt_labels"]
    taken = {name: asked[name] for name in ("params", "fields", "examples")}
    instructions = (_DEMO / asked["instructions_file"]).read_text(encoding="utf-8")
    lab.edit_task(**taken, instructions=instructions, run={"max_output_tokens": 200})
    return lab


def read_texts(path: Path) -> list[str]:
    """Return the real comments that are not blank."""
    with path.open(encoding="utf-8", newline="") as handle:
        read = [row.get("text") or row.get("comment_text") or "" for row in csv.DictReader(handle)]
    return [text for text in read if text.strip()]


def add_comments(database: Path, texts: list[str], rows: int) -> None:
    """Write so many comments into the raw table, made in DuckDB out of the real ones."""
    with duckdb.connect(str(database)) as connection:
        connection.execute("create schema if not exists raw")
        connection.register("words", pa.table({"place": range(len(texts)), "words": [text.split() for text in texts]}))
        connection.execute(
            """
            create table raw.comments as
            with passes as (
                select
                    first.words,
                    number // $texts as pass,
                    (hash(first.words) + number // $texts * 7919) % $texts as second_place,
                    (hash(first.words) // 7 + number // ($texts * $texts) * 104729) % $texts as third_place,
                    number
                from range($rows) as numbers (number)
                inner join words as first on first.place = numbers.number % $texts
            )

            select
                'c' || passes.number as comment_id,
                case
                    when pass = 0 then array_to_string(passes.words, ' ')
                    else concat_ws(
                        ' ',
                        array_to_string(passes.words[: (len(passes.words) + 1) // 2], ' '),
                        array_to_string(second.words[len(second.words) // 2 + 1 :], ' '),
                        case when pass >= $texts then array_to_string(third.words[: 3], ' ') end
                    )
                end as comment_text
            from passes
            inner join words as second on second.place = passes.second_place
            inner join words as third on third.place = passes.third_place
            """,
            {"texts": len(texts), "rows": rows},
        )


if __name__ == "__main__":
    main()
