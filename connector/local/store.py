"""What the server remembers on disk: accounts, files, batches, answers not yet in a file, and every execution."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connector.local.outcome import Answer, count_answers

Document = dict[str, Any]

UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")

SCHEMA = """
create table if not exists accounts (account text primary key, project text not null);
create table if not exists files (
    seq integer primary key autoincrement, id text unique not null, account text not null, document text not null
);
create table if not exists batches (
    seq integer primary key autoincrement, id text unique not null, account text not null, status text not null,
    enqueued_tokens integer not null default 0, document text not null
);
create index if not exists batches_by_status on batches (status);
create table if not exists answers (
    batch_id text not null, line_number integer not null, is_error integer not null, copies integer not null,
    shuffle integer not null, line blob not null, primary key (batch_id, line_number)
) without rowid;
create index if not exists answers_shuffled on answers (batch_id, is_error, shuffle);
create table if not exists executions (
    seq integer primary key autoincrement, account text not null, batch_id text, custom_id text,
    content_sha256 text not null, model text not null, at integer not null
);
create table if not exists executed_requests (account text primary key, requests integer not null) without rowid;
create table if not exists fault_hits (
    fault text not null, content_sha256 text not null, hits integer not null, primary key (fault, content_sha256)
) without rowid;
"""


def new_id(prefix: str) -> str:
    """Make an unguessable id with OpenAI's prefix."""
    return prefix + secrets.token_hex(16)


class Store:
    """Keep the state in one sqlite file and file contents beside it.

    Writes go through one connection under one lock. The database is in WAL mode with `synchronous=normal`: a commit
    survives the death of the process (SIGKILL), though the last ones may not survive the death of the machine.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._files = directory / "files"
        self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clock = clock
        self._lock = threading.RLock()
        path = directory / "state.sqlite"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript("pragma journal_mode=wal; pragma synchronous=normal; pragma temp_store=memory;")
        self._db.executescript(SCHEMA)
        self._remove_orphans()

    def close(self) -> None:
        """Close the database after whatever is being written."""
        with self._lock:
            self._db.close()

    def now(self) -> int:
        """Tell the time as the API does: whole seconds since 1970."""
        return int(self._clock())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the lock and commit what the block writes, or nothing of it; inside another one, be part of that."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("begin immediate")
            with self._db:
                yield

    def project_of(self, account: str) -> str:
        """Give an account's project id, made once and kept."""
        with self._lock:
            self._db.execute("insert or ignore into accounts values (?, ?)", (account, new_id("proj_")))
            row = self._db.execute("select project from accounts where account = ?", (account,)).fetchone()
        return str(row[0])

    # Files

    def content_path(self, file_id: str) -> Path:
        """Name the path of a file's content; ids come from `new_id`, never from a client."""
        return self._files / file_id

    def write_content(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Write a new file's content beside, fsync and rename it; return its id and size in bytes."""
        file_id = new_id("file-")
        partial = self._files / f"{file_id}.partial"
        size = 0
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as handle:
            for chunk in chunks:
                size += handle.write(chunk)
            handle.flush()
            os.fsync(handle.fileno())
        partial.rename(self.content_path(file_id))
        return file_id, size

    def hold_input(self, batch_id: str, file_id: str) -> bool:
        """Keep a batch's input readable until the batch is over, whatever becomes of its file; False if it is gone."""
        if self.input_path(batch_id).exists():
            return True
        if self.file(self.owner(batch_id), file_id) is None:
            return False
        try:
            os.link(self.content_path(file_id), self.input_path(batch_id))
        except FileNotFoundError:
            return False
        return True

    def input_path(self, batch_id: str) -> Path:
        """Name the path of the input that is held for a batch."""
        return self._files / f"{batch_id}.input"

    def release_input(self, batch_id: str) -> None:
        """Let go of a finished batch's input."""
        self.input_path(batch_id).unlink(missing_ok=True)

    def add_file(
        self, account: str, file_id: str, filename: str, purpose: str, size_bytes: int, lasts_seconds: int | None = None
    ) -> Document:
        """Register a written file and return it as the API shows it; where it does not last, it expires."""
        now = self.now()
        document: Document = {
            "id": file_id,
            "object": "file",
            "bytes": size_bytes,
            "created_at": now,
            "expires_at": None if lasts_seconds is None else now + lasts_seconds,
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
        }
        with self._lock:
            self._db.execute(
                "insert into files (id, account, document) values (?, ?, ?)", (file_id, account, json.dumps(document))
            )
        return document

    def file(self, account: str, file_id: str) -> Document | None:
        """Find a file of an account; expired ones are gone."""
        with self._lock:
            row = self._db.execute(
                "select document from files where id = ? and account = ?", (file_id, account)
            ).fetchone()
        if row is None:
            return None
        document: Document = json.loads(row[0])
        if document["expires_at"] is not None and document["expires_at"] <= self.now():
            self.remove_file(account, file_id)
            return None
        return document

    def files(self, account: str) -> list[Document]:
        """List an account's files, newest first."""
        with self._lock:
            rows = self._db.execute(
                "select document from files where account = ? order by seq desc", (account,)
            ).fetchall()
        documents = [json.loads(row[0]) for row in rows]
        return [d for d in documents if d["expires_at"] is None or d["expires_at"] > self.now()]

    def remove_file(self, account: str, file_id: str) -> bool:
        """Forget a file and unlink its content; a reader that has it open reads on."""
        with self._lock:
            removed = self._db.execute("delete from files where id = ? and account = ?", (file_id, account)).rowcount
        if removed:
            self.content_path(file_id).unlink(missing_ok=True)
        return bool(removed)

    # Batches

    def add_batches(self, account: str, documents: Sequence[Document]) -> None:
        """Remember new batches in this order, the last one being the newest."""
        rows = [(d["id"], account, d["status"], json.dumps(d)) for d in documents]
        with self.transaction():
            self._db.executemany("insert into batches (id, account, status, document) values (?, ?, ?, ?)", rows)

    def batch(self, batch_id: str, account: str | None = None) -> Document | None:
        """Find a batch, of one account or (for the runner) of any."""
        with self._lock:
            row = self._db.execute(
                "select document from batches where id = ? and account = coalesce(?, account)", (batch_id, account)
            ).fetchone()
        return None if row is None else json.loads(row[0])

    def owner(self, batch_id: str) -> str:
        """Tell the account of a batch."""
        with self._lock:
            return str(self._db.execute("select account from batches where id = ?", (batch_id,)).fetchone()[0])

    def batches(self, account: str, after: str | None, limit: int, hidden: Iterable[str]) -> list[Document] | None:
        """List batches, newest first, after the given one; None where that one is unknown."""
        with self._lock:
            below = 2**62
            if after is not None:
                row = self._db.execute(
                    "select seq from batches where id = ? and account = ?", (after, account)
                ).fetchone()
                if row is None:
                    return None
                below = row[0]
            skipped = list(hidden)
            marks = ", ".join("?" * len(skipped))
            rows = self._db.execute(
                f"select document from batches where account = ? and seq < ? and id not in ({marks}) "
                "order by seq desc limit ?",
                (account, below, *skipped, limit),
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def change_batch(self, batch_id: str, change: Callable[[Document], None]) -> Document:
        """Read, change and write a batch in one transaction, so a cancel and the runner can not lose each other."""
        with self.transaction():
            row = self._db.execute("select document from batches where id = ?", (batch_id,)).fetchone()
            document: Document = json.loads(row[0])
            change(document)
            self._db.execute(
                "update batches set document = ?, status = ? where id = ?",
                (json.dumps(document), document["status"], batch_id),
            )
        return document

    def unfinished_batches(self) -> list[str]:
        """List the batches that a server has to go on with, oldest first."""
        marks = ", ".join("?" * len(UNFINISHED))
        with self._lock:
            rows = self._db.execute(f"select id from batches where status in ({marks}) order by seq", UNFINISHED)
            return [str(row[0]) for row in rows]

    def remember_enqueued(self, batch_id: str, tokens: int) -> None:
        """Write down the tokens that a batch has enqueued, for the next process."""
        with self._lock:
            self._db.execute("update batches set enqueued_tokens = ? where id = ?", (tokens, batch_id))

    def enqueued(self) -> list[tuple[str, str, str, int]]:
        """List the unfinished batches that have tokens enqueued: id, account, model and tokens."""
        marks = ", ".join("?" * len(UNFINISHED))
        with self._lock:
            return self._db.execute(
                "select id, account, json_extract(document, '$.model'), enqueued_tokens from batches "
                f"where status in ({marks}) and enqueued_tokens > 0 order by seq",
                UNFINISHED,
            ).fetchall()

    # Answers and executions

    def save_answers(self, account: str, batch_id: str, answers: Sequence[Answer]) -> None:
        """Store answers, their executions, fault hits and the batch's counts in one transaction."""
        at = self.now()
        executed = [a for a in answers if a.executed is not None]
        executions = [(account, batch_id, a.custom_id, sha, a.model, at) for a in executed for sha in a.executed or ()]
        # The line number in the low bits makes the random key unique, so paging over it loses no line.
        rows = [
            (batch_id, a.line_number, a.is_error, a.copies, secrets.randbits(40) << 20 | a.line_number, a.line)
            for a in answers
        ]
        with self.transaction():
            self._db.executemany("insert into answers values (?, ?, ?, ?, ?, ?)", rows)
            self._record(account, len(executed), executions)
            self._count_hits([hit for a in answers for hit in a.hits])
            self.change_batch(batch_id, lambda document: count_answers(document, answers))

    def record_execution(self, account: str, texts: Sequence[str], model: str) -> None:
        """Record one synchronous execution by the digests of its texts."""
        at = self.now()
        with self.transaction():
            self._record(account, 1, [(account, None, None, sha, model, at) for sha in texts])

    def _record(self, account: str, requests: int, rows: Sequence[tuple[object, ...]]) -> None:
        self._db.execute(
            "insert into executed_requests values (?, ?) "
            "on conflict do update set requests = requests + excluded.requests",
            (account, requests),
        )
        self._db.executemany(
            "insert into executions (account, batch_id, custom_id, content_sha256, model, at) "
            "values (?, ?, ?, ?, ?, ?)",
            rows,
        )

    def _count_hits(self, hits: Sequence[tuple[str, str]]) -> None:
        self._db.executemany("insert into fault_hits values (?, ?, 1) on conflict do update set hits = hits + 1", hits)

    def fault_hits(self, fault: str, content_sha256: str) -> int:
        """Count how often a fault has hit a text."""
        with self._lock:
            row = self._db.execute(
                "select hits from fault_hits where fault = ? and content_sha256 = ?", (fault, content_sha256)
            ).fetchone()
        return 0 if row is None else int(row[0])

    def forget_fault_hits(self) -> None:
        """Let every fault strike every text anew."""
        with self._lock:
            self._db.execute("delete from fault_hits")

    def answered_lines(self, batch_id: str) -> set[int]:
        """List the line numbers of a batch that need no execution any more."""
        with self._lock:
            rows = self._db.execute("select line_number from answers where batch_id = ?", (batch_id,)).fetchall()
        return {row[0] for row in rows}

    def shuffled_lines(self, batch_id: str, *, errors: bool) -> Iterator[bytes]:
        """Yield the lines of a batch's output or error file in random order, each as often as it is due."""
        position = -1
        while True:
            with self._lock:
                rows = self._db.execute(
                    "select shuffle, copies, line from answers where batch_id = ? and is_error = ? and shuffle > ? "
                    "order by shuffle limit 1000",
                    (batch_id, errors, position),
                ).fetchall()
            for shuffle, copies, line in rows:
                position = shuffle
                for _ in range(copies):
                    yield line + b"\n"
            if not rows:
                return

    def forget_answers(self, batch_id: str) -> None:
        """Drop the answers of a batch whose files are written and registered."""
        with self.transaction():
            self._db.execute("delete from answers where batch_id = ?", (batch_id,))

    def executions(self, account: str) -> list[Document]:
        """List every execution of an account, oldest first."""
        names = ("batch_id", "custom_id", "content_sha256", "model", "at")
        with self._lock:
            rows = self._db.execute(
                f"select {', '.join(names)} from executions where account = ? order by seq", (account,)
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def counts(self, account: str) -> dict[str, int]:
        """Count an account's files, batches, executions (one for each text) and the requests they came in."""
        with self._lock:
            found = {
                table: self._db.execute(f"select count(*) from {table} where account = ?", (account,)).fetchone()[0]
                for table in ("files", "batches", "executions")
            }
            row = self._db.execute("select requests from executed_requests where account = ?", (account,)).fetchone()
        return {**found, "executed_requests": row[0] if row else 0}

    def _remove_orphans(self) -> None:
        # A kill before a written file is registered, or before an ended batch's input is released, leaves content.
        known = {row[0] for row in self._db.execute("select id from files")}
        known |= {self.input_path(batch_id).name for batch_id in self.unfinished_batches()}
        for path in self._files.iterdir():
            if path.name not in known:
                path.unlink()
