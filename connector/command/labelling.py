"""The commands that send: run, build, pilot, and cancel, which brings home what was sent."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import click

from connector import pipeline, planning
from connector.command.opening import base_url, open_project
from connector.console import Screen
from connector.errors import BudgetReached, LabelsError
from connector.options import common, running
from connector.pipeline import Summary, Voice
from connector.plain import counted
from connector.report.quality import quality_data, quality_lines
from connector.report.standing import labels_table, standing_data, standing_lines
from connector.run import Settings
from connector.serving import connecting
from connector.task import Task
from connector.warehouse.gate import gate_failures, gate_note, gates
from connector.warehouse.project import Options, Project
from connector.warehouse.quality import read_quality
from connector.warehouse.tables import Ledger
from connector.warehouse.texts import count_labels


@click.command()
@common
@running
@click.option("--once", is_flag=True, help="One pass, made for cron: collect what ended, send what is pending, leave.")
def run(screen: Screen, options: Options, names: tuple[str, ...], once: bool, **how: Any) -> None:
    """Label what is pending, until each text has an outcome."""
    project, tasks = open_project(screen, options, names, interruptible=True)
    with connecting(project.folder, [task.model for task in tasks], how["local"]) as connected:
        settings = replace(_settings(how), once=once)
        summary = pipeline.label(project, tasks, connected, settings, _voice(screen, how))
    _end(screen, project, tasks, summary)


@click.command()
@common
@running
def build(screen: Screen, options: Options, names: tuple[str, ...], **how: Any) -> None:
    """Run dbt up to the pending texts, label them, and run dbt on what reads the labels."""
    project, tasks = open_project(screen, options, names, interruptible=True)
    with connecting(project.folder, [task.model for task in tasks], how["local"]) as connected:
        summary = pipeline.build(project, tasks, connected, _settings(how), _voice(screen, how))
    _end(screen, project, tasks, summary)


@click.command()
@common
@running
def pilot(screen: Screen, options: Options, names: tuple[str, ...], **how: Any) -> None:
    """Label the gold texts only, and say whether the quality gate holds."""
    project, tasks = open_project(screen, options, names, interruptible=True)
    measured = tasks if names else [task for task in tasks if task.gold]
    with connecting(project.folder, [task.model for task in tasks], how["local"]) as connected:
        settings = replace(_settings(how), pilot=True)
        summary = pipeline.label(project, measured or tasks, connected, settings, _voice(screen, how))
    _report_pilot(screen, project, measured or tasks, summary)


@click.command()
@common
@running
def cancel(screen: Screen, options: Options, names: tuple[str, ...], **how: Any) -> None:
    """Stop the batches in flight and load what they did by then.

    It sends nothing, so `--limit`, `--budget-usd`, `--yes` and `--confirm` change nothing here.
    """
    project, tasks = open_project(screen, options, names, interruptible=True)
    if not Ledger(project, "").has_unresolved(pipeline.tables_of(project, tasks)):
        screen.say("nothing is in flight")
        _end(screen, project, tasks, Summary())
        return
    with connecting(project.folder, [task.model for task in tasks], how["local"]) as connected:
        summary = pipeline.cancel(project, tasks, connected(), _settings(how), _voice(screen, how))
    _end(screen, project, tasks, summary)


def _settings(how: dict[str, Any]) -> Settings:
    poll_seconds = 0.2 if how["local"] else how["poll_seconds"]
    return Settings(
        poll_seconds=poll_seconds,
        grace_seconds=how["grace_seconds"],
        limit=how["limit"],
        budget_usd=how["budget_usd"],
        is_free=how["local"],
        base_url=base_url(),
        keep=how["keep"],
        confirmed=frozenset(how["confirmed"]),
    )


def _voice(screen: Screen, how: dict[str, Any]) -> Voice:
    agreed = how["yes"] or how["local"] or how["budget_usd"] is not None
    return Voice(screen.say, screen.show, lambda plans: screen.confirm(plans, agreed), screen.log.tell)


def _run_data(summary: Summary) -> dict[str, Any]:
    return {name: value for name, value in asdict(summary).items() if name != "standings"}


def _end(screen: Screen, project: Project, tasks: list[Task], summary: Summary) -> None:
    screen.close()
    screen.log.tell("run_ended", **_run_data(summary))
    standings = summary.standings or planning.read_standings(project, tasks)
    fields = {task.name: count_labels(project, task) for task in tasks}
    data = {"run": _run_data(summary), "tasks": standing_data(standings), "labels": fields}
    lines: list[Any] = [""]
    for standing, task in zip(standings, tasks, strict=True):
        lines += standing_lines(standing)
        for field in task.fields:
            if values := fields[task.name].get(field.name):
                title = f"{field.name} (of all that were named)" if field.type == "any_of" else field.name
                lines += ["", labels_table(title, values)]
    sent = counted(len(summary.submitted), "batch", "batches")
    lines += [
        "",
        f"{sent} sent, {summary.labelled} labelled, {summary.rejected} rejected, {summary.retried} tried again",
    ]
    if summary.in_flight:
        lines.append(f"{len(summary.in_flight)} in flight; `dbt-labels run` collects them")
    screen.result(data, lines)
    _raise_for(summary)


def _report_pilot(screen: Screen, project: Project, tasks: list[Task], summary: Summary) -> None:
    screen.close()
    screen.log.tell("run_ended", **_run_data(summary))
    qualities = [read_quality(project, task) for task in tasks]
    failures = {task.name: gate_failures(project, task) for task in tasks}
    asked = {task.name: gates(project, task) for task in tasks}
    lines: list[Any] = []
    for task, quality in zip(tasks, qualities, strict=True):
        lines += ["", *quality_lines(quality, task.version), ""]
        if asked[task.name]:
            note = gate_note(project, task)
            holds = "does not hold" if failures[task.name] else f"holds{f', {note}' if note else ''}"
            lines.append(f"the quality gate {holds}")
        else:
            lines.append("there is no quality gate: put a `dbt_labels.label_quality` test on the pending model")
    screen.result(
        {"run": _run_data(summary), "quality": [quality_data(quality) for quality in qualities], "failures": failures},
        lines,
    )
    _raise_for(summary)
    if any(failures.values()):
        said = [f"task `{name}`: {failure}" for name, found in failures.items() for failure in found]
        raise LabelsError("\n".join(said), "change the wording or the model, raise `version`, and pilot again")


def _raise_for(summary: Summary) -> None:
    """Raise what a run has to tell at its end."""
    if summary.over_budget and not summary.problems:
        raise BudgetReached(
            "\n".join(summary.over_budget),
            "the rest stays pending; raise the budget, or wait: the next run has its own `budget_usd`, the next month"
            " its own `budget_usd_per_month`",
        )
    if summary.problems:
        raise LabelsError(
            "\n".join([*summary.problems, *summary.over_budget]),
            "everything else is loaded; once this is mended, it is safe to run again",
        )
