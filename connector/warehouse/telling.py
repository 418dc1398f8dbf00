"""What a log may have of a batch's events: ids, counts and codes, nothing that anybody wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector.ledger import State
from connector.task import Task

_TOLD = """
    requests bound_usd expected_usd input_file_id witness_file_id provider_batch_id provider_status output_file_id
    error_file_id completed failed labelled rejected retried input_tokens cached_tokens output_tokens reasoning_tokens
    cost_usd uncosted reason
"""
_NAMES = {"claims": "texts", **{name: name for name in _TOLD.split()}}


def silent(event: str, **_: Any) -> None:
    """Tell nobody."""


def tell_event(tell: Callable[..., None], batch_key: str, event: str, task: Task, **facts: Any) -> None:
    """Tell of an event of a batch that is written in the ledger."""
    told = {_NAMES[name]: value for name, value in facts.items() if name in _NAMES}
    name = event.value if isinstance(event, State) else event
    tell(f"batch_{name}", batch_key=batch_key, task=task.name, table=task.table, version=task.version, **told)
