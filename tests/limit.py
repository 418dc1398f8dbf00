"""How long a test waits for what should come: a process that takes longer is killed, a loop ended."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# far longer than anything here takes on a slow machine; pytest ends a whole worker at half an hour
LONGEST_SECONDS = 600.0


def rounds(seconds: float = LONGEST_SECONDS) -> Iterator[int]:
    """Give 0, 1, 2 and so on to a loop that ends itself, and raise `TimeoutError` where it has not after so long."""
    until = time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() > until:
            raise TimeoutError(f"not true after {number} rounds in {seconds:g} s")
        yield number


@contextmanager
def limited(process: subprocess.Popen[Any], seconds: float = LONGEST_SECONDS) -> Iterator[None]:
    """Let the block read what a process says or wait for its end for so long, then kill it and raise `TimeoutError`."""
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if is_over.is_set():
            raise TimeoutError(f"{process.args!r} was not done after {seconds:g} s")
