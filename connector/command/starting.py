"""The command that starts: it puts the dbt package and a first task into a project that has none."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import click

from connector import __version__
from connector.adoption.change import make
from connector.adoption.draft import Wish, name_all
from connector.adoption.package import find_package
from connector.adoption.proposal import (
    Proposal,
    mistakes_of_columns,
    package_line,
    propose_package,
    propose_task,
)
from connector.adoption.style import read_files, read_style
from connector.console import Screen
from connector.errors import LabelsError, UsageError
from connector.options import common
from connector.warehouse.inventory import Columns, Inventory, Relation, columns_of, read_inventory
from connector.warehouse.project import Options, Project, read_project

_TEXTS = re.compile(r"comment|review|feedback|ticket|message|post|answer|survey|text", re.IGNORECASE)
_COLUMNS = re.compile(r"text|body|comment|review|content|message|description|feedback", re.IGNORECASE)
_ABOUT_IT = re.compile(r"(^|_)(id|key|at|on|date|time|by|url|lang|language|type|kind|count|status)$", re.IGNORECASE)
_MOST_NAMES = 20


@click.command()
@common
@click.option(
    "--model", help="What has the texts: a model, a seed, a snapshot, or a table of a source (`source.table`)."
)
@click.option("--text", help="Its column with the text.")
@click.option("--age", help="Its column that says since when a text waits.")
@click.option("--folder", help="Where the new models go, from the project's folder; else `labeling` with its models.")
@click.option("--source", help="What to call the source of labels; else that of the tasks there are, or `labels`.")
def init(
    screen: Screen,
    options: Options,
    names: tuple[str, ...],
    model: str | None,
    text: str | None,
    age: str | None,
    folder: str | None,
    source: str | None,
) -> None:
    """Put the dbt package and a first task into a project; again: bring the package to this version.

    `--task` names the new pending model, one at a time.
    """
    if len(names) > 1:
        raise UsageError("`--task` names one pending model here")
    root = options.project_dir
    present = find_package(root)
    if present is not None and model is None and text is None:
        proposal = propose_package(root, present, None)
    else:
        project = read_project(options)
        inventory = read_inventory(project)
        proposal = propose_package(root, present, inventory)
        wish = _wish(project, inventory, model, text, age)
        files = read_files(root, inventory.model_paths)
        style = read_style((root / "dbt_project.yml").read_bytes().decode("utf-8", "replace"), files)
        called = name_all(wish.relation, next(iter(names), None), source or inventory.source_of_labels())
        propose_task(proposal, inventory, called, wish, style, folder)
    make(proposal.change, root)
    _report(screen, proposal, _next(proposal, options))


def _wish(project: Project, inventory: Inventory, model: str | None, text: str | None, age: str | None) -> Wish:
    """Return what is to be labelled, by the flags or by asking; raise with everything that is missing or wrong."""
    can_ask = sys.stdin.isatty() and sys.stderr.isatty()
    if not can_ask and (model is None or text is None):
        raise UsageError(
            "there is no terminal to ask on, so these are needed: " + _missing(project, inventory, model, text),
            "`dbt-labels init --help` shows all of them",
        )
    relation = _relation(inventory, model or _ask_model(inventory))
    columns = columns_of(project, relation)
    if text is None:
        there = columns.types if columns.are_all else {}
        text = _ask_text(columns, there)
        age = age or _ask("Column since when a text waits, or nothing", there, "") or None
    wish = Wish(relation, _spelled(text, columns.types), age and _spelled(age, columns.types))
    if mistakes := mistakes_of_columns(wish, columns):
        raise LabelsError("nothing was written:\n" + "\n".join(mistakes))
    if not columns.are_all:
        click.echo(
            f"note: `{relation.name}` is not built, or its database is in use, so nobody looked whether it has"
            f" {' and '.join(f'`{column}`' for column in (wish.text, wish.age) if column)}",
            err=True,
        )
    return wish


def _missing(project: Project, inventory: Inventory, model: str | None, text: str | None) -> str:
    lines = []
    if model is None:
        lines.append(f"\n  --model  what has the texts: {_listed(_candidates(inventory))}")
    if text is None:
        columns = columns_of(project, _relation(inventory, model)).types if model is not None else {}
        lines.append("\n  --text   its column with the text" + (f": {_listed(list(columns))}" if columns else ""))
    return "".join(lines)


def _relation(inventory: Inventory, name: str) -> Relation:
    found = inventory.relations.get(name)
    if found is None:
        near = difflib.get_close_matches(name, inventory.relations, 3) or _candidates(inventory)
        raise LabelsError(f"the project has no model, seed or source table `{name}`", f"there are: {_listed(near)}")
    return found


def _candidates(inventory: Inventory) -> list[str]:
    """Return what may have texts: of the project's own relations those that are called so, or else all."""
    own = [relation.name for relation in inventory.relations.values() if relation.is_own and not relation.is_task]
    return [name for name in own if _TEXTS.search(name)] or own


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown or "none"


def _ask_model(inventory: Inventory) -> str:
    candidates = _candidates(inventory)
    if not candidates:
        raise LabelsError("the project has no model, seed or source table of its own", "first make one with the texts")
    click.echo(f"What has the texts to label? There are {_listed(candidates)}.", err=True)
    return _ask("Model", inventory.relations, candidates[0] if _TEXTS.search(candidates[0]) else None)


def _ask_text(columns: Columns, there: Collection[str]) -> str:
    fitting = [name for name, kind in columns.types.items() if kind in ("", "varchar")]
    likely = [name for name in fitting if _COLUMNS.search(name) and not _ABOUT_IT.search(name)]
    if fitting:
        click.echo(f"{'It has' if columns.are_all else 'Its YAML names'} {_listed(fitting)}.", err=True)
    return _ask("Column with the text", there, likely[0] if likely else None)


def _ask(question: str, there: Collection[str], default: str | None) -> str:
    """Ask until the answer is one of those that are there; where nobody knows which are, anything is."""

    def read(typed: str) -> str:
        name = _spelled(typed.strip(), there)
        if name and there and name not in there:
            raise click.UsageError(f"there is no `{name}`")
        return name

    return str(click.prompt(question, default, show_default=default != "", value_proc=read, err=True))


def _spelled(name: str, there: Iterable[str]) -> str:
    """Return a name as it is spelled where it is from."""
    return next((spelled for spelled in there if spelled.lower() == name.lower()), name)


def _next(proposal: Proposal, options: Options) -> list[str]:
    """Return the commands that come next."""
    here = proposal.project == Path.cwd()
    where = "" if here else f" --project-dir {shlex.quote(os.path.relpath(proposal.project))}"
    if options.profiles_dir is not None:
        where += f" --profiles-dir {shlex.quote(str(options.profiles_dir))}"
    if options.target is not None:
        where += f" --target {shlex.quote(options.target)}"
    if proposal.has_new_task:
        return [f"dbt deps{where}", f"dbt-labels sync{where}", f"dbt-labels build --local{where}"]
    return [f"dbt deps{where}"] if proposal.package == "replaced" else []


def _added_line(name: str, put: list[str]) -> str:
    how_many = "one line" if len(put) == 1 else f"{len(put)} lines"
    return f"{name}: {how_many} more, {' '.join(f'`{line.strip()}`' for line in put)}"


def _report(screen: Screen, proposal: Proposal, commands: list[str]) -> None:
    data = {
        "package": {
            "state": proposal.package,
            "folder": proposal.package_folder,
            "before": proposal.package_before,
            "version": __version__,
        },
        "added": proposal.added,
        "written": proposal.written,
        "task": proposal.task,
        "next": commands,
    }
    lines = [package_line(proposal)]
    lines += [_added_line(name, text.splitlines()) for name, text in proposal.added.items()]
    lines += [f"{name}: written" for name in proposal.written]
    if proposal.task is not None and not proposal.has_new_task:
        lines.append(f"task `{proposal.task}` is there already and is left as it is")
    if proposal.has_new_task:
        lines += ["", f"Now edit what is asked: {', '.join(proposal.to_edit)}"]
    if commands:
        lines += ["", "Then:" if proposal.has_new_task else "Next:", *(f"  {command}" for command in commands)]
    screen.result(data, lines)
