"""The lease: who may send and load for a table of labels now, by the warehouse's clock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psutil

from connector.errors import LeaseHeld, LeaseLost
from connector.warehouse.session import Session

DURATION_SECONDS = 600
_CLOCK_STEP_SECONDS = 5.0


@dataclass(frozen=True)
class Holder:
    """A run that holds leases; `process` is its id, start and namespace, so that a reused id is not taken for it."""

    owner: str
    host: str
    process: str


def this_holder(owner: str) -> Holder:
    """Return this process as a holder."""
    return Holder(owner, socket.gethostname(), _process(os.getpid()))


def take(session: Session, holder: Holder, tables: Iterable[str]) -> None:
    """Take the leases of all tables or none; raise `LeaseHeld` naming who has one. Call it in a transaction."""
    leases = session.relation("label_leases")
    session.handle.lock(leases)  # of two that look at the same time, both would find it free
    now = clock(session)
    for table in sorted(tables):
        for row in session.handle.rows(f"select * from {leases} where label_table = ?", [table]):
            if row["owner"] != holder.owner and row["until_at"] > now and not _is_gone(row):
                raise LeaseHeld(
                    f"another run may send and load for `{table}` now: process {row['process'].split(':')[0]} on"
                    f" {row['host']}, since {row['taken_at']:%Y-%m-%d %H:%M:%S} UTC",
                    f"wait for it to end; if it is dead, its lease ends by itself at {row['until_at']:%H:%M:%S} UTC",
                )
        session.handle.execute(f"delete from {leases} where label_table = ?", [table])
        session.handle.insert(
            leases,
            {
                "label_table": table,
                "owner": holder.owner,
                "host": holder.host,
                "process": holder.process,
                "taken_at": now,
                "until_at": _end(now),
            },
        )


def renew(session: Session, holder: Holder, table: str) -> None:
    """Renew the lease to its full length; raise `LeaseLost` where another run has it. Call it in a transaction."""
    leases = session.relation("label_leases")
    # written before it is read: from here to the end of the transaction nobody else can take the lease
    session.handle.execute(
        f"update {leases} set until_at = ? where label_table = ? and owner = ?",
        [_end(clock(session)), table, holder.owner],
    )
    mine = session.handle.rows(f"select 1 from {leases} where label_table = ? and owner = ?", [table, holder.owner])
    if not mine:
        raise LeaseLost(
            f"this run's lease for `{table}` ended and another run took it",
            "nothing more is sent by this one; look at `dbt-labels status`",
        )


def release(session: Session, holder: Holder) -> None:
    """Give up every lease of the holder."""
    session.handle.execute(f"delete from {session.relation('label_leases')} where owner = ?", [holder.owner])


def clock(session: Session) -> datetime:
    """Return the warehouse's time, UTC without zone, as its tables have it."""
    rows = session.handle.rows(f"select {session.macro('utc_now')} as now")
    now = rows[0]["now"]
    assert isinstance(now, datetime)
    return now


def _end(now: datetime) -> datetime:
    return now + timedelta(seconds=DURATION_SECONDS)


def _process(process_id: int) -> str:
    return f"{process_id}:{psutil.Process(process_id).create_time():.2f}:{_namespace()}"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _is_gone(row: dict[str, Any]) -> bool:
    """Tell whether a lease's process can be seen to be gone: of this host and namespace, and not there any more."""
    process_id, _, rest = row["process"].partition(":")
    if row["host"] != socket.gethostname() or not rest.endswith(f":{_namespace()}"):
        return False
    try:
        if psutil.Process(int(process_id)).status() == psutil.STATUS_ZOMBIE:
            return True
        started = float(rest.partition(":")[0])
        # a clock that is set right moves the time at which a process seems to have started
        return bool(abs(psutil.Process(int(process_id)).create_time() - started) > _CLOCK_STEP_SECONDS)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
