"""A change to somebody's folder: files and whole folders, all of them or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Change:
    """What is to be there: `files` with their text, `folders` with all that is in them, replaced as a whole.

    In the order in which they are put in place: what others need comes first, so that a killed process leaves a project
    that dbt can read.
    """

    folders: dict[Path, Mapping[str, bytes]] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)


def make(change: Change, project: Path) -> None:
    """Put everything in place, or nothing: it is written beside first, then renamed; what fails is taken back."""
    if not change.folders and not change.files:
        return
    scratch = Path(tempfile.mkdtemp(prefix=".dbt_labels-", dir=project))
    done: list[tuple[Path, Path | None]] = []
    made: list[Path] = []
    try:
        staged = _stage(change, scratch)
        for number, (target, beside) in enumerate(staged.items()):
            made += _make_folder(target.parent)
            kept = _keep(target, scratch / f"kept-{number}")
            done.append((target, kept))
            beside.replace(target)
    except BaseException:
        _take_back(done, made)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _stage(change: Change, scratch: Path) -> dict[Path, Path]:
    """Write everything beside, to disk, and return where each thing lies."""
    staged: dict[Path, Path] = {}
    for target, contents in change.folders.items():
        staged[target] = scratch / f"new-{len(staged)}"
        for name, content in contents.items():
            path = staged[target] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)
    for target, text in change.files.items():
        staged[target] = scratch / f"new-{len(staged)}"
        _write(staged[target], text.encode("utf-8"))
        if target.exists():
            shutil.copymode(target, staged[target])
    return staged


def _keep(target: Path, kept: Path) -> Path | None:
    """Keep what is there, to take the change back; a file stays in place until it is replaced at once."""
    if not os.path.lexists(target):
        return None
    if target.is_dir():
        target.replace(kept)
    else:
        shutil.copy2(target, kept)
    return kept


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it, and return those that were not there, the innermost last."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _take_back(done: list[tuple[Path, Path | None]], made: list[Path]) -> None:
    for target, kept in reversed(done):
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        if kept is not None:
            kept.replace(target)
    for folder in reversed(made):
        folder.rmdir()
