"""PostgreSQL's raw handle: COPY both ways as Arrow, parameters, the lock that makes a lease safe between machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import pyarrow as pa
from psycopg2 import errors as refusals

from connector.errors import WarehouseError
from connector.request import sendable
from connector.warehouse.copying import Outflow, csv_of
from connector.warehouse.marks import marked

_READ_BYTES = 1 << 20
# types that mean the same to us, under the name that DuckDB has for them
_TYPES = {
    16: "boolean",
    20: "bigint",
    21: "smallint",
    23: "integer",
    25: "varchar",
    700: "real",
    701: "double",
    1043: "varchar",
    1114: "timestamp",
    1700: "decimal",
}
_ARROW = {
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "smallint": pa.int64(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("us"),
}


def check_credentials(credentials: Any) -> None:
    """Raise `WarehouseError` where the database would not outlive the process: a server's always does."""


def is_there(_: Any) -> bool:
    """Tell that the database may be asked: connecting makes none."""
    return True


def translate_open(error: Exception) -> WarehouseError:
    """Return the error of connecting in our words."""
    said: BaseException | None = error
    while said is not None and not isinstance(said, psycopg2.Error):  # dbt tells little of what it was told
        said = said.__cause__ or said.__context__
    text = " ".join(str(said or error).split())
    return WarehouseError(f"the PostgreSQL database could not be opened: {text}")


def release(connections: Any) -> None:
    """Close every connection of dbt's connection manager: nothing stays open while we wait."""
    connections.cleanup_all()


class Handle:
    """A connection of its own beside dbt's, opened by dbt with the same credentials.

    dbt begins transactions on its connection whenever a macro asks something; on this one a statement commits by itself
    unless `begin transaction` came before.
    """

    errors = (psycopg2.Error,)
    has_transactions = True

    def __init__(self, connections: Any) -> None:
        theirs = connections.get_thread_connection()
        # `set role` of the profile would be rolled back with the first transaction
        theirs.handle.commit()
        ours = connections.open(
            type(theirs)(type=theirs.type, name=f"{theirs.name}_rows", credentials=theirs.credentials)
        )
        self._connection: Any = ours.handle
        self._connection.commit()
        self._connection.autocommit = True
        self._connection.set_client_encoding("UTF8")
        self._outflow: Outflow | None = None
        encoding = self._connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            self._connection.close()
            raise WarehouseError(
                f"the PostgreSQL database has the encoding {encoding}: texts and their keys need UTF8",
                "create a database with `encoding 'UTF8'`",
            )

    def close(self) -> None:
        """Close the connection, and end what was still being read."""
        self._end_outflow()
        with suppress(psycopg2.Error):
            self._connection.close()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement; parameters are `?`. A commit that the database made a rollback is an error."""
        with self._run(sql, parameters) as cursor:
            if sql == "commit" and cursor.statusmessage != "COMMIT":
                raise psycopg2.InternalError("the transaction failed before its end, and nothing of it was written")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return a small result whole."""
        with self._run(sql, parameters) as cursor:
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def columns(self, relation: str) -> dict[str, str]:
        """Return a relation's columns and types, as DuckDB names them; empty where there is no such relation."""
        try:
            with self._run(f"select * from {relation} limit 0") as cursor:
                found = list(cursor.description)
        except (refusals.UndefinedTable, refusals.InvalidSchemaName):
            return {}
        others = {column.type_code for column in found} - _TYPES.keys()
        named = self.rows(
            f"select oid, format_type(oid, null) as name from pg_type where oid in ({', '.join(map(str, others)) or 0})"
        )
        types = _TYPES | {row["oid"]: row["name"] for row in named}
        return {column.name: types[column.type_code] for column in found}

    def stream(self, sql: str) -> pa.RecordBatchReader:
        """Return a large result as record batches, read as they are taken; any other statement ends it."""
        with self._run(f"select * from ({sql}) as streamed limit 0") as cursor:
            schema = pa.schema([(column.name, _arrow_type(column)) for column in cursor.description])
        self._outflow = Outflow(self._connection, sql, schema)
        return pa.RecordBatchReader.from_batches(schema, self._outflow.batches())

    def interrupt(self) -> None:
        """Have the running statement fail, from another thread."""
        with suppress(psycopg2.Error):  # closed in the meantime
            self._connection.cancel()

    def lock(self, relation: str) -> None:
        """Have whoever else would write to a table wait until this transaction ends, and wait for those who did.

        Reading goes on. What is read after this is what there is until the end of the transaction.
        """
        self.execute(f"lock table {relation} in share row exclusive mode")

    def append(self, relation: str, rows: pa.Table) -> None:
        """Append rows by column name. NUL, which PostgreSQL can not store, becomes U+FFFD."""
        self._end_outflow()
        columns = ", ".join(f'"{name}"' for name in rows.column_names)
        with self._connection.cursor() as cursor:
            cursor.copy_expert(f"copy {relation} ({columns}) from stdin (format csv)", csv_of(rows), _READ_BYTES)

    @contextmanager
    def lent(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let statements select from rows of ours under a name."""
        columns = ", ".join(f'"{field.name}" {_column_type(field.type)}' for field in rows.schema)
        self.execute(f'create temporary table "{name}" ({columns})')
        try:
            self.append(f'pg_temp."{name}"', rows)
            yield
        finally:
            with suppress(psycopg2.Error):  # after an error in a transaction nothing else is answered
                self.execute(f'drop table pg_temp."{name}"')

    def insert(self, relation: str, row: Mapping[str, Any]) -> None:
        """Append one row."""
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        self.execute(f"insert into {relation} ({columns}) values ({marks})", list(row.values()))

    @contextmanager
    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        self._end_outflow()
        with self._connection.cursor() as cursor:
            if parameters:
                values = [sendable(value) if isinstance(value, str) else value for value in parameters]
                cursor.execute(marked(sql, "%s"), values)
            else:
                cursor.execute(sql)
            yield cursor

    def _end_outflow(self) -> None:
        outflow, self._outflow = self._outflow, None
        if outflow is not None:
            outflow.end()


def _arrow_type(column: Any) -> pa.DataType:
    if column.type_code == 1700 and column.precision and column.precision <= 38:
        return pa.decimal128(column.precision, column.scale)
    return _ARROW.get(_TYPES.get(column.type_code, ""), pa.string())


def _column_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    names = {pa.bool_(): "boolean", pa.int64(): "bigint", pa.float64(): "double precision"}
    return "timestamp" if pa.types.is_timestamp(kind) else names.get(kind, "text")
