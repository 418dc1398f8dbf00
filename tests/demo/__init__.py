"""dbt itself, run in this process on a lab's project, and the demo as a lab."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt.deprecations import reset_deprecations

from connector.warehouse.duckdb import release
from tests.lab import ROOT, Lab

NO_PROOFS = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
NO_DEPRECATIONS = ("--warn-error-options", '{"error": ["Deprecations"]}')
_SAID_BY_STATUS = {"LogTestResult", "RunResultWarning", "RunResultWarningMessage", "LogFreshnessResult"}


@dataclass(frozen=True)
class Outcome:
    """What a dbt command did: `statuses` and the rows that `failures` found by the name of the node or test.

    `warnings` are those that no status says.
    """

    success: bool
    statuses: dict[str, str]
    failures: dict[str, int]
    warnings: list[str]
    message: str
    manifest: Manifest | None

    def of(self, part: str) -> str:
        """Return the status of the one node whose name has this part."""
        found = [status for name, status in self.statuses.items() if part in name]
        assert len(found) == 1, f"{part}: {found} in {sorted(self.statuses)}"
        return found[0]


def dbt(lab: Lab, *arguments: str, manifest: Manifest | None = None) -> Outcome:
    """Run a dbt command on a lab's project and let go of its database. With `manifest` nothing is parsed."""
    os.environ["LAB_DUCKDB"] = os.environ["DBT_LABELS_DUCKDB"] = str(lab.database)
    warnings: list[str] = []

    def listen(event: Any) -> None:
        if event.info.level == "warn" and event.info.name not in _SAID_BY_STATUS:
            warnings.append(f"{event.info.name}: {event.info.msg}")

    where = ["--project-dir", str(lab.folder), "--profiles-dir", str(lab.folder)]
    # dbt remembers the deprecations that other projects of this process met
    reset_deprecations()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            result = dbtRunner(manifest=manifest, callbacks=[listen]).invoke([*arguments, *where])
    finally:
        release(DuckDBConnectionManager)
    found = result.result
    nodes = getattr(found, "results", None) or []
    return Outcome(
        success=result.success,
        statuses={node.node.name: str(node.status) for node in nodes},
        failures={node.node.name: node.failures for node in nodes if getattr(node, "failures", None)},
        warnings=warnings,
        message="\n".join([str(result.exception or ""), *(str(node.message) for node in nodes if node.message)]),
        manifest=found if isinstance(found, Manifest) else None,
    )


def demo_lab(folder: Path) -> Lab:
    """Return a copy of the demo project, not built."""
    lab = Lab(folder, ROOT / "dbt_project")
    shutil.copy(ROOT / "profiles.yml", lab.folder)
    return lab


def insert(lab: Lab, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Append rows to a table; a column that a row does not name is null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = pa.table({name: [row.get(name) for row in rows] for name in names})
    with duckdb.connect(str(lab.database)) as connection:
        connection.register("rows_to_insert", columns)
        connection.execute(f"insert into {table} by name select * from rows_to_insert")
