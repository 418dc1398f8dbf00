"""How far batches are: a line each, live or in a log, and the table of `status`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from connector.ledger import Batch, State
from connector.plain import counted, shown
from connector.report.standing import dollars
from connector.run import Progress

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_GIVEN_UP = (State.RELEASED, State.REFUSED, State.REOPENED)


def progress_line(batch: Progress, later_seconds: float = 0.0) -> str:
    """Return how far a batch is, on one line."""
    failed = f", {batch.failed:,} failed" if batch.failed else ""
    cost = "" if batch.cost_usd is None else f", about {dollars(batch.cost_usd)} so far"
    return (
        f"batch {batch.batch_key} {batch.status}: {batch.done:,} of {batch.texts:,} texts done{failed},"
        f" {age(batch.age_seconds + later_seconds)}{cost}"
    )


def progress_table(batches: Sequence[Progress], later_seconds: float = 0.0) -> Table:
    """Return one line per batch in columns, as it stands so many seconds after it was looked at.

    On a narrow terminal the task's name is cut before any number is.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column()  # the only one that may be narrower than what is in it
    for number in range(1, 8):
        table.add_column(justify="left" if number < 3 else "right", no_wrap=True)
    any_failed = any(batch.failed for batch in batches)
    for batch in batches:
        table.add_row(
            Text(shown(batch.task), no_wrap=True, overflow="ellipsis"),
            batch.batch_key[:8],
            shown(batch.status),
            counted(batch.texts, "text"),
            f"{batch.done:,} done",
            f"{batch.failed:,} failed" if any_failed else "",
            age(batch.age_seconds + later_seconds),
            "" if batch.cost_usd is None else f"~{dollars(batch.cost_usd)}",
        )
    return table


def batch_table(batches: Sequence[Batch], now: datetime) -> Table:
    """Return the batches as a table, oldest first; `now` is by the warehouse's clock."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("batch", "task", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("texts", "labelled", "rejected", "again", "age", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for batch in batches:
        counts = ("" if number is None else f"{number:,}" for number in (batch.labelled, batch.rejected, batch.retried))
        table.add_row(
            shown(batch.batch_key),
            shown(f"{batch.task.name} version {batch.task.version}"),
            batch.state.value,
            f"{batch.claims:,}",
            *counts,
            "" if batch.state in _GIVEN_UP else age(((batch.loaded_at or now) - batch.planned_at).total_seconds()),
            "" if batch.cost_usd is None else dollars(batch.cost_usd),
            shown(f"{batch.reason}: {batch.message}" if batch.message else batch.reason or ""),
        )
    return table


def age(seconds: float) -> str:
    """Return a time span by its two largest units: `3 h 12 min`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])
