"""The origin of labels: which texts that would be sent have some already, of whom, in which table and version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from connector.ledger import HOLDING, LOCAL_URL, Identity
from connector.task import NAME, Task
from connector.warehouse.project import Project
from connector.warehouse.session import Session

_HOLDING = tuple(state.value for state in HOLDING)
_LABELLED = {"text_key", "version", "outcome"}


def count_labels_of_others(project: Project, task: Task, provider: Identity) -> dict[str, int]:
    """Return, per other provider, how many labels of the task's version it made."""
    with project.connect() as session:
        return _count_by_provider(session, task, "<>", provider.base_url)


def count_local_labels(project: Project, task: Task) -> int:
    """Return how many labels of the task's version the local server gave."""
    with project.connect() as session:
        return sum(_count_by_provider(session, task, "=", LOCAL_URL).values())


def count_above(project: Project, task: Task) -> tuple[int, int]:
    """Return how many texts wait that are labelled or in flight in a higher version, and which: it was lowered."""
    with project.connect() as session:
        [found] = session.handle.rows(
            "select count(distinct text_key) as texts, coalesce(max(version), 0) as version from ("
            f"select text_key, version from {session.relation(task.table)} where outcome = 'labelled' union all"
            f" select claimed.text_key, claimed.version from {session.relation('label_claims')} as claimed"
            f" inner join {_batches(session)} on batches.batch_key = claimed.batch_key"
            f" where claimed.label_table = ? and batches.state in ({_marks(_HOLDING)})"
            f") as held where version > ? and {_waits(project, task)}",
            [task.table, *_HOLDING, task.version],
        )
    return int(found["texts"]), int(found["version"])


def count_elsewhere(project: Project, task: Task, tables_in_use: Iterable[str]) -> dict[str, int]:
    """Return how many texts wait that are labelled or in flight in a table which no task names: the task's was moved.

    Such a table asks for the same fields, or was asked for under the task's name, by this dbt project. One that another
    project uses as well is that one's.
    """
    in_use = set(tables_in_use)
    with project.connect() as session:
        asked = session.handle.rows(
            f"select distinct project, label_table, task_snapshot from {_batches(session)}"
            f" where labelled > 0 or state in ({_marks(_HOLDING)})",
            _HOLDING,
        )
        of_others = {row["label_table"] for row in asked if row["project"] != project.name}
        tables = {
            row["label_table"]
            for row in asked
            if row["label_table"] not in in_use | of_others and _is_of(task, json.loads(row["task_snapshot"]))
        }
        wanted = _LABELLED | {field.name for field in task.fields}
        parts, parameters = [], []
        for table in session.tables():
            is_free = NAME.fullmatch(table) and table not in in_use | of_others
            if is_free and wanted <= session.columns(session.relation(table)).keys():
                tables.add(table)
                parts.append(
                    f"select '{table}' as label_table, text_key from {session.relation(table)}"
                    " where outcome = 'labelled' and version >= ?"
                )
                parameters.append(task.version)
        if not tables:
            return {}
        parts.append(
            "select claimed.label_table, claimed.text_key"
            f" from {session.relation('label_claims')} as claimed"
            f" inner join {_batches(session)} on batches.batch_key = claimed.batch_key"
            f" where (batches.labelled > 0 or batches.state in ({_marks(_HOLDING)}))"
            f" and claimed.version >= ? and claimed.label_table in ({_marks(sorted(tables))})"
        )
        rows = session.handle.rows(
            f"select label_table, count(distinct text_key) as texts from ({' union all '.join(parts)}) as held"
            f" where {_waits(project, task)} group by label_table order by label_table",
            [*parameters, *_HOLDING, task.version, *sorted(tables)],
        )
    return {row["label_table"]: int(row["texts"]) for row in rows}


def _count_by_provider(session: Session, task: Task, which: Literal["=", "<>"], base_url: str) -> dict[str, int]:
    rows = session.handle.rows(
        "select batches.provider, count(distinct labels.text_key) as texts"
        f" from {session.relation(task.table)} as labels"
        f" inner join {_batches(session)} on batches.batch_key = labels.batch_key"
        f" where labels.version = ? and labels.outcome = 'labelled' and batches.provider {which} ?"
        " group by batches.provider order by batches.provider",
        [task.version, base_url],
    )
    return {row["provider"]: int(row["texts"]) for row in rows}


def _is_of(task: Task, snapshot: dict[str, Any]) -> bool:
    had = {field.get("name") for field in snapshot.get("fields", [])}
    return snapshot.get("name") == task.name or had >= {field.name for field in task.fields}


def _batches(session: Session) -> str:
    return f"({session.macro('batches', events=session.relation('label_events'))}) as batches"


def _waits(project: Project, task: Task) -> str:
    return f"text_key in (select text_key from {project.model(task).relation_name})"


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" for _ in values)
