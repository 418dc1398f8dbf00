"""The checks of `dbt-labels debug`: what a run needs, one by one, with what to do about each."""

from __future__ import annotations

from dataclasses import dataclass

from connector.errors import LabelsError
from connector.provider import Provider, connect
from connector.task import Task
from connector.warehouse.project import Options, Project, parse_project
from connector.warehouse.tables import check_tables


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    hint: str | None = None


def check_setup(options: Options, names: tuple[str, ...], api_key: str | None, base_url: str | None) -> list[Check]:
    """Return every check in order; one that can not be made because an earlier one failed is left out."""
    try:
        project = parse_project(options)
    except LabelsError as error:
        return [Check("project", False, error.message, error.hint)]
    checks = [
        Check("project", True, f"{project.name} in {project.folder}"),
        Check("package", True, "dbt_labels is of this version"),
    ]
    try:
        tasks = project.choose(names)
    except LabelsError as error:
        return [*checks, Check("tasks", False, error.message, error.hint)]
    checks.append(Check("tasks", True, ", ".join(f"{task.name} -> {task.table}" for task in tasks)))
    checks.append(_check_warehouse(project))
    if checks[-1].ok:
        checks.append(_check_tables(project, tasks))
    return checks + _check_provider(sorted({task.model for task in tasks}), api_key, base_url)


def _check_warehouse(project: Project) -> Check:
    try:
        with project.connect() as session:
            session.handle.rows("select 1 as one")
    except LabelsError as error:
        return Check("warehouse", False, error.message, error.hint)
    return Check("warehouse", True, project.target)


def _check_tables(project: Project, tasks: list[Task]) -> Check:
    try:
        with project.connect() as session:
            check_tables(session, tasks)
    except LabelsError as error:
        return Check("tables", False, error.message, error.hint)
    return Check("tables", True, "the ledger and every task's table are there")


def _check_provider(models: list[str], api_key: str | None, base_url: str | None) -> list[Check]:
    try:
        provider = connect(api_key, base_url)
    except LabelsError as error:
        return [Check("key", False, error.message, error.hint)]
    checks = []
    try:
        checks.append(Check("key", True, f"accepted by {provider.identify()}"))
        for model in models:
            checks.append(_check_model(provider, model))
    except LabelsError as error:
        checks.append(Check("key", False, error.message, error.hint))
    finally:
        provider.close()
    return checks


def _check_model(provider: Provider, model: str) -> Check:
    try:
        provider.check_model(model)
    except LabelsError as error:
        return Check("model", False, error.message, error.hint)
    return Check("model", True, model)
