"""The labels source's YAML, written from the tasks by `dbt-labels sync`: tables, column docs and tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from connector.task import AnyOf, Integer, OneOf, Task, TaskField, Text

HEADER = "# Written by `dbt-labels sync` from the tasks' YAML; `dbt-labels sync --check` fails where it differs.\n"

_BEGINNING = re.compile(r"\{(?=[{%#])")

_OWN_COLUMNS = {
    "text_key": "The text; join by it.",
    "version": "The version of the task that it was asked under.",
    "outcome": "labelled, rejected, failed (will be tried again), reopened (a rejection put back) or forgotten.",
    "reason": "Why it is not a label: refused, filtered, truncated, invalid, unavailable, unpacked, stopped, too_large,"
    " or the provider's code.",
    "raw": "The answer or the provider's error as it came, where it is not a label.",
    "model": "The model that answered.",
    "prompt_hash": "The wording, fields and model that were asked.",
    "input_tokens": "Input tokens, by the provider's count; of a request that several texts share, this text's part.",
    "cached_tokens": "Those of them that the provider had cached.",
    "output_tokens": "Output tokens, counted in the same way.",
    "reasoning_tokens": "Those of them that went into reasoning.",
    "cost_usd": "What it cost by the tokens used, at the price when it was sent (US dollars); null where not known.",
    "attempt": "How many times the text was sent for this version, this time included.",
    "batch_key": "The batch it came in.",
    "labelled_at": "When it was loaded (UTC).",
}


def source_yaml(tasks: Sequence[Task], name: str = "labels") -> str:
    """Return the whole file for these tasks' tables."""
    document = {
        "sources": [
            {
                "name": name,
                "description": "Labels by dbt-labels. A source, so that no full refresh can drop what was paid for.",
                "schema": "{{ var('dbt_labels_schema', target.schema ~ '_labels') }}",
                "tables": [_table(task) for task in tasks],
            }
        ]
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def is_bare(present: str, tasks: Sequence[Task]) -> bool:
    """Tell whether a file only names these tasks' tables, as one writes it so that dbt can parse: nothing is lost.

    A first `sync` may replace such a file, though it did not write it.
    """
    try:
        document = yaml.safe_load(present)
        [source] = document["sources"]
        tables = source["tables"]
        return (
            set(document) <= {"version", "sources"}
            and set(source) <= {"name", "schema", "tables"}
            and all(set(table) == {"name"} for table in tables)
            and {table["name"] for table in tables} <= {task.table for task in tasks}
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return False


def _table(task: Task) -> dict[str, Any]:
    columns: list[dict[str, Any]] = [_own("text_key", ["not_null"]), _own("version")]
    columns += [_field(field) for field in task.fields]
    columns += _confidence(task)
    columns += [_own(name) for name in _OWN_COLUMNS if name not in ("text_key", "version")]
    return {
        "name": task.table,
        "description": (
            f"What became of the texts of `{task.name}`: labels, rejections and failed attempts,"
            " one row per text, version and attempt."
        ),
        "config": {
            "freshness": {"warn_after": {"count": 7, "period": "day"}},
            # an empty table is as fresh as can be: nothing was ever due
            "loaded_at_query": "select coalesce(max(labelled_at), {{ dbt_labels.utc_now() }}) from {{ this }}",
        },
        "columns": columns,
    }


def _own(name: str, tests: Sequence[str] = ()) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "description": _OWN_COLUMNS[name]}
    return {**column, "data_tests": list(tests)} if tests else column


def _confidence(task: Task) -> list[dict[str, Any]]:
    """Return the columns that say how sure the model was, where the task asks for them."""
    if not task.run.confidence:
        return []
    about = "The probability that the model gave to"
    columns = [
        {"name": f"{field.name}_confidence", "description": f"{about} its `{field.name}`; null where it is not known."}
        for field in task.fields
        if not isinstance(field, Text)
    ]
    return [
        *columns,
        {"name": "confidence", "description": "The lowest of these: how sure the model was of its label."},
    ]


def _field(field: TaskField) -> dict[str, Any]:
    lines = [field.description] if field.description else []
    if isinstance(field, (OneOf, AnyOf)):
        lines.append("JSON array of: " if isinstance(field, AnyOf) else "One of: ")
        lines[-1] += ", ".join(f"{value} ({about})" if about else value for value, about in field.values.items()) + "."
    elif isinstance(field, Integer):
        lines.append(f"A whole number from {field.min} to {field.max}.")
    elif isinstance(field, Text):
        lines.append(f"A text of at most {field.max} characters.")
    description = " ".join(lines) or "True or false."
    # dbt renders descriptions; a brace that would begin something is written by Jinja itself
    description = _BEGINNING.sub("{{ '{' }}", description)
    column: dict[str, Any] = {"name": field.name, "description": description}
    if isinstance(field, (OneOf, AnyOf)):
        column["data_tests"] = ["dbt_labels.accepted_label"]
    return column
