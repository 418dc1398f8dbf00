"""Who holds a lease: a run, its machine and its process, and whether that process can be seen to be gone."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from connector.errors import LeaseHeld, LeaseLost

DURATION_SECONDS = 600
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """A run that holds leases; `process` is its id, start and machine, so that no other process is taken for it."""

    owner: str
    host: str
    process: str


def this_holder(owner: str) -> Holder:
    """Return this process as a holder."""
    return Holder(owner, socket.gethostname(), process_of(os.getpid()))


def held_by(table: str, row: Mapping[str, Any]) -> LeaseHeld:
    """Return the error that names who has a table's lease; the row has `process`, `host`, `taken_at` and `until_at`."""
    return LeaseHeld(
        f"another run may send and load for `{table}` now: process {row['process'].split(':')[0]} on"
        f" {row['host']}, since {row['taken_at']:%Y-%m-%d %H:%M:%S} UTC",
        f"wait for it to end; if it is dead, its lease ends by itself at {row['until_at']:%H:%M:%S} UTC",
    )


def lost(table: str) -> LeaseLost:
    """Return the error of a run whose lease ended."""
    return LeaseLost(
        f"this run's lease for `{table}` ended, or another run tried for it and did not withdraw",
        "nothing more is sent by this one; look at `dbt-labels status`",
    )


def process_of(process_id: int) -> str:
    """Return a process of this machine as leases have it."""
    return f"{process_id}:{_start(process_id)}:{machine()}"


def machine() -> str:
    """Return what tells this machine since it was started, and its namespace of process ids, from any other.

    Nothing where that is not known. Machines that were resumed from one snapshot of a running one are not told apart.
    """
    if sys.platform != "linux":
        # a random number, another one in each process, where there is no network
        return hashlib.sha256(f"{uuid.getnode()}".encode()).hexdigest()[:32]
    try:
        return f"{_BOOT_ID.read_text().strip()}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def is_gone(row: Mapping[str, Any]) -> bool:
    """Tell whether a lease's process can be seen to be gone: of this machine and namespace, and not there any more."""
    process_id, _, rest = row["process"].partition(":")
    started, _, at = rest.partition(":")
    if row["host"] != socket.gethostname() or not at or at != machine():
        return False
    try:
        return psutil.Process(int(process_id)).status() == psutil.STATUS_ZOMBIE or _start(int(process_id)) != started
    except psutil.NoSuchProcess:
        return not _is_hidden(int(process_id))
    except psutil.AccessDenied:
        return False


def _is_hidden(process_id: int) -> bool:
    """Tell whether a process is there all the same: Linux can be told to show nobody the processes of others."""
    if sys.platform != "linux":
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start(process_id: int) -> str:
    """Return when a process started, in ticks since the machine did: no clock that is set moves that.

    Nothing where only the clock tells it: whoever reuses the id of one that is gone there is taken for it.
    """
    if sys.platform != "linux":
        return ""
    try:
        status = Path(f"/proc/{process_id}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(process_id) from None
    # its name stands before, in brackets, and may have any character
    return status.rpartition(b")")[2].split()[19].decode()
