"""The dbt package under real dbt on DuckDB: rows for its tables in a small project, and what that project says then."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

from connector.warehouse.texts import read_spool, spool_texts
from tests.lab import Lab

ODD = ["it's", 'say "hi"', "a, b", "naïve 👍", "back\\slash", "{ braces }", "[1]"]


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def tables(lab: Lab) -> set[str]:
    rows = lab.sql("select table_schema, table_name from information_schema.tables")
    return {f"{schema}.{table}" for schema, table in rows if schema != "raw"}


def label(text: str, **values: Any) -> dict[str, Any]:
    given = {"text_key": key(text), "version": 1, "outcome": "labelled", "sentiment": "positive", "themes": "[]"}
    return given | {"attempt": 1, "batch_key": "b", "labelled_at": datetime(2026, 11, 1)} | values


def pending(lab: Lab, relation: str = "main.comments_to_label") -> set[str]:
    return {text for (text,) in lab.sql(f"select comment_text from {relation}")}


def texts_to_send(lab: Lab, folder: Path) -> set[str]:
    """Return what the connector would send."""
    spool_texts(lab.project, lab.project.tasks[0], folder / "spool")
    return {text.text for text in read_spool(folder / "spool")}


def list_everything(lab: Lab) -> None:
    """Put a stale table in the pending model's place, which lists every text there is."""
    every = "select distinct text_key, comment_text from main.stg_comments where comment_text is not null"
    lab.sql("drop view main.comments_to_label")
    lab.sql(f"create table main.comments_to_label as {every}")
