"""A first task for a project: what it is called, and the files that make it, in the project's style."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from connector.adoption.layout import Noted, with_line_endings, write_yaml
from connector.adoption.style import Style
from connector.warehouse.duckdb import reserved_words
from connector.warehouse.inventory import Relation

SOURCE = "labels"
_LAYER = re.compile(r"^(?:stg|int|base|raw|src|fct|fact|dim|mart|seed)_+")
_PENDING = "_to_label"
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_MODEL = "gpt-6-luna"
_FIELDS = {
    "sentiment": ("one_of", {"positive": "likes it", "negative": "dislikes it", "neutral": "neither, or both"}),
    "topics": ("any_of", {"quality": "how good it is", "price": "what it costs", "service": "how people were treated"}),
}
_OF_A_LABEL = {
    "version": "The task's version that it is of.",
    "model": "The model that gave it.",
    "labelled_by": "`model`, or `human` where somebody decided a field.",
    "labelled_at": "When it was loaded (UTC).",
}


@dataclass(frozen=True)
class Names:
    """What the new things are called. `keyed` is the model that adds the key of the text, None where it is there."""

    subject: str
    task: str
    table: str
    current: str
    keyed: str | None
    source: str

    @property
    def models(self) -> list[str]:
        """Return the new models."""
        return [name for name in (self.keyed, self.task, self.current) if name is not None]


@dataclass(frozen=True)
class Wish:
    """What somebody wants labelled: a relation, its text column, and the one that says since when a text waits."""

    relation: Relation
    text: str
    age: str | None


def name_all(relation: Relation, task: str | None = None, source: str | None = None) -> Names:
    """Return the names for a task about a relation; `task` names its pending model where somebody chose one."""
    subject = _LAYER.sub("", relation.call[-1].lower()).rpartition("__")[2] or relation.call[-1].lower()
    if task is not None:
        subject = task.removesuffix(_PENDING)
    one = _singular(subject)
    return Names(
        subject=subject,
        task=task or f"{subject}{_PENDING}",
        table=f"{one}_labels",
        current=f"current_{one}_labels",
        keyed=None if has_key(relation) else f"{subject}_with_key",
        source=source or SOURCE,
    )


def has_key(relation: Relation) -> bool:
    """Tell whether a relation makes the key of its texts itself."""
    return "dbt_labels.text_key" in relation.code


def draft_files(names: Names, wish: Wish, folder: PurePosixPath, style: Style) -> dict[PurePosixPath, str]:
    """Return every new file but that of the source, by its path in the project."""
    files = {PurePosixPath("prompts") / f"{names.subject}.md": _instructions(names)}
    described: dict[str, dict[str, Any]] = {
        names.task: _task(names, wish, style),
        names.current: _current(names, style),
    }
    if names.keyed is not None:
        files[folder / f"{names.keyed}.sql"] = _keyed(wish, style)
        described = {names.keyed: _with_key(names), **described}
    files[folder / f"{names.task}.sql"] = _pending(names, wish, style)
    files[folder / f"{names.current}.sql"] = _current_sql(names, style)
    written = {path: with_line_endings(text, style) for path, text in files.items()}
    if style.models_file is not None:
        shared = style.models_file.format(folder=folder.name)
        written[folder / f"{shared}.{style.extension}"] = write_yaml({"models": list(described.values())}, style)
        return written
    for name, model in described.items():
        written[folder / f"{name}.{style.extension}"] = write_yaml({"models": [model]}, style)
    return written


def draft_source(names: Names, folder: PurePosixPath, style: Style) -> tuple[PurePosixPath, str]:
    """Return the file of a new source, which `dbt-labels sync` fills in later."""
    name = style.sources_file.format(source=names.source)
    source = {
        "name": names.source,
        "schema": "{{ var('dbt_labels_schema', target.schema ~ '_labels') }}",
        "tables": [{"name": names.table}],
    }
    return folder / f"{name}.{style.extension}", write_yaml({"sources": [source]}, style)


def task_block(names: Names, wish: Wish) -> dict[str, Any]:
    """Return the `dbt_labels` block of the task as the YAML has it, with its comments."""
    return {
        "table": names.table,
        "text": Noted(wish.text, "with an opaque id, the only thing that leaves the warehouse"),
        "version": Noted(1, "raise it to label everything again; that costs again"),
        "model": _MODEL,
        "params": {"reasoning_effort": "none"},
        "instructions_file": Noted(f"prompts/{names.subject}.md", "what the model is told: edit it"),
        "fields": Noted(
            [{"name": name, "type": kind, "values": values} for name, (kind, values) in _FIELDS.items()],
            "what is asked of each text: edit them, then `dbt-labels sync`",
        ),
    }


def _singular(noun: str) -> str:
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun


def _words(subject: str) -> str:
    return subject.replace("_", " ")


def _instructions(names: Names) -> str:
    return (
        f"You label {_words(names.subject)} that people wrote. Judge each by what it says, in whatever language it is"
        " written, and add nothing of your own.\n"
    )


def _quoted(name: str, style: Style) -> str:
    return f"{style.quote}{name}{style.quote}"


def _call(call: tuple[str, ...], style: Style) -> str:
    kind, *names = call
    return f"{kind}({', '.join(_quoted(name, style) for name in names)})"


def _column(name: str, style: Style) -> str:
    """Return a column for a macro's argument; what can not stand alone in SQL is quoted as the warehouse does it."""
    is_plain = _PLAIN.fullmatch(name) and name not in reserved_words()
    return _quoted(name, style) if is_plain else f"adapter.quote({_quoted(name, style)})"


def _keyed(wish: Wish, style: Style) -> str:
    words = ("with", "select", "from", "as")
    with_, select, from_, as_ = (word.upper() if style.is_upper else word for word in words)
    return (
        f"{with_} texts {as_} (\n"
        f"    {select} * {from_} {{{{ {_call(wish.relation.call, style)} }}}}\n"
        "),\n\n"
        f"keyed {as_} (\n"
        f"    {select}\n"
        "        *,\n"
        f"        {{{{ dbt_labels.text_key({_column(wish.text, style)}) }}}} {as_} text_key\n"
        f"    {from_} texts\n"
        ")\n\n"
        f"{select} * {from_} keyed\n"
    )


def _pending(names: Names, wish: Wish, style: Style) -> str:
    texts = wish.relation.call if names.keyed is None else ("ref", names.keyed)
    arguments = [
        f"texts={_call(texts, style)}",
        f"labels={_call(('source', names.source, names.table), style)}",
        f"claims={_call(('source', 'label_ledger', 'label_claims'), style)}",
        f"events={_call(('source', 'label_ledger', 'label_events'), style)}",
    ]
    if wish.age is not None:
        arguments.append(f"age={_column(wish.age, style)}")
    return "{{ dbt_labels.pending(\n" + ",\n".join(f"    {argument}" for argument in arguments) + "\n) }}\n"


def _current_sql(names: Names, style: Style) -> str:
    labels = _call(("source", names.source, names.table), style)
    return f"{{{{ dbt_labels.current_labels({labels}, task={_quoted(names.task, style)}) }}}}\n"


def _with_key(names: Names) -> dict[str, Any]:
    return {
        "name": names.keyed,
        "description": f"The {_words(names.subject)} with the key of their text, which labels are joined by.",
        "config": {"materialized": Noted("view", "a table hashes each text once instead of at every look")},
        "columns": [
            {"name": "text_key", "description": "The key of the text; equal texts share it. Null where it is null."}
        ],
    }


def _task(names: Names, wish: Wish, style: Style) -> dict[str, Any]:
    columns = {wish.text: "What somebody wrote.", "occurrences": f"How many {_words(names.subject)} say it."}
    if wish.age is not None:
        columns["pending_since"] = "Since when the first of them waits."
    return {
        "name": names.task,
        "description": "Distinct texts without a label for the current version, one row per text.",
        "config": {"materialized": "view", "meta": {"dbt_labels": task_block(names, wish)}},
        "columns": [_key_column(style), *_described(columns)],
    }


def _current(names: Names, style: Style) -> dict[str, Any]:
    return {
        "name": names.current,
        "description": "The labels to use now, one row per text; join them by `text_key`.",
        "config": {"materialized": "view"},
        # not the fields: they are yours to edit, and `sync` describes them in the source
        "columns": [_key_column(style), *_described(_OF_A_LABEL)],
    }


def _described(columns: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "description": about} for name, about in columns.items()]


def _key_column(style: Style) -> dict[str, Any]:
    return {"name": "text_key", "description": "The key of the text.", style.tests: ["unique", "not_null"]}
