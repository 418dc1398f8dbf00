"""Every error that dbt-labels raises on purpose, and the exit code that each one ends in.

LabelsError                     1
├── UsageError                  2  the command does not fit: an option, a missing terminal
├── BudgetReached               4  more would pass a budget
├── TaskError                      a task's YAML, all its mistakes at once
├── ProjectError                   dbt refuses: the project, a model
│   └── ProfileError               the profile or its target
├── WarehouseError                 the warehouse, or a table in it, is not as it must be
│   ├── WarehouseLocked            another process holds the DuckDB file
│   ├── LeaseHeld                  another run may send and load now
│   └── LeaseLost                  this run may not any more
└── ProviderError                  the provider, whatever it said
    ├── KeyRefused                 401, 403
    ├── QuotaExhausted             no quota or no billing
    ├── RateLimited                429: it certainly did nothing, later it may
    ├── RequestRefused             any other 4xx: it certainly did nothing
    ├── NotThere                   404 for a thing of ours
    └── InDoubt                    no answer, or 5xx: it may have happened
"""

from __future__ import annotations


class LabelsError(Exception):
    """Tell a person what is wrong and, in `hint`, what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LabelsError):
    """Report a command that can not be carried out as it was given."""

    exit_code = 2


class BudgetReached(LabelsError):
    """Report that a budget stopped the run; the rest stays pending."""

    exit_code = 4


class TaskError(LabelsError):
    """Report every mistake in the project's tasks, one a line."""


class ProjectError(LabelsError):
    """Report that dbt refused to parse, compile or run something."""


class ProfileError(ProjectError):
    """Report that dbt can not use the profile, or has no such target."""


class WarehouseError(LabelsError):
    """Report that the warehouse or a table in it is not as it must be."""


class WarehouseLocked(WarehouseError):
    """Report that another process holds the database file."""


class LeaseHeld(WarehouseError):
    """Report that another run holds the lease, and who."""


class LeaseLost(WarehouseError):
    """Report that this run's lease ended, so that it must not send any more."""


def to_build(*names: str) -> str:
    """Return the hint that builds these models with all they need, on an empty schema as well."""
    return f"`dbt build --indirect-selection buildable --select {' '.join(f'+{name}' for name in names)}`"


class ProviderError(LabelsError):
    """Report what the provider said."""


class KeyRefused(ProviderError):
    """Report a key that the provider does not accept for this."""


class QuotaExhausted(ProviderError):
    """Report that quota or billing stops every request."""


class RateLimited(ProviderError):
    """Report that the provider wants us to wait, `retry_after_seconds` if it says how long; nothing was done."""

    def __init__(self, message: str, hint: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after_seconds = retry_after_seconds


class RequestRefused(ProviderError):
    """Report a refusal that certainly had no effect."""


class NotThere(ProviderError):
    """Report a file or batch that this key can not see."""


class InDoubt(ProviderError):
    """Report a call without a definite answer: what it asked for may have happened."""
