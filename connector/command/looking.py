"""The commands that only look: plan, status, evaluate, debug."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import click
from rich.table import Table

from connector import pipeline, planning
from connector.check import check_setup
from connector.command.opening import base_url, open_project
from connector.console import Screen
from connector.errors import UsageError, WarehouseError, WarehouseLocked
from connector.ledger import UNRESOLVED, State
from connector.options import common
from connector.plan import Standing
from connector.report.quality import changes_data, changes_lines, quality_data, quality_lines, shown_version
from connector.report.standing import plan_data, plan_lines, standing_data, standing_table
from connector.report.watching import batch_table
from connector.run import Settings
from connector.sending import check_budget
from connector.task import Task
from connector.warehouse.project import Options, Project
from connector.warehouse.quality import read_changes, read_quality
from connector.warehouse.tables import Ledger

_MOST_BATCHES = 20
_SECONDS_BETWEEN = 10.0


@click.command()
@common
@click.option("--limit", type=click.IntRange(min=1), help="At most this many texts per task.")
def plan(screen: Screen, options: Options, names: tuple[str, ...], limit: int | None) -> None:
    """Show what a run would send; needs no key and sends nothing.

    Views of pending texts are built anew by dbt, whose hook makes what is missing in the labels schema.
    """
    project, tasks = open_project(screen, options, names)
    pipeline.stage(project, tasks)
    settings = Settings(limit=limit, base_url=base_url())
    for task in tasks:
        check_budget(task, settings)
    plans = planning.make_plans(project, tasks, settings)
    screen.result(plan_data(plans), plan_lines(plans))


@click.command()
@common
@click.option("--watch", is_flag=True, help="Show it again and again until nothing is in flight.")
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(0.1),
    help="Seconds between, with --watch: 10 if you do not say it.",
)
def status(screen: Screen, options: Options, names: tuple[str, ...], watch: bool, seconds: float | None) -> None:
    """Show the tasks, their labels and their batches, as the ledger has them.

    `--watch` and `--json` exclude each other.
    """
    if seconds is not None and not watch:
        raise UsageError("`--every` says how often `--watch` shows it again: say `--watch` too")
    if watch and screen.as_json:
        raise UsageError("`--watch` is for people, `--json` for programs: they exclude each other")
    project, tasks = open_project(screen, options, names, interruptible=watch)
    while True:
        data, lines, in_flight, unfit = _status(project, tasks)
        screen.result(data, lines, again=watch)
        if unfit is not None:
            raise unfit
        if not watch or not in_flight:
            return
        time.sleep(_SECONDS_BETWEEN if seconds is None else seconds)


def _status(
    project: Project, tasks: list[Task]
) -> tuple[dict[str, Any], list[str | Table], int, WarehouseError | None]:
    """Return how everything stands, for programs and for people, how many batches are in flight, and what is unfit."""
    with project.kept_open():
        standings, unfit = _look(project, tasks)
        ledger = Ledger(project, "")
        batches = ledger.batches(pipeline.tables_of(project, tasks), State)
        now = ledger.clock()
    data = {
        "tasks": standing_data(standings),
        "batches": [
            {key: value for key, value in asdict(batch).items() if key not in ("task", "prompt_hash", "price")}
            | {"task": batch.task.name, "version": batch.task.version}
            for batch in batches
        ],
    }
    lines: list[str | Table] = [standing_table(standings)]
    if batches:
        lines += ["", batch_table(batches[-_MOST_BATCHES:], now)]
    if len(batches) > _MOST_BATCHES:
        lines.append(f"older ones are in the model `label_batches`: {len(batches) - _MOST_BATCHES:,} more")
    return data, lines, sum(batch.state in UNRESOLVED for batch in batches), unfit


def _look(project: Project, tasks: list[Task]) -> tuple[list[Standing], WarehouseError | None]:
    """Return how each task stands that can be looked at, and one error for the others; raise it where none can be."""
    standings, errors = [], []
    for task in tasks:
        try:
            standings += planning.read_standings(project, [task])
        except WarehouseLocked:
            raise
        except WarehouseError as error:
            errors.append(error)
    if not errors:
        return standings, None
    messages = dict.fromkeys(error.message for error in errors)
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    unfit = WarehouseError("\n".join(messages), "; ".join(hints) or None)
    if not standings:
        raise unfit
    return standings, unfit


@click.command()
@common
@click.option("--version", type=click.IntRange(min=1), help="The labels of this version; else those of the task's.")
@click.option("--changes", nargs=2, type=click.IntRange(min=1), metavar="A B", help="What differs from version A to B.")
def evaluate(
    screen: Screen,
    options: Options,
    names: tuple[str, ...],
    version: int | None,
    changes: tuple[int, int] | None,
) -> None:
    """Hold the labels against what people say (`gold`), or one version against another.

    `--version` and `--changes` exclude each other.
    """
    if changes and version:
        raise UsageError("`--version` and `--changes` exclude each other")
    if changes and changes[0] == changes[1]:
        raise UsageError("`--changes` needs two versions")
    project, tasks = open_project(screen, options, names)
    if changes:
        found = [read_changes(project, task, *changes) for task in tasks]
        screen.result(
            [changes_data(one) for one in found], [line for one in found for line in [*changes_lines(one), ""]]
        )
        return
    # a task without gold is passed over only where another has some and nobody asked for it
    measured = [task for task in tasks if task.gold] if not names else tasks
    qualities = [read_quality(project, task) for task in measured or tasks]
    shown = [shown_version(quality, version) for quality in qualities]
    lines = [line for pair in zip(qualities, shown, strict=True) for line in [*quality_lines(*pair), ""]]
    screen.result([quality_data(quality) for quality in qualities], lines)


@click.command()
@common
def debug(screen: Screen, options: Options, names: tuple[str, ...]) -> None:
    """Check profile, package, tables, key and model, and say what to do about each."""
    today = datetime.now(timezone.utc).date()
    checks = check_setup(options, names, os.environ.get("OPENAI_API_KEY"), base_url(), today)
    lines = [
        f"{'ok ' if check.ok else 'BAD'} {check.name}: {check.found}"
        + (f"\n    hint: {check.hint}" if check.hint else "")
        for check in checks
    ]
    screen.result([asdict(check) for check in checks], lines)
    if not all(check.ok for check in checks):
        raise click.exceptions.Exit(1)
