"""The files of a run: where they lie, that nobody else reads them, and that they go when the run goes, unless kept."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

STATE_FOLDER = ".dbt_labels"
_KEPT = "kept"
_CLOCK_STEP_SECONDS = 5
# a day more than a batch is waited for
_LEFT_ELSEWHERE_SECONDS = 3 * 24 * 3600


def kept_folders(project_folder: Path) -> list[Path]:
    """Return the folders of earlier runs' texts and answers that `--keep` left for a person to look at."""
    kept = project_folder / STATE_FOLDER / _KEPT
    return sorted(folder for folder in kept.iterdir() if folder.is_dir()) if kept.is_dir() else []


def state_folder(project_folder: Path) -> Path:
    """Return the project's private folder (0700), made if missing and ignored by git."""
    folder = make_private(project_folder / STATE_FOLDER)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        write_text(ignore, "*\n", private=True)
    return folder


def make_private(folder: Path) -> Path:
    """Return a folder that nobody else reads or writes (0700), made if missing.

    Raises `PermissionError` where it is a link, or neither ours nor of who owns what it is in: anyone else could put
    files of their own in the place of ours.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    owners = {os.geteuid(), folder.parent.stat().st_uid} if hasattr(os, "geteuid") else {found.st_uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        said = "a private folder is needed, and this is a link or belongs to another user"
        raise PermissionError(errno.EPERM, said, str(folder))
    folder.chmod(0o700)
    return folder


@contextmanager
def work_folder(project_folder: Path, run_key: str, keep: bool = False) -> Iterator[Path]:
    """Give a private folder for the texts and answers of one run, removed at its end, or kept for a person to look at.

    A killed run can not remove its own: the next one removes every folder whose process is gone, but none that is kept.
    """
    state = state_folder(project_folder)
    parent = make_private(state / "work")
    for left in parent.iterdir():
        if _was_left(left):
            shutil.rmtree(left, ignore_errors=True)
    if keep:
        folder = make_private(state / _KEPT) / run_key
    else:
        folder = parent / f"{os.getpid()}-{psutil.Process().create_time():.0f}-{_here()}-{run_key}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _was_left(folder: Path) -> bool:
    """Tell whether a folder is named after a process that is gone; in containers ids repeat from start to start.

    Of another machine or container nobody can tell, so its folders are left for as long as a batch may take.
    """
    process, started, where, *_ = [*folder.name.split("-"), "", ""]
    if not (process.isdecimal() and started.isdecimal()):
        return False  # not one of ours
    if where != _here():
        with suppress(FileNotFoundError):
            return time.time() - folder.stat().st_mtime > _LEFT_ELSEWHERE_SECONDS
        return False
    try:
        return abs(psutil.Process(int(process)).create_time() - int(started)) >= _CLOCK_STEP_SECONDS
    except psutil.NoSuchProcess:
        return True


def _here() -> str:
    """Return what tells this machine and its namespace of process ids from others that see the same folder."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:12]


@contextmanager
def open_private(path: Path) -> Iterator[int]:
    """Open a new file (0600) for writing and give its descriptor; what was there is replaced."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def syncing(descriptor: int) -> Iterator[Callable[[], None]]:
    """Give what has a thread sync what is written so far, while more is; at the end all of it is on disk."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        latest: Future[None] = thread.submit(os.fsync, descriptor)

        def begin() -> None:
            nonlocal latest
            if latest.done():
                latest.result()  # an error is told once only, to whoever asks first
                latest = thread.submit(os.fsync, descriptor)

        yield begin
        latest.result()
        os.fsync(descriptor)


def write_text(path: Path, content: str, private: bool = False) -> None:
    """Write a file whole or not at all: beside, fsync, rename. A private one is nobody else's to read (0600)."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        # never through a link that lies in its place
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
