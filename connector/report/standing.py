"""How the tasks stand, what a run would cost, which batches there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any

from rich.table import Table

from connector.errors import to_build
from connector.ledger import Batch
from connector.plain import counted, shown
from connector.plan import Plan, Standing

_EMPTY = "what the pending model selects from is empty, as a build with --empty leaves it"


def standing_data(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return how the tasks stand for JSON."""
    return [asdict(standing) for standing in standings]


def plan_data(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Return the plans for JSON: one flat object a task."""
    flat = []
    for plan in plans:
        rest = {name: value for name, value in asdict(plan).items() if name not in ("standing", "cost")}
        # `dict(**one, **other)` would not take a name twice
        flat.append(dict(**asdict(plan.standing), **asdict(plan.cost), **rest))
    return flat


def standing_lines(standing: Standing) -> list[str]:
    """Return how a task stands for people."""
    lines = [f"task {standing.task} -> {standing.table}, version {standing.version}, {standing.model}"]
    if standing.comments is not None:
        blank = f", {standing.blank:,} of them blank" if standing.blank else ""
        lines.append(f"  {standing.comments:,} comments, {standing.distinct_texts:,} distinct texts{blank}")
    lines.append(f"  {standing.labelled:,} labelled, {standing.rejected:,} rejected, {standing.in_flight:,} in flight")
    if standing.pending:
        reasons = ", ".join(f"{texts:,} {why}" for why, texts in standing.pending.items())
        lines.append(f"  {sum(standing.pending.values()):,} pending: {reasons}")
    elif is_empty(standing):
        lines.append(f"  nothing is pending: {_EMPTY}; {to_build(standing.task)}")
    else:
        lines.append("  nothing is pending")
    if standing.paused:
        lines.append("  paused: nothing is sent, what is in flight is collected (`run.paused` in the task)")
    return lines


def standing_table(standings: Sequence[Standing]) -> Table:
    """Return how the tasks stand as a table, one row each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("task", "table", "version", "model"):
        table.add_column(name, justify="right" if name == "version" else "left", no_wrap=True)
    for name in ("comments", "texts", "labelled", "rejected", "in flight", "pending"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for standing in standings:
        counts = (standing.comments, standing.distinct_texts, standing.labelled, standing.rejected, standing.in_flight)
        reasons = ", ".join(f"{texts:,} {why}" for why, texts in standing.pending.items())
        notes = (
            _EMPTY if is_empty(standing) else reasons,
            f"{standing.blank:,} blank" if standing.blank else "",
            "paused: nothing is sent" if standing.paused else "",
        )
        table.add_row(
            *map(shown, (standing.task, standing.table, str(standing.version), standing.model)),
            *("" if number is None else f"{number:,}" for number in counts),
            f"{standing.waiting_texts:,}",
            "; ".join(filter(None, notes)),
        )
    return table


def is_empty(standing: Standing) -> bool:
    """Tell whether nothing is pending because there are no comments at all."""
    return standing.comments == 0 and not standing.pending


def plan_lines(plans: Sequence[Plan]) -> list[str]:
    """Return the plans for people."""
    lines = []
    for plan in plans:
        lines += standing_lines(plan.standing)
        if plan.standing.in_flight and not plan.standing.paused:
            lines.append("  what the provider leaves unanswered of those in flight is sent again")
        if plan.cost.requests:
            lines += [f"  {line}" for line in _cost_lines(plan)]
        if plan.gates:
            lines.append(f"  gate: {', '.join(plan.gates)}: {'does not hold yet' if plan.gate_failures else 'holds'}")
            lines += [f"    {failure}" for failure in plan.gate_failures]
            lines += [f"    measured {plan.gate_note}"] if plan.gate_note else []
        if plan.retirement:
            lines.append(f"  note: {plan.standing.model} retires: {plan.retirement}")
        if plan.local_labels:
            local, version = counted(plan.local_labels, "label"), plan.standing.version
            lines.append(
                f"  note: {local} of version {version} came from the local server, not from {plan.standing.model};"
                f" `version: {version + 1}` asks it"
            )
        if plan.above_texts:
            lines.append(
                f"  note: {counted(plan.above_texts, 'text')} of those are labelled or in flight in version"
                f" {plan.above_version}: `version: {plan.above_version}` would send none of them again"
            )
        if plan.raise_texts:
            price = "" if plan.raise_usd is None else f", for about {dollars(plan.raise_usd)}"
            price += "" if plan.raise_bound_usd is None else f", at most {dollars(plan.raise_bound_usd)}"
            version = plan.standing.version
            changed, again = counted(plan.standing.changed_wording, "label"), counted(plan.raise_texts, "text")
            lines.append(
                f"  note: {changed} of version {version} had another wording, model or fields;"
                f" `version: {version + 1}` would label {again} again{price}"
            )
    return lines


def _cost_lines(plan: Plan) -> list[str]:
    cost = plan.cost
    sent = f"{counted(cost.requests, 'request')} in {counted(cost.shards, 'batch', 'batches')}"
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
    one_by_one = "" if cost.synchronous_usd is None else f"; one by one {dollars(cost.synchronous_usd)}"
    most = dollars(cost.bound_usd) + (" by the sample" if cost.input_tokens_error else "")
    lines.append(
        f"cost: about {dollars(cost.expected_usd)}, at most {most} if no text needs a second attempt, in batches"
        f" ({cost.price}){one_by_one}"
    )
    differences = (
        (cost.saved_by_deduplication_usd, "asking once for equal comments"),
        (cost.saved_by_packing_usd, "packing"),
        (cost.saved_by_batch_usd, "batches"),
    )
    # a task's own `price` may be above the list's, and packing dearer where there is little to say once
    for sign, what in ((1, "saved"), (-1, "costs more")):
        found = [f"{dollars(sign * usd)} by {how}" for usd, how in differences if usd is not None and sign * usd > 0]
        if found:
            lines.append(f"{what}: {', '.join(found)}")
    budgets = [(plan.budget_usd, "a run"), (plan.budget_usd_per_month, "a month")]
    walls = [f"{dollars(budget)} {of}" for budget, of in budgets if budget is not None]
    if not walls or plan.budget_left_usd is None:
        return lines
    return [*lines, f"budget: {', '.join(walls)}; {dollars(plan.budget_left_usd, ROUND_DOWN)} left"]


def dollars(amount: Decimal, rounding: str = ROUND_UP) -> str:
    """Return an amount as people write it: cents, or of less than a dollar two digits that are not 0."""
    digits = 2 if amount >= 1 or not amount else 1 - amount.adjusted()
    return f"${amount.quantize(Decimal(1).scaleb(-digits), rounding):,}"


def batch_lines(batches: Sequence[Batch]) -> list[str]:
    """Return the batches for people, one a line."""
    return [
        f"  batch {batch.batch_key} {batch.state.value}"
        + (f" ({batch.reason}: {batch.message})" if batch.reason else "")
        + f", {counted(batch.claims, 'text')}, {batch.task.name} version {batch.task.version},"
        f" {batch.planned_at:%Y-%m-%d %H:%M} UTC, {batch.provider}"
        for batch in batches
    ]


def labels_table(title: str, values: dict[str, int]) -> Table:
    """Return one field's values with their texts as a table; a text may have several."""
    total = sum(values.values())
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    most = max(values.values(), default=0)
    for value, texts in values.items():
        table.add_row(shown(value), f"{texts:,}", f"{texts / total:6.1%} " + "#" * round(30 * texts / most))
    return table


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:,.1f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1000:,.1f} kB"
