"""The command line: options, exit codes, and which part of the program a command calls."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from connector import __version__, pipeline, planning, reopening
from connector.check import check_setup
from connector.console import (
    INTERRUPTED,
    Interruption,
    Screen,
    batch_lines,
    labels_table,
    plan_data,
    plan_lines,
    reopening_lines,
    standing_data,
    standing_lines,
)
from connector.errors import BudgetReached, LabelsError, UsageError
from connector.files import write_text
from connector.ledger import Batch, State
from connector.options import common, running
from connector.pipeline import Summary, Voice
from connector.provider import Provider, connect
from connector.reopening import Reopened
from connector.report import changes_data, changes_lines, quality_data, quality_lines, shown_version
from connector.run import Settings
from connector.serving import local_provider, serve_forever
from connector.source import HEADER, is_bare, source_yaml
from connector.task import Task
from connector.warehouse.project import Options, Project, parse_project
from connector.warehouse.quality import gate_failures, gates, read_changes, read_quality
from connector.warehouse.tables import Ledger
from connector.warehouse.texts import count_labels


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dbt-labels")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def cli(debug: bool) -> None:
    """LLM labels for warehouse text, at batch price, as part of dbt build."""
    del debug  # read by main, which outlives the command


@cli.command()
@common
@click.option("--limit", type=click.IntRange(min=1), help="At most this many texts per task.")
def plan(screen: Screen, options: Options, names: tuple[str, ...], limit: int | None) -> None:
    """Show what a run would send; needs no key and sends nothing."""
    project, tasks = _open(screen, options, names)
    pipeline.stage(project, tasks)
    plans = planning.plan(project, tasks, Settings(limit=limit, base_url=_base_url()))
    screen.result(plan_data(plans), plan_lines(plans))


@cli.command()
@common
@running
@click.option("--once", is_flag=True, help="One pass, made for cron: collect what ended, send what is pending, leave.")
def run(screen: Screen, options: Options, names: tuple[str, ...], once: bool, **how: Any) -> None:
    """Label what is pending, until each text has an outcome."""
    project, tasks = _open(screen, options, names, interruptible=True)
    with _provider(project, tasks, how["local"]) as connected:
        settings = replace(_settings(how), once=once)
        summary = pipeline.label(project, tasks, connected, settings, _voice(screen, how))
    _end(screen, project, tasks, summary)


@cli.command()
@common
@running
def build(screen: Screen, options: Options, names: tuple[str, ...], **how: Any) -> None:
    """Run dbt up to the pending texts, label them, and run dbt on what reads the labels."""
    project, tasks = _open(screen, options, names, interruptible=True)
    with _provider(project, tasks, how["local"]) as connected:
        summary = pipeline.build(project, tasks, connected, _settings(how), _voice(screen, how))
    _end(screen, project, tasks, summary)


@cli.command()
@common
@running
def pilot(screen: Screen, options: Options, names: tuple[str, ...], **how: Any) -> None:
    """Label the gold texts only, and say whether the quality gate holds."""
    project, tasks = _open(screen, options, names, interruptible=True)
    measured = tasks if names else [task for task in tasks if task.gold]
    with _provider(project, tasks, how["local"]) as connected:
        settings = replace(_settings(how), pilot=True)
        summary = pipeline.label(project, measured or tasks, connected, settings, _voice(screen, how))
    _report_pilot(screen, project, measured or tasks, summary)


@cli.command()
@common
@running
def cancel(screen: Screen, options: Options, names: tuple[str, ...], **how: Any) -> None:
    """Stop the batches in flight and load what they did by then."""
    project, tasks = _open(screen, options, names, interruptible=True)
    if not _in_flight(project, tasks):
        screen.say("nothing is in flight")
        _end(screen, project, tasks, Summary())
        return
    with _provider(project, tasks, how["local"]) as connected:
        summary = pipeline.cancel(project, tasks, connected(), _settings(how), _voice(screen, how))
    _end(screen, project, tasks, summary)


@cli.command()
@common
@click.option("--reason", "reasons", multiple=True, help="Put back what was rejected for this; can be repeated.")
@click.option("--lost", is_flag=True, help="Put back the texts of batches whose output is gone at the provider.")
@click.option("--yes", is_flag=True, help="Go on without asking.")
def retry(
    screen: Screen, options: Options, names: tuple[str, ...], reasons: tuple[str, ...], lost: bool, yes: bool
) -> None:
    """Put rejected or lost texts back, with their price first; the next run sends them."""
    project, tasks = _open(screen, options, names)
    reopened = reopening.reopen(
        project, tasks, reasons, lost, lambda found: screen.ask(reopening_lines(found), agreed=yes), _base_url()
    )
    lines = [f"{reopened.texts} rejected texts and {len(reopened.batches)} lost batches are put back"]
    lines = [*lines, "`dbt-labels run` sends them"] if reopened != Reopened() else ["there is nothing to put back"]
    screen.result(asdict(reopened), lines)


@cli.command()
@common
def status(screen: Screen, options: Options, names: tuple[str, ...]) -> None:
    """Show the tasks, their labels and their batches, as the ledger has them."""
    project, tasks = _open(screen, options, names)
    standings = planning.look(project, tasks)
    batches = Ledger(project, "").batches(pipeline.tables_of(project, tasks), State)
    data = {
        "tasks": standing_data(standings),
        "batches": [
            {key: value for key, value in asdict(batch).items() if key not in ("task", "prompt_hash", "price")}
            | {"task": batch.task.name, "version": batch.task.version}
            for batch in batches
        ],
    }
    lines = [line for standing in standings for line in standing_lines(standing)]
    screen.result(data, lines + batch_lines(batches[-20:]))


@cli.command()
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
    """Hold the labels against what people say (`gold`), or one version against another."""
    if changes and version:
        raise UsageError("`--version` and `--changes` exclude each other")
    if changes and changes[0] == changes[1]:
        raise UsageError("`--changes` needs two versions")
    project, tasks = _open(screen, options, names)
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


@cli.command()
@common
@click.option("--check", is_flag=True, help="Change nothing; exit 1 where the file differs.")
def sync(screen: Screen, options: Options, names: tuple[str, ...], check: bool) -> None:
    """Write the labels source's YAML from the tasks: columns, descriptions, tests."""
    del names  # one file for all tasks
    project, tasks = _open(screen, options, ())
    path = project.source_file(tasks)
    content = source_yaml(tasks, project.source_name(tasks))
    present = path.read_text(encoding="utf-8") if path.exists() else None
    if present == content:
        screen.result({"file": str(path), "changed": False}, [f"{path} fits the tasks"])
        return
    if check:
        raise LabelsError(f"{path} does not fit the tasks", "run `dbt-labels sync` and commit the file")
    if present is not None and not present.startswith(HEADER) and not is_bare(present, tasks):
        raise LabelsError(
            f"{path} was not written by `dbt-labels sync`, so it is left as it is",
            "move the tables of labels out of it, or delete it, and run again",
        )
    write_text(path, content)
    screen.result({"file": str(path), "changed": True}, [f"{path} written"])


@cli.command()
@common
def ddl(screen: Screen, options: Options, names: tuple[str, ...]) -> None:
    """Print the statements that make what is missing in the labels schema."""
    project, tasks = _open(screen, options, names)
    with project.connect() as session:
        statements = session.macro("ddl", tasks=[task.model_dump(mode="json") for task in tasks])
    screen.result(statements, [f"{sql};" for sql in statements] or ["-- nothing is missing"])


@cli.command()
@common
def debug(screen: Screen, options: Options, names: tuple[str, ...]) -> None:
    """Check profile, package, tables, key and model, and say what to do about each."""
    checks = check_setup(options, names, os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL"))
    lines = [
        f"{'ok ' if check.ok else 'BAD'} {check.name}: {check.found}"
        + (f"\n    hint: {check.hint}" if check.hint else "")
        for check in checks
    ]
    screen.result([asdict(check) for check in checks], lines)
    if not all(check.ok for check in checks):
        raise click.exceptions.Exit(1)


@cli.command()
@click.option("--state-dir", type=click.Path(path_type=Path), default=Path(".dbt_labels/serve"), show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8765, show_default=True, help="0 takes a free one.")
@click.option("--token", "tokens", multiple=True, default=("local",), show_default=True, help="An account's key.")
@click.option("--engine", type=click.Choice(["embedded", "instant", "upstream"]), default="embedded", show_default=True)
@click.option("--model", "models", multiple=True, help="A model's name to answer for, besides the usual ones.")
@click.option("--model-path", type=click.Path(path_type=Path), help="The embedded model's files from elsewhere.")
@click.option("--upstream", "upstream_url", help="The base URL of an OpenAI-compatible chat server.")
@click.option("--upstream-model", help="The model to ask there.")
@click.option("--upstream-key-env", default="OPENAI_API_KEY", show_default=True, help="The variable with its key.")
@click.option("--enqueued-token-limit", type=int, help="Refuse batches beyond this queue, as the real service does.")
@click.option("--batches-an-hour", type=click.IntRange(min=1), help="Refuse more, as the real service does.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[=VALUE]", help="Fail on purpose; see the README.")
def serve(**how: Any) -> None:
    """Serve the Files and Batches endpoints on this machine, in front of a small model or of a chat server."""
    serve_forever(how, sys.stdout)


def _open(
    screen: Screen, options: Options, names: tuple[str, ...], interruptible: bool = False
) -> tuple[Project, list[Task]]:
    project = parse_project(options)
    project.say = screen.say
    for note in project.notes:
        screen.say(f"note: {note}")
    tasks = project.choose(names)
    interruption = click.get_current_context().find_object(Interruption)
    if interruption is not None:
        project.is_interrupted = lambda: interruption.happened
        interruption.end_query = project.end_query
    if interruptible and interruption is not None:
        interruption.in_flight = lambda: _in_flight(replace(project, lock_patience_seconds=1.0), tasks)
    return project, tasks


def _in_flight(project: Project, tasks: list[Task]) -> list[Batch]:
    return Ledger(project, "").batches(pipeline.tables_of(project, tasks))


def _base_url() -> str | None:
    return (os.environ.get("OPENAI_BASE_URL") or "").strip() or None


def _settings(how: dict[str, Any]) -> Settings:
    poll_seconds = 0.2 if how["local"] else how["poll_seconds"]
    return Settings(
        poll_seconds=poll_seconds,
        grace_seconds=how["grace_seconds"],
        limit=how["limit"],
        budget_usd=how["budget_usd"],
        is_free=how["local"],
        base_url=_base_url(),
        confirmed=frozenset(how["confirmed"]),
    )


def _voice(screen: Screen, how: dict[str, Any]) -> Voice:
    agreed = how["yes"] or how["local"] or how["budget_usd"] is not None
    return Voice(screen.say, screen.show, lambda plans: screen.confirm(plans, agreed))


@contextmanager
def _provider(project: Project, tasks: list[Task], local: bool) -> Iterator[Callable[[], Provider]]:
    """Give what connects to the provider when it is needed: the local server, or who the environment names."""
    with ExitStack() as stack:

        def connected() -> Provider:
            if local:
                return stack.enter_context(local_provider(project.folder, tuple(task.model for task in tasks)))
            return connect(os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL"))

        yield connected


def _end(screen: Screen, project: Project, tasks: list[Task], summary: Summary) -> None:
    screen.close()
    standings = planning.look(project, tasks)
    fields = {task.name: count_labels(project, task) for task in tasks}
    data = {"run": asdict(summary), "tasks": standing_data(standings), "labels": fields}
    lines: list[Any] = [""]
    for standing, task in zip(standings, tasks, strict=True):
        lines += standing_lines(standing)
        for field, values in fields[task.name].items():
            lines += ["", labels_table(field, values)]
    sent = f"{len(summary.submitted)} batches sent" if len(summary.submitted) != 1 else "1 batch sent"
    lines += ["", f"{sent}, {summary.labelled} labelled, {summary.rejected} rejected, {summary.retried} tried again"]
    if summary.in_flight:
        lines.append(f"{len(summary.in_flight)} in flight; `dbt-labels run` collects them")
    screen.result(data, lines)
    _raise_for(summary)


def _raise_for(summary: Summary) -> None:
    """Raise what a run has to tell at its end."""
    if summary.over_budget and not summary.problems:
        raise BudgetReached(
            "\n".join(summary.over_budget), "the rest stays pending; raise the budget, or run again for another one"
        )
    if summary.problems:
        raise LabelsError(
            "\n".join(summary.problems),
            "everything else is loaded; once this is mended, it is safe to run again",
        )


def _report_pilot(screen: Screen, project: Project, tasks: list[Task], summary: Summary) -> None:
    screen.close()
    qualities = [read_quality(project, task) for task in tasks]
    failures = {task.name: gate_failures(project, task) for task in tasks}
    asked = {task.name: gates(project, task) for task in tasks}
    lines: list[Any] = []
    for task, quality in zip(tasks, qualities, strict=True):
        lines += ["", *quality_lines(quality, task.version), ""]
        if asked[task.name]:
            lines.append("the quality gate does not hold" if failures[task.name] else "the quality gate holds")
        else:
            lines.append("there is no quality gate: put a `dbt_labels.label_quality` test on the table of labels")
    screen.result(
        {"run": asdict(summary), "quality": [quality_data(quality) for quality in qualities], "failures": failures},
        lines,
    )
    _raise_for(summary)
    if any(failures.values()):
        said = [f"task `{name}`: {failure}" for name, found in failures.items() for failure in found]
        raise LabelsError("\n".join(said), "change the wording or the model, raise `version`, and pilot again")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the design's code; no traceback reaches a user unless asked for."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    with Interruption.caught() as interruption:
        try:
            code = cli.main(given, prog_name="dbt-labels", obj=interruption, standalone_mode=False)
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - nobody else is left to tell a person
            code = _explain(error, interruption, show_traceback="--debug" in given[:1])
    sys.exit(code or 0)


def _explain(error: BaseException, interruption: Interruption, show_traceback: bool) -> int:
    """Say on stderr what ended the command and return its exit code."""
    # an interrupted database or dbt gives errors of its own
    if interruption.happened or isinstance(error, (KeyboardInterrupt, click.exceptions.Abort)):
        interruption.say()
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return UsageError.exit_code
    if show_traceback:
        traceback.print_exception(error)
    if isinstance(error, LabelsError):
        message, hint, code = error.message, error.hint, error.exit_code
    elif isinstance(error, OSError):
        message, hint, code = str(error), "it is safe to run again", LabelsError.exit_code
    else:
        message = f"this should not happen: {type(error).__name__}: {error}"
        hint = "please report it with what `dbt-labels --debug ...` shows; it is safe to run again"
        code = LabelsError.exit_code
    click.echo(f"Error: {message}", err=True)
    if hint:
        click.echo(f"\nhint: {hint}", err=True)
    return code
