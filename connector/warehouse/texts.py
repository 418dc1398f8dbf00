"""The texts in the warehouse: which may be sent, how a task stands, and the spool on disk that a run sends from."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from connector.errors import TaskError, WarehouseError, to_build
from connector.files import open_private
from connector.shard import Pending
from connector.task import AnyOf, Boolean, OneOf, Task
from connector.warehouse.project import Project
from connector.warehouse.quality import gold_texts
from connector.warehouse.schema import check_tables
from connector.warehouse.session import Session

# of which texts those that may be sent are meant
Which = Literal["pending", "gold", "pending and gold"]


@dataclass(frozen=True)
class Counts:
    """How a task stands, in texts; `comments`, `distinct_texts`, `blank` are of what the pending model selects from."""

    pending: dict[str, int]
    labelled: int
    rejected: int
    in_flight: int
    comments: int | None
    distinct_texts: int | None
    blank: int | None


def spool_texts(
    project: Project,
    task: Task,
    path: Path,
    limit: int | None = None,
    of_batches: Sequence[str] | None = None,
    which: Which = "pending",
    first_of_batches: Sequence[str] = (),
) -> int:
    """Write the texts that may be sent to a private file, read once and in bounded memory; return how many, if any.

    `limit` caps them, and then those that one of `first_of_batches` claims come first; `of_batches` narrows to texts
    that one of these claims. Raises `WarehouseError`.
    """
    with project.connect() as session:
        if not count_listed(session, project, task) and which == "pending":
            return 0
        query = sendable_sql(session, project, task, which, of_batches)
        if limit is not None:
            query = _limited(session, task, query, limit, first_of_batches)
        reader = session.handle.stream(query)
        written = 0
        with open_private(path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as sink:
            with pa.ipc.new_file(sink, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
                    written += batch.num_rows
    return written


def _limited(session: Session, task: Task, query: str, limit: int, first_of_batches: Sequence[str]) -> str:
    if not first_of_batches:
        return f"{query}\nlimit {limit}"
    listed = ", ".join(f"'{batch_key}'" for batch_key in first_of_batches)
    claimed = (
        f"select distinct text_key as first_key from {session.relation('label_claims')}"
        f" where label_table = '{task.table}' and version = {task.version}"
        f" and batch_key in ({listed})"
    )
    return (
        f"select sendable.* from ({query}) as sendable"
        f" left join ({claimed}) as claimed on claimed.first_key = sendable.text_key"
        f" order by case when claimed.first_key is null then 1 else 0 end limit {limit}"
    )


def read_spool(path: Path) -> Iterator[Pending]:
    """Give the spooled texts, a batch of rows in memory at a time: what is mapped would stay there once it is read."""
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for place in range(reader.num_record_batches):
            yield from read_pending(reader.get_batch(place))


@contextmanager
def sendable_texts(
    project: Project, task: Task, limit: int | None, below_key: str | None, which: Which = "pending"
) -> Iterator[Iterator[Pending]]:
    """Give the texts that may be sent, or those of a sample, read as they are taken while the warehouse is open."""
    with project.connect() as session:
        query = f"select * from ({sendable_sql(session, project, task, which)}) as sendable"
        query += "" if below_key is None else f" where text_key < '{below_key}'"
        query += "" if limit is None else f" limit {limit}"
        yield (text for batch in session.handle.stream(query) for text in read_pending(batch))


@contextmanager
def texts_to_resend(
    project: Project, task: Task, keys: Sequence[str], afresh: Collection[str] = ()
) -> Iterator[Iterator[Pending]]:
    """Give those of these texts that a model with keys and texts still has, as they would be sent again.

    A reopened rejection, one of `afresh`, begins with the task's own output limit; others have it as often doubled as
    they were truncated.
    """
    with project.connect() as session:
        parent = parent_of(session, project, task)
        if parent is None or task.text.lower() not in session.columns(parent):
            yield iter(())
            return
        text = session.quote(task.text)
        history = session.macro("text_history", labels=session.relation(task.table), version=task.version)
        is_afresh = pa.array([int(key in afresh) for key in keys], pa.int64())
        wanted = pa.table({"wanted_key": pa.array(keys, pa.string()), "is_afresh": is_afresh})
        with session.handle.lent("dbt_labels_keys", wanted):
            yield (
                pending
                for batch in session.handle.stream(
                    "select texts.*, 1 as attempt,"
                    " case when wanted.is_afresh = 1 then 0 else coalesce(history.truncations, 0) end as truncations,"
                    " coalesce(history.unpacked, 0) > 0 as alone from"
                    f" (select text_key, min({text}) as text from {parent}"
                    " where text_key in (select wanted_key from dbt_labels_keys) group by text_key) as texts"
                    " inner join dbt_labels_keys as wanted on wanted.wanted_key = texts.text_key"
                    f" left join ({history}) as history on history.text_key = texts.text_key"
                )
                for pending in read_pending(batch)
            )


def read_pending(rows: pa.RecordBatch) -> Iterator[Pending]:
    """Give the texts of rows as the macro `sendable` makes them."""
    names = ("text_key", "text", "attempt", "truncations", "alone")
    return map(Pending, *(rows.column(name).to_pylist() for name in names))


def count_texts(project: Project, task: Task, which: Which = "pending") -> Counts:
    """Return how the task stands now; raises `WarehouseError` where a table or the pending model is not fit.

    `which` says what counts as pending.
    """
    with project.connect() as session:
        check_tables(session, [task])
        listed = count_listed(session, project, task)
        query = f"select why, count(*) as texts from ({sendable_sql(session, project, task, which)}) as sendable"
        # the usual case, in which a million comments need not be compared with their labels a second time
        is_empty = not listed and which == "pending"
        pending = [] if is_empty else session.handle.rows(f"{query} group by why order by why")
        settled = session.handle.rows(
            "select settled, count(*) as texts from ("
            "select min(case why when 'labelled' then 1 when 'rejected' then 2 else 3 end) as settled"
            f" from ({settled_sql(session, task)}) as settled group by text_key) as ranked group by settled"
        )
        comments, texts, blank = _comments(session, project, task)
    by_rank = {int(row["settled"]): int(row["texts"]) for row in settled}
    return Counts(
        pending={row["why"]: int(row["texts"]) for row in pending},
        labelled=by_rank.get(1, 0),
        rejected=by_rank.get(2, 0),
        in_flight=by_rank.get(3, 0),
        comments=comments,
        distinct_texts=texts,
        blank=blank,
    )


def count_sendable(project: Project, task: Task, of_batches: Sequence[str], which: Which = "pending") -> int:
    """Return how many texts that these batches claimed may be sent again."""
    with project.connect() as session:
        sendable = sendable_sql(session, project, task, which, of_batches)
        [found] = session.handle.rows(f"select count(*) as texts from ({sendable}) as sendable")
    return int(found["texts"])


def count_comments(project: Project, task: Task, which: Which = "pending") -> int | None:
    """Return how many comments say the texts that may be sent; None where no model with keys is selected from."""
    with project.connect() as session:
        parent = parent_of(session, project, task)
        if parent is None:
            return None
        rows = session.handle.rows(
            f"select count(*) as comments from {parent} where text_key in"
            f" (select text_key from ({sendable_sql(session, project, task, which)}) as sendable)"
        )
    return int(rows[0]["comments"])


def count_gold_in_flight(project: Project, task: Task) -> int:
    """Return how many gold texts are in a live batch."""
    with project.connect() as session:
        rows = session.handle.rows(
            f"select count(distinct gold.text_key) as texts from ({gold_texts(session, project, task)}) as gold"
            f" inner join ({settled_sql(session, task)}) as settled on settled.text_key = gold.text_key"
            " where settled.why = 'in_flight'"
        )
    return int(rows[0]["texts"])


def count_labels(project: Project, task: Task) -> dict[str, dict[str, int]]:
    """Return, per field with values, how many texts have each of them under the task's version."""
    found: dict[str, dict[str, int]] = {}
    with project.connect() as session:
        labels = session.relation(task.table)
        for field in task.fields:
            # a label that was loaded twice counts once; told apart before they are unnested, ten million need no memory
            column = session.quote(field.name)
            mine = (
                f"(select distinct text_key, {column} from {labels}"
                f" where version = {task.version} and outcome = 'labelled') as labels"
            )
            if isinstance(field, AnyOf):
                values = session.macro("unnest_labels", labels=mine, field=field.name, keys=["text_key"])
                source = f"select value from ({values}) as unnested"
            elif isinstance(field, (OneOf, Boolean)):
                value = session.macro("value_text", column=column, type=field.type)
                source = f"select {value} as value from {mine}"
            else:
                continue
            rows = session.handle.rows(
                f"select value, count(*) as texts from ({source}) as labelled group by value order by texts desc, value"
            )
            found[field.name] = {str(row["value"]): int(row["texts"]) for row in rows}
    return found


def _ledger_relations(session: Session, task: Task) -> dict[str, Any]:
    return {
        "table": task.table,
        "version": task.version,
        "labels": session.relation(task.table),
        "claims": session.relation("label_claims"),
        "events": session.relation("label_events"),
    }


def sendable_sql(
    session: Session,
    project: Project,
    task: Task,
    which: Which = "pending",
    of_batches: Sequence[str] | None = None,
) -> str:
    """Return the query of the texts that may be sent now, as the macro `sendable` gives them.

    `which` says which texts are looked at, `of_batches` narrows to those that one of these claims.
    """
    pending = str(project.model(task).relation_name)
    edited = which != "gold" and "is_edited" in session.columns(pending)
    if which != "pending":
        gold = gold_texts(session, project, task)
        pending = f"({gold})" if which == "gold" else _united(session, task, pending, gold, edited)
    return str(
        session.macro(
            "sendable",
            pending=pending,
            text=task.text if which == "pending" else "text",
            of_batches=of_batches,
            edited=edited,
            **_ledger_relations(session, task),
        )
    )


def _united(session: Session, task: Task, pending: str, gold: str, edited: bool) -> str:
    """Return SQL in brackets that gives the pending texts, and the gold texts that are not among them."""
    text, marks = session.quote(task.text), (", pending.is_edited", ", false") if edited else ("", "")
    return (
        f"(select pending.text_key, pending.{text} as text{marks[0]} from {pending} as pending union all"
        f" select gold.text_key, gold.text{marks[1]} from ({gold}) as gold where not exists"
        f" (select 1 from {pending} as pending where pending.text_key = gold.text_key))"
    )


def settled_sql(session: Session, task: Task) -> str:
    """Return the query of the texts that are not pending: `text_key` and `why`, a key as often as there are reasons."""
    read_from = session.macro("read_from_relation", table=task.table)
    return str(session.macro("settled", read_from=read_from or None, **_ledger_relations(session, task)))


def check_text_columns(project: Project, tasks: Iterable[Task]) -> None:
    """Raise `TaskError` where what a pending model selects from has no column of the name that its task says."""
    mistakes = []
    with project.connect() as session:
        for task in tasks:
            parent = parent_of(session, project, task)
            columns = session.columns(parent) if parent is not None else {task.text.lower(): ""}
            if task.text.lower() not in columns:
                have = ", ".join(f"`{name}`" for name in columns)
                mistakes.append(f"task `{task.name}`: `text: {task.text}`: {parent} has no such column; it has {have}")
    if mistakes:
        raise TaskError("\n".join(mistakes), "correct `text` in the task's YAML")


def count_listed(session: Session, project: Project, task: Task) -> int:
    """Return how many texts the pending model lists; raises `WarehouseError` where it is not fit."""
    relation = project.model(task).relation_name
    if relation is None:
        raise WarehouseError(
            f"model `{task.name}` is ephemeral, so there is nothing to read", "make it a view or a table"
        )
    columns = session.columns(relation)
    if not columns:
        raise WarehouseError(f"model `{task.name}` is not built: there is no {relation}", f"run {to_build(task.name)}")
    lacking = [name for name in ("text_key", task.text) if name.lower() not in columns]
    if lacking:
        names = ", ".join(f"`{name}`" for name in lacking)
        raise WarehouseError(
            f"model `{task.name}` has no column {names}; it has {', '.join(f'`{name}`' for name in columns)}",
            "`text` in the task's YAML names the text's column, `dbt_labels.text_key` makes the key",
        )
    types = {name: columns[name.lower()] for name in ("text_key", task.text)}
    foreign = [f"`{name}` is {kind}" for name, kind in types.items() if kind != "varchar"]
    if foreign:
        raise WarehouseError(f"model `{task.name}`: {' and '.join(foreign)}, not text", "cast it to varchar there")
    text, key = session.quote(task.text), session.quote("text_key")
    rows = session.handle.rows(
        f"select count(*) as rows, count({key}) as keys, count(distinct {key}) as texts, count({text}) as filled"
        f" from {relation}"
    )
    found = rows[0]
    mistakes = []
    if found["keys"] < found["rows"]:
        mistakes.append(f"{found['rows'] - found['keys']} rows with a null `text_key`")
    if found["texts"] < found["keys"]:
        mistakes.append(f"{found['keys'] - found['texts']} rows whose `text_key` appears before")
    if found["filled"] < found["rows"]:
        mistakes.append(f"{found['rows'] - found['filled']} rows with a null `{task.text}`")
    if mistakes:
        raise WarehouseError(
            f"model `{task.name}` must have one row per text, but has {', '.join(mistakes)}",
            "use `dbt_labels.pending`, which groups by the key and leaves blank texts out",
        )
    return int(found["rows"])


def _comments(session: Session, project: Project, task: Task) -> tuple[int | None, int | None, int | None]:
    """Return rows, distinct texts and blank ones of what the pending model selects from, if that has keys."""
    parent = parent_of(session, project, task)
    if parent is None:
        return None, None, None
    has_text = task.text.lower() in session.columns(parent)
    is_blank = session.macro("is_blank", column=session.quote(task.text)) if has_text else "false"
    [found] = session.handle.rows(
        "select count(*) as comments, count(distinct text_key) as texts,"
        f" count(distinct case when {is_blank} then text_key end) as blank from {parent}"
    )
    return int(found["comments"]), int(found["texts"]), int(found["blank"]) if has_text else None


def parent_of(session: Session, project: Project, task: Task) -> str | None:
    """Return what a pending model has its texts from: of several with keys the largest, beside lists to leave out."""
    named = {
        node.relation_name: session.columns(node.relation_name) for node in project.parents(task) if node.relation_name
    }
    keyed = {name: columns for name, columns in named.items() if "text_key" in columns}
    fit = [name for name, columns in keyed.items() if task.text.lower() in columns] or list(keyed)
    return fit[0] if len(fit) == 1 else max(fit, key=lambda name: _count_rows(session, name), default=None)


def _count_rows(session: Session, relation: str) -> int:
    [found] = session.handle.rows(f"select count(*) as comments from {relation}")
    return int(found["comments"])
