"""Planning: how tasks stand and what sending costs, from the warehouse alone; no key, no network, nothing written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from decimal import Decimal

from connector.budget import has_budget, nearest_wall
from connector.estimate import make_estimate
from connector.plan import NOTHING, Cost, Plan, Standing, measure, sample_key
from connector.price import FREE, Price, batch_price, is_openai, synchronous_price
from connector.retirement import announced_retirement
from connector.run import Settings
from connector.task import Task
from connector.warehouse.gate import gate_failures, gate_note, gates
from connector.warehouse.money import History, read_charges, read_history
from connector.warehouse.origin import count_above, count_local_labels
from connector.warehouse.project import Project
from connector.warehouse.texts import (
    Which,
    count_comments,
    count_texts,
    sendable_texts,
    texts_to_resend,
)
from connector.warehouse.wording import count_changed_wording, count_raised, raised_texts


def read_standings(project: Project, tasks: Sequence[Task]) -> list[Standing]:
    """Return how each task stands."""
    return [_standing(project, task) for task in tasks]


def make_plans(project: Project, tasks: Sequence[Task], settings: Settings) -> list[Plan]:
    """Return what a run, or a pilot, would send for each task, and what it costs; needs no key and no network."""
    return [_plan(project, task, settings) for task in tasks]


def _standing(project: Project, task: Task, which: Which = "pending") -> Standing:
    return Standing(
        task=task.name,
        table=task.table,
        version=task.version,
        model=task.model,
        **asdict(count_texts(project, task, which)),
        changed_wording=count_changed_wording(project, task),
        paused=task.run.paused,
    )


def _plan(project: Project, task: Task, settings: Settings) -> Plan:
    # a paused task sends nothing, so what is wrong with its gold keeps nobody from collecting
    asked = [] if task.run.paused else gates(project, task)
    # with a gate, gold is sent that nobody may have said
    which: Which = "gold" if settings.pilot else "pending and gold" if asked else "pending"
    standing = _standing(project, task, which)
    waiting = standing.waiting_texts
    limit = settings.limit
    texts = 0 if standing.paused else waiting if limit is None else min(waiting, limit)
    price = FREE if settings.is_free else batch_price(task, settings.base_url)
    history = read_history(project, task)
    cost = NOTHING
    if texts:
        estimate = make_estimate(task, None if history is None else history.output_tokens)
        comments = None if settings.pilot else count_comments(project, task, which)
        # a limit takes any of the pending texts: as many comments each as they have on average
        of_comments = None if comments is None else comments * texts // waiting
        with sendable_texts(project, task, limit, sample_key(texts), which) as found:
            singly = synchronous_price(task, settings.base_url)
            cost = measure(task, found, estimate, price, singly, texts, of_comments)
    raised = _raised(project, task, price, history) if standing.changed_wording else NOTHING
    above, version_above = count_above(project, task) if waiting else (0, 0)
    return Plan(
        standing=standing,
        cost=cost,
        raise_texts=raised.texts,
        raise_usd=raised.expected_usd if raised.texts else None,
        raise_bound_usd=raised.bound_usd if raised.texts else None,
        above_texts=above,
        above_version=version_above,
        local_labels=0 if settings.is_free else count_local_labels(project, task),
        gates=[f"{gate.field} {gate.metric} at least {gate.at_least:g}" for gate in asked],
        gate_failures=gate_failures(project, task) if asked else [],
        gate_note=gate_note(project, task) if asked else "",
        budget_usd=task.run.budget_usd,
        budget_usd_per_month=task.run.budget_usd_per_month,
        budget_left_usd=_budget_left(project, task),
        is_free=settings.is_free,
        retirement=announced_retirement(task.model) if is_openai(settings.base_url) and not settings.is_free else None,
    )


def _budget_left(project: Project, task: Task) -> Decimal | None:
    if not has_budget(task, limit_usd=None):
        return None
    charges = read_charges(project, [task.table], run_key="")
    return max(Decimal(0), nearest_wall(task, charges, limit_usd=None).left_usd)


def _raised(project: Project, task: Task, price: Price | None, history: History | None) -> Cost:
    """Return what labelling again in the next version costs, asked as the task is today; no price without the texts."""
    texts = count_raised(project, task)
    estimate = make_estimate(task, None if history is None else history.output_tokens)
    with raised_texts(project, task, sample_key(texts)) as found:
        if found is None:
            return replace(NOTHING, texts=texts, expected_usd=None, bound_usd=None)
        return measure(task, found, estimate, price, None, texts, None)


def price_again(
    project: Project, task: Task, keys: Sequence[str], base_url: str | None, afresh: Collection[str] = ()
) -> Cost:
    """Return what sending these texts again costs; counts those that a model with keys and texts still has.

    Those of `afresh` are rejections to be reopened.
    """
    history = read_history(project, task)
    estimate = make_estimate(task, None if history is None else history.output_tokens)
    prices = batch_price(task, base_url), synchronous_price(task, base_url)
    with texts_to_resend(project, task, keys, afresh) as found:
        return measure(task, found, estimate, *prices, len(keys), None)
