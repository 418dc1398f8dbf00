"""The handle for every adapter without one of its own: dbt's connection as its driver gives it (PEP 249).

It asks for nothing but what dbt itself uses: statements, `fetchmany`, and inserts of several rows as in `dbt seed`. A
large result takes as much memory as the driver's cursor does, which for some is all of it.

dbt's transactions are not relied on, though some adapters have them: `begin` and `commit` do nothing on others, and
none says which it is. Nor would they be enough for a lease, which needs a lock that others wait for, and a read after
it that sees what they did: how to ask for either differs from database to database. So every statement is committed by
itself, and `doorway` keeps the lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
from dbt.adapters.factory import get_adapter_by_type
from dbt.adapters.sql import SQLConnectionManager

from connector.errors import WarehouseError
from connector.request import sendable
from connector.warehouse.declaration import PACKAGE
from connector.warehouse.marks import marked

_READ_ROWS = 500
# of one statement: some databases take no more than 2,100 parameters, 1,000 rows or a million characters
_PARAMETERS = 2_000
_WRITE_ROWS = 1_000
_CHARACTERS = 500_000
# no two clocks that are both right differ by more, and no two time zones by less
_CLOCKS_DIFFER = timedelta(minutes=10)
_USD = pa.decimal128(38, 12)
# a part of a type's name, and the name that DuckDB has for such a type
_TYPES = {
    "interval": "interval",
    "bool": "boolean",
    "timestamp": "timestamp",
    "datetime": "timestamp",
    "date": "date",
    "char": "varchar",
    "string": "varchar",
    "text": "varchar",
    "int": "bigint",
    "long": "bigint",
    "float": "double",
    "double": "double",
    "real": "double",
    "fixed": "decimal",
    "number": "decimal",
    "numeric": "decimal",
    "decimal": "decimal",
}


class DriverError(Exception):
    """What the database or its driver said."""


def check_credentials(credentials: Any) -> None:
    """Raise `WarehouseError` where the database would not outlive the process: nothing is known of that."""


def is_there(_: Any) -> bool:
    """Tell that the database may be asked: connecting makes none."""
    return True


def translate_open(error: Exception) -> WarehouseError:
    """Return the error of connecting in our words."""
    return WarehouseError(f"the warehouse could not be opened: {' '.join(str(error).split())}")


def release(connections: Any) -> None:
    """Close every connection of dbt's connection manager: nothing stays open while we wait."""
    connections.cleanup_all()


class Handle:
    """A connection of its own beside dbt's, opened by dbt with the same credentials and used through dbt."""

    errors = (DriverError,)
    has_transactions = False

    def __init__(self, connections: Any) -> None:
        if not isinstance(connections, SQLConnectionManager):
            raise WarehouseError(
                f"dbt-labels does not work with `{connections.TYPE}`: its adapter gives no connection that takes SQL",
                "keep texts and labels in a database that dbt reaches through a driver of Python's DB-API",
            )
        self._connections = connections
        self._adapter = get_adapter_by_type(connections.TYPE)
        self._mark = str(self._adapter.execute_macro("get_binding_char")).strip()
        theirs = connections.get_thread_connection()
        _ = theirs.handle  # opened, with its credentials made whole
        self._ours = connections.open(
            type(theirs)(type=theirs.type, name=f"{theirs.name}_rows", credentials=theirs.credentials)
        )
        self._is_running = False
        try:
            self._check_engine()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connections.close(self._ours)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement; parameters are `?`."""
        self._query(sql, parameters)
        self._commit()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return a small result whole."""
        cursor = self._query(sql, parameters)
        names = [column[0] for column in cursor.description]
        with self._dbt_uses_ours():
            found = cursor.fetchall()
        self._commit()
        return [dict(zip(names, map(_without_zone, row), strict=True)) for row in found]

    def columns(self, relation: str) -> dict[str, str]:
        """Return a relation's columns and types, as DuckDB names them; empty where it can not be read."""
        try:
            cursor = self._query(f"select * from {relation} where 1 = 0")
            self._commit()
        except DriverError:
            self.rows("select 1 as id")  # raises where it is not the relation that is missing
            return {}
        return {column[0]: self._type(column) for column in cursor.description}

    def stream(self, sql: str) -> pa.RecordBatchReader:
        """Return a large result as record batches, read as they are taken."""
        batches = self._batches(sql)
        first = next(batches)
        return pa.RecordBatchReader.from_batches(first.schema, _alike(first, batches))

    def interrupt(self) -> None:
        """Have the running statement fail, from another thread, as dbt does it: with some the connection ends too."""
        if self._is_running:
            with suppress(Exception), self._adapter.connection_named("dbt_labels_interrupt"):
                # whatever dbt or a driver raises: it ended in the meantime, or there is no way
                self._connections.cancel(self._ours)

    def lock(self, relation: str) -> None:
        """Do nothing: nothing is known of locks; see `doorway`."""

    def append(self, relation: str, rows: pa.Table) -> None:
        """Append rows by column name, as many in a statement as any database takes. NUL becomes U+FFFD."""
        columns = ", ".join(self._adapter.quote(name) for name in rows.column_names)
        row = f"({', '.join('?' for _ in rows.column_names)})"
        for some in _statements(rows):
            values = [value for line in some for value in line]
            self.execute(f"insert into {relation} ({columns}) values {', '.join([row] * len(some))}", values)

    @contextmanager
    def lent(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let statements select from texts and whole numbers of ours under a name."""
        kinds = [(field.name, "bigint" if pa.types.is_integer(field.type) else "string") for field in rows.schema]
        types = self._adapter.Column.translate_type
        columns = ", ".join(f"{self._adapter.quote(column)} {types(kind)}" for column, kind in kinds)
        self.execute(f"create temporary table {name} ({columns})")
        try:
            self.append(name, rows)
            yield
        finally:
            with suppress(DriverError):  # the connection may be gone
                self.execute(f"drop table {name}")

    def insert(self, relation: str, row: Mapping[str, Any]) -> None:
        """Append one row."""
        columns = ", ".join(self._adapter.quote(name) for name in row)
        self.execute(f"insert into {relation} ({columns}) values ({', '.join('?' for _ in row)})", list(row.values()))

    def _check_engine(self) -> None:
        """Raise `WarehouseError` where SQL as we write it, or the clock that leases go by, means something else."""
        clock = str(self._adapter.execute_macro("utc_now", project=PACKAGE)).strip()
        [row] = self.rows(f"select {clock} as now")
        kind = self._connections.TYPE
        if "now" not in row:
            raise WarehouseError(
                f"dbt-labels does not work with `{kind}`: it makes names without quotes upper case",
                "keep texts and labels in a database that has them in lower case, as DuckDB and PostgreSQL do",
            )
        now = row["now"]
        ours = datetime.now(timezone.utc).replace(tzinfo=None)
        if not isinstance(now, datetime) or abs(now - ours) > _CLOCKS_DIFFER:
            raise WarehouseError(
                f"the warehouse says that it is {now}, and this machine that it is {ours:%Y-%m-%d %H:%M:%S} UTC",
                f"set the clock that is wrong; or write a macro {kind}__utc_now() in your project that gives UTC"
                " as a timestamp without zone",
            )

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run a statement, in a transaction where dbt begins one, and return its cursor."""
        values = [sendable(value) if isinstance(value, str) else value for value in parameters]
        with self._dbt_uses_ours():
            # dbt writes what it runs to its log, but not the values
            return self._connections.add_query(
                marked(sql, self._mark) if values else sql, bindings=values or None, abridge_sql_log=True
            )[1]

    def _commit(self) -> None:
        with self._dbt_uses_ours():
            if self._ours.transaction_open:
                self._connections.commit()

    def _batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Give the rows of a query, and where there are none one batch without rows."""
        cursor = self._query(sql)
        names = [column[0] for column in cursor.description]
        is_first = True
        while True:
            with self._dbt_uses_ours():
                rows = cursor.fetchmany(_READ_ROWS)
            if rows or is_first:
                yield _batch(names, rows)
            if not rows:
                return self._commit()
            is_first = False

    @contextmanager
    def _dbt_uses_ours(self) -> Iterator[None]:
        """Have dbt use our connection in this thread; whatever it or the driver raises is given as `DriverError`."""
        key = self._connections.get_thread_identifier()
        theirs = self._connections.thread_connections[key]
        self._connections.thread_connections[key] = self._ours
        self._is_running = True
        try:
            yield
        except Exception as error:
            with suppress(Exception):  # of any driver: the connection may be gone
                self._connections.rollback_if_open()
            raise DriverError(str(getattr(error, "msg", error)).strip()) from error
        finally:
            self._is_running = False
            self._connections.thread_connections[key] = theirs

    def _type(self, column: Any) -> str:
        """Return the type of a column of a result, under the name that DuckDB has for it."""
        try:
            name = self._connections.data_type_code_to_name(column[1])
        except Exception:  # noqa: BLE001 - not every adapter can tell; the code itself often is the name
            name = str(column[1])
        kind = next((ours for part, ours in _TYPES.items() if part in name.lower()), name.lower())
        is_whole = kind == "decimal" and column[5] == 0
        return "bigint" if is_whole else kind


def _statements(rows: pa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """Give rows as values, as many at a time as fit into one statement."""
    most = min(_WRITE_ROWS, _PARAMETERS // rows.num_columns)
    some: list[tuple[Any, ...]] = []
    characters = 0
    for batch in rows.to_batches(max_chunksize=most):
        for line in zip(*batch.to_pydict().values(), strict=True):
            long = sum(len(value) for value in line if isinstance(value, str))
            if some and (len(some) == most or characters + long > _CHARACTERS):
                yield some
                some, characters = [], 0
            some.append(line)
            characters += long
    if some:
        yield some


def _without_zone(value: Any) -> Any:
    """Return a time that has a zone as UTC without one, as the ledger's are; anything else as it is."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    return value


def _batch(names: list[str], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    return pa.RecordBatch.from_arrays([_array(column) for column in columns], names)


def _array(values: Sequence[Any]) -> pa.Array:
    some = next((value for value in values if value is not None), "")
    return pa.array(values, _USD if isinstance(some, Decimal) else pa.string() if isinstance(some, str) else None)


def _alike(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Give batches of the first one's types: what is only null has none of its own."""
    yield first
    for batch in rest:
        yield batch.cast(first.schema)
