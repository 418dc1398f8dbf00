"""Reopening: what a person puts back to be tried again, with its price first.

Rejections, lost batches, and batches whose fate a person knows better than the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from connector.errors import UsageError
from connector.ledger import HOLDING, Batch, State, new_key
from connector.plan import NOTHING, Cost
from connector.planning import price_again
from connector.task import Task
from connector.warehouse.project import Project
from connector.warehouse.tables import Ledger

# nothing was asked of the provider yet but to keep a file
_NEVER_CREATED = (State.PLANNED, State.UPLOADING)


@dataclass(frozen=True)
class Reopening:
    """What would be put back for one task; `cost` is about what sending it again takes.

    `rejected` counts the rejected texts, whose keys are `rejected_keys`, by reason; `lost` are batches.
    """

    task: Task
    rejected: dict[str, int]
    rejected_keys: frozenset[str]
    lost: list[str]
    lost_texts: int
    cost: Cost


@dataclass(frozen=True)
class Release:
    """A batch to be given up: what sending its texts again costs, nothing where their task asks otherwise by now."""

    batch: Batch
    cost: Cost

    @property
    def may_exist(self) -> bool:
        """Tell whether the provider may have it, and may have been paid for it."""
        return self.batch.state not in _NEVER_CREATED


@dataclass(frozen=True)
class Reopened:
    """What was put back: rejected texts, and batches of which nothing can come any more."""

    texts: int = 0
    batches: list[str] = field(default_factory=list)


def find_reopening(
    project: Project, task: Task, reasons: Collection[str], lost: bool, base_url: str | None = None
) -> Reopening:
    """Return what these reasons, and `lost`, would put back."""
    ledger = Ledger(project, "")
    rejections = ledger.rejections(task)
    again = [rejection for rejection in rejections if rejection.reason in reasons]
    batches = ledger.batches([task.table], [State.LOST]) if lost else []
    rejected = frozenset(rejection.text_key for rejection in again)
    keys = rejected | {
        claim.text_key
        for batch in batches
        if batch.task.version == task.version  # what another version asked is not sent again
        for claim in ledger.claims_of(batch)
    }
    return Reopening(
        task=task,
        rejected=dict(Counter(rejection.reason for rejection in again).most_common()),
        rejected_keys=rejected,
        lost=[batch.batch_key for batch in batches],
        lost_texts=sum(batch.claims for batch in batches),
        cost=price_again(project, task, sorted(keys), base_url, rejected) if keys else NOTHING,
    )


def _check_reasons(project: Project, tasks: Sequence[Task], reasons: Collection[str]) -> None:
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
    """Show what would be put back with its price, have it confirmed, and put it back; the next run sends it.

    Raises `UsageError` for a reason that no rejection has.
    """
    Ledger(project, "").check(tasks)
    if reasons or not lost:
        _check_reasons(project, tasks, reasons)
    found = [find_reopening(project, task, reasons, lost, base_url) for task in tasks]
    if not any(reopening.rejected or reopening.lost for reopening in found):
        return Reopened()
    confirm(found)
    ledger = Ledger(project, new_key())
    with ledger.leased([task.table for task in tasks]):
        # what was rejected or lost in the meantime had no price
        texts = sum(ledger.reopen(reopening.task, reopening.rejected_keys) for reopening in found)
        priced = {key for reopening in found for key in reopening.lost}
        lost_now = ledger.batches([task.table for task in tasks], [State.LOST]) if priced else []
        given_up = [batch for batch in lost_now if batch.batch_key in priced]
        for batch in given_up:
            ledger.record(batch.batch_key, State.REOPENED, batch.task)
    return Reopened(texts, [batch.batch_key for batch in given_up])


def release(
    project: Project,
    tasks: Sequence[Task],
    batch_keys: Collection[str],
    confirm: Callable[[list[Release]], None],
    base_url: str | None = None,
) -> list[str]:
    """Show what giving these batches up may cost, have it confirmed, and free their texts; return the batches.

    What provably was never created becomes `released`, anything else `reopened`: budgets go on counting it at its
    bound as long as it may be at work, and an answer that comes after all is never loaded. Raises `UsageError` for a
    batch that holds no texts.
    """
    ledger = Ledger(project, new_key())
    ledger.check(tasks)
    batches = _holding(ledger, tasks, batch_keys)
    confirm([_price(project, ledger, tasks, batch, base_url) for batch in batches])
    with ledger.leased(sorted({batch.task.table for batch in batches})):
        # as they are now: nobody else can change them any more
        batches = _holding(ledger, tasks, batch_keys)
        for batch in batches:
            event = State.RELEASED if batch.state in _NEVER_CREATED else State.REOPENED
            ledger.record(batch.batch_key, event, batch.task, reason="by_hand", message=f"was {batch.state.value}")
    return [batch.batch_key for batch in batches]


def _holding(ledger: Ledger, tasks: Sequence[Task], batch_keys: Collection[str]) -> list[Batch]:
    """Return the batches of these keys; raises `UsageError` for one that is not there, unreadable or holds no texts."""
    tables = sorted({task.table for task in tasks} | ledger.tables_of_batches())
    held = {batch.batch_key: batch for batch in ledger.batches(tables, HOLDING)}
    unreadable = sorted(ledger.unreadable)
    if batch_keys and held.keys() >= set(batch_keys):
        return [held[key] for key in dict.fromkeys(batch_keys)]
    done = {batch.batch_key: batch.state.value for batch in ledger.batches(tables, set(State) - set(HOLDING))}
    why = {key: f"batch {key} is {state}, so it holds no texts" for key, state in done.items()}
    why |= {key: f"batch {key}: {said}" for key, said in ledger.unreadable.items()}
    mistakes = [why.get(key, f"there is no batch `{key}`") for key in batch_keys if key not in held]
    listed = [*held, *(f"{key} (not readable)" for key in unreadable)]
    raise UsageError(
        "\n".join(mistakes) or "say which batch to give up: `--batch`",
        f"batches that hold texts: {', '.join(listed) or 'none'}",
    )


def _price(project: Project, ledger: Ledger, tasks: Sequence[Task], batch: Batch, base_url: str | None) -> Release:
    now = [task for task in tasks if (task.table, task.version) == (batch.task.table, batch.task.version)]
    keys = sorted({claim.text_key for claim in ledger.claims_of(batch)}) if now else []
    return Release(batch, price_again(project, now[0], keys, base_url) if keys else NOTHING)
