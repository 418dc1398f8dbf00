"""A run: what its steps work with, and what they leave to say at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import ProviderError, RateLimited
from connector.ledger import Batch, Identity
from connector.task import Task
from connector.warehouse.project import Project
from connector.warehouse.tables import Ledger

if TYPE_CHECKING:
    from connector.provider import Provider, RemoteBatch

DEFAULT_POLL_SECONDS = 30.0
DEFAULT_GRACE_SECONDS = 900.0


@dataclass(frozen=True)
class Settings:
    """How a run behaves. `grace_seconds` is how long the provider is given to show what it may have done.

    `budget_usd` is the wall of all tasks together; `is_free` says that the provider charges nothing,
    `base_url` who else than OpenAI is asked, for the price,
    `pilot` that only gold texts are sent, `keep` that the run's files stay for a person to look at.
    """

    poll_seconds: float = DEFAULT_POLL_SECONDS
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    once: bool = False
    limit: int | None = None
    budget_usd: Decimal | None = None
    is_free: bool = False
    base_url: str | None = None
    pilot: bool = False
    keep: bool = False
    confirmed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Progress:
    """How far a batch is, in texts, by the provider's count of its requests.

    `age_seconds` is since it was submitted. `cost_usd` is about what is done has cost: the share of what was expected.
    """

    batch_key: str
    task: str
    status: str
    texts: int
    done: int
    failed: int
    age_seconds: float
    cost_usd: Decimal | None

    @classmethod
    def of(cls, batch: Batch, status: str, completed: int, failed: int, now: datetime) -> Progress:
        """Return how far a batch is of whose requests so many are completed and failed."""
        requests = max(1, batch.requests)
        done = completed + failed
        expected = batch.expected_usd
        return cls(
            batch_key=batch.batch_key,
            task=batch.task.name,
            status=status,
            texts=batch.claims,
            done=batch.claims * done // requests,
            failed=batch.claims * failed // requests,
            age_seconds=(now - (batch.submitted_at or batch.planned_at)).total_seconds(),
            cost_usd=None if expected is None else expected * done / requests,
        )


@dataclass
class Run:
    """One run's ledger, provider and settings, with what it has done so far.

    `tables` are the tables of labels whose leases it holds. `sent` are the batches it claimed texts for, `freed`
    those whose texts it saw become free (loaded, refused, released): what has no outcome is sent again. `stopped`
    has the reason for each table whose task must not send any more, `over_budget` which wall it has met, `seen` what
    one listing showed of the batches, `ended` those to collect, in this round, `stuck` the batches that nothing can be
    said of, with why. `doubt` and `wait_seconds` are of the round; before `quiet_until` (`time.monotonic`) the provider
    wants to be left alone.
    """

    project: Project
    tables: list[str]
    ledger: Ledger
    provider: Provider
    identity: Identity
    settings: Settings
    folder: Path
    say: Callable[[str], None]
    show: Callable[[list[Progress]], None]
    sent: set[str] = field(default_factory=set)
    freed: set[str] = field(default_factory=set)
    submitted: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    over_budget: dict[str, str] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)
    seen: dict[str, RemoteBatch] = field(default_factory=dict)
    ended: dict[str, RemoteBatch] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    labelled: int = 0
    rejected: int = 0
    retried: int = 0
    doubt: ProviderError | None = None
    wait_seconds: float = 0.0
    quiet_until: float = 0.0

    def unresolved(self, tables: Sequence[str] | None = None) -> list[Batch]:
        """Return the batches of these tables, of all without, of which more can be known."""
        batches = self.ledger.batches(self.tables if tables is None else tables)
        return [batch for batch in batches if batch.batch_key not in self.stuck]

    def resendable_batches(self) -> set[str]:
        """Return the batches whose open texts this run sends again: with a limit only its own, which it has counted."""
        return set(self.freed) if self.settings.limit is None else self.freed & self.sent

    def hesitate(self, error: ProviderError) -> None:
        """Remember a doubt of this round, and wait as long as the provider asks before the next."""
        self.doubt = self.doubt if isinstance(self.doubt, RateLimited) else error
        if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
            self.wait_seconds = max(self.wait_seconds, error.retry_after_seconds)
            self.quiet_until = max(self.quiet_until, time.monotonic() + error.retry_after_seconds)

    @property
    def may_send(self) -> bool:
        """Tell whether the provider lets us send: in this round it refused nothing, and has not asked for time."""
        return not (self.is_quiet or isinstance(self.doubt, RateLimited))

    @property
    def is_quiet(self) -> bool:
        """Tell whether the provider wants to be left alone now."""
        return time.monotonic() < self.quiet_until

    def stop(self, task: Task, why: str) -> None:
        """Keep a task from sending any more in this run, and say why at its end."""
        if task.table not in self.stopped:
            self.stopped[task.table] = why
            self.say(f"task `{task.name}` stops: {why}")
