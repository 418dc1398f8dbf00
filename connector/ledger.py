"""The ledger's words: what is remembered of a batch, and what an answer can become.

The states' ranks and what settles a text are decided in SQL, by the dbt package's macros `batch_states` and `settled`.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum

import msgspec

from connector.price import Price
from connector.task import Task


class State(str, Enum):
    """A batch's state: its event of highest rank."""

    PLANNED = "planned"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    CREATING = "creating"
    FENCING = "fencing"
    RELEASED = "released"
    SUBMITTED = "submitted"
    ENDED = "ended"
    LOADED = "loaded"
    REFUSED = "refused"
    LOST = "lost"
    REOPENED = "reopened"


UNRESOLVED = (
    State.PLANNED,
    State.UPLOADING,
    State.UPLOADED,
    State.CREATING,
    State.FENCING,
    State.SUBMITTED,
    State.ENDED,
)
"""States in which a run has something to do."""


FILES_DELETED = "files_deleted"
"""The event of a batch whose files at the provider were deleted because a text in them is forgotten; it is no state."""


LOCAL_URL = "local"
"""The base URL of the local server in the ledger: its address changes from start to start, its project does not."""


@dataclass(frozen=True)
class Identity:
    """Who answers: the base URL and, where the provider says, organisation and project."""

    base_url: str
    organisation: str | None = None
    project: str | None = None

    @property
    def is_named(self) -> bool:
        """Tell whether the provider says whose files it shows: to another project's key it shows others."""
        return self.organisation is not None and self.project is not None

    def contradicts(self, other: Identity) -> bool:
        """Tell whether the two can not be the same: other base URLs, or an organisation or project they name unlike."""
        pairs = ((self.organisation, other.organisation), (self.project, other.project))
        return self.base_url != other.base_url or any(a and b and a != b for a, b in pairs)

    def __str__(self) -> str:
        named = [part for part in (self.organisation, self.project) if part]
        return f"{self.base_url} ({', '.join(named)})" if named else self.base_url


@dataclass(frozen=True)
class Batch:
    """One batch as its events tell it. `task` is the task as it was asked, not as today's YAML has it."""

    batch_key: str
    state: State
    task: Task
    prompt_hash: str
    provider: Identity
    run_key: str
    price: Price | None
    claims: int
    requests: int
    input_bytes: int
    bound_usd: Decimal | None
    expected_usd: Decimal | None
    enqueued_tokens: int
    input_file_id: str | None
    file_created_at: int | None
    witness_file_id: str | None
    provider_batch_id: str | None
    provider_status: str | None
    output_file_id: str | None
    error_file_id: str | None
    completed: int
    failed: int
    labelled: int | None
    rejected: int | None
    retried: int | None
    cost_usd: Decimal | None
    planned_at: datetime
    creating_at: datetime | None
    fencing_at: datetime | None
    submitted_at: datetime | None
    ended_at: datetime | None
    loaded_at: datetime | None
    reason: str | None
    message: str | None

    @property
    def listed_since(self) -> int:
        """Return from when on, in seconds of the provider's clock, a list of batches may show it."""
        return (self.file_created_at or 0) - _SLACK_SECONDS


@dataclass(frozen=True)
class Refusal:
    """A batch that the provider failed as a whole, with its enqueued tokens and what was said."""

    batch_key: str
    requests: int
    tokens: int
    message: str


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A text in a batch, with what came of its earlier attempts for this version since it was last opened.

    `item_id` names it inside a packed request. `attempt` counts every send, `failures` those that used up an attempt,
    `truncations` those cut by the output limit, `unavailable_in_row` the last ones in a row that the provider did not
    carry out.
    """

    custom_id: str
    text_key: str
    attempt: int
    item_id: str | None = None
    failures: int = 0
    truncations: int = 0
    unavailable_in_row: int = 0


TEXT_KEY = re.compile("[0-9a-f]{64}")
"""A text's key: SHA-256 in lower-case hex."""

QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""The provider's codes for an account that can not pay."""

HOLDING = (*UNRESOLVED, State.LOST)
"""The states in which a batch's claims hold its texts; in SQL `batch_states` says so."""

LONGEST_BATCH = timedelta(days=2)
"""How long a batch is waited for: twice the provider's window."""

LONGEST_MESSAGE = 300
"""No more characters of what a provider says are shown or kept of a batch: some say a whole request back."""

TOKEN_LIMIT = "token_limit_exceeded"
"""The provider's code for a full queue of enqueued tokens; it comes as the failed validation of a whole batch."""

# a file is a little older than its batch, never younger
_SLACK_SECONDS = 120
_QUEUE_LIMIT = re.compile("Limit: ([0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?![0-9])")


def read_queue_limit(message: str) -> int | None:
    """Return the limit of enqueued tokens that a refusal names, None where it names none."""
    named = _QUEUE_LIMIT.search(message)
    return None if named is None else int(named[1].replace(",", ""))


def shorten(said: str) -> str:
    """Return what a provider said as it may be shown and kept: a line of so many characters, with a limit it names."""
    line = " ".join(said.split())
    limit = read_queue_limit(line)
    if limit is not None and read_queue_limit(line[:LONGEST_MESSAGE]) != limit:
        line = f"Limit: {limit:,} ... {line}"
    return line[:LONGEST_MESSAGE]


def new_key() -> str:
    """Return a key that nobody can guess: 20 hex digits, for a batch or a run."""
    return secrets.token_hex(10)
