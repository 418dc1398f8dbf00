"""The console: what people read on stderr and what programs read on stdout."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import ROUND_UP, Decimal
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from connector.errors import LabelsError, UsageError
from connector.ledger import Batch
from connector.plan import Plan, Standing
from connector.reopening import Reopening
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
        """Show the plan and ask, unless each task that may spend has a budget; raise `UsageError` as `ask` does."""
        spending = [plan for plan in plans if plan.standing.may_spend]
        self.ask(plan_lines(plans), agreed or all(plan.has_budget for plan in spending))

    def ask(self, lines: Sequence[str], agreed: bool) -> None:
        """Show what is about to be done and ask; raise `UsageError` where nobody can be asked and nobody agreed."""
        for line in lines:
            self._stderr.print(line, markup=False)
        if agreed:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "there is no terminal to ask on, so nothing was sent",
                "add --yes, or where something is sent a budget: `budget_usd` in the task, or --budget-usd",
            )
        if not click.confirm("Go on?", err=True):
            raise UsageError("nothing was sent")


INTERRUPTED = 130  # the exit code
_ENDING = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 0.2


@dataclass
class Interruption:
    """Whether Ctrl-C or SIGTERM came, and what there is to do and to say then.

    `end_query` stops what the database is doing, because Python hears of a signal only when that is done; it is called
    again and again until there is something to say, for a query that has just begun. `in_flight` looks into the ledger.
    A second signal ends the process at once, whatever it waits for: that is as safe as SIGKILL.
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
        """Say on stderr what is in flight and how to go on."""
        self.end_query = None
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
        count = 0
        while True:
            if select.select([heard], [], [], _AGAIN_SECONDS if count else None)[0]:
                numbers = heard.recv(16)
                if not numbers:
                    return
                count += sum(number in _ENDING for number in numbers)
            if count > 1:
                os._exit(INTERRUPTED)
            if count and self.end_query is not None:
                self.end_query()


def standing_data(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return how the tasks stand for JSON."""
    return [asdict(standing) for standing in standings]


def plan_data(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Return the plans for JSON: one flat object a task."""
    flat = []
    for plan in plans:
        rest = {name: value for name, value in asdict(plan).items() if name not in ("standing", "cost")}
        flat.append({**asdict(plan.standing), **asdict(plan.cost), **rest})
    return flat


def standing_lines(standing: Standing) -> list[str]:
    """Return how a task stands for people."""
    lines = [f"task {standing.task} -> {standing.table}, version {standing.version}, {standing.model}"]
    if standing.comments is not None:
        lines.append(f"  {standing.comments:,} comments, {standing.texts:,} distinct texts")
    lines.append(f"  {standing.labelled:,} labelled, {standing.rejected:,} rejected, {standing.in_flight:,} in flight")
    if standing.pending:
        reasons = ", ".join(f"{texts:,} {why}" for why, texts in standing.pending.items())
        lines.append(f"  {sum(standing.pending.values()):,} pending: {reasons}")
    elif standing.comments == 0:
        lines.append(
            "  nothing is pending: what the pending model selects from is empty, as a build with --empty leaves it;"
            f" `dbt build --select +{standing.task}`"
        )
    else:
        lines.append("  nothing is pending")
    return lines


def plan_lines(plans: Sequence[Plan]) -> list[str]:
    """Return the plans for people."""
    lines = []
    for plan in plans:
        lines += standing_lines(plan.standing)
        if plan.standing.in_flight:
            lines.append("  what the provider leaves unanswered of those in flight is sent again")
        if plan.cost.requests:
            lines += [f"  {line}" for line in _cost_lines(plan)]
        if plan.gates:
            lines.append(f"  gate: {', '.join(plan.gates)}: {'does not hold yet' if plan.gate_failures else 'holds'}")
            lines += [f"    {failure}" for failure in plan.gate_failures]
        if plan.raise_texts:
            price = "" if plan.raise_usd is None else f", for about {_usd(plan.raise_usd)}"
            version = plan.standing.version
            changed, again = _count(plan.standing.changed_wording, "label"), _count(plan.raise_texts, "text")
            lines.append(
                f"  note: {changed} of version {version} had another wording, model or fields;"
                f" `version: {version + 1}` would label {again} again{price}"
            )
    return lines


def reopening_lines(found: Sequence[Reopening]) -> list[str]:
    """Return what a retry would put back, for people."""
    lines = []
    for reopening in found:
        reasons = [f"{texts:,} {reason}" for reason, texts in reopening.rejected.items()]
        if reopening.lost:
            batches = _count(len(reopening.lost), "lost batch", "lost batches")
            reasons.append(f"{reopening.lost_texts:,} of {batches}, which may have been paid for")
        lines.append(f"task {reopening.task.name}: {', '.join(reasons) or 'nothing'}")
        cost = reopening.cost
        if cost.texts and cost.expected_usd is not None and cost.bound_usd is not None:
            lines.append(f"  sending them again costs about {_usd(cost.expected_usd)}, at most {_usd(cost.bound_usd)}")
        elif cost.texts:
            lines.append("  sending them again has no known price")
    return lines


def _cost_lines(plan: Plan) -> list[str]:
    cost = plan.cost
    sent = f"{_count(cost.requests, 'request')} in {_count(cost.shards, 'batch', 'batches')}"
    how = "counted" if cost.is_exact else "estimated: the encoding of this model is not known"
    if cost.input_tokens_error:
        how = f"by a sample, ± {cost.input_tokens_error:,}" + ("" if cost.is_exact else f", {how}")
    lines = [
        f"to send: {sent}, about {_size(cost.bytes)}",
        f"tokens: {cost.input_tokens:,} in ({how}),"
        f" about {cost.output_tokens:,} out, at most {cost.most_output_tokens:,}",
    ]
    if plan.is_free:
        return [*lines, "cost: nothing, the local server answers"]
    if cost.expected_usd is None or cost.bound_usd is None:
        return [*lines, f"cost: the price of {plan.standing.model} is not known; say it in the task's `price`"]
    one_by_one = "" if cost.synchronous_usd is None else f"; one by one {_usd(cost.synchronous_usd)}"
    lines.append(
        f"cost: about {_usd(cost.expected_usd)}, at most {_usd(cost.bound_usd)} where none is tried again, in batches"
        f" ({cost.price}){one_by_one}"
    )
    saved = [
        f"{_usd(amount)} by {how}"
        for amount, how in (
            (cost.saved_by_deduplication_usd, "asking once for equal comments"),
            (cost.saved_by_packing_usd, "packing"),
            (cost.saved_by_batch_usd, "batches"),
        )
        if amount
    ]
    if saved:
        lines.append(f"saved: {', '.join(saved)}")
    budgets = [(plan.budget_usd, "a run"), (plan.budget_usd_per_month, "a month")]
    walls = [f"{_usd(budget)} {of}" for budget, of in budgets if budget is not None]
    return [*lines, f"budget: {', '.join(walls)}"] if walls else lines


def _usd(amount: Decimal) -> str:
    """Return an amount as people write it, rounded up: cents, or of less than a dollar two digits that are not 0."""
    digits = 2 if amount >= 1 or not amount else 1 - amount.adjusted()
    return f"${amount.quantize(Decimal(1).scaleb(-digits), ROUND_UP):,}"


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
