"""The files of a run: where they lie, that nobody else reads them, and that they go when the run goes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

STATE_FOLDER = ".dbt_labels"
_CLOCK_STEP_SECONDS = 5


def state_folder(project_folder: Path) -> Path:
    """Return the project's private folder (0700), made if missing and ignored by git."""
    folder = project_folder / STATE_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return folder


@contextmanager
def work_folder(project_folder: Path, run_key: str) -> Iterator[Path]:
    """Give a private folder for the texts and answers of one run, removed at its end.

    A killed run can not remove its own: the next one removes every folder whose process is gone.
    """
    parent = state_folder(project_folder) / "work"
    parent.mkdir(mode=0o700, exist_ok=True)
    for left in parent.iterdir():
        if not _is_running(left.name):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{os.getpid()}-{psutil.Process().create_time():.0f}-{run_key}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(name: str) -> bool:
    """Tell whether the process that a work folder is named after runs; in containers ids repeat from start to start."""
    process, started, _ = name.split("-", 2)
    try:
        return abs(psutil.Process(int(process)).create_time() - int(started)) < _CLOCK_STEP_SECONDS
    except psutil.NoSuchProcess:
        return False


@contextmanager
def open_private(path: Path) -> Iterator[int]:
    """Open a new file (0600) for writing and give its descriptor; what was there is replaced."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_text(path: Path, content: str) -> None:
    """Write a file whole or not at all: beside, fsync, rename."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
