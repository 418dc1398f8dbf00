"""The ledger's rows: batches read back from their events, claims and outcomes as Arrow tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from connector.ledger import Batch, Claim, Identity, State
from connector.price import read_price
from connector.request import prompt_hash, sendable
from connector.result import Outcome
from connector.shard import Shard
from connector.task import Boolean, Integer, Task

# as `new_key` makes them: files are named after a batch, and SQL names it
_BATCH_KEY = re.compile("[0-9a-f]{20}")


@dataclass(frozen=True)
class Rejection:
    """A text that will not be labelled, since this attempt and for this reason."""

    text_key: str
    attempt: int
    reason: str


def claim_rows(shard: Shard, task: Task, project: str) -> pa.Table:
    """Return a shard's claims in the columns of label_claims."""
    size = len(shard.claims)
    return pa.table(
        {
            "batch_key": [shard.batch_key] * size,
            "project": [project] * size,
            "label_table": [task.table] * size,
            "version": pa.array([task.version] * size, pa.int64()),
            "custom_id": [claim.custom_id for claim in shard.claims],
            "item_id": pa.array([claim.item_id for claim in shard.claims], pa.string()),
            "text_key": [claim.text_key for claim in shard.claims],
            "attempt": pa.array([claim.attempt for claim in shard.claims], pa.int64()),
        }
    )


def read_claims(rows: pa.RecordBatch) -> Iterator[Claim]:
    """Give the claims of rows with their columns."""
    return map(Claim, *(rows.column(name).to_pylist() for name in Claim.__struct_fields__))


def label_rows(batch: Batch, outcomes: Sequence[Outcome], now: datetime) -> pa.Table:
    """Return a batch's outcomes in the columns of its task's table, by the snapshot it was asked under."""
    size = len(outcomes)

    def texts(values: Iterable[str | None]) -> pa.Array:
        # whatever else is wrong with an answer, it is paid for: no character of it may keep a batch out
        return pa.array([value if value is None else sendable(value) for value in values], pa.string())

    def numbers(values: Iterable[int | None]) -> pa.Array:
        return pa.array(list(values), pa.int64())

    columns = {"text_key": texts(o.claim.text_key for o in outcomes), "version": numbers([batch.task.version] * size)}
    for field in batch.task.fields:
        kind = pa.bool_() if isinstance(field, Boolean) else pa.int64() if isinstance(field, Integer) else pa.string()
        columns[field.name] = pa.array([(o.values or {}).get(field.name) for o in outcomes], kind)
    for name in [*batch.task.confidences, *(["confidence"] if batch.task.confidences else [])]:
        columns[name] = pa.array([(o.values or {}).get(name) for o in outcomes], pa.float64())
    usages = [o.usage for o in outcomes]
    return pa.table(
        {
            **columns,
            "outcome": texts(o.outcome for o in outcomes),
            "reason": texts(o.reason for o in outcomes),
            "raw": texts(o.raw for o in outcomes),
            "model": texts(o.model for o in outcomes),
            "prompt_hash": texts([batch.prompt_hash] * size),
            "input_tokens": numbers(used and used.input_tokens for used in usages),
            "cached_tokens": numbers(used and used.cached_tokens for used in usages),
            "output_tokens": numbers(used and used.output_tokens for used in usages),
            "reasoning_tokens": numbers(used and used.reasoning_tokens for used in usages),
            "cost_usd": pa.array([o.cost_usd for o in outcomes], pa.decimal128(38, 12)),
            "attempt": numbers(o.claim.attempt for o in outcomes),
            "batch_key": texts([batch.batch_key] * size),
            "labelled_at": pa.array([now] * size, pa.timestamp("us")),
        }
    )


def reopened_rows(rejections: Sequence[Rejection], task: Task, now: datetime) -> pa.Table:
    """Return what puts rejections back: a reopening carries the attempt of the rejection that it lifts."""
    size = len(rejections)
    return pa.table(
        {
            "text_key": [rejection.text_key for rejection in rejections],
            "version": pa.array([task.version] * size, pa.int64()),
            "outcome": ["reopened"] * size,
            "reason": [rejection.reason for rejection in rejections],
            "attempt": pa.array([rejection.attempt for rejection in rejections], pa.int64()),
            "labelled_at": pa.array([now] * size, pa.timestamp("us")),
        }
    )


def read_batch(row: dict[str, Any]) -> Batch:
    """Return a row of the macro `batches`; raises `ValueError` where this release can not read it."""
    if not _BATCH_KEY.fullmatch(row["batch_key"]):
        raise ValueError("a batch with a key that is none of ours")
    task = _snapshot(row["task_snapshot"])
    own = "input_file_id file_created_at witness_file_id provider_batch_id provider_status output_file_id error_file_id"
    own += " labelled rejected retried cost_usd reason message"
    return Batch(
        batch_key=row["batch_key"],
        state=State(row["state"]),
        task=task,
        prompt_hash=prompt_hash(task),
        provider=Identity(row["provider"], row["organisation"], row["provider_project"]),
        run_key=row["run_key"],
        price=read_price(row["price"]),
        claims=int(row["claims"]),
        requests=int(row["requests"] or row["claims"]),
        input_bytes=int(row["input_bytes"] or 0),
        bound_usd=row["bound_usd"],
        expected_usd=row["expected_usd"],
        enqueued_tokens=int(row["enqueued_tokens"] or 0),
        completed=int(row["completed"] or 0),
        failed=int(row["failed"] or 0),
        planned_at=row["planned_at"],
        creating_at=row["creating_at"],
        fencing_at=row["fencing_at"],
        submitted_at=row["submitted_at"],
        ended_at=row["ended_at"],
        loaded_at=row["loaded_at"],
        **{name: row[name] for name in own.split()},
    )


def _snapshot(text: str) -> Task:
    """Return the task as it was asked, without keys that another release knew and this one does not."""
    snapshot: Any = json.loads(text)
    try:
        return Task.model_validate(snapshot, strict=False)
    except ValidationError as error:
        foreign: list[tuple[Any, ...]] = [
            detail["loc"] for detail in error.errors() if detail["type"] == "extra_forbidden"
        ]
        if not foreign:
            raise
    for *path, key in foreign:
        parent: Any = snapshot
        for step in path:
            # pydantic names the kind of a field in the path; it is no step in the data
            if isinstance(parent, list) or step in parent:
                parent = parent[step]
        del parent[key]
    return Task.model_validate(snapshot, strict=False)
