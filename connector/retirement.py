"""Retirement: when a model is shut down and what follows it, for where nobody can be asked.

From OpenAI's page of deprecations (developers.openai.com/api/docs/deprecations), read on 2026-11-23. What the provider
says of a model itself (`shutdown_date`) comes before this. Other providers have other dates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

_LUNA = "gpt-6-luna"
_ANNOUNCED: dict[str, tuple[date, str | None]] = {
    "gpt-4o-2024-05-13": (date(2026, 10, 23), None),
    "gpt-5": (date(2026, 12, 11), "gpt-6.1-sol"),
    "gpt-5-mini": (date(2026, 12, 11), "gpt-6.1-terra"),
    "gpt-5-nano": (date(2026, 12, 11), None),
    "gpt-4o": (date(2027, 1, 14), _LUNA),
    "gpt-4o-mini": (date(2027, 1, 14), _LUNA),
    "gpt-4.1": (date(2027, 1, 14), _LUNA),
    "gpt-4.1-mini": (date(2027, 1, 14), _LUNA),
    "gpt-5.4-nano": (date(2027, 4, 1), _LUNA),
}
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Retirement:
    """A model's last day is before `on`; `successor` is what its provider names to follow it, where it names any."""

    on: date
    successor: str | None

    def __str__(self) -> str:
        named = f"; {self.successor} is named to follow it" if self.successor else ""
        return f"it is shut down on {self.on}{named}"


def announced_retirement(model: str) -> Retirement | None:
    """Return what OpenAI announced of a model, of a dated snapshot of it, or of one that was tuned from it."""
    base = model.split(":")[1] if model.startswith("ft:") else model
    found = _ANNOUNCED.get(base) or _ANNOUNCED.get(_SNAPSHOT.sub("", base))
    return None if found is None else Retirement(*found)


def told_retirement(model: str, told: date | None) -> Retirement | None:
    """Return a model's retirement by the date that its provider tells, which tells no successor."""
    known = announced_retirement(model)
    if told is None or (known is not None and known.on == told):
        return known
    return Retirement(told, None if known is None else known.successor)
