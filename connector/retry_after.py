"""The header Retry-After: how long a provider asks to be left alone (RFC 9110, 10.2.3)."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

# a provider that asks for more is asked again all the same
_LONGEST_SECONDS = 3_600.0


def read_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that the header's value asks for, as a number or as a date, from 0 to an hour.

    None where it says neither.
    """
    seconds = math.nan
    with suppress(ValueError, OverflowError):
        until = parsedate_to_datetime(value)
        seconds = (until.replace(tzinfo=until.tzinfo or timezone.utc) - now).total_seconds()
    with suppress(ValueError):
        seconds = float(value)
    return min(max(0.0, seconds), _LONGEST_SECONDS) if math.isfinite(seconds) else None
