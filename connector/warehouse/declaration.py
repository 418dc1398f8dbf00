"""What a project declares: the `dbt_labels` blocks of its models, from YAML to tasks or to every mistake in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from connector.errors import TaskError
from connector.task import RunOptions, Task

PACKAGE = "dbt_labels"
_RAW_TAGS = re.compile(r"\{%-?\s*(?:end)?raw\s*-?%\}")
_ENDS_QUOTES = re.compile("[\"'`\\\\\x00-\x1f\x7f]")
_WORDING = ("instructions", "fields", "examples")


@dataclass(frozen=True)
class Declaration:
    """A model's block as dbt gives it, and where: paths are relative to the project's folder.

    `yaml_file` is the model's own YAML, `in_sql` tells of a block in the SQL's `config()`, `key` is what it is called
    under `meta`, rightly or nearly.
    """

    model: str
    block: Any
    sql_file: str
    yaml_file: str | None
    in_sql: bool
    key: str = PACKAGE


def declared(models: Iterable[Any]) -> list[Declaration]:
    """Return what the models of dbt's manifest declare."""
    return [
        Declaration(
            model=node.name,
            block=node.config.meta[key],
            sql_file=node.original_file_path,
            yaml_file=node.patch_path.partition("://")[2] if node.patch_path else None,
            in_sql=key in (node.config_call_dict.get("meta") or {}),
            key=key,
        )
        for node in models
        if (key := _key(node.config.meta)) is not None
    ]


def _key(meta: Mapping[str, Any]) -> str | None:
    """Return what a model's block is called: by the package's name, or close to it over what looks like a task."""
    if meta.get(PACKAGE) is not None:
        return PACKAGE
    alike = [key for key, block in meta.items() if isinstance(block, Mapping) and "fields" in block]
    return next(iter(difflib.get_close_matches(PACKAGE, alike, 1, cutoff=0.8)), None)


def read_tasks(declarations: Sequence[Declaration], folder: Path) -> tuple[list[Task], list[str]]:
    """Return every task and what to note about them; raises `TaskError` with every mistake of every task."""
    tasks: list[Task] = []
    mistakes: list[str] = []
    notes: list[str] = []
    raw = {declaration.model: _raw_block(declaration, folder) for declaration in declarations}
    inherited = [found.model for found in declarations if not found.in_sql and raw[found.model] is None]
    if len(inherited) > 1:
        names = ", ".join(f"`{name}`" for name in inherited)
        mistakes.append(
            f"dbt_project.yml: one `{PACKAGE}` block under a folder's `+meta` landed on several models: {names};"
            " move it to the YAML of the one pending model"
        )
    for declaration in declarations:
        name = declaration.model
        if name in inherited and len(inherited) > 1:
            continue
        where = "dbt_project.yml" if name in inherited else declaration.yaml_file or declaration.sql_file
        if declaration.key != PACKAGE:
            mistakes.append(f"{where}: model `{name}`: `meta.{declaration.key}` is no task: did you mean `{PACKAGE}`?")
            continue
        task, wrong = _read_task(declaration, raw[name], folder)
        mistakes += [f"{where}: model `{name}`: {mistake}" for mistake in wrong]
        if task is not None:
            tasks.append(task)
            notes += _notes_of_jinja(declaration, raw[name])
    mistakes += _shared_tables(tasks)
    if mistakes:
        raise TaskError("\n".join(mistakes), f"keys are under `config.meta.{PACKAGE}`; see docs/task.md")
    return tasks, notes


def check_quotable(nodes: Iterable[Any]) -> None:
    """Raise `TaskError` where one of dbt's nodes has a schema or a name that can not stand in SQL as dbt writes it."""
    mistakes = {
        f"{node.resource_type} `{node.name}`: its {kind} {name!r} {wrong}"
        for node in nodes
        for kind, name in (("schema", node.schema), ("alias", getattr(node, "alias", None) or node.identifier))
        if (wrong := _wrong_in_sql(name, node.relation_name or ""))
    }
    if mistakes:
        raise TaskError("\n".join(sorted(mistakes)), "make it of letters, digits and _")


def _wrong_in_sql(name: str, relation: str) -> str | None:
    if _ENDS_QUOTES.search(name):
        return "can not be quoted in SQL"
    is_bare = re.search(rf"(^|\.){re.escape(name)}(\.|$)", relation)
    return "is not quoted in SQL by dbt" if is_bare and not re.fullmatch(r"\w+", name) else None


def _read_task(declaration: Declaration, raw: Any, folder: Path) -> tuple[Task | None, list[str]]:
    """Return the task, or None with its mistakes."""
    block = declaration.block
    if not isinstance(block, dict):
        return None, [f"`{PACKAGE}` must be a mapping of keys"]
    given, mistakes = _with_instructions(block, folder)
    mistakes += _mistakes_of_yaml(raw)
    parsed = parse_task(declaration.model, given)
    if isinstance(parsed, Task):
        return (None, mistakes) if mistakes else (parsed, [])
    return None, mistakes + parsed


def _with_instructions(block: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the block with the instructions' file read into `instructions`, and what is wrong with the file."""
    if "instructions_file" not in block:
        if "instructions" in block:
            return block, []
        return {**block, "instructions": "-"}, ["`instructions` or `instructions_file` is missing"]
    named = block["instructions_file"]
    rest = {key: value for key, value in block.items() if key != "instructions_file"}
    # the other keys are judged whatever is wrong with the file
    unread = {**rest, "instructions": "-"}
    if "instructions" in block:
        return unread, ["`instructions` and `instructions_file` exclude each other: keep one"]
    if not isinstance(named, str) or not named.strip():
        return unread, ["`instructions_file` must be a path, from the project's folder"]
    path = folder / named
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        return unread, [f"`instructions_file`: {path} can not be read: {error.strerror}"]
    except UnicodeDecodeError:
        return unread, [f"`instructions_file`: {path} is not UTF-8: save it as such"]
    if not text.strip():
        return unread, [f"`instructions_file`: {path} is empty: write the instructions there"]
    return {**rest, "instructions": text}, []


def _shared_tables(tasks: Sequence[Task]) -> list[str]:
    by_table: dict[str, list[str]] = {}
    for task in tasks:
        by_table.setdefault(task.table, []).append(f"`{task.name}`")
    return [
        f"models {', '.join(sorted(names))}: two tasks with one table, `{table}`; give each its own"
        for table, names in sorted(by_table.items())
        if len(names) > 1
    ]


def parse_task(name: str, block: Mapping[Any, Any]) -> Task | list[str]:
    """Return the task of a pending model, or its mistakes, each naming the key and the fix.

    `block` is `config.meta.dbt_labels` with the instructions' file already read into `instructions`.
    """
    mistakes = [_foreign_key(key) for key in block if not isinstance(key, str) or key == "name"]
    known = {key: value for key, value in block.items() if isinstance(key, str)}
    try:
        task = Task.model_validate({**known, "name": name})
    except ValidationError as error:
        return mistakes + [_mistake(detail) for detail in error.errors()]
    return mistakes or task


def _foreign_key(key: object) -> str:
    if isinstance(key, bool):
        return f"YAML turned a key into `{str(key).lower()}`, which is not a key of a task"
    return f"`{key}` is not a key of a task"


_KINDS = frozenset({"one_of", "any_of", "boolean", "integer", "text"})
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}


def _mistake(detail: ErrorDetails) -> str:
    location, kind, message = detail["loc"], detail["type"], detail["msg"]
    path = ".".join(
        str(part + 1) if isinstance(part, int) and not isinstance(part, bool) else str(part)
        for place, part in enumerate(location)
        if not (part in _KINDS and place == 2 and location[0] == "fields") and part != "[key]"
    )
    if location[-1:] == ("[key]",):
        return f"the key {detail['input']!r} in `{path.rpartition('.')[0]}` must be a text: quote it"
    if kind == "missing":
        return f"`{path}` is missing"
    if kind == "extra_forbidden":
        owner = path.rpartition(".")[0]
        return f"`{path}` is not a key of {f'`{owner}`' if owner else 'a task'}{_meant(owner, str(location[-1]))}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        said = "must be" if kind == "union_tag_invalid" else "is missing:"
        return f"`{path}.type` {said} one of {', '.join(sorted(_KINDS))}"
    if kind in _TYPES:
        return f"`{path}` must be {_TYPES[kind]}, not {detail['input']!r}"
    text = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return f"`{path}`: {text}" if path else text


def _meant(owner: str, key: str) -> str:
    """Return, for people, the key that is like the one given, where there is one."""
    keys = {"": {*Task.model_fields, "instructions_file"} - {"name"}, "run": RunOptions.model_fields.keys()}.get(
        owner, ()
    )
    near = difflib.get_close_matches(key, keys, 1)
    return f": did you mean `{near[0]}`?" if near else ""


class _Mapping(dict[Hashable, Any]):
    """A mapping as the YAML has it; `repeated` are the keys that YAML silently takes the last of."""

    repeated: Sequence[Hashable] = ()


class _Loader(yaml.SafeLoader):
    """Read YAML as dbt does, and remember repeated keys."""

    def construct_repeated(self, node: yaml.MappingNode) -> Iterator[_Mapping]:
        """Give a mapping, filled after it was given, as the loader's own constructor does."""
        mapping = _Mapping()
        yield mapping
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        mapping.update(self.construct_mapping(node, deep=True))
        mapping.repeated = [key for key in mapping if keys.count(key) > 1]


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_repeated)


def _raw_block(declaration: Declaration, folder: Path) -> Any:
    """Return the block as it stands in the model's YAML, before dbt renders it; None where it is not there."""
    if declaration.yaml_file is None:
        return None
    try:
        text = (folder / declaration.yaml_file).read_text(encoding="utf-8")
        document = yaml.load(text, Loader=_Loader)
    except (OSError, yaml.YAMLError):
        return None
    for model in (document or {}).get("models") or []:
        if isinstance(model, dict) and model.get("name") == declaration.model:
            meta = (model.get("config") or {}).get("meta") or model.get("meta") or {}
            return meta.get(declaration.key)
    return None


def _mistakes_of_yaml(raw: Any, path: str = "") -> list[str]:
    """Return what dbt does not show any more: repeated keys, and dates, which it turns into other words."""
    if isinstance(raw, date):
        return [f"`{path}`: YAML turned this into the date {raw}: quote it"]
    found: list[str] = []
    if isinstance(raw, _Mapping):
        where = f"`{path}`: " if path else ""
        found += [f"{where}`{key}` appears twice" for key in raw.repeated]
        found += [f"{where}YAML turned this into the date {key}: quote it" for key in raw if isinstance(key, date)]
        members = [(str(key), value) for key, value in raw.items()]
    elif isinstance(raw, list):
        members = [(str(place), value) for place, value in enumerate(raw, 1)]
    else:
        return []
    for name, value in members:
        found += _mistakes_of_yaml(value, f"{path}.{name}".lstrip("."))
    return found


def _notes_of_jinja(declaration: Declaration, raw: Any) -> list[str]:
    if not isinstance(raw, Mapping):
        return []
    changed = [key for key in _WORDING if _is_rendered(raw.get(key), declaration.block.get(key))]
    if not changed:
        return []
    keys = ", ".join(f"`{key}`" for key in changed)
    fix = (
        "put the wording in a file and name it in `instructions_file`"
        if changed == ["instructions"]
        else "write {% raw %}...{% endraw %} around it, or put the instructions in a file named in `instructions_file`"
    )
    return [
        f"model `{declaration.model}`: dbt rendered the braces in {keys}, so the model is asked something else than"
        f" the YAML says; {fix}"
    ]


def _is_rendered(raw: Any, seen: Any) -> bool:
    """Tell whether dbt made something else of a text than it says; a final line feed it strips always."""
    if isinstance(raw, str):
        return not isinstance(seen, str) or _RAW_TAGS.sub("", raw).strip() != seen.strip()
    if isinstance(raw, Mapping) and isinstance(seen, Mapping):
        return any(_is_rendered(value, seen.get(key)) for key, value in raw.items())
    if isinstance(raw, list) and isinstance(seen, list):
        return any(map(_is_rendered, raw, seen))
    return False
