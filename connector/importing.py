"""Importing: labels that were paid for elsewhere come in as labels of a task, held to its fields as answers are."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from connector.errors import LabelsError
from connector.files import open_private, work_folder
from connector.ledger import TEXT_KEY, new_key
from connector.plain import counted
from connector.plan import NOTHING, Cost
from connector.planning import price_again
from connector.request import sendable
from connector.task import AnyOf, Boolean, Integer, OneOf, Task, TaskField, value_mistake
from connector.warehouse.foreign import Destination, bring, column_type, find_destination, foreign_rows
from connector.warehouse.project import Project
from connector.warehouse.tables import Ledger

_HEX = re.compile("[0-9a-fA-F]{1,128}")
# a value longer than a word may be a text in the wrong column: it is not shown
_WORD = re.compile(r"\S{1,30}")
_CHUNK_ROWS = 4_096
_MOST_MISTAKES = 20


@dataclass(frozen=True)
class Import:
    """What an import would bring: `texts` with a fitting label; `saved` is what sending the pending of them costs."""

    task: Task
    texts: int
    destination: Destination
    saved: Cost


@dataclass(frozen=True)
class Imported:
    """What was brought: labels, and texts that were left alone."""

    labels: int
    labelled_before: int
    in_flight: int


def import_labels(
    project: Project,
    task: Task,
    name: str,
    model: str,
    confirm: Callable[[Import], None],
    base_url: str | None = None,
) -> Imported:
    """Read labels from a relation, show what they bring, have it confirmed, and write those of texts without any.

    Raises `LabelsError` with every kind of mistake in the rows, and how many have it: then nothing is written. Nothing
    is written either where the lease is lost, but without transactions: there some are, and the rest come when it is
    done again.
    """
    ledger = Ledger(project, new_key())
    ledger.check([task])
    with work_folder(project.folder, ledger.run_key) as folder:
        path = folder / "foreign.arrow"
        texts = _spool(project, task, name, path)
        with pa.memory_map(str(path)) as source:
            rows = pa.ipc.open_file(source).read_all()
            found = find_destination(project, task, rows)
            saved = price_again(project, task, found.pending, base_url) if found.pending else NOTHING
            confirm(Import(task, texts, found, saved))
            with ledger.leased([task.table]), ledger.writing([task.table]) as session:
                brought = bring(session, task, rows, model, lambda: ledger.hold(session, task.table))
    return Imported(brought, found.labelled, found.in_flight)


def _spool(project: Project, task: Task, name: str, path: Path) -> int:
    """Write the labels to a private file, read once and in bounded memory; return how many texts they are for."""
    schema = pa.schema([("text_key", pa.string()), *((field.name, column_type(field)) for field in task.fields)])
    found = _Mistakes()
    texts = 0
    with open_private(path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as sink:
        with pa.ipc.new_file(sink, schema) as writer, foreign_rows(project, task, name) as rows:
            for chunk in _chunks(_checked(task, rows, found)):
                texts += len(chunk)
                writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema))
    if found.kinds:
        raise LabelsError(
            "\n".join([f"`{name}` does not fit task `{task.name}`, so nothing was imported:", *found.lines()]),
            "correct the rows, or leave them out in a model, and import that",
        )
    return texts


class _Mistakes:
    """What is wrong with rows: each kind once, with how often and the first text's key."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, kind: str, key: object) -> None:
        """Count one row that has this mistake."""
        self.kinds[kind] += 1
        self._first.setdefault(kind, str(key) if _HEX.fullmatch(str(key)) else "?")

    def lines(self) -> list[str]:
        """Return the kinds, the most frequent first."""
        shown = self.kinds.most_common(_MOST_MISTAKES)
        lines = [f"{kind}: {counted(rows, 'row')}, first {self._first[kind]}" for kind, rows in shown]
        left = len(self.kinds) - len(shown)
        return [*lines, f"and {counted(left, 'more kind')} of mistakes"] if left else lines


def _checked(task: Task, rows: Iterable[dict[str, Any]], found: _Mistakes) -> Iterator[dict[str, Any]]:
    """Give the rows that fit, in the columns of labels, once per text; rows come by key."""
    last: dict[str, Any] = {}
    for row in rows:
        key = row["text_key"]
        if key is None:
            found.add("no text and no key", "?")
            continue
        if not TEXT_KEY.fullmatch(key):
            found.add("`text_key` is not SHA-256 in lower-case hex, as `dbt_labels.text_key` makes it", key)
        if row["is_other"]:
            found.add(f"`text_key` is not that of `{task.text}`", key)
        label: dict[str, Any] = {"text_key": key}
        for field in task.fields:
            value = read_value(field, row[field.name])
            if mistake := _mistake(field, value):
                found.add(f"`{field.name}` {mistake}", key)
            label[field.name] = _column(field, value)
        if label.get("text_key") == last.get("text_key"):
            if label != last:
                found.add("the same text again with another label", key)
            continue
        last = label
        if not found.kinds:
            yield label


def read_value(field: TaskField, value: object) -> object:
    """Return a column's value as an answer would have it: warehouses and seeds have their own ideas of types."""
    if isinstance(field, AnyOf) and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(field, Boolean) and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(field, Integer) and value is not None and not isinstance(value, (bool, int)):
        return int(str(value).partition(".")[0]) if re.fullmatch(r"-?\d{1,18}(\.0+)?", str(value)) else value
    if isinstance(field, OneOf) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _mistake(field: TaskField, value: object) -> str | None:
    """Return what is wrong with a value, without showing what may be a text."""
    if value is None:
        return "is null"
    mistake = value_mistake(field, value)
    if mistake is None or not isinstance(field, (OneOf, AnyOf)) or not mistake.endswith("not one of its values"):
        return mistake
    members = value if isinstance(value, list) else [value]
    foreign = next(member for member in members if not isinstance(member, str) or member not in field.values)
    shown = isinstance(foreign, str) and _WORD.fullmatch(foreign)
    return f"has {foreign!r}, which is not one of its values" if shown else "is not one of its values"


def _column(field: TaskField, value: Any) -> Any:
    if isinstance(field, AnyOf) and isinstance(value, list):
        return orjson.dumps(list(dict.fromkeys(map(str, value)))).decode()
    return sendable(value) if isinstance(value, str) else value


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK_ROWS:
            yield chunk
            chunk = []
    yield chunk
