"""What becomes of one request of a batch: its line of a file, and what is counted for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Hold one finished request: its line of the output or error file, and what is counted for it."""

    line_number: int
    custom_id: str
    line: bytes
    is_error: bool
    copies: int = 1
    executed: Sequence[str] | None = None
    """SHA-256 of each text that was answered, where the engine did run."""
    model: str | None = None
    usage: dict[str, Any] | None = None
    """As the completion has it, where the engine did run."""
    hits: Sequence[tuple[str, str]] = ()
    """(fault, SHA-256 of the text) where faults changed the answer."""


def count_answers(document: dict[str, Any], answers: Sequence[Answer]) -> None:
    """Add answers to the counts of a batch's document."""
    counts, usage = document["request_counts"], document["usage"]
    failed = sum(a.is_error for a in answers)
    counts["failed"] += failed
    counts["completed"] += len(answers) - failed
    for used in (a.usage for a in answers if a.usage is not None):
        usage["input_tokens"] += used["prompt_tokens"]
        usage["input_tokens_details"]["cached_tokens"] += used["prompt_tokens_details"]["cached_tokens"]
        usage["output_tokens"] += used["completion_tokens"]
        usage["output_tokens_details"]["reasoning_tokens"] += used["completion_tokens_details"]["reasoning_tokens"]
    usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
