"""The console: where people read, on stderr, and programs, on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from connector.errors import UsageError
from connector.log import Log
from connector.plain import shown, shown_json
from connector.plan import Plan
from connector.report.standing import plan_data, plan_lines
from connector.report.watching import progress_line, progress_table
from connector.run import Progress

# a table is as wide as what is in it, whoever reads it: in a log no column may be cut
_WIDEST = 400


class Screen:
    """Where a command writes: its log to stderr, its result to stdout, as JSON or for people.

    Batches in flight are shown as a live line each on a terminal, else as lines of the log now and then; with a result
    as JSON only in a log as JSON.
    """

    def __init__(self, as_json: bool, log: Log) -> None:
        self.as_json = as_json
        self.log = log
        self._stdout = Console(markup=False, highlight=False, soft_wrap=True)
        self._wide = Console(markup=False, highlight=False, soft_wrap=True, width=_WIDEST)
        self._last: Any = None
        self._live: Live | None = None
        self._batches: Sequence[Progress] = ()
        self._shown_at = 0.0
        self._steps: dict[str, tuple[str, int]] = {}

    def say(self, line: str) -> None:
        """Write one line to stderr."""
        self.log.say(line)

    def result(self, data: Any, lines: Iterable[str | Table], again: bool = False) -> None:
        """Write a command's result to stdout.

        One that is shown `again` and again takes the terminal; elsewhere it is written where it is another.
        """
        if self.as_json:
            click.echo(shown_json(data, indent=2))
            return
        if again and self._stdout.is_terminal:
            self._stdout.clear()
        elif again and data == self._last:
            return
        self._last = data
        for line in lines:
            if isinstance(line, Table):
                self._wide.print(line)
            else:
                self._stdout.print(shown(line), markup=False)

    def show(self, batches: Sequence[Progress]) -> None:
        """Show how far the batches in flight are; without any, nothing."""
        self._batches, self._shown_at = batches, time.monotonic()
        if self.log.as_json or not self.log.console.is_terminal:
            self._log_steps(batches)
        elif not batches:
            self.close()
        elif not self.as_json and self._live is None:
            self._live = Live(console=self.log.console, get_renderable=self._table, transient=True)
            self._live.start()

    def close(self) -> None:
        """Take the live lines away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        return progress_table(self._batches, time.monotonic() - self._shown_at)

    def _log_steps(self, batches: Sequence[Progress]) -> None:
        """Write a line for each batch whose status is another, or of which another tenth is done."""
        for batch in batches:
            step = (batch.status, 10 * batch.done // max(1, batch.texts))
            if self._steps.get(batch.batch_key) == step:
                continue
            self._steps[batch.batch_key] = step
            if self.log.as_json:
                self.log.tell("progress", **asdict(batch))
            elif not self.as_json:
                self.log.say(progress_line(batch))

    def confirm(self, plans: Sequence[Plan], agreed: bool) -> None:
        """Show the plan and ask, unless each task that may spend has a budget; raise `UsageError` as `ask` does."""
        spending = [plan for plan in plans if plan.standing.may_spend]
        for flat in plan_data(plans) if self.log.as_json else ():
            self.log.tell("plan", **flat)
        self.ask([] if self.log.as_json else plan_lines(plans), agreed or all(plan.has_budget for plan in spending))

    def ask(self, lines: Sequence[str], agreed: bool, asked: str = "sent") -> None:
        """Show what is about to be done and ask; raise `UsageError` where nobody can be asked and nobody agreed.

        `asked` is the word for what has not happened then.
        """
        for line in lines:
            self.log.say(line)
        if agreed:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            spends = ", or where something is sent a budget: `budget_usd` in the task, or --budget-usd"
            raise UsageError(
                f"there is no terminal to ask on, so nothing was {asked}",
                f"add --yes{spends if asked == 'sent' else ''}",
            )
        if not click.confirm("Go on?", err=True):
            raise UsageError(f"nothing was {asked}", "--yes goes on without asking")
