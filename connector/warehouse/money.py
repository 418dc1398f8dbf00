"""Money and tokens as the ledger has them: what is charged, what waits in a provider's queue, what answers took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from connector.budget import Charge
from connector.ledger import LONGEST_BATCH, TOKEN_LIMIT, UNRESOLVED, Identity, State, read_queue_limit
from connector.task import Task
from connector.warehouse.project import Project
from connector.warehouse.session import Session

_UNRESOLVED = ", ".join(f"'{state.value}'" for state in UNRESOLVED)
# a limit that was named longer ago may have been raised since
_LIMIT_KNOWN_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Queue:
    """A model's queue at a provider: input tokens of ours in it, about, and the limit that the provider named last.

    `of_others` are those of tables that the run does not look after. `created` are the batches of all models that were
    about to be created there within an hour, `unsure` those of the task's table of which it is not known whether they
    were.
    """

    tokens: int
    of_others: int
    limit: int | None
    created: int
    unsure: int


def read_charges(project: Project, tables: Sequence[str], run_key: str) -> dict[str, Charge]:
    """Return what each table's batches count for in budgets now; a month is the warehouse clock's.

    One that a person gave up may be at work all the same, as long as any batch can be.
    """
    with project.connect() as session:
        now = session.clock()
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        given_up = "state = ? and coalesce(creating_at, planned_at) > ?"
        rows = session.handle.rows(
            f"select label_table, state in ({_UNRESOLVED}) or ({given_up}) as is_open, run_key = ? as is_ours,"
            " planned_at >= ? as is_new, sum(charge) as usd, count(*) - count(charge) as unknown"
            f" from (select batches.*, {session.macro('batch_charge')} as charge from ({_batches(session)}) as batches)"
            " as charged"
            f" where label_table in ({', '.join('?' for _ in tables) or 'null'})"
            " group by 1, 2, 3, 4",
            [State.REOPENED.value, now - LONGEST_BATCH, run_key, month, *tables],
        )
    charges: dict[str, Charge] = {}
    for row in rows:
        had = charges.get(row["label_table"], Charge())
        usd, in_run, in_month = (
            row["usd"] or Decimal(0),
            row["is_open"] or row["is_ours"],
            row["is_open"] or row["is_new"],
        )
        charges[row["label_table"]] = Charge(
            had.run_usd + (usd if in_run else 0),
            had.month_usd + (usd if in_month else 0),
            had.unknown + (row["unknown"] if in_run or in_month else 0),
        )
    return charges


def read_queue(
    project: Project, task: Task, provider: Identity, tables: Sequence[str], stuck: Sequence[str] = ()
) -> Queue:
    """Return what waits in the queue of a task's model at a provider, of all tasks; a limit is one named within a day.

    `stuck` are batches of which nothing more can be known: they are left out. So are those of other tables than
    `tables`, which a run looks after, once they are so old that they have ended, whether or not anybody has looked.
    """
    known = f"batch_key not in ({', '.join('?' for _ in stuck)})" if stuck else "true"
    ours = f"label_table in ({', '.join('?' for _ in tables) or 'null'})"
    waits = (
        f"model = ? and state in ({_UNRESOLVED}) and state <> ? and {known}"
        f" and ({ours} or coalesce(creating_at, planned_at) > ?)"
    )
    unsure_states = (State.UPLOADED.value, State.CREATING.value, State.FENCING.value)
    with project.connect() as session:
        now = session.clock()
        waiting = (task.model, State.ENDED.value, *stuck, *tables, now - LONGEST_BATCH)
        [counted] = session.handle.rows(
            f"select sum(case when {waits} then enqueued_tokens end) as tokens,"
            f" sum(case when {waits} and not {ours} then enqueued_tokens end) as of_others,"
            " count(case when creating_at > ? then 1 end) as created,"
            f" count(case when label_table = ? and state in (?, ?, ?) and {known} then 1 end) as unsure"
            f" from ({_batches(session)}) as batches where provider = ?",
            [
                *waiting,
                *(*waiting, *tables),
                now - timedelta(hours=1),
                *(task.table, *unsure_states, *stuck),
                provider.base_url,
            ],
        )
        refused = session.handle.rows(
            f"select message, refused_at from ({_batches(session)}) as batches"
            " where model = ? and provider = ? and state = ? and reason = ? order by refused_at desc limit 1",
            [task.model, provider.base_url, State.REFUSED.value, TOKEN_LIMIT],
        )
    named = [row["message"] or "" for row in refused if now - row["refused_at"] < _LIMIT_KNOWN_FOR]
    limit = read_queue_limit(named[0]) if named else None
    return Queue(
        tokens=int(counted["tokens"] or 0),
        of_others=int(counted["of_others"] or 0),
        limit=limit,
        created=int(counted["created"]),
        unsure=int(counted["unsure"]),
    )


@dataclass(frozen=True)
class History:
    """What a label of a task took so far, on average and rounded up; packed requests shared out over their texts."""

    input_tokens: int
    output_tokens: int


def read_history(project: Project, task: Task) -> History | None:
    """Return what labels took at the newest version that has any, not above the task's; None without any."""
    with project.connect() as session:
        labels = session.relation(task.table)
        used = "outcome = 'labelled' and output_tokens is not null"
        rows = session.handle.rows(
            f"select avg(input_tokens) as input, avg(output_tokens) as output from {labels} where {used}"
            f" and version = (select max(version) from {labels} where {used} and version <= ?)",
            [task.version],
        )
    found = rows[0]
    if found["output"] is None:
        return None
    return History(math.ceil(found["input"]), math.ceil(found["output"]))


def _batches(session: Session) -> str:
    return str(session.macro("batches", events=session.relation("label_events")))
