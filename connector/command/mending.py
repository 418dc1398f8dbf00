"""The commands by which a person mends the ledger: retry, release, forget, import."""

from __future__ import annotations

from dataclasses import asdict

import click

from connector import forgetting, importing, reopening
from connector.command.opening import base_url, open_project
from connector.console import Screen
from connector.errors import UsageError
from connector.forgetting import Forgotten
from connector.options import common
from connector.plain import counted
from connector.reopening import Reopened
from connector.report.mending import forgetting_lines, import_lines, release_lines, reopening_lines
from connector.serving import connecting
from connector.warehouse.project import Options


@click.command()
@common
@click.option("--reason", "reasons", multiple=True, help="Put back what was rejected for this; can be repeated.")
@click.option("--lost", is_flag=True, help="Put back the texts of batches whose output is gone at the provider.")
@click.option("--yes", is_flag=True, help="Go on without asking.")
def retry(
    screen: Screen, options: Options, names: tuple[str, ...], reasons: tuple[str, ...], lost: bool, yes: bool
) -> None:
    """Put rejected or lost texts back, with their price first; the next run sends them."""
    project, tasks = open_project(screen, options, names)
    reopened = reopening.reopen(
        project, tasks, reasons, lost, lambda found: screen.ask(reopening_lines(found), yes, "put back"), base_url()
    )
    batches = counted(len(reopened.batches), "lost batch", "lost batches")
    lines = [f"{counted(reopened.texts, 'rejected text')} and {batches} put back"]
    lines = [*lines, "`dbt-labels run` sends them"] if reopened != Reopened() else ["there is nothing to put back"]
    screen.result(asdict(reopened), lines)


@click.command()
@common
@click.option("--batch", "batches", multiple=True, help="The batch to give up, by its key; can be repeated.")
@click.option("--yes", is_flag=True, help="Go on without asking.")
def release(screen: Screen, options: Options, names: tuple[str, ...], batches: tuple[str, ...], yes: bool) -> None:
    """Give up batches that you know to be dead, with what it may cost first; the next run sends their texts again."""
    project, tasks = open_project(screen, options, names)
    released = reopening.release(
        project, tasks, batches, lambda found: screen.ask(release_lines(found), yes, asked="released"), base_url()
    )
    screen.result(
        {"batches": released}, [f"{counted(len(released), 'batch', 'batches')} given up: their texts are free"]
    )


@click.command()
@common
@click.option("--key", "keys", multiple=True, help="Forget the text with this `text_key`; can be repeated.")
@click.option("--query", help="Forget the texts whose `text_key` this SQL gives, run as it is in the warehouse.")
@click.option("--keep-files", is_flag=True, help="Leave the provider's files, which it deletes by itself in time.")
@click.option("--local", is_flag=True, help="The texts were sent with --local.")
@click.option("--yes", is_flag=True, help="Go on without asking.")
def forget(
    screen: Screen,
    options: Options,
    names: tuple[str, ...],
    keys: tuple[str, ...],
    query: str | None,
    keep_files: bool,
    local: bool,
    yes: bool,
) -> None:
    """Delete texts from the ledger and at the provider: labels, raw answers, claims, files. It can not be undone."""
    project, tasks = open_project(screen, options, names)
    wanted = forgetting.chosen_keys(project, keys, query)
    with connecting(project.folder, [task.model for task in tasks], local) as connected:
        forgotten = forgetting.forget(
            project,
            tasks,
            wanted,
            None if keep_files else connected,
            lambda found: screen.ask(forgetting_lines(found), agreed=yes, asked="forgotten"),
        )
    lines = [
        f"{counted(forgotten.texts, 'text')} forgotten: {counted(forgotten.rows, 'row')} of labels,"
        f" {counted(forgotten.claims, 'claim')}, {counted(forgotten.files, 'file')} at the provider",
        "`dbt build` takes them out of what reads the labels, out of an incremental model with `--full-refresh`",
    ]
    screen.result(asdict(forgotten), lines if forgotten != Forgotten() else ["none of these texts is known here"])


@click.command("import")
@common
@click.option(
    "--from", "relation", required=True, metavar="NAME", help="The model, seed or source that has the labels."
)
@click.option("--model-name", default="imported", show_default=True, help="What made them, for the column `model`.")
@click.option("--yes", is_flag=True, help="Go on without asking.")
def import_(
    screen: Screen, options: Options, names: tuple[str, ...], relation: str, model_name: str, yes: bool
) -> None:
    """Bring in labels that were paid for elsewhere, for texts that have none; shows first what they save.

    One task at a time: `--task` where there are several.
    """
    project, tasks = open_project(screen, options, names)
    if len(tasks) > 1:
        listed = ", ".join(f"`{task.name}`" for task in tasks)
        raise UsageError(f"labels are imported for one task, and there are {listed}", "name it: `--task`")
    imported = importing.import_labels(
        project,
        tasks[0],
        relation,
        model_name,
        lambda found: screen.ask(import_lines(found), agreed=yes, asked="imported"),
        base_url(),
    )
    screen.result(asdict(imported), [f"{counted(imported.labels, 'label')} imported", "`dbt build` shows them"])
