"""A gate: what the project's `label_quality` tests ask of a task before the rest of its texts is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from connector.errors import ProjectError
from connector.plain import listed
from connector.request import prompt_hash
from connector.task import Task, Text
from connector.warehouse.project import Project
from connector.warehouse.quality import gold_texts, metrics_of, quality_pairs, read_quality
from connector.warehouse.texts import settled_sql


@dataclass(frozen=True)
class Gate:
    """What a `label_quality` test asks of a field."""

    field: str
    metric: str
    at_least: float


def gates(project: Project, task: Task) -> list[Gate]:
    """Return what the project's `label_quality` tests ask of the task; those that only warn ask nothing.

    Raises `ProjectError` for a test that names no field, or no metric of it.
    """
    found = []
    fields = {field.name: field for field in task.fields if not isinstance(field, Text)}
    for arguments in project.test_arguments("label_quality", task):
        field, metric = str(arguments.get("field")), str(arguments.get("metric"))
        where = f"task `{task.name}`: test `label_quality`"
        if field not in fields:
            raise ProjectError(f"{where}: `{field}` is not a field that can be measured; there are {listed(fields)}")
        if metric not in metrics_of(fields[field]):
            raise ProjectError(
                f"{where}: `{field}` has no metric `{metric}`; it has {listed(metrics_of(fields[field]))}"
            )
        try:
            at_least = float(arguments.get("at_least", ""))
        except (TypeError, ValueError):
            at_least = math.nan
        if not -1 <= at_least <= 1:
            raise ProjectError(f"{where}: `at_least` must be a number from -1 to 1, not {arguments.get('at_least')!r}")
        found.append(Gate(field, metric, at_least))
    return sorted(found, key=lambda gate: (gate.field, gate.metric, gate.at_least))


def gate_failures(project: Project, task: Task) -> list[str]:
    """Return what of the gates the task's current version does not reach, for people; empty where it may pass.

    A rejected gold text is no answer, and so in no metric: of these there may be as many as of wrong answers.
    """
    asked = gates(project, task)
    if not asked:
        return []
    quality = read_quality(project, task)
    rejections = _count_rejections(project, task)
    failures = []
    for gate in asked:
        texts = quality.count(task.version, gate.field, "n")
        found = quality.metric(task.version, gate.field, gate.metric)
        rejected = rejections.get(gate.field, 0)
        if not texts:
            failures.append(f"{gate.field}: {quality.no_answer(task.version)} yet{quality.of_imported(task.version)}")
        elif found is None or found.value is None:
            failures.append(f"{gate.field}: {gate.metric} has no value on {texts:,} gold texts: they all say the same")
        elif found.value < gate.at_least:
            interval = f" [{found.low:.3f}, {found.high:.3f}]" if found.low is not None else ""
            failures.append(
                f"{gate.field}: {gate.metric} of version {task.version} is {found.value:.3f}{interval} on {texts:,}"
                f" gold texts, below {gate.at_least:g}"
            )
        elif texts / (texts + rejected) < gate.at_least:
            failures.append(
                f"{gate.field}: {rejected:,} of {texts + rejected:,} gold texts are rejected in version {task.version},"
                f" more than may be wrong with {gate.metric} of at least {gate.at_least:g}"
            )
    return failures


def gate_note(project: Project, task: Task) -> str:
    """Return, for people, that gold labels of the task's version were asked with another wording, or nothing."""
    with project.connect() as session:
        [found] = session.handle.rows(
            f"select count(distinct text_key) as texts from {session.relation(task.table)}"
            " where version = ? and outcome = 'labelled' and prompt_hash <> ?"
            f" and text_key in (select text_key from ({gold_texts(session, project, task)}) as gold)",
            [task.version, prompt_hash(task)],
        )
    return "by labels of an earlier wording too: raise `version` to measure today's" if found["texts"] else ""


def _count_rejections(project: Project, task: Task) -> dict[str, int]:
    """Return, by field, how many texts that people judged are rejected in the task's version."""
    with project.connect() as session:
        rows = session.handle.rows(
            f"select field, count(*) as texts from ({quality_pairs(session, project, task)}) as pairs"
            " where version = ? and label_value is null and text_key in"
            f" (select text_key from ({settled_sql(session, task)}) as settled where why = 'rejected')"
            " group by field",
            [task.version],
        )
    return {row["field"]: int(row["texts"]) for row in rows}
