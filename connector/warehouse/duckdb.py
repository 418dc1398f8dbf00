"""DuckDB's raw handle: Arrow in and out, the one writer's lock on its file, and letting go of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from connector.errors import WarehouseError, WarehouseLocked

_ARROW_ROWS = 2_048
# a service, a catalogue or a store in place of a file; a drive of Windows has one letter
_SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]+:")
_LOCK_HOLDER = re.compile(r"held in (?P<program>.*?) \(PID (?P<process>\d+)\)")


def check_credentials(credentials: Any) -> None:
    """Raise `WarehouseError` where the database would not outlive the process, or is no file with one writer."""
    if credentials.path == ":memory:":
        raise WarehouseError(
            "the profile's DuckDB database is in memory: labels that were paid for would be lost with the process",
            "give the profile's output a `path`",
        )
    # the rest of it may have a token
    if scheme := _SCHEME.match(_place(credentials)):
        raise WarehouseError(
            f"the profile's DuckDB database is no file (`{scheme[0]}`): two runs could write at once, and pay twice",
            "keep it in a file of its own, which has one writer, or use another target: see docs/warehouses.md",
        )


def _place(credentials: Any) -> str:
    """Return where the profile's database is: its own file, the service or what it attaches under that name."""
    if credentials.remote is not None:
        return f"remote:{credentials.remote.host}"
    for attached in credentials.attach or ():
        if attached.alias == credentials.database:
            return f"{attached.type}:{attached.path}" if attached.type else str(attached.path)
    return str(credentials.path)


def is_there(credentials: Any) -> bool:
    """Tell whether the database's file is there: connecting would make one."""
    return Path(credentials.path).exists()


def translate_open(error: Exception) -> WarehouseError:
    """Return the error of opening the database in our words, with the process that holds the file."""
    text = str(error).splitlines()[0]
    if "lock" not in text.lower():
        return WarehouseError(f"the DuckDB database could not be opened: {text}")
    holder = _LOCK_HOLDER.search(text)
    by = f"process {holder['process']} ({holder['program']})" if holder else "another process"
    return WarehouseLocked(
        f"the DuckDB database is locked by {by}", "close it, or wait until it is done, and run again"
    )


@cache
def reserved_words() -> frozenset[str]:
    """Return the words that can name no column without quotes: PostgreSQL's, which are mostly the standard's."""
    with duckdb.connect() as connection:
        rows = connection.execute("select keyword_name from duckdb_keywords() where keyword_category = 'reserved'")
        return frozenset(word for (word,) in rows.fetchall())


def release(connections: Any) -> None:
    """Close the database of dbt's connection manager, which keeps it open: others get their turn while we wait."""
    environment = connections._ENV
    if environment is not None:
        environment.close()


class Handle:
    """The open connection of dbt's connection manager, used directly."""

    errors = (duckdb.Error,)
    has_transactions = True

    def __init__(self, connections: Any) -> None:
        self._connection: duckdb.DuckDBPyConnection = connections.get_thread_connection().handle.cursor()

    def close(self) -> None:
        """Do nothing: the connection ends with the database, which `release` closes."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement; parameters are `?`."""
        self._connection.execute(sql, list(parameters) or None)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return a small result whole."""
        cursor = self._connection.execute(sql, list(parameters) or None)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def columns(self, relation: str) -> dict[str, str]:
        """Return a relation's columns and types; empty where there is no such relation."""
        try:
            rows = self.rows(f"describe select * from {relation}")
        except duckdb.Error:
            return {}
        return {str(row["column_name"]): str(row["column_type"]).lower() for row in rows}

    def stream(self, sql: str) -> pa.RecordBatchReader:
        """Return a large result as record batches, read as they are taken."""
        found = self._connection.sql(sql)
        read = getattr(found, "to_arrow_reader", None) or found.fetch_record_batch  # as DuckDB 1.4 calls it
        reader = read(_ARROW_ROWS)
        return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader))

    def interrupt(self) -> None:
        """Have the running statement fail, from another thread."""
        with suppress(duckdb.Error):  # closed in the meantime
            self._connection.interrupt()

    def lock(self, relation: str) -> None:
        """Do nothing: the file has one writer."""

    def append(self, relation: str, rows: pa.Table) -> None:
        """Append rows by column name."""
        columns = ", ".join(f'"{name}"' for name in rows.column_names)
        with self.lent("dbt_labels_rows", rows):
            self._connection.execute(f"insert into {relation} ({columns}) select {columns} from dbt_labels_rows")

    @contextmanager
    def lent(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let statements select from rows of ours under a name."""
        self._connection.register(name, rows)
        try:
            yield
        finally:
            with suppress(duckdb.Error):  # after an error in a transaction nothing else is answered
                self._connection.unregister(name)

    def insert(self, relation: str, row: Mapping[str, Any]) -> None:
        """Append one row."""
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        self.execute(f"insert into {relation} ({columns}) values ({marks})", list(row.values()))


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except OSError as error:  # so says Arrow what DuckDB said in the middle of a result
        raise duckdb.Error(str(error)) from error
