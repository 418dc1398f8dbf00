"""Writes the reference of commands, tables, macros and faults from what the program itself says of them.

python docs/reference.py      # a test holds the pages to the code
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from connector.cli import cli  # noqa: E402
from connector.local import faults  # noqa: E402
from connector.source import source_yaml  # noqa: E402
from connector.task import Task  # noqa: E402

PACKAGE = ROOT / "connector" / "dbt_package"
_WRITTEN = "<!-- Written by `make docs`. -->"


def main() -> None:
    """Write the pages."""
    for name, content in pages().items():
        (DOCS / name).write_text(content, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return each page's content by its file name."""
    return {
        "commands.md": commands_page(),
        "tables.md": tables_page(),
        "macros.md": macros_page(),
        "faults.md": faults_page(),
    }


def commands_page() -> str:
    """Return every command with its options; those that all share are listed once."""
    commands = [(name, command) for name, command in cli.commands.items() if not command.hidden]
    of_project = [command for _, command in commands if "project_dir" in _options(command)]
    shared = set.intersection(*(set(_options(command)) for command in of_project))
    running = set(_options(cli.commands["run"])) & set(_options(cli.commands["build"])) - shared
    lines = [
        "# Commands",
        "",
        _WRITTEN,
        "",
        "Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 error, 2 usage, 4 stopped by a budget,"
        " 130 interrupted, safely. `dbt-labels --debug COMMAND` shows a traceback with an error,"
        " `dbt-labels --log-format json COMMAND` (or `DBT_LABELS_LOG_FORMAT=json`) writes stderr as a JSON object a"
        " line.",
        "",
        "All commands that work on a project take:",
        "",
        *_option_table(of_project[0], shared),
        "",
        "Those that send take as well:",
        "",
        *_option_table(cli.commands["run"], running),
    ]
    for name, command in commands:
        has_running = running <= set(_options(command))
        own = set(_options(command)) - shared - (running if has_running else set())
        lines += ["", f"## `dbt-labels {name}`", "", _sentence(command.help or "")]
        if has_running:
            lines += ["", "Takes the options of those that send."]
        if own:
            lines += ["", *_option_table(command, own)]
    return "\n".join(lines) + "\n"


def tables_page() -> str:
    """Return every table and model of the package with its columns."""
    lines = ["# Tables", "", _WRITTEN, ""]
    lines += [
        "The first four lie in the labels schema: `<target schema>_labels`, or what the var `dbt_labels_schema` names;",
        "the models of the package lie where dbt puts them.",
        "Times are UTC, amounts US dollars.",
        "",
        "## A task's table of labels",
        "",
        "Named by the task's `table`. A row per text, version and attempt, and one where a rejection was put back. It",
        "has a column per field as well, and with `run.confidence: true` a `<field>_confidence` for each field but",
        "`text`, and `confidence`, the lowest of them.",
        "",
        *_column_table(_label_columns()),
    ]
    for path in sorted(PACKAGE.glob("models/**/*.yml"), key=lambda path: (path.name != "label_ledger.yml", path.name)):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for source in document.get("sources", []):
            for table in source["tables"]:
                lines += ["", f"## `{table['name']}`", "", table["description"], "", *_column_table(table["columns"])]
        for model in document.get("models", []):
            lines += ["", f"## Model `{model['name']}`", "", model["description"], "", *_column_table(model["columns"])]
    return "\n".join(lines) + "\n"


def macros_page() -> str:
    """Return the macros of the package that a project's models call, with their arguments."""
    document = yaml.safe_load((PACKAGE / "macros" / "macros.yml").read_text(encoding="utf-8"))
    lines = ["# Macros", "", _WRITTEN, ""]
    lines += [
        "What a project's models call. The package's other macros are its own and may change with any version; those"
        " that [another adapter](warehouses.md#any-other-adapter) replaces keep their names."
    ]
    for macro in document["macros"]:
        called = ", ".join(argument["name"] for argument in macro["arguments"])
        lines += ["", f"## `dbt_labels.{macro['name']}({called})`", "", macro["description"], ""]
        lines += ["| argument | type | |", "|---|---|---|"]
        for argument in macro["arguments"]:
            lines.append(f"| `{argument['name']}` | {argument['type']} | {_cell(argument['description'])} |")
    return "\n".join(lines) + "\n"


def faults_page() -> str:
    """Return the faults that the local server can be told to have."""
    _, _, about = str(faults.__doc__).partition("\n\n")
    lines = [
        "# Faults of the local batch server",
        "",
        _WRITTEN,
        "",
        "`dbt-labels serve --fault NAME=VALUE`, as often as there are faults to have.",
        "",
    ]
    return "\n".join([*lines, about])


def _options(command: click.Command) -> dict[str, click.Option]:
    return {str(one.name): one for one in command.params if isinstance(one, click.Option)}


def _option_table(command: click.Command, names: set[str]) -> Iterator[str]:
    yield "| option | |"
    yield "|---|---|"
    context = click.Context(command)
    for name, option in _options(command).items():
        if name in names:
            record = option.get_help_record(context)
            if record is not None:
                shown, about = record
                yield f"| `{_cell(shown)}` | {_cell(about)} |"


def _label_columns() -> list[dict[str, Any]]:
    """Return the columns that every table of labels has, as `sync` describes them."""
    field = {"name": "field", "type": "boolean"}
    task = Task.model_validate(
        {"name": "t", "table": "t", "text": "t", "model": "m", "version": 1, "instructions": "x", "fields": [field]}
    )
    [table] = yaml.safe_load(source_yaml([task]))["sources"][0]["tables"]
    return [column for column in table["columns"] if column["name"] != "field"]


def _column_table(columns: list[dict[str, Any]]) -> Iterator[str]:
    yield "| column | |"
    yield "|---|---|"
    for column in columns:
        yield f"| `{column['name']}` | {_cell(column.get('description', ''))} |"


def _sentence(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _cell(text: str) -> str:
    return _sentence(text).replace("|", "\\|")


if __name__ == "__main__":
    main()
