"""Reopening: what a person puts back to be tried again, rejections and lost batches, with its price first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from connector.errors import UsageError
from connector.ledger import Batch, State, new_key
from connector.plan import NOTHING, Cost
from connector.planning import price_again
from connector.task import Task
from connector.warehouse.project import Project
from connector.warehouse.tables import Ledger


@dataclass(frozen=True)
class Reopening:
    """What would be put back for one task; `cost` is about what sending it again takes."""

    task: Task
    rejected: dict[str, int]
    lost: list[str]
    lost_texts: int
    cost: Cost


@dataclass(frozen=True)
class Reopened:
    """What was put back: rejected texts, and batches of which nothing can come any more."""

    texts: int = 0
    batches: list[str] = field(default_factory=list)


def find(project: Project, task: Task, reasons: Collection[str], lost: bool, base_url: str | None = None) -> Reopening:
    """Return what these reasons, and `lost`, would put back; raises `UsageError` for a reason that no rejection has."""
    ledger = Ledger(project, "")
    ledger.check([task])
    rejections = ledger.rejections(task)
    again = [rejection for rejection in rejections if rejection.reason in reasons]
    batches = ledger.lost([task.table]) if lost else []
    keys = {rejection.text_key for rejection in again} | {
        claim.text_key
        for batch in batches
        if batch.task.version == task.version  # what another version asked is not sent again
        for claim in ledger.claims_of(batch)
    }
    return Reopening(
        task=task,
        rejected=dict(Counter(rejection.reason for rejection in again).most_common()),
        lost=[batch.batch_key for batch in batches],
        lost_texts=sum(batch.claims for batch in batches),
        cost=price_again(project, task, sorted(keys), base_url) if keys else NOTHING,
    )


def check_reasons(project: Project, tasks: Sequence[Task], reasons: Collection[str]) -> None:
    """Raise `UsageError` for a reason that no rejection of these tasks has, naming those that there are."""
    present = Counter(rejection.reason for task in tasks for rejection in Ledger(project, "").rejections(task))
    unknown = [f"`{reason}`" for reason in reasons if reason not in present]
    listed = ", ".join(f"{reason} ({texts})" for reason, texts in present.most_common()) or "none"
    if unknown:
        raise UsageError(f"nothing is rejected for {', '.join(unknown)}", f"rejections there are: {listed}")
    if not reasons:
        raise UsageError("say what to try again: `--reason` or `--lost`", f"rejections there are: {listed}")


def reopen(
    project: Project,
    tasks: Sequence[Task],
    reasons: Collection[str],
    lost: bool,
    confirm: Callable[[list[Reopening]], None],
    base_url: str | None = None,
) -> Reopened:
    """Show what would be put back with its price, have it confirmed, and put it back; the next run sends it."""
    if reasons or not lost:
        check_reasons(project, tasks, reasons)
    found = [find(project, task, reasons, lost, base_url) for task in tasks]
    if not any(reopening.rejected or reopening.lost for reopening in found):
        return Reopened()
    confirm(found)
    ledger = Ledger(project, new_key())
    with ledger.leased([task.table for task in tasks]):
        texts = sum(ledger.reopen(task, reasons) for task in tasks)
        batches = [_give_up(ledger, batch) for task in tasks if lost for batch in ledger.lost([task.table])]
    return Reopened(texts, batches)


def _give_up(ledger: Ledger, batch: Batch) -> str:
    ledger.record(batch.batch_key, State.REOPENED, batch.task)
    return batch.batch_key
