"""How every command begins: the project is parsed, the tasks are chosen, an interruption knows what to end."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from connector import pipeline
from connector.console import Screen
from connector.errors import TaskError
from connector.interruption import Interruption
from connector.ledger import Batch
from connector.plain import SHORTEST_SECRET
from connector.task import Task
from connector.warehouse.project import Options, Project, parse_project
from connector.warehouse.tables import Ledger


def open_project(
    screen: Screen, options: Options, names: tuple[str, ...], interruptible: bool = False
) -> tuple[Project, list[Task]]:
    """Return the project and the tasks asked for; an `interruptible` command says at Ctrl-C what is in flight."""
    project = parse_project(options)
    project.say = screen.say
    if screen.log.as_json:
        project.dbt_arguments = ("--log-format", "json")  # its lines come between ours
    for note in project.notes:
        screen.say(f"note: {note}")
    tasks = project.choose(names)
    _check_for_key(tasks)
    interruption = click.get_current_context().find_object(Interruption)
    if interruption is not None:
        project.is_interrupted = lambda: interruption.happened
        interruption.end_query = project.end_query
    if interruptible and interruption is not None:
        interruption.in_flight = lambda: in_flight(replace(project, lock_patience_seconds=1.0), tasks)
    return project, tasks


def _check_for_key(tasks: list[Task]) -> None:
    """Raise `TaskError` where the key stands in a task: it would go into the prompt, the ledger and dbt's files."""
    key = (os.environ.get("OPENAI_API_KEY") or "").strip()
    found = [f"`{task.name}`" for task in tasks if len(key) >= SHORTEST_SECRET and key in task.model_dump_json()]
    if found:
        raise TaskError(f"the key in OPENAI_API_KEY stands in the YAML of {', '.join(found)}", "take it out there")


def in_flight(project: Project, tasks: list[Task]) -> list[Batch]:
    """Return the batches of these tasks that are neither loaded nor given up."""
    return Ledger(project, "").batches(pipeline.tables_of(project, tasks))


def base_url() -> str | None:
    """Return the provider's base URL where the environment names one."""
    return (os.environ.get("OPENAI_BASE_URL") or "").strip() or None
