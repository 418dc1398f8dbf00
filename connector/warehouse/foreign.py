"""Labels made elsewhere: read from a relation of the user's, compared with the ledger, brought into a task's table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connector.errors import UsageError, WarehouseError, to_build
from connector.task import Boolean, Integer, Task
from connector.warehouse.project import Project
from connector.warehouse.session import Session
from connector.warehouse.texts import count_listed, sendable_sql, settled_sql

_LENT = "dbt_labels_foreign"
_CHUNK_ROWS = 50_000


@dataclass(frozen=True)
class Destination:
    """Where foreign labels would go: texts with a label already, texts in a live batch, and those that are pending."""

    labelled: int
    in_flight: int
    pending: list[str]


@contextmanager
def foreign_rows(project: Project, task: Task, name: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Give the rows of a model, seed, snapshot or source, by key, read as they are taken.

    Each has `text_key`, the fields, and `is_other`: whether the relation's own key is not that of its text. Raises
    `UsageError` or `WarehouseError` where it can not be read so.
    """
    named = project.named(name)
    if named is None or named.relation is None:
        raise UsageError(
            f"there is no model, seed, snapshot or source `{name}` to read labels from",
            "name a model or seed, or a source as `source_name.table`; an ephemeral model can not be read",
        )
    with project.connect() as session:
        relation = str(named.relation)
        columns = session.columns(relation)
        if not columns:
            raise WarehouseError(f"`{name}` is not built: there is no {relation}", f"run {to_build(name)}")
        mistakes = [f"no column `{field.name}`" for field in task.fields if field.name not in columns]
        if "text_key" not in columns and task.text.lower() not in columns:
            mistakes.insert(0, f"neither `text_key` nor `{task.text}`")
        if mistakes:
            raise WarehouseError(
                f"`{name}` has {', '.join(mistakes)}; it has {', '.join(f'`{column}`' for column in columns)}",
                "it needs one row per text: its key or the text itself, and a column per field of the task",
            )
        stream = session.handle.stream(_rows_sql(session, task, relation, columns))
        yield (row for batch in stream for row in batch.to_pylist())


def _rows_sql(session: Session, task: Task, relation: str, columns: dict[str, str]) -> str:
    of_text = str(session.macro("text_key", column=session.quote(task.text)))
    key, other = session.macro("value_text", column="text_key", type="text"), "false"
    if "text_key" not in columns:
        key = of_text
    elif task.text.lower() in columns:
        other = f"coalesce({key} <> {of_text}, false)"
    fields = ", ".join(session.quote(field.name) for field in task.fields)
    return f"select {key} as text_key, {other} as is_other, {fields} from {relation} order by 1"


def column_type(field: Any) -> pa.DataType:
    """Return the type of a field's column."""
    return pa.bool_() if isinstance(field, Boolean) else pa.int64() if isinstance(field, Integer) else pa.string()


def find_destination(project: Project, task: Task, rows: pa.Table) -> Destination:
    """Return where these labels would go; raises `WarehouseError` where the pending model is not fit."""
    with project.connect() as session:
        count_listed(session, project, task)  # raises where it is not fit
        with session.handle.lent(_LENT, rows.select(["text_key"])):
            wanted = f"text_key in (select text_key from {_LENT})"
            settled = session.handle.rows(
                f"select why, count(distinct text_key) as texts from ({settled_sql(session, task)}) as settled"
                f" where {wanted} group by why"
            )
            pending = session.handle.rows(
                f"select text_key from ({sendable_sql(session, project, task)}) as sendable where {wanted}"
            )
    by_why = {row["why"]: int(row["texts"]) for row in settled}
    return Destination(by_why.get("labelled", 0), by_why.get("in_flight", 0), [row["text_key"] for row in pending])


def bring(session: Session, task: Task, rows: pa.Table, model: str, renew: Callable[[], None]) -> int:
    """Write those of these labels whose texts have none and are in no live batch; return how many.

    Call it in a transaction, with the table's lease held; `renew` sees to it that it still is, before each step. They
    cost nothing here and belong to no batch.
    """
    now, brought = session.clock(), 0
    for chunk in rows.to_batches(max_chunksize=_CHUNK_ROWS):
        renew()
        with session.handle.lent(_LENT, pa.table({"text_key": chunk.column("text_key")})):
            new = session.handle.rows(
                f"select text_key from {_LENT} as brought where not exists"
                f" (select 1 from ({settled_sql(session, task)}) as settled"
                " where settled.text_key = brought.text_key and settled.why <> 'rejected')"
            )
        keys = pa.array([row["text_key"] for row in new], pa.string())
        kept = chunk.filter(pc.is_in(chunk.column("text_key"), keys))
        if kept.num_rows:
            renew()
            session.handle.append(session.relation(task.table), _as_labels(task, kept, model, now))
        brought += kept.num_rows
    return brought


def _as_labels(task: Task, rows: pa.RecordBatch, model: str, now: datetime) -> pa.Table:
    """Return labels with what all rows of a task's table have."""
    size = rows.num_rows
    return pa.table(
        {
            **dict(zip(rows.schema.names, rows.columns, strict=True)),
            "version": pa.array([task.version] * size, pa.int64()),
            "outcome": ["labelled"] * size,
            "model": [model] * size,
            "cost_usd": pa.array([Decimal(0)] * size, pa.decimal128(38, 12)),
            "attempt": pa.array([0] * size, pa.int64()),
            "labelled_at": pa.array([now] * size, pa.timestamp("us")),
        }
    )
