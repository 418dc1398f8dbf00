"""The command line: its commands, and what a person reads and gets as exit code when one fails."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import click

from connector import __version__
from connector.command.labelling import build, cancel, pilot, run
from connector.command.looking import debug, evaluate, plan, status
from connector.command.mending import forget, import_, release, retry
from connector.command.server import serve
from connector.command.setting import ddl, sync
from connector.command.starting import init
from connector.errors import LabelsError, UsageError
from connector.interruption import INTERRUPTED, Interrupted, Interruption

_COMMANDS = (
    init,
    plan,
    run,
    build,
    pilot,
    status,
    cancel,
    retry,
    release,
    forget,
    import_,
    evaluate,
    sync,
    ddl,
    debug,
    serve,
)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click would write an empty line for `KeyboardInterrupt`, between lines of JSON as well."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dbt-labels")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="DBT_LABELS_LOG_FORMAT",
    help="How stderr is written: lines for people, or a JSON object a line.",
)
@click.make_pass_decorator(Interruption, ensure=True)
def cli(interruption: Interruption, /, log_format: str, debug: bool) -> None:
    """LLM labels for warehouse text, at batch price, as part of dbt build."""
    interruption.log.as_json = log_format == "json"
    interruption.log.shows_tracebacks = debug


for _command in _COMMANDS:
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the design's code; no traceback reaches a user unless asked for."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    with Interruption.caught() as interruption:
        try:
            code = cli.main(given, prog_name="dbt-labels", obj=interruption, standalone_mode=False)
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - nobody else is left to tell a person
            code = _explain(error, interruption)
    if code == INTERRUPTED and threading.active_count() > 1:
        _leave_threads(code)
    sys.exit(code or 0)


def _leave_threads(code: int) -> None:
    """End the process at once: Python aborts at its end where a thread that was left behind is inside a query."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
            stream.flush()
    os._exit(code)


def _explain(error: BaseException, interruption: Interruption) -> int:
    """Say on stderr what ended the command and return its exit code."""
    # an interrupted database or dbt gives errors of its own
    if interruption.happened or isinstance(error, (KeyboardInterrupt, Interrupted, click.exceptions.Abort)):
        interruption.say()
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        interruption.log.fail(error.format_message().rstrip("."), _usage_hint(error), UsageError.exit_code)
        return UsageError.exit_code
    if isinstance(error, LabelsError):
        message, hint, code = error.message, error.hint, error.exit_code
        if hint is None and isinstance(error, UsageError):
            hint = "`dbt-labels --help` shows the commands"
    elif isinstance(error, OSError):
        message, hint, code = str(error), "it is safe to run again", LabelsError.exit_code
    else:
        message = f"this should not happen: {type(error).__name__}: {error}"
        hint = "please report it with what `dbt-labels --debug ...` shows; it is safe to run again"
        code = LabelsError.exit_code
    interruption.log.fail(message, hint, code, error)
    return code


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dbt-labels"
    return f"`{command} --help` shows how it is called"
