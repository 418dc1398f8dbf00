"""dbt's own commands, run in this process, and ended when somebody interrupts them."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

from dbt.adapters.factory import get_adapter_by_type
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

_WATCH_SECONDS = 0.2


class UntilInterrupted(io.StringIO):
    """Pass on to stderr what dbt says until somebody interrupts it: after that it says a traceback."""

    def __init__(self, is_interrupted: Callable[[], bool]) -> None:
        super().__init__()
        self._is_interrupted = is_interrupted

    def write(self, said: str) -> int:
        """Write it, or not."""
        return len(said) if self._is_interrupted() else sys.stderr.write(said)

    def flush(self) -> None:
        """Write what stderr still holds."""
        sys.stderr.flush()


def invoke(arguments: list[str], manifest: Manifest | None, sink: TextIO) -> dbtRunnerResult:
    """Run a dbt command in this process, what it prints to `sink`; with `manifest` nothing is parsed."""
    # dbt writes to stdout, which is for data here
    quiet = [] if isinstance(sink, UntilInterrupted) else ["--quiet"]
    with contextlib.redirect_stdout(sink), _as_command([*arguments, *quiet]) as told:
        result = dbtRunner(manifest=manifest).invoke(told)
    if isinstance(result.exception, KeyboardInterrupt):
        raise result.exception
    return result


@contextlib.contextmanager
def _as_command(arguments: list[str]) -> Iterator[list[str]]:
    """Have dbt take `arguments` for the command that it writes to its log and to run_results.json.

    It takes the process's, and those are ours: what `forget --query` is given may have a text in it.
    """
    ours, sys.argv = sys.argv, ["dbt", *arguments]
    try:
        yield arguments
    finally:
        sys.argv = ours


def dbt_message(result: dbtRunnerResult) -> str:
    """Return what dbt says of a command that failed."""
    if result.exception:
        return str(result.exception).strip()
    failed = [node for node in getattr(result.result, "results", []) if node.status in ("error", "fail")]
    return "\n".join(f"{node.node.name}: {str(node.message).strip()}" for node in failed) or "see logs/dbt.log"


def hint_for(said: str) -> str | None:
    """Return what to do about a message of dbt's, where that is known."""
    if "adapter type postgres" in said or "No module named 'psycopg2'" in said:
        return "PostgreSQL needs an extra: pip install 'dbt-labels[postgres]'"
    if re.search(r"adapter type spark|dbt-spark\[session\]|module named '(pyspark|py4j)", said):
        return "Spark needs an extra, and Java 17 or 21: pip install 'dbt-labels[spark]'"
    if adapter := re.search(r"find adapter type (\w+)", said):
        return f"its adapter is not installed here: pip install dbt-{adapter[1]}"
    if "does not have a target named" in said:
        return "`--target` or `target` in the profile names one of those that it has"
    if "profile" in said or said.startswith("Path '"):
        where = "profiles.yml is looked for in --profiles-dir, DBT_PROFILES_DIR, the current folder and ~/.dbt"
        return where + ("; `profile` in dbt_project.yml names one of those in it" if "profile named" in said else "")
    if "dbt deps" in said:
        return "run `dbt deps`"
    if "label_ledger" in said or "'dbt_labels' is undefined" in said:
        return "is the dbt package `dbt_labels` there? `dbt-labels init` puts it in, then run `dbt deps`"
    return None


@contextlib.contextmanager
def queries_ended(adapter_type: str, is_interrupted: Callable[[], bool]) -> Iterator[None]:
    """While dbt runs in here, end its queries once somebody interrupts it.

    dbt does that too, but only once: it then waits for whatever a thread of it was just about to begin.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH_SECONDS):
            if is_interrupted():
                with contextlib.suppress(Exception):  # of dbt or of any driver, for a query that has just ended
                    get_adapter_by_type(adapter_type).cancel_open_connections()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
