"""The plan: what a run would send for each task, from counts alone."""

from __future__ import annotations

from dataclasses import dataclass

from connector.request import make_template
from connector.shard import MAX_BYTES, MAX_REQUESTS
from connector.task import Task


@dataclass(frozen=True)
class Plan:
    """What is to be sent for one task; `shards` is at least this many files, `bytes` about this many."""

    task: str
    table: str
    version: int
    model: str
    comments: int | None
    texts: int | None
    labelled: int
    rejected: int
    in_flight: int
    pending: dict[str, int]
    requests: int
    shards: int
    bytes: int
    changed_wording: int

    @property
    def may_spend(self) -> bool:
        """Tell whether a run could send anything: what is pending, or is in flight and may come back unanswered."""
        return self.requests > 0 or self.in_flight > 0

    @property
    def has_work(self) -> bool:
        """Tell whether a run would send anything."""
        return self.requests > 0


def make_plan(
    task: Task,
    *,
    pending: dict[str, int],
    pending_bytes: int,
    labelled: int,
    rejected: int,
    in_flight: int,
    comments: int | None,
    texts: int | None,
    changed_wording: int,
    limit: int | None = None,
) -> Plan:
    """Return the plan of a task; `limit` caps the texts that a run sends."""
    waiting = sum(pending.values())
    requests = waiting if limit is None else min(waiting, limit)
    share = pending_bytes * requests // waiting if waiting else 0
    size = share + requests * len(make_template(task).line("0" * 24, ""))
    return Plan(
        task=task.name,
        table=task.table,
        version=task.version,
        model=task.model,
        comments=comments,
        texts=texts,
        labelled=labelled,
        rejected=rejected,
        in_flight=in_flight,
        pending=pending,
        requests=requests,
        shards=max(-(-requests // MAX_REQUESTS), -(-size // MAX_BYTES)),
        bytes=size,
        changed_wording=changed_wording,
    )
