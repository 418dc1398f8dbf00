"""The log: what a command says on stderr while it works, as lines for people or as JSON for programs. Never a text."""

from __future__ import annotations

import traceback
from datetime import datetime, timezone
from typing import Any, Literal

import click
from rich.console import Console

from connector.plain import shown, shown_json

Level = Literal["info", "warning", "error"]


class Log:
    """Where a command speaks while it works: stderr. With `as_json` each line is one JSON object.

    Every object has `time` (UTC), `level` and `event`. What is said of a batch has its `batch_key` and `task`. An error
    is told with its traceback where `shows_tracebacks`.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.shows_tracebacks = False
        self.console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)

    def say(self, line: str, level: Level = "info") -> None:
        """Write a line for people; as JSON it is the `message` of an event of that name."""
        if self.as_json:
            self.tell("message", level, message=line)
        else:
            self.console.print(shown(line), markup=False)

    def tell(self, event: str, level: Level = "info", **facts: Any) -> None:
        """Write what happened, for programs only: people are told in words."""
        if not self.as_json:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {name: value for name, value in facts.items() if value is not None}
        line = {"time": now, "level": level, "event": event, **known}
        click.echo(shown_json(line), err=True)

    def fail(self, message: str, hint: str | None, exit_code: int, error: BaseException | None = None) -> None:
        """Say what ended a command and what to do: what, then `hint:`; `error` is what was raised."""
        shows = self.shows_tracebacks and error is not None
        traced = shown("".join(traceback.format_exception(error))) if shows else None
        if self.as_json:
            self.tell("error", "error", message=message, hint=hint, exit_code=exit_code, traceback=traced)
            return
        if traced is not None:
            click.echo(traced, err=True, nl=False)
        click.echo(shown(f"Error: {message}"), err=True)
        if hint:
            click.echo(shown(f"\nhint: {hint}"), err=True)
