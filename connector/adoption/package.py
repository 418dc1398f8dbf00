"""The dbt package in a project: where it lies, which version it is, how the project's list of packages names it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import connector
from connector import __version__
from connector.adoption.entry import Unfit, add_entry, read_list
from connector.errors import LabelsError
from connector.warehouse.package import is_newer

NAME = "dbt_labels"
SOURCE = Path(connector.__file__).parent / "dbt_package"
_LISTS = ("packages.yml", "dependencies.yml")
# where a copy goes; the second where the project uses the first for something else
_PARENTS = ("packages", "local_packages")
_NOTICE = f"""# {NAME} {__version__}

This folder is a copy of the dbt package of dbt-labels {__version__}. `dbt-labels init` wrote it and replaces it as a
whole: after `pip install --upgrade dbt-labels` run `dbt-labels init` again. Change nothing in here; commit it.
"""


@dataclass(frozen=True)
class Present:
    """The package as the project's list names it. `folder` is the project's copy, None where it comes from elsewhere.

    `version` is None where nothing is there, `is_current` tells that the copy is the command's own, file by file.
    """

    entry: str
    folder: Path | None
    version: str | None
    is_current: bool


def find_package(project: Path) -> Present | None:
    """Return how the project has the package, None where it does not."""
    for name in _LISTS:
        for entry in _entries(project / name):
            local = entry.get("local") if isinstance(entry, dict) else None
            if isinstance(local, str) and (found := _present(project, local)):
                return found
    return None


def choose_folder(project: Path, paths: Sequence[str]) -> str:
    """Return where the package goes, from the project's folder: not where dbt reads, installs or cleans (`paths`)."""
    taken = {Path(os.path.normpath(path)).parts[:1] for path in paths}
    parent = next((parent for parent in _PARENTS if (parent,) not in taken), _PARENTS[-1])
    folder = f"{parent}/{NAME}"
    if (project / folder).exists() and _name_of(project / folder) != NAME:
        raise LabelsError(f"{folder} is there already and is something else", "move it, and run again")
    return folder


def list_package(project: Path, folder: str) -> tuple[Path, str, str]:
    """Return the project's list of packages with the package in it: the file, its new text, and what was put in."""
    path = next((project / name for name in _LISTS if _has_packages(project / name)), project / _LISTS[0])
    text = path.read_bytes().decode("utf-8") if path.exists() else ""
    try:
        after, put = add_entry(text, ["packages"], "local", folder)
    except Unfit as error:
        raise LabelsError(
            f"{path.name} can not be added to: {error}",
            f"add `- local: {folder}` to its `packages` by hand, and run again",
        ) from error
    return path, after, put


def package_files() -> Iterator[tuple[str, bytes]]:
    """Give the package's files: their path in it and what is in them."""
    for path in sorted(SOURCE.rglob("*")):
        if path.is_file() and path.name != ".DS_Store":
            yield path.relative_to(SOURCE).as_posix(), path.read_bytes()
    yield "README.md", _NOTICE.encode()


def check_direction(present: Present) -> None:
    """Raise `LabelsError` where the project's package is newer than this command, which would put it back."""
    if present.version is not None and is_newer(present.version):
        raise LabelsError(
            f"the project's dbt package is {present.version}, and this dbt-labels is {__version__}",
            f"pip install 'dbt-labels=={present.version}'",
        )


def _present(project: Path, local: str) -> Present | None:
    if "{{" in local:
        return Present(local, None, None, False) if NAME in local.lower() else None
    folder = Path(os.path.normpath(project / local))
    if folder.name != NAME and _name_of(folder) != NAME:
        return None
    if project.resolve() not in folder.resolve().parents:
        return Present(local, None, _version_of(folder), False)
    is_current = dict(package_files()) == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    return Present(local, folder, _version_of(folder), is_current)


def _entries(path: Path) -> list[Any]:
    if not path.exists():
        return []
    try:
        return read_list(path.read_bytes().decode("utf-8"), ["packages"])
    except (Unfit, UnicodeDecodeError):
        return []  # dbt says it better


def _has_packages(path: Path) -> bool:
    """Tell whether a file has the list: dbt wants it in one of the two only."""
    try:
        document = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError):
        return False
    return isinstance(document, Mapping) and "packages" in document


def _name_of(folder: Path) -> str | None:
    return _said(folder, "name")


def _version_of(folder: Path) -> str | None:
    return _said(folder, "version")


def _said(folder: Path, key: str) -> str | None:
    try:
        found = yaml.safe_load((folder / "dbt_project.yml").read_bytes())[key]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    return str(found)
