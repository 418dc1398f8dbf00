"""The ledger's tables: every read and write of leases, batches, claims, events and labels, each in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from connector.errors import WarehouseLocked
from connector.ledger import UNRESOLVED, Batch, Claim, Identity, Refusal, State
from connector.price import Price
from connector.request import prompt_hash
from connector.result import Outcome
from connector.shard import Shard, TooLarge
from connector.task import Task
from connector.warehouse import lease
from connector.warehouse.holder import this_holder
from connector.warehouse.project import Project
from connector.warehouse.rows import Rejection, claim_rows, label_rows, read_batch, read_claims, reopened_rows
from connector.warehouse.schema import check_tables
from connector.warehouse.session import Session
from connector.warehouse.telling import silent, tell_event


class Ledger:
    """The ledger in a project's warehouse, as one run sees it. Every write is one transaction.

    `tell` hears of each event of a batch once it is written: its name and what of it may be in a log.
    """

    def __init__(self, project: Project, run_key: str, tell: Callable[..., None] = silent) -> None:
        self.project = project
        self.run_key = run_key
        self._tell = tell
        self.unreadable: dict[str, str] = {}
        self._holder = this_holder(run_key)

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
            with suppress(WarehouseLocked), self.project.undisturbed:
                with self.project.connect() as session, session.transaction():
                    lease.release(session, self._holder)

    def renew(self, tables: Iterable[str]) -> None:
        """Renew the leases, once a round; raises `LeaseLost`."""
        with self.writing(tables):
            pass

    def unresolved_tables(self) -> set[str]:
        """Return the tables for which this dbt project has unresolved batches, named by a task or not."""
        return self.tables_of_batches(UNRESOLVED)

    def tables_of_batches(self, states: Iterable[State] = State) -> set[str]:
        """Return the tables for which this dbt project has batches in these states, there or not."""
        wanted = [state.value for state in states]
        with self.project.connect() as session:
            events = session.relation("label_events")
            if not session.columns(events):
                return set()
            rows = session.handle.rows(
                f"select distinct label_table from ({session.macro('batches', events=events)}) as batches"
                f" where project = ? and state in ({_marks(wanted)})",
                [self.project.name, *wanted],
            )
        return {row["label_table"] for row in rows}

    def clock(self) -> datetime:
        """Return the warehouse's time, UTC without zone."""
        with self.project.connect() as session:
            return session.clock()

    def batches(self, tables: Sequence[str], states: Iterable[State] = UNRESOLVED) -> list[Batch]:
        """Return the batches of these tables in these states, of any version, oldest first.

        Those whose snapshot this release can not read are left out and named in `unreadable`.
        """
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
        batches = []
        for row in found:
            try:
                batches.append(read_batch(row))
            except ValueError:
                self.unreadable[row["batch_key"]] = "this release can not read what it was sent with: upgrade"
        return batches

    def has_unresolved(self, tables: Sequence[str]) -> bool:
        """Tell whether a batch of these tables is in flight or was left on its way, also one that can not be read."""
        return bool(self.batches(tables) or self.unreadable)

    def claim(self, shard: Shard, task: Task, provider: Identity, price: Price | None) -> None:
        """Write the claims and the intent of a shard, and that it is about to be uploaded.

        One transaction under the lease, and in this order where there are none: claims without `planned` are void.
        Nothing has been sent.
        """
        size: dict[str, Any] = {"claims": len(shard.claims), "requests": shard.requests}
        size |= {"bound_usd": shard.bound_usd, "expected_usd": shard.expected_usd}
        with self.project.connect() as session, session.transaction():
            lease.renew(session, self._holder, task.table)
            claims = claim_rows(shard, task, self.project.name)
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
                model=task.model,
                price=None if price is None else price.to_json(),
                input_bytes=shard.bytes,
                enqueued_tokens=shard.tokens,
                **size,
                task_snapshot=task.model_dump_json(),
            )
            self._insert_event(session, shard.batch_key, State.UPLOADING, task)
        tell_event(self._tell, shard.batch_key, State.PLANNED, task, **size)

    def record(
        self, batch_key: str, event: str, task: Task, *, then: State | None = None, leased: bool = True, **facts: Any
    ) -> None:
        """Write what happened to a batch, and in the same transaction what is done next, where it is said.

        With `leased`, only while this run holds the lease: raises `LeaseLost`. Without transactions that is looked at
        again before what is said to be next: whoever took the lease in between may not have seen what was written here.
        """
        with self.project.connect() as session, session.transaction():
            if leased:
                lease.renew(session, self._holder, task.table)
            self._insert_event(session, batch_key, event, task, **facts)
            if then is not None:
                self._insert_event(session, batch_key, then, task)
                if leased and not session.handle.has_transactions:
                    lease.renew(session, self._holder, task.table)
        tell_event(self._tell, batch_key, event, task, **facts)

    def claims_of(self, batch: Batch) -> list[Claim]:
        """Return a batch's claims, with the history of each text before it.

        What a load that died wrote of the batch itself is no history: it is judged again as it was then.
        """
        with self.project.connect() as session:
            labels = session.relation(batch.task.table)
            before = f"(select * from {labels} where coalesce(batch_key, '') <> '{batch.batch_key}') as earlier"
            history = session.macro("text_history", labels=before, version=batch.task.version)
            found = session.handle.stream(
                "select distinct claimed.custom_id, claimed.text_key, claimed.attempt, claimed.item_id,"
                " coalesce(history.failures, 0) as failures, coalesce(history.truncations, 0) as truncations,"
                " coalesce(history.unavailable_in_row, 0) as unavailable_in_row"
                f" from {session.relation('label_claims')} as claimed"
                f" left join ({history}) as history on history.text_key = claimed.text_key"
                f" where claimed.batch_key = '{batch.batch_key}'"
            )
            return [claim for rows in found for claim in read_claims(rows)]

    def load(self, batch: Batch, outcomes: Sequence[Outcome], uncosted: int) -> None:
        """Write every outcome of a batch and that it is loaded, in one transaction; a second time changes nothing.

        Without transactions a load can have died in between: then what it wrote is there, and only the rest is added.
        """
        with self.project.connect() as session, session.transaction():
            lease.renew(session, self._holder, batch.task.table)
            events = session.relation("label_events")
            if session.handle.rows(
                f"select 1 from {events} where batch_key = ? and event = ?", [batch.batch_key, State.LOADED.value]
            ):
                return
            written = _written(session, batch)
            left = [outcome for outcome in outcomes if outcome.claim.text_key not in written]
            session.handle.append(session.relation(batch.task.table), label_rows(batch, left, session.clock()))
            became = [outcome.outcome for outcome in outcomes]
            used = [outcome.usage for outcome in outcomes if outcome.usage is not None]
            facts = {
                "labelled": became.count("labelled"),
                "rejected": became.count("rejected"),
                "retried": became.count("failed"),
                "input_tokens": sum(usage.input_tokens for usage in used),
                "cached_tokens": sum(usage.cached_tokens for usage in used),
                "output_tokens": sum(usage.output_tokens for usage in used),
                "reasoning_tokens": sum(usage.reasoning_tokens for usage in used),
                "cost_usd": sum((o.cost_usd for o in outcomes if o.cost_usd is not None), Decimal(0)),
                "uncosted": uncosted,
            }
            self._insert_event(session, batch.batch_key, State.LOADED, batch.task, **facts)
        tell_event(self._tell, batch.batch_key, State.LOADED, batch.task, **facts)

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
                "labelled_at": session.clock(),
            }
            session.handle.insert(session.relation(task.table), row)

    def rejections(self, task: Task) -> list[Rejection]:
        """Return the texts of the task's version that are rejected now."""
        with self.project.connect() as session:
            return _rejections(session, task)

    def reopen(self, task: Task, keys: Collection[str]) -> int:
        """Open the task's rejections of these texts again, so that they are pending; return how many there were."""
        with self.project.connect() as session, session.transaction():
            lease.renew(session, self._holder, task.table)
            again = [rejection for rejection in _rejections(session, task) if rejection.text_key in keys]
            if again:
                session.handle.append(session.relation(task.table), reopened_rows(again, task, session.clock()))
        return len(again)

    @contextmanager
    def writing(self, tables: Iterable[str]) -> Iterator[Session]:
        """Give the warehouse for one transaction under the leases of these tables; raises `LeaseLost`."""
        with self.project.connect() as session, session.transaction():
            for table in tables:
                self.hold(session, table)
            yield session

    def hold(self, session: Session, table: str) -> None:
        """Renew a lease in the middle of `writing`, which may take longer than it lasts; raises `LeaseLost`."""
        lease.renew(session, self._holder, table)

    def newest_refusal(self, task: Task, reason: str) -> Refusal | None:
        """Return the newest batch of the task's table if it was refused for this reason, else None."""
        with self.project.connect() as session:
            newest = session.handle.rows(
                "select batch_key, state, reason, requests, enqueued_tokens, message from"
                f" ({session.macro('batches', events=session.relation('label_events'))}) as batches"
                " where label_table = ? order by planned_at desc, batch_key desc limit 1",
                [task.table],
            )
        if not newest or (newest[0]["state"], newest[0]["reason"]) != (State.REFUSED.value, reason):
            return None
        found = newest[0]
        requests, tokens = int(found["requests"]), int(found["enqueued_tokens"])
        return Refusal(found["batch_key"], requests, tokens, found["message"] or "")

    def _insert_event(self, session: Session, batch_key: str, event: str, task: Task, **facts: Any) -> None:
        row = {
            "batch_key": batch_key,
            "event": event.value if isinstance(event, State) else event,
            "project": self.project.name,
            "label_table": task.table,
            "version": task.version,
            **{name: value for name, value in facts.items() if value is not None},
            "event_at": session.clock(),
        }
        session.handle.insert(session.relation("label_events"), row)


def _written(session: Session, batch: Batch) -> set[str]:
    """Return the texts whose outcome in a batch that is not loaded is there already."""
    if session.handle.has_transactions:
        return set()
    rows = session.handle.rows(
        f"select text_key from {session.relation(batch.task.table)} where batch_key = ?", [batch.batch_key]
    )
    return {row["text_key"] for row in rows}


def _rejections(session: Session, task: Task) -> list[Rejection]:
    rows = session.handle.rows(
        "select text_key, attempt, reason from"
        f" ({session.macro('rejections', labels=session.relation(task.table))}) as rejections where version = ?",
        [task.version],
    )
    return [Rejection(row["text_key"], int(row["attempt"]), row["reason"] or "unknown") for row in rows]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" for _ in values) or "null"
