"""The dbt package in a parsed project: that it is there, and that it is the one of this command."""

from __future__ import annotations

import re
from typing import Any

from connector import __version__
from connector.errors import ProjectError
from connector.warehouse.declaration import PACKAGE


def check_package(manifest: Any, adapter: Any) -> None:
    """Raise `ProjectError` where the dbt package is not there, is switched off or of another version."""
    if not any(macro.package_name == PACKAGE for macro in manifest.macros.values()):
        raise ProjectError(
            f"the project does not have the dbt package `{PACKAGE}`",
            "`dbt-labels init` puts it in, then run `dbt deps`",
        )
    if any(key.startswith(f"operation.{PACKAGE}.") for key in manifest.disabled):
        raise ProjectError(
            f"dbt_project.yml: `enabled: false` of `models: {PACKAGE}:` also switches off what makes the tables",
            f"put it one level deeper, under `ledger:` and `quality:` in `{PACKAGE}:`, to do without those models",
        )
    version = str(adapter.execute_macro("package_version", project=PACKAGE)).strip()
    if version != __version__:
        raise ProjectError(
            f"dbt-labels is {__version__}, but the project's dbt package `{PACKAGE}` is {version}",
            f"pip install 'dbt-labels=={version}'"
            if is_newer(version)
            else f"`dbt-labels init` brings the package to {__version__}, then run `dbt deps`;"
            f" or pip install 'dbt-labels=={version}'",
        )


def is_newer(version: str) -> bool:
    """Tell whether a version is above this command's."""
    return _numbers(version) > _numbers(__version__)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]
