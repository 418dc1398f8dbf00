"""Spark's raw handle: Arrow in and out in slices, on the session of dbt-spark, in here or on a Connect server."""

from __future__ import annotations

import logging
import re
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DecimalType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
)

from connector.errors import WarehouseError, WarehouseLocked

# what is read at once: so many bytes, as far as the first rows tell how large one is
_READ_BYTES = 16_000_000
_FIRST_ROWS = 100
_WRITE_ROWS = 100_000
_STAGED = "dbt_labels_staged"
_STAGED_FOR_SECONDS = 86_400
# a table in Spark's words for what a query reads: `Relation main.kept[...] parquet`, `RelationV2[...] main.kept`
_READ = re.compile(r"^[ :+-]*Relation(?:V2\[.*?\])? ([^\[\s]+)", re.MULTILINE)
# of the letters of a plan, so that no table is cut off
_WHOLE_PLAN = str(2**31 - 16)
# types that mean the same to us, under the name that DuckDB has for them
_TYPES = {"string": "varchar", "int": "integer", "float": "real", "timestamp_ntz": "timestamp"}


def check_credentials(credentials: Any) -> None:
    """Raise `WarehouseError` where dbt does not use a session of its own."""
    if credentials.method != "session":
        raise WarehouseError(
            f"dbt-labels does not work with the Spark method `{credentials.method}`",
            "use `method: session`, with the environment variable SPARK_REMOTE for a Spark Connect server",
        )


def is_there(_: Any) -> bool:
    """Tell that the database may be asked: connecting makes none."""
    return True


def translate_open(error: Exception) -> WarehouseError:
    """Return the error of beginning a session in our words."""
    text = " ".join(str(error).split())
    if _is_derby_taken(error, text):
        return WarehouseLocked(
            "Spark's own metastore (Derby) is in use by another process",
            "wait until it is done; or let several use one Spark Connect server (SPARK_REMOTE) or a Hive metastore",
        )
    return WarehouseError(f"no Spark session could be begun: {text[:500]}")


def release(connections: Any) -> None:
    """Close every connection of dbt's connection manager. The session stays: it is the engine, and takes seconds."""
    connections.cleanup_all()


class Handle:
    """The session of dbt-spark, used directly. Nothing is a transaction: every write stands by itself, in order.

    A session remembers which files a table has. What it did not write itself it sees once it is told to look again. So
    before each query Spark says which tables it reads, by whatever name and through whatever view, and each of them is
    refreshed: to refresh a view is not enough, it leaves out what stands in a subquery.
    """

    errors = (PySparkException, Py4JError)
    has_transactions = False

    def __init__(self, connections: Any) -> None:
        credentials = connections.get_thread_connection().credentials
        # it would write SQL to stderr, and a bar into what we show there
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
        # dbt-spark asks a Connect server again and again for what only the server itself can be started with
        warnings.filterwarnings("ignore", "Failed to set spark", UserWarning)
        builder = SparkSession.builder.enableHiveSupport().config("spark.ui.showConsoleProgress", "false")
        builder = builder.config("spark.sql.maxPlanStringLength", _WHOLE_PLAN)
        for name, value in credentials.server_side_parameters.items():
            builder = builder.config(name, value)
        self._spark: SparkSession = builder.getOrCreate()
        self._schema = f"`{credentials.schema}`"
        self._staged: set[str] = set()
        self._spark.sql("show databases").collect()  # a metastore that can not be opened says so now

    def close(self) -> None:
        """Drop what was staged for streams that nobody read to their end."""
        for name in list(self._staged):
            self._drop(name)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement; parameters are `?`."""
        self._query(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return a small result whole."""
        rows: list[dict[str, Any]] = self._query(sql, parameters).toArrow().to_pylist()
        return rows

    def columns(self, relation: str) -> dict[str, str]:
        """Return a relation's columns and types, as DuckDB names them; empty where there is no such relation."""
        try:
            fields = self._query(f"select * from {relation} limit 0").schema.fields
        except AnalysisException as error:
            if error.getCondition() in ("TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND"):
                return {}
            raise
        types = {field.name: field.dataType.simpleString() for field in fields}
        return {name: _TYPES.get(kind, kind) for name, kind in types.items()}

    def stream(self, sql: str) -> pa.RecordBatchReader:
        """Return a large result as record batches, read as they are taken.

        Spark writes it to a table of small files in the target schema, which are read one by one: neither its driver
        nor Python ever has more than one.
        """
        first = self._query(f"select * from (\n{sql}\n) as streamed limit {_FIRST_ROWS + 1}").toArrow()
        if first.num_rows <= _FIRST_ROWS:
            return pa.RecordBatchReader.from_batches(first.schema, first.to_batches())
        rows = max(_FIRST_ROWS, _READ_BYTES * first.num_rows // max(1, first.nbytes))
        return pa.RecordBatchReader.from_batches(first.schema, self._slices(sql, first.schema, rows))

    def interrupt(self) -> None:
        """Have the running statement fail, from another thread."""
        with suppress(*self.errors):  # ended in the meantime
            self._spark.interruptAll()

    def lock(self, relation: str) -> None:
        """Do nothing: there are no locks; see `doorway`."""

    def append(self, relation: str, rows: pa.Table) -> None:
        """Append rows by column name, in slices each of which is one file: there as a whole or not at all."""
        names = ", ".join(f"`{name}`" for name in rows.column_names)
        for start in range(0, rows.num_rows, _WRITE_ROWS):
            with self.lent("dbt_labels_rows", rows.slice(start, _WRITE_ROWS)):
                self._spark.sql(
                    f"insert into {relation} ({names}) select /*+ coalesce(1) */ {names} from dbt_labels_rows"
                )

    @contextmanager
    def lent(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let statements select from rows of ours under a name."""
        self._spark.createDataFrame(rows, _schema(rows.schema)).createOrReplaceTempView(name)
        try:
            yield
        finally:
            with suppress(*self.errors):  # the session may be gone
                self._spark.catalog.dropTempView(name)

    def insert(self, relation: str, row: Mapping[str, Any]) -> None:
        """Append one row."""
        names = ", ".join(f"`{name}`" for name in row)
        marks = ", ".join("cast(? as timestamp_ntz)" if isinstance(value, datetime) else "?" for value in row.values())
        self._run(f"insert into {relation} ({names}) values ({marks})", list(row.values()))

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run a statement on its tables as they are now."""
        # one row, or several with what is wrong with the statement, which it then says itself
        plan = self._run(f"explain extended {sql}", parameters).toArrow().column(0).to_pylist()
        for name in set(_READ.findall("\n".join(plan))):
            with suppress(AnalysisException):  # dropped in the meantime, which the statement will say
                self._spark.catalog.refreshTable(".".join(f"`{part}`" for part in name.split(".")))
        return self._run(sql, parameters)

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        # as text: a time would be taken for one in this process's zone
        values = [value.isoformat(" ") if isinstance(value, datetime) else value for value in parameters]
        return self._spark.sql(sql, args=values) if values else self._spark.sql(sql)

    def _slices(self, sql: str, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
        self._drop_forgotten()
        name = f"{self._schema}.`{_STAGED}_{int(time.time())}_{secrets.token_hex(8)}`"
        self._staged.add(name)
        writer = self._query(sql).write.format("parquet").option("maxRecordsPerFile", rows)
        writer.saveAsTable(name)
        try:
            paths = self._spark.sql(f"select distinct _metadata.file_path as path from {name} order by path").toArrow()
            for path in paths.column("path").to_pylist():
                one = self._spark.sql(f"select * from {name} where _metadata.file_path = ?", args=[path])
                yield from one.toArrow().cast(schema).to_batches()
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._staged.discard(name)
        with suppress(*self.errors):  # the session may be gone; `_drop_forgotten` comes to it
            self._spark.sql(f"drop table if exists {name}")

    def _drop_forgotten(self) -> None:
        """Drop what processes that were killed had staged more than a day ago."""
        for found in self._spark.sql(f"show tables in {self._schema} like '{_STAGED}_*'").collect():
            staged_at = found["tableName"].removeprefix(f"{_STAGED}_").partition("_")[0]
            if staged_at.isdigit() and time.time() - int(staged_at) > _STAGED_FOR_SECONDS:
                self._drop(f"{self._schema}.`{found['tableName']}`")


def _schema(schema: pa.Schema) -> StructType:
    """Return our columns as Spark has them; left alone it would take a time for one in the session's zone."""
    return StructType([StructField(field.name, _column_type(field.type)) for field in schema])


def _column_type(kind: pa.DataType) -> DataType:
    if pa.types.is_decimal(kind):
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return TimestampNTZType()
    names = {pa.bool_(): BooleanType(), pa.int64(): LongType(), pa.float64(): DoubleType()}
    return names.get(kind, StringType())


def _is_derby_taken(error: BaseException, text: str) -> bool:
    cause = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    for _ in range(20):
        if "XSDB6" in text or "another instance of Derby" in text.lower():
            return True
        if cause is None:
            return False
        text, cause = str(cause.toString()), cause.getCause()
    return False
