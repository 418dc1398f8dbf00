"""The views of what was spent: rows, batches and spend say the same, by task, version, model and day."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from connector.run import Settings
from tests.demo import dbt
from tests.lab import Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
TABLES = ("comment_labels", "comment_moods")
SUMS = ("labelled", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost_usd")


@pytest.fixture
def spent(lab: Lab, server: Server) -> Lab:
    """Give two tasks with batches of three days, two models and versions: loaded, tried again, refused, in flight."""
    lab.add_task()
    lab.edit_task(run={"max_output_tokens": 50, "rows_per_request": 2})
    lab.dbt("run", "--select", "comments_to_label", "moods_to_label")
    server.faults(row_not_json={"share": 1.0, "times": 1}, reasoning={"tokens": 3, "share": 1.0})
    assert lab.run(server.provider()).labelled == 6
    lab.sql("update main_labels.label_events set event_at = event_at - interval 40 day")

    server.faults(fail_validation={"times": 1}, row_refusal={"share": 0.5, "by": "content"})
    lab.add_comments([f"Another day, {number}" for number in range(5)])
    lab.run(server.provider())
    lab.sql("update main_labels.label_events set event_at = event_at - interval 1 day")

    server.faults()
    lab.edit_task(version=2, model="gpt-5-mini")
    lab.dbt("run", "--select", "comments_to_label")
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=3))
    server.faults(slow=3600)
    lab.run(server.provider(), ONCE)
    assert set(lab.states()) == {"loaded", "refused", "submitted"}
    outcome = dbt(lab, "build", "--select", "package:dbt_labels")
    assert outcome.success, outcome.message
    return lab


def _rows(lab: Lab, query: str) -> list[dict[str, Any]]:
    columns = [name for name, *_ in lab.sql(f"describe {query}")]
    return [dict(zip(columns, row, strict=True)) for row in lab.sql(query)]


def test_rows_add_up_to_their_batch_and_batches_to_the_spend_of_their_day(spent: Lab) -> None:
    planned = {
        row["batch_key"]: row for row in _rows(spent, "select * from main_labels.label_events where event = 'planned'")
    }
    never_sent = {key for (key,) in spent.sql("select batch_key from main_labels.label_events where event = 'refused'")}
    loaded = {key for (key,) in spent.sql("select batch_key from main_labels.label_events where event = 'loaded'")}
    claims = dict(spent.sql("select batch_key, count(*) from main_labels.label_claims group by 1"))
    of_rows: dict[str, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(SUMS, Decimal(0)))
    for table in TABLES:
        for row in _rows(spent, f"select *, outcome = 'labelled' as labelled from main_labels.{table}"):
            for name in SUMS:
                of_rows[row["batch_key"]][name] += row[name] or 0
    assert set(of_rows) == loaded

    batches = {row["batch_key"]: row for row in _rows(spent, "select * from main.label_batches")}
    assert set(batches) == set(planned)
    for key, batch in batches.items():
        assert batch["claims"] == claims[key]
        assert (batch["label_table"], batch["model"]) == (planned[key]["label_table"], planned[key]["model"])
        assert {name: batch[name] or 0 for name in SUMS} == of_rows[key]
        assert batch["cost_usd"] == (of_rows[key]["cost_usd"] if key in loaded else None)
        bound = 0 if key in never_sent else planned[key]["bound_usd"]
        assert batch["charged_usd"] == (batch["cost_usd"] if key in loaded else bound)

    wanted: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(lambda: defaultdict(Decimal))
    for key in set(planned) - never_sent:
        event = planned[key]
        group = wanted[event["label_table"], event["version"], event["model"], event["event_at"].date()]
        for name in SUMS:
            group[name] += of_rows[key][name]
        group["batches"] += 1
        group["texts"] += claims[key]
        group["bound_usd"] += event["bound_usd"]
        group["expected_usd"] += event["expected_usd"]
        group["expected_of_loaded_usd"] += event["expected_usd"] if key in loaded else 0
        group["charged_usd"] += of_rows[key]["cost_usd"] if key in loaded else event["bound_usd"]
    spend = _rows(spent, "select * from main.label_spend")
    found = {(row["label_table"], row["version"], row["model"], row["sent_on"]): row for row in spend}
    assert len(spend) == len(found) == len(wanted) == 5
    for place, group in wanted.items():
        assert {name: found[place][name] or 0 for name in group} == group, place
    assert len({day for *_, day in found}) == 3
    assert len(never_sent) == 1
    total = sum((row["cost_usd"] or 0 for row in spend), Decimal(0))
    assert total == sum(spent.sql(f"select sum(cost_usd) from main_labels.{table}")[0][0] for table in TABLES) > 0
    assert sum(row["reasoning_tokens"] for row in spend) > 0
