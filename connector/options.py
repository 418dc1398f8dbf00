"""The options that commands share, and what they make: a screen, and where the project is."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from connector.console import Screen
from connector.interruption import Interruption
from connector.log import Log
from connector.run import DEFAULT_GRACE_SECONDS, DEFAULT_POLL_SECONDS
from connector.warehouse.project import Options


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have, and what they make: a screen and the project's options."""

    @click.option("--project-dir", type=click.Path(path_type=Path), default=None, help="The dbt project's folder.")
    @click.option("--profiles-dir", type=click.Path(path_type=Path), default=None, help="Where profiles.yml is.")
    @click.option("--target", default=None, help="The profile's target.")
    @click.option("--vars", "variables", default=None, help="dbt vars, as YAML.")
    @click.option("--task", "names", multiple=True, help="Only this task (its pending model); can be repeated.")
    @click.option("--json", "as_json", is_flag=True, help="Write the result as JSON to stdout.")
    @functools.wraps(command)
    def wrapped(
        project_dir: Path | None,
        profiles_dir: Path | None,
        target: str | None,
        variables: str | None,
        names: tuple[str, ...],
        as_json: bool,
        **rest: Any,
    ) -> None:
        interruption = click.get_current_context().find_object(Interruption)
        screen = Screen(as_json, interruption.log if interruption is not None else Log())
        options = Options(_project_folder(project_dir), profiles_dir, target, variables)
        try:
            command(screen, options, names, **rest)
        finally:
            screen.close()

    return wrapped


def running(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a run."""
    options = [
        click.option("--limit", type=click.IntRange(min=1), help="At most this many texts per task."),
        click.option("--yes", is_flag=True, help="Go on without asking."),
        click.option(
            "--budget-usd",
            callback=_read_dollars,
            metavar="DOLLARS",
            help="Spend at most this much in this run, all tasks together; only lowers the tasks' own budgets.",
        ),
        click.option(
            "--local", is_flag=True, help="Ask the embedded model of the local batch server: no key, no cost."
        ),
        click.option(
            "--poll-seconds",
            type=click.FloatRange(0.01, 300),
            default=DEFAULT_POLL_SECONDS,
            show_default=True,
            help="How long to wait between two looks at the provider.",
        ),
        click.option(
            "--grace-seconds",
            type=click.FloatRange(min=0),
            default=DEFAULT_GRACE_SECONDS,
            show_default=True,
            help="How long the provider may take to show what it has. Under 60, what shows late can be paid twice.",
        ),
        click.option(
            "--keep", is_flag=True, help="Leave the run's texts and answers in .dbt_labels/kept, for you alone to read."
        ),
        click.option(
            "--confirm",
            "confirmed",
            multiple=True,
            type=click.Choice(["other-provider", "moved-table", "lower-version"]),
            help="Go on although labels so far came from another provider, or texts have them in another table or"
            " a higher version.",
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def _project_folder(given: Path | None) -> Path:
    """Return the project's folder as dbt finds it: the option, DBT_PROJECT_DIR, or here."""
    return (given or Path(os.environ.get("DBT_PROJECT_DIR", "."))).resolve()


def _read_dollars(_: click.Context, __: click.Parameter, value: str | None) -> Decimal | None:
    """Return an option's amount in US dollars, exact as it is written."""
    try:
        amount = None if value is None else Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is not a number") from None
    if amount is not None and (not amount.is_finite() or amount < 0):
        raise click.BadParameter(f"{value} is not an amount of dollars")
    return amount
