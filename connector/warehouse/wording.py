"""The wording that labels were asked in: how many another than today's, and what the next version would ask again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from connector.request import prompt_hash
from connector.shard import Pending
from connector.task import Task
from connector.warehouse.project import Project
from connector.warehouse.session import Session
from connector.warehouse.texts import parent_of, read_pending


def count_changed_wording(project: Project, task: Task) -> int:
    """Return how many labels of the task's version were asked with another wording, model or fields than today's."""
    with project.connect() as session:
        return _count_labels(session, task, "version = ? and prompt_hash <> ?", [task.version, prompt_hash(task)])


def count_raised(project: Project, task: Task) -> int:
    """Return how many texts the next version would label again: labelled in this one, not in that, and still there."""
    with project.connect() as session:
        parent = parent_of(session, project, task)
        still_there = "" if parent is None else f" and text_key in (select text_key from {parent})"
        labelled = f"select text_key from {session.relation(task.table)} where outcome = 'labelled' and version = ?"
        which = f"version = ? and text_key not in ({labelled}){still_there}"
        return _count_labels(session, task, which, [task.version, task.version + 1])


@contextmanager
def raised_texts(project: Project, task: Task, below_key: str | None) -> Iterator[Iterator[Pending] | None]:
    """Give those texts, or a sample of them, as the next version would send them; None where no model has them."""
    with project.connect() as session:
        parent = parent_of(session, project, task)
        if parent is None or task.text.lower() not in session.columns(parent):
            yield None
            return
        labels, version = session.relation(task.table), task.version
        labelled = (
            f"select text_key from {labels} where outcome = 'labelled' and version = {version} and text_key not in"
            f" (select text_key from {labels} where outcome = 'labelled' and version = {version + 1})"
        )
        sampled = "" if below_key is None else f" and text_key < '{below_key}'"
        query = (
            f"select text_key, min({session.quote(task.text)}) as text, 1 as attempt, 0 as truncations, false as alone"
            f" from {parent} where text_key in ({labelled}){sampled} group by text_key"
        )
        yield (text for batch in session.handle.stream(query) for text in read_pending(batch))


def _count_labels(session: Session, task: Task, which: str, parameters: Sequence[Any]) -> int:
    rows = session.handle.rows(
        f"select count(distinct text_key) as texts from {session.relation(task.table)}"
        f" where outcome = 'labelled' and {which}",
        parameters,
    )
    return int(rows[0]["texts"])
