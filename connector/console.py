"""The console: what people read on stderr and what programs read on stdout."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from connector.errors import LabelsError, UsageError
from connector.ledger import Batch
from connector.plan import Plan
from connector.run import Progress


class Screen:
    """Where a command writes: lines and bars to stderr, its result to stdout, as JSON or for people."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._stderr = Console(stderr=True, highlight=False, soft_wrap=True)
        self._stdout = Console(highlight=False, soft_wrap=True)
        self._bars: Bars | None = None
        self._shown: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        """Write one line to stderr."""
        self._stderr.print(line, markup=False)

    def result(self, data: Any, lines: Iterable[str | Table]) -> None:
        """Write a command's result to stdout."""
        if self.as_json:
            click.echo(json.dumps(data, default=str, ensure_ascii=False, indent=2))
            return
        for line in lines:
            self._stdout.print(line, markup=False)

    def show(self, batches: Sequence[Progress]) -> None:
        """Show a bar per batch in flight, on a terminal only."""
        if not self._stderr.is_terminal:
            return
        if self._bars is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Bars(*columns, console=self._stderr, transient=True)
            self._bars.start()
        for batch in batches:
            text = f"{batch.task} {batch.batch_key[:8]} {batch.status}"
            if batch.batch_key not in self._shown:
                self._shown[batch.batch_key] = self._bars.add_task(text, total=batch.total)
            self._bars.update(self._shown[batch.batch_key], description=text, completed=batch.done)
        for gone in self._shown.keys() - {batch.batch_key for batch in batches}:
            self._bars.remove_task(self._shown.pop(gone))

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def confirm(self, plans: Sequence[Plan], agreed: bool) -> None:
        """Show the plan and ask; raise `UsageError` where nobody can be asked and nobody agreed."""
        for line in plan_lines(plans):
            self._stderr.print(line, markup=False)
        if agreed or not any(plan.may_spend for plan in plans):
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("there is no terminal to ask on, so nothing was sent", "add --yes to go on without asking")
        if not click.confirm("Go on?", err=True):
            raise UsageError("nothing was sent")


_ENDING = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """Whether Ctrl-C or SIGTERM came, and what there is to do and to say then.

    `end_query` stops what the database is doing, because Python hears of a signal only when that is done. `in_flight`
    looks into the ledger.
    """

    happened: bool = False
    end_query: Callable[[], None] | None = None
    in_flight: Callable[[], list[Batch]] | None = None

    @classmethod
    @contextmanager
    def caught(cls) -> Iterator[Interruption]:
        """Give one that SIGINT and SIGTERM make happen, as `KeyboardInterrupt`, while the block lasts."""
        interruption = cls()
        before = {number: signal.signal(number, interruption._happen) for number in _ENDING}
        heard, told = socket.socketpair()
        told.setblocking(False)
        descriptor_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        listener = threading.Thread(target=interruption._listen, args=(heard,), daemon=True)
        listener.start()
        try:
            yield interruption
        finally:
            signal.set_wakeup_fd(descriptor_before)
            told.close()
            listener.join()
            heard.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def say(self) -> None:
        """Say on stderr what is in flight and how to go on; a second signal ends the process at once."""
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        batches: list[Batch] = []
        try:
            batches = self.in_flight() if self.in_flight else []
        except LabelsError as error:
            found = f"What is in flight can not be looked up now: {error.message}"
        else:
            left = f"{_count(len(batches), 'batch', 'batches')} in flight, at the provider:"
            found = left if batches else "Nothing is in flight."
        click.echo(f"\nInterrupted; nothing is lost. {found}", err=True)
        for line in batch_lines(batches):
            click.echo(line, err=True)
        click.echo(
            "\nhint: `dbt-labels run` goes on, `dbt-labels status` shows where it stands, `dbt-labels cancel` ends it",
            err=True,
        )

    def _happen(self, _: int, __: FrameType | None) -> None:
        self.happened = True
        raise KeyboardInterrupt

    def _listen(self, heard: socket.socket) -> None:
        while numbers := heard.recv(16):
            if self.end_query is not None and not set(_ENDING).isdisjoint(numbers):
                self.end_query()


def plan_data(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Return the plans for JSON."""
    return [asdict(plan) for plan in plans]


def plan_lines(plans: Sequence[Plan]) -> list[str]:
    """Return the plans for people."""
    lines = []
    for plan in plans:
        lines.append(f"task {plan.task} -> {plan.table}, version {plan.version}, {plan.model}")
        if plan.comments is not None:
            lines.append(f"  {plan.comments:,} comments, {plan.texts:,} distinct texts")
        lines.append(f"  {plan.labelled:,} labelled, {plan.rejected:,} rejected, {plan.in_flight:,} in flight")
        if plan.in_flight:
            lines.append("  what the provider leaves unanswered of those in flight is sent again")
        waiting = sum(plan.pending.values())
        if waiting:
            reasons = ", ".join(f"{texts:,} {why}" for why, texts in plan.pending.items())
            lines.append(f"  {waiting:,} pending: {reasons}")
            lines.append(
                f"  to send: {_count(plan.requests, 'request')} in {_count(plan.shards, 'batch', 'batches')},"
                f" about {_size(plan.bytes)}"
            )
        elif plan.comments == 0:
            lines.append(
                "  nothing is pending: what the pending model selects from is empty, as a build with --empty leaves it;"
                f" `dbt build --select +{plan.task}`"
            )
        else:
            lines.append("  nothing is pending")
        if plan.changed_wording:
            lines.append(
                f"  note: {_count(plan.changed_wording, 'label')} of version {plan.version} had another wording, model"
                f" or fields; `version: {plan.version + 1}` would label every text again"
            )
    return lines


def batch_lines(batches: Sequence[Batch]) -> list[str]:
    """Return the batches for people, one a line."""
    return [
        f"  batch {batch.batch_key} {batch.state.value}"
        + (f" ({batch.reason}: {batch.message})" if batch.reason else "")
        + f", {_count(batch.claims, 'text')}, {batch.task.name} version {batch.task.version},"
        f" {batch.planned_at:%Y-%m-%d %H:%M} UTC, {batch.provider}"
        for batch in batches
    ]


def labels_table(field: str, values: dict[str, int]) -> Table:
    """Return one field's values with their texts as a table."""
    total = sum(values.values())
    table = Table(title=field, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    most = max(values.values(), default=0)
    for value, texts in values.items():
        table.add_row(value, f"{texts:,}", f"{texts / total:6.1%} " + "#" * round(30 * texts / most))
    return table


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:,.1f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1000:,.1f} kB"
