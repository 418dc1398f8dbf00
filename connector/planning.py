"""Planning: how tasks stand and what sending costs, from the warehouse alone; no key, no network, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from connector.estimate import make_estimate
from connector.plan import NOTHING, Cost, Plan, Standing, measure, sample_key
from connector.price import FREE, Usage, batch_price, synchronous_price
from connector.task import Task
from connector.warehouse.money import read_history
from connector.warehouse.project import Project
from connector.warehouse.quality import gate_failures, gates
from connector.warehouse.texts import (
    count_changed_wording,
    count_comments,
    count_texts,
    open_again_texts,
    sendable_texts,
)


def look(project: Project, tasks: Sequence[Task]) -> list[Standing]:
    """Return how each task stands."""
    return [_standing(project, task) for task in tasks]


def plan(
    project: Project, tasks: Sequence[Task], limit: int | None = None, is_free: bool = False, pilot: bool = False
) -> list[Plan]:
    """Return what a run, or a pilot, would send for each task, and what it costs; needs no key and no network."""
    return [_plan(project, task, limit, is_free, pilot) for task in tasks]


def _standing(project: Project, task: Task, pilot: bool = False) -> Standing:
    return Standing(
        task=task.name,
        table=task.table,
        version=task.version,
        model=task.model,
        **asdict(count_texts(project, task, of_gold=pilot)),
        changed_wording=count_changed_wording(project, task),
    )


def _plan(project: Project, task: Task, limit: int | None, is_free: bool, pilot: bool) -> Plan:
    standing = _standing(project, task, pilot)
    waiting = sum(standing.pending.values())
    texts = waiting if limit is None else min(waiting, limit)
    price, history = FREE if is_free else batch_price(task), read_history(project, task)
    cost = NOTHING
    if texts:
        estimate = make_estimate(task, None if history is None else history.output_tokens)
        comments = None if pilot else count_comments(project, task)
        # a limit takes any of the pending texts: as many comments each as they have on average
        of_comments = None if comments is None else comments * texts // waiting
        with sendable_texts(project, task, limit, sample_key(texts), pilot) as found:
            cost = measure(task, found, estimate, price, synchronous_price(task), texts, of_comments)
    again = standing.labelled if standing.changed_wording else 0
    each = None if history is None or price is None else price.cost(Usage(history.input_tokens, history.output_tokens))
    return Plan(
        standing=standing,
        cost=cost,
        raise_texts=again,
        raise_usd=None if each is None or not again else each * again,
        gates=[f"{gate.field} {gate.metric} at least {gate.at_least:g}" for gate in gates(project, task)],
        gate_failures=gate_failures(project, task),
        budget_usd=task.run.budget_usd,
        budget_usd_per_month=task.run.budget_usd_per_month,
        is_free=is_free,
    )


def price_again(project: Project, task: Task, keys: Sequence[str]) -> Cost:
    """Return what sending these texts again costs; counts those that a model with keys and texts still has."""
    history = read_history(project, task)
    estimate = make_estimate(task, None if history is None else history.output_tokens)
    with open_again_texts(project, task, keys) as found:
        return measure(task, found, estimate, batch_price(task), synchronous_price(task), len(keys), None)
