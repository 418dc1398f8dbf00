"""The ledger's tables: every read and write of leases, batches, claims, events and labels, each in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import pyarrow as pa

from connector.errors import WarehouseError, WarehouseLocked
from connector.ledger import UNRESOLVED, Batch, Claim, Identity, State
from connector.request import prompt_hash
from connector.result import Outcome
from connector.shard import Shard, TooLarge
from connector.task import Boolean, Integer, Task
from connector.warehouse import lease
from connector.warehouse.project import Project, Session

_FACTS = [
    "run_key",
    "provider",
    "organisation",
    "provider_project",
    "claims",
    "input_bytes",
    "task_snapshot",
    "input_file_id",
    "file_created_at",
    "witness_file_id",
    "provider_batch_id",
    "provider_status",
    "output_file_id",
    "error_file_id",
    "completed",
    "failed",
    "labelled",
    "rejected",
    "retried",
    "input_tokens",
    "output_tokens",
    "reason",
    "message",
]


class Ledger:
    """The ledger in a project's warehouse, as one run sees it. Opens the warehouse for each call, never longer."""

    def __init__(self, project: Project, run_key: str) -> None:
        self.project = project
        self.run_key = run_key
        self._holder = lease.this_holder(run_key)

    def check(self, tasks: Sequence[Task]) -> None:
        """Raise `WarehouseError` where a table of these tasks or of the ledger is not fit."""
        with self.project.connect() as session:
            check_tables(session, tasks)

    @contextmanager
    def leased(self, tables: Sequence[str]) -> Iterator[None]:
        """Hold the leases of these tables; raises `LeaseHeld`."""
        with self.project.connect() as session, session.transaction():
            lease.take(session, self._holder, tables)
        try:
            yield
        finally:
            # a database that is locked just now keeps a lease of a process that will be gone: it ends by itself
            with suppress(WarehouseLocked), self.project.connect() as session, session.transaction():
                lease.release(session, self._holder)

    def renew(self, tables: Iterable[str]) -> None:
        """Renew the leases, once a round; raises `LeaseLost`."""
        with self.project.connect() as session, session.transaction():
            for table in tables:
                lease.renew(session, self._holder, table)

    def unresolved_tables(self) -> set[str]:
        """Return the tables for which this dbt project has unresolved batches, named by a task or not."""
        with self.project.connect() as session:
            events = session.relation("label_events")
            if not session.columns(events):
                return set()
            rows = session.handle.rows(
                f"select distinct label_table from ({session.macro('batches', events=events)}) as batches"
                f" where project = ? and state in ({_marks(UNRESOLVED)})",
                [self.project.name, *(state.value for state in UNRESOLVED)],
            )
        return {row["label_table"] for row in rows}

    def clock(self) -> datetime:
        """Return the warehouse's time, UTC without zone."""
        with self.project.connect() as session:
            return lease.clock(session)

    def batches(self, tables: Sequence[str], states: Iterable[State] = UNRESOLVED) -> list[Batch]:
        """Return the batches of these tables in these states, of any version, oldest first."""
        wanted = list(states)
        with self.project.connect() as session:
            events = session.relation("label_events")
            if not session.columns(events):
                return []
            found = session.handle.rows(
                f"select * from ({session.macro('batches', events=events)}) as batches"
                f" where label_table in ({_marks(tables)}) and state in ({_marks(wanted)})"
                " order by planned_at, batch_key",
                [*tables, *(state.value for state in wanted)],
            )
        return [_batch(row) for row in found]

    def claim(self, shard: Shard, task: Task, provider: Identity) -> None:
        """Write the claims and the intent of a shard, in one transaction under the lease. Nothing has been sent."""
        with self.project.connect() as session, session.transaction():
            lease.renew(session, self._holder, task.table)
            claims = _claim_rows(shard, task, self.project.name)
            session.handle.append(session.relation("label_claims"), claims)
            self._insert_event(
                session,
                shard.batch_key,
                State.PLANNED,
                task,
                run_key=self.run_key,
                provider=provider.base_url,
                organisation=provider.organisation,
                provider_project=provider.project,
                claims=len(shard.claims),
                input_bytes=shard.bytes,
                task_snapshot=task.model_dump_json(),
            )

    def record(self, batch_key: str, event: State, task: Task, *, leased: bool = True, **facts: Any) -> None:
        """Write what happened to a batch. With `leased`, only while this run holds the lease: raises `LeaseLost`."""
        with self.project.connect() as session, session.transaction():
            if leased:
                lease.renew(session, self._holder, task.table)
            self._insert_event(session, batch_key, event, task, **facts)

    def claims_of(self, batch: Batch) -> list[Claim]:
        """Return a batch's claims, with the history of each text."""
        with self.project.connect() as session:
            history = session.macro(
                "text_history", labels=session.relation(batch.task.table), version=batch.task.version
            )
            rows = session.handle.rows(
                "select claimed.custom_id, claimed.text_key, claimed.attempt,"
                " coalesce(history.failures, 0) as failures, coalesce(history.truncations, 0) as truncations,"
                " coalesce(history.unavailable_in_row, 0) as unavailable_in_row"
                f" from {session.relation('label_claims')} as claimed"
                f" left join ({history}) as history on history.text_key = claimed.text_key"
                " where claimed.batch_key = ?",
                [batch.batch_key],
            )
        return [Claim(**row) for row in rows]

    def load(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Write every outcome of a batch and that it is loaded, in one transaction; a second time changes nothing."""
        with self.project.connect() as session, session.transaction():
            lease.renew(session, self._holder, batch.task.table)
            events = session.relation("label_events")
            if session.handle.rows(
                f"select 1 from {events} where batch_key = ? and event = ?", [batch.batch_key, State.LOADED.value]
            ):
                return
            rows = _label_rows(batch, outcomes, lease.clock(session))
            session.handle.append(session.relation(batch.task.table), rows)
            became = [outcome.outcome for outcome in outcomes]
            self._insert_event(
                session,
                batch.batch_key,
                State.LOADED,
                batch.task,
                labelled=became.count("labelled"),
                rejected=became.count("rejected"),
                retried=became.count("failed"),
                input_tokens=sum(outcome.input_tokens or 0 for outcome in outcomes),
                output_tokens=sum(outcome.output_tokens or 0 for outcome in outcomes),
            )

    def reject(self, task: Task, text: TooLarge | Claim, reason: str, raw: str, batch_key: str | None = None) -> None:
        """Write the rejection of a text that no batch can carry."""
        with self.project.connect() as session, session.transaction():
            lease.renew(session, self._holder, task.table)
            row = {
                "text_key": text.text_key,
                "version": task.version,
                "outcome": "rejected",
                "reason": reason,
                "raw": raw,
                "prompt_hash": prompt_hash(task),
                "attempt": text.attempt,
                "batch_key": batch_key,
                "labelled_at": lease.clock(session),
            }
            session.handle.insert(session.relation(task.table), row)

    def newest_batch(self, task: Task) -> Batch | None:
        """Return the batch of the task's table that was planned last."""
        found = self.batches([task.table], State)
        return found[-1] if found else None

    def labels_of_others(self, task: Task, provider: Identity) -> dict[str, int]:
        """Return, per other provider, how many labels of the task's version it made."""
        with self.project.connect() as session:
            rows = session.handle.rows(
                "select batches.provider, count(distinct labels.text_key) as texts"
                f" from {session.relation(task.table)} as labels"
                f" inner join ({session.macro('batches', events=session.relation('label_events'))}) as batches"
                " on batches.batch_key = labels.batch_key"
                " where labels.version = ? and labels.outcome = 'labelled' and batches.provider <> ?"
                " group by batches.provider order by batches.provider",
                [task.version, provider.base_url],
            )
        return {row["provider"]: int(row["texts"]) for row in rows}

    def earlier_tables(self, task: Task, tables_in_use: Iterable[str]) -> dict[str, int]:
        """Return the tables that this task's labels went to before it was moved, with their labelled batches' texts."""
        with self.project.connect() as session:
            rows = session.handle.rows(
                "select label_table, labelled, task_snapshot from"
                f" ({session.macro('batches', events=session.relation('label_events'))}) as batches"
                " where project = ? and labelled > 0",
                [self.project.name],
            )
        moved: dict[str, int] = {}
        for row in rows:
            if row["label_table"] not in set(tables_in_use) and _snapshot(row["task_snapshot"]).name == task.name:
                moved[row["label_table"]] = moved.get(row["label_table"], 0) + int(row["labelled"])
        return moved

    def _insert_event(self, session: Session, batch_key: str, event: State, task: Task, **facts: Any) -> None:
        unknown = facts.keys() - set(_FACTS)
        assert not unknown, f"label_events has no column for {unknown}"
        row = {
            "batch_key": batch_key,
            "event": event.value,
            "project": self.project.name,
            "label_table": task.table,
            "version": task.version,
            **{name: value for name, value in facts.items() if value is not None},
            "event_at": lease.clock(session),
        }
        session.handle.insert(session.relation("label_events"), row)


def check_tables(session: Session, tasks: Iterable[Task]) -> None:
    """Raise `WarehouseError` where a table is missing, lacks a column or has one of another type, all at once."""
    mistakes = []
    if not session.columns(session.relation("label_leases")):
        mistakes.append("the ledger's tables are missing")
    for task in tasks:
        relation = session.relation(task.table)
        present = session.columns(relation)
        if not present:
            mistakes.append(f"table {relation} is missing")
            continue
        for field in task.fields:
            found = present.get(field.name)
            wanted = "boolean" if isinstance(field, Boolean) else "bigint" if isinstance(field, Integer) else "varchar"
            if found is None:
                mistakes.append(f"table {relation} has no column `{field.name}`")
            elif found != wanted:
                mistakes.append(
                    f"task `{task.name}`: column `{field.name}` of {relation} is {found}, the field's type asks for"
                    f" {wanted}: name the field anew, or move the task to another `table`"
                )
    if mistakes:
        raise WarehouseError(
            "\n".join(mistakes), "`dbt build` makes what is missing; `dbt-labels ddl` prints the statements"
        )


def _claim_rows(shard: Shard, task: Task, project: str) -> pa.Table:
    size = len(shard.claims)
    return pa.table(
        {
            "batch_key": [shard.batch_key] * size,
            "project": [project] * size,
            "label_table": [task.table] * size,
            "version": pa.array([task.version] * size, pa.int64()),
            "custom_id": [claim.custom_id for claim in shard.claims],
            "text_key": [claim.text_key for claim in shard.claims],
            "attempt": pa.array([claim.attempt for claim in shard.claims], pa.int64()),
        }
    )


def _label_rows(batch: Batch, outcomes: Sequence[Outcome], now: datetime) -> pa.Table:
    size = len(outcomes)

    def texts(values: Iterable[str | None]) -> pa.Array:
        return pa.array(list(values), pa.string())

    def numbers(values: Iterable[int | None]) -> pa.Array:
        return pa.array(list(values), pa.int64())

    columns = {"text_key": texts(o.claim.text_key for o in outcomes), "version": numbers([batch.task.version] * size)}
    for field in batch.task.fields:
        kind = pa.bool_() if isinstance(field, Boolean) else pa.int64() if isinstance(field, Integer) else pa.string()
        columns[field.name] = pa.array([(o.values or {}).get(field.name) for o in outcomes], kind)
    return pa.table(
        {
            **columns,
            "outcome": texts(o.outcome for o in outcomes),
            "reason": texts(o.reason for o in outcomes),
            "raw": texts(o.raw for o in outcomes),
            "model": texts(o.model for o in outcomes),
            "prompt_hash": texts([batch.prompt_hash] * size),
            "input_tokens": numbers(o.input_tokens for o in outcomes),
            "output_tokens": numbers(o.output_tokens for o in outcomes),
            "attempt": numbers(o.claim.attempt for o in outcomes),
            "batch_key": texts([batch.batch_key] * size),
            "labelled_at": pa.array([now] * size, pa.timestamp("us")),
        }
    )


def _batch(row: dict[str, Any]) -> Batch:
    task = _snapshot(row["task_snapshot"])
    own = "input_file_id file_created_at witness_file_id provider_batch_id provider_status output_file_id error_file_id"
    own += " reason message"
    return Batch(
        batch_key=row["batch_key"],
        state=State(row["state"]),
        task=task,
        prompt_hash=prompt_hash(task),
        provider=Identity(row["provider"], row["organisation"], row["provider_project"]),
        run_key=row["run_key"],
        claims=int(row["claims"]),
        input_bytes=int(row["input_bytes"] or 0),
        completed=int(row["completed"] or 0),
        failed=int(row["failed"] or 0),
        planned_at=row["planned_at"],
        creating_at=row["creating_at"],
        ended_at=row["ended_at"],
        **{name: row[name] for name in own.split()},
    )


def _snapshot(text: str) -> Task:
    return Task.model_validate(json.loads(text), strict=False)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" for _ in values) or "null"
