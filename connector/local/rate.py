"""How many batches an account may create in an hour."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

HOUR_SECONDS = 3600.0


class HourlyRate:
    """Count what each account did in the last hour; safe to use from several threads."""

    def __init__(self, most: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    def take(self, account: str) -> float | None:
        """Count one more for an account; where it has had its number, return the seconds until there is room."""
        if self.most is None:
            return None
        with self._lock:
            now = self._clock()
            times = self._times[account]
            while times and times[0] <= now - HOUR_SECONDS:
                times.popleft()
            if len(times) >= self.most:
                return times[0] + HOUR_SECONDS - now
            times.append(now)
            return None
