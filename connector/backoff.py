"""How a task sends less, and later, after the provider's queue was full."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from connector.ledger import Refusal, read_queue_limit
from connector.shard import MAX_REQUESTS

# a queue that others fill is asked again after 1, 2, 4, ... rounds, and after so many refusals with less
_LONGEST_PAUSE_ROUNDS = 32
_PATIENT_REFUSALS = 6


@dataclass
class Backoff:
    """What the queue's refusals so far ask of the next shard of a task.

    It has at most `max_requests`, one text in each where `packs` is false, and is not made before one of `waits_for`,
    the batches that fill the queue, has ended, nor within the next `pause_rounds`. `refusals` are those in a row.
    """

    max_requests: int = field(default_factory=lambda: MAX_REQUESTS)
    packs: bool = True
    pause_rounds: int = 0
    refusals: int = 0
    last_refused: str | None = None
    waits_for: Set[str] = frozenset()

    def look(self, newest: Refusal | None, in_queue: Set[str], may_wait: bool) -> None:
        """Begin a round: `newest` is the task's newest batch if the queue refused it, `in_queue` those waiting there.

        The ledger keeps what was refused, so a run from cron goes on where the last one was.
        """
        if newest is None:
            self.refusals = self.pause_rounds = 0
            self.max_requests = min(2 * self.max_requests, MAX_REQUESTS)
        elif newest.batch_key != self.last_refused:
            self._learn(newest, in_queue, may_wait)
        elif not self.waits_for:
            self.pause_rounds = max(0, self.pause_rounds - 1)
        elif not self.waits_for <= in_queue:
            self.waits_for, self.pause_rounds = frozenset(), 0

    def _learn(self, newest: Refusal, in_queue: Set[str], may_wait: bool) -> None:
        self.last_refused, self.refusals = newest.batch_key, self.refusals + 1
        limit = read_queue_limit(newest.message)
        exceeds = None if limit is None else newest.tokens > limit
        if exceeds and newest.requests == 1:
            self.packs = False
        if exceeds is None or self.refusals > _PATIENT_REFUSALS:
            self.max_requests = max(1, newest.requests // 2)
        if exceeds:
            return
        self.waits_for = in_queue
        if in_queue:
            self.pause_rounds = 1
        elif may_wait:
            self.pause_rounds = min(2**self.refusals, _LONGEST_PAUSE_ROUNDS)
