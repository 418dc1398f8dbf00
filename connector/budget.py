"""The budget: a wall that no shard passes, from what the ledger says is charged already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from connector.task import Task


@dataclass(frozen=True)
class Charge:
    """What a table's batches count for, in US dollars: those of this run or of this month, and all unresolved ones.

    `unknown` are those of them whose price nobody knew when they were sent.
    """

    run_usd: Decimal = Decimal(0)
    month_usd: Decimal = Decimal(0)
    unknown: int = 0


@dataclass(frozen=True)
class Wall:
    """The nearest wall: what is left before it, which it is, for people, and whether all tasks of the run share it."""

    left_usd: Decimal
    name: str
    is_shared: bool = False


def has_budget(task: Task, limit_usd: Decimal | None) -> bool:
    """Tell whether a task's runs have any wall; `limit_usd` is that of the whole run."""
    return not (task.run.budget_usd is None and task.run.budget_usd_per_month is None and limit_usd is None)


def nearest_wall(task: Task, charges: Mapping[str, Charge], limit_usd: Decimal | None) -> Wall:
    """Return the wall that the task's next shard meets first; the task has one (`has_budget`).

    `charges` are by table, of all tables of the run; `limit_usd` is the wall of them together.
    """
    charge = charges.get(task.table, Charge())
    unknown = sum(of_table.unknown for of_table in charges.values()) if limit_usd is not None else charge.unknown
    walls = []
    if unknown:
        walls.append(Wall(Decimal(0), f"a budget, while {unknown} batches have no known price,"))
    if task.run.budget_usd is not None:
        walls.append(Wall(task.run.budget_usd - charge.run_usd, f"`budget_usd: {task.run.budget_usd}`"))
    if task.run.budget_usd_per_month is not None:
        name = f"`budget_usd_per_month: {task.run.budget_usd_per_month}`"
        walls.append(Wall(task.run.budget_usd_per_month - charge.month_usd, name))
    if limit_usd is not None:
        spent = sum((of_table.run_usd for of_table in charges.values()), Decimal(0))
        walls.append(Wall(limit_usd - spent, f"`--budget-usd {limit_usd}`", is_shared=True))
    return min(walls, key=lambda wall: wall.left_usd)
