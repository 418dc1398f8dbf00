"""The commands that make what a project needs: the source's YAML, the tables."""

from __future__ import annotations

import click

from connector.command.opening import open_project
from connector.console import Screen
from connector.errors import LabelsError
from connector.files import write_text
from connector.options import common
from connector.source import HEADER, is_bare, source_yaml
from connector.warehouse.project import Options


@click.command()
@common
@click.option("--check", is_flag=True, help="Change nothing; exit 1 where the file differs.")
def sync(screen: Screen, options: Options, names: tuple[str, ...], check: bool) -> None:
    """Write the labels source's YAML from the tasks: columns, descriptions, tests. Always of all tasks."""
    del names  # one file for all tasks
    project, tasks = open_project(screen, options, ())
    path = project.source_file(tasks)
    content = source_yaml(tasks, project.source_name(tasks))
    present = path.read_text(encoding="utf-8") if path.exists() else None
    if present == content:
        screen.result({"file": str(path), "changed": False}, [f"{path} fits the tasks"])
        return
    if check:
        raise LabelsError(f"{path} does not fit the tasks", "run `dbt-labels sync` and commit the file")
    if present is not None and not present.startswith(HEADER) and not is_bare(present, tasks):
        raise LabelsError(
            f"{path} was not written by `dbt-labels sync`, so it is left as it is",
            "move the tables of labels out of it, or delete it, and run again",
        )
    write_text(path, content)
    screen.result({"file": str(path), "changed": True}, [f"{path} written"])


@click.command()
@common
def ddl(screen: Screen, options: Options, names: tuple[str, ...]) -> None:
    """Print the statements that make what is missing in the labels schema."""
    project, tasks = open_project(screen, options, names)
    with project.connect() as session:
        statements = session.macro("ddl", tasks=[task.model_dump(mode="json") for task in tasks])
    screen.result(statements, [f"{sql};" for sql in statements] or ["-- nothing is missing"])
