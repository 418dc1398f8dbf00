"""A measurement's own process: begun fresh, so that time and memory are of it alone, and what it reports."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LONGEST_SECONDS = 3_600.0


def run_fresh(module: str, *arguments: object) -> dict[str, Any]:
    """Run a module of this package in a process of its own and return what it reports."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=_LONGEST_SECONDS, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(**figures: Any) -> None:
    """Print what was measured, with this process's peak memory, as the last line of stdout."""
    print(json.dumps({**figures, "peak_mb": round(peak_megabytes())}))


def peak_megabytes() -> float:
    """Return the most memory that this process has had in use (resident), its libraries and DuckDB included."""
    status = Path("/proc/self/status")
    if status.exists():
        # unlike ru_maxrss, this does not begin with the peak of the process that started this one
        [line] = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


class Stopwatch:
    """Seconds by what they were spent on; what is timed inside something else is not counted to that."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside: list[float] = []

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time inside to `what`."""
        began = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.seconds[what] = self.seconds.get(what, 0.0) + took - self._inside.pop()
            if self._inside:
                self._inside[-1] += took

    def wrap(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time counted to `what`."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.on(what):
                return function(*arguments, **named)

        return timed

    def each(self, what: str, items: Iterator[Any]) -> Iterator[Any]:
        """Give the items, the time to make each counted to `what`."""
        nothing = object()
        while True:
            with self.on(what):
                item = next(items, nothing)
            if item is nothing:
                return
            yield item


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("not for this measurement", name=fullname)


def without_pandas() -> None:
    """Have pandas not be found: pyarrow imports it where it is installed, and the connector does not install it."""
    sys.meta_path.insert(0, _NoPandas())
