"""An open warehouse: macros by dbt, rows and record batches by the raw handle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
from dbt.adapters.base import BaseAdapter
from dbt_common.exceptions import DbtBaseException

from connector.errors import WarehouseError
from connector.warehouse.declaration import PACKAGE

# Arrow's own allocator keeps what is freed: 30 MB of a process that has 600
pa.set_memory_pool(pa.system_memory_pool())

# macros that only write SQL: dbt takes milliseconds for each call, and a run makes hundreds
_CONSTANT = frozenset({"labels_relation", "utc_now", "batches", "batch_charge", "rejections", "text_history"})


class Session:
    """An open warehouse: macros by dbt, rows and record batches by the raw handle."""

    def __init__(self, adapter: BaseAdapter, handle: Any, rendered: dict[str, Any]) -> None:
        self._adapter = adapter
        self._rendered = rendered
        self.handle = handle

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Give every error of the database, or of dbt, as `WarehouseError`."""
        try:
            yield
        except KeyboardInterrupt:
            # the database may go on with its query, and closing it would wait for that
            self.handle.interrupt()
            raise
        except self.handle.errors as error:
            raise WarehouseError(f"the warehouse refused: {str(error).partition(chr(10))[0]}") from error
        except DbtBaseException as error:
            raise WarehouseError(f"dbt refused: {str(error).strip()}") from error

    def macro(self, name: str, **arguments: Any) -> Any:
        """Return what a macro of the package returns, once per project where it depends on its arguments alone."""
        call = f"{name} {sorted(arguments.items())}"
        if name in _CONSTANT and call in self._rendered:
            return self._rendered[call]
        result = self._adapter.execute_macro(name, project=PACKAGE, kwargs=arguments)
        # a query of dbt's begins a transaction, which would be open for all that follows; these macros only read
        self._adapter.connections.rollback_if_open()
        result = result.strip() if isinstance(result, str) else result
        if name in _CONSTANT:
            self._rendered[call] = result
        return result

    def relation(self, table: str) -> str:
        """Return a table of the labels schema, quoted for SQL."""
        return str(self.macro("labels_relation", identifier=table))

    def tables(self) -> list[str]:
        """Return the names of the tables and views in the labels schema, whoever made them."""
        ours = self.macro("labels_relation", identifier="label_events")
        found = self._adapter.list_relations(ours.database, ours.schema)
        self._adapter.connections.rollback_if_open()
        return [str(relation.identifier) for relation in found]

    def quote(self, column: str) -> str:
        """Return a column's name, quoted for SQL."""
        return str(self._adapter.quote(column))

    def columns(self, relation: str) -> dict[str, str]:
        """Return a relation's columns and types in lower case; empty where there is no such relation."""
        return {name.lower(): kind for name, kind in self.handle.columns(relation).items()}

    def clock(self) -> datetime:
        """Return the warehouse's time, UTC without zone, as its tables have it."""
        now = self.handle.rows(f"select {self.macro('utc_now')} as now")[0]["now"]
        assert isinstance(now, datetime)
        return now

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside, or nothing.

        On an engine without transactions every write stands by itself: then the order of the writes inside is what
        counts, and each of them may be the last.
        """
        if not self.handle.has_transactions:
            yield
            return
        self.handle.execute("begin transaction")
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.handle.interrupt()
            with contextlib.suppress(*self.handle.errors):  # an aborted transaction may be gone already
                self.handle.execute("rollback")
            raise
        self.handle.execute("commit")
