"""The books: what must hold of the money in every ledger, whatever happened to it."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from tests.lab import Lab


def check_money(lab: Lab) -> None:
    """Rows sum to their batch and batches to the ledger's view, to the last digit; nothing cost more than its bound."""
    rows = lab.sql(
        "select e.batch_key, e.cost_usd, e.uncosted, e.input_tokens, e.output_tokens, p.bound_usd,"
        " coalesce(sum(l.cost_usd), 0), coalesce(sum(l.input_tokens), 0), coalesce(sum(l.output_tokens), 0),"
        " count(*) filter (where l.outcome = 'labelled')"
        " from main_labels.label_events e"
        " join main_labels.label_events p on p.batch_key = e.batch_key and p.event = 'planned'"
        " left join main_labels.comment_labels l on l.batch_key = e.batch_key"
        " where e.event = 'loaded' group by 1, 2, 3, 4, 5, 6"
    )
    for key, cost, _, read, written, bound, row_cost, row_read, row_written, labelled in rows:
        assert (row_cost, row_read, row_written) == (cost, read, written), key
        assert cost <= bound, f"{key} cost {cost}, at most {bound} was said"
        assert cost > 0 or not labelled, key
    with lab.project.connect() as session:
        batches = session.macro("batches", events=session.relation("label_events"))
        charge = session.macro("batch_charge")
        found = session.handle.rows(
            f"select sum(cost_usd) as cost, sum(case when uncosted > 0 then bound_usd - {charge} else 0 end) as less"
            f" from ({batches}) as batches where state = 'loaded'"
        )
    assert (found[0]["cost"] or 0) == sum((row[1] for row in rows), Decimal(0))
    assert not found[0]["less"], "an answer that does not say what it used counts at its batch's bound"


def highest_charges(lab: Lab, together: bool = False) -> dict[str, Decimal]:
    """Return per run the most that its budget was charged with just after it planned a batch, event by event.

    `together` it is that of all runs, as a month's budget has it. Told from the events alone, not by the macro that the
    connector asks.
    """
    events = lab.sql(
        "select batch_key, event, run_key, bound_usd, cost_usd, uncosted from main_labels.label_events"
        " order by event_at, rowid"
    )
    bounds: dict[str, Decimal] = {}
    made_by: dict[str, str] = {}
    unresolved: dict[str, Decimal] = {}
    spent: dict[str, Decimal] = defaultdict(Decimal)
    highest: dict[str, Decimal] = defaultdict(Decimal)
    for key, event, of_run, bound, cost, uncosted in events:
        run_key = "" if together else of_run
        if event == "planned":
            bounds[key], made_by[key], unresolved[key] = bound, run_key, bound
            charged = spent[run_key] + sum(unresolved.values(), Decimal(0))
            highest[run_key] = max(highest[run_key], charged)
        elif event in ("released", "refused"):
            unresolved.pop(key, None)
        elif event == "submitted":
            unresolved[key] = bounds[key]
        elif event == "loaded":
            unresolved.pop(key, None)
            spent[made_by[key]] += bounds[key] if uncosted else cost
    return dict(highest)
