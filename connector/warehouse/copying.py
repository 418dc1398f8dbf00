"""PostgreSQL's COPY as Arrow, both ways, in bounded memory: NULL stands bare in the CSV, every text in quotes."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

_CHUNK_BYTES = 1 << 20
_ROWS = 1_024
_LOOK_SECONDS = 0.1


class _EndedError(Exception):
    """Nobody reads any further."""


class Outflow:
    """The rows of a query on their way out, copied by a thread of its own that waits for its reader.

    The server sends each row as a message of its own (protocol 3.0, "COPY Operations"), and psycopg2 hands on message
    by message: so a chunk never ends within a row, however long a text is.
    """

    def __init__(self, connection: Any, sql: str, schema: pa.Schema) -> None:
        self._connection = connection
        self._sql = sql
        self._schema = schema
        self._rows: list[bytes] = []
        self._bytes = 0
        self._chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give the rows; raises what the database raised."""
        while (chunk := self._chunks.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            yield from self._parsed(chunk)

    def write(self, row: bytes) -> int:
        """Take one row from psycopg2."""
        self._rows.append(row)
        self._bytes += len(row)
        if self._bytes >= _CHUNK_BYTES:
            self._hand_over()
        return len(row)

    def end(self) -> None:
        """Have the server stop, and wait until the connection is free again."""
        self._ended.set()
        while self._thread.is_alive():
            with suppress(psycopg2.Error):  # it ended in the meantime
                self._connection.cancel()
            self._thread.join(_LOOK_SECONDS)

    def _copy(self) -> None:
        last: BaseException | None = None
        try:
            with self._connection.cursor() as cursor:
                cursor.copy_expert(f"copy ({self._sql}) to stdout (format csv, force_quote *)", self)
            self._hand_over()
        except (psycopg2.Error, _EndedError) as error:
            last = error
        with suppress(_EndedError):
            self._put(last)

    def _hand_over(self) -> None:
        chunk, self._rows, self._bytes = b"".join(self._rows), [], 0
        if chunk:
            self._put(chunk)

    def _put(self, chunk: bytes | BaseException | None) -> None:
        while not self._ended.is_set():
            with suppress(queue.Full):
                return self._chunks.put(chunk, timeout=_LOOK_SECONDS)
        # a reader that is still there must not wait for ever
        with suppress(queue.Empty):
            self._chunks.get_nowait()
        self._chunks.put_nowait(psycopg2.InterfaceError("another statement ended this stream"))
        raise _EndedError

    def _parsed(self, chunk: bytes) -> list[pa.RecordBatch]:
        table = csv.read_csv(
            pa.BufferReader(chunk),
            csv.ReadOptions(use_threads=False, block_size=len(chunk) + 1, column_names=self._schema.names),
            csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types=self._schema,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
        batches: list[pa.RecordBatch] = table.to_batches()
        return batches


class _Inflow(io.RawIOBase):
    """CSV that is written as it is read."""

    def __init__(self, rows: pa.Table) -> None:
        self._batches = iter(rows.to_batches(max_chunksize=_ROWS))
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Return what there is of the next rows, at most `size` bytes; nothing at the end."""
        while not self._rest:
            batch = next(self._batches, None)
            if batch is None:
                return b""
            sink = pa.BufferOutputStream()
            csv.write_csv(_storable(batch), sink, csv.WriteOptions(include_header=False, quoting_style="needed"))
            self._rest = memoryview(sink.getvalue())
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


def csv_of(rows: pa.Table) -> io.RawIOBase:
    """Return rows as CSV to be read by COPY; NUL becomes U+FFFD."""
    return _Inflow(rows)


def _storable(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        pc.replace_substring(column, "\0", "\ufffd") if pa.types.is_string(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
