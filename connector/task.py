"""A task: what to ask of a text, as declared in the YAML of its pending model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
OWN_COLUMNS = frozenset(
    "text_key version outcome reason raw model prompt_hash input_tokens output_tokens cost_usd attempt batch_key "
    "labelled_at".split()
)
OWN_TABLES = frozenset({"label_claims", "label_events", "label_leases"})
OWN_PARAMS = frozenset(
    "messages model response_format max_tokens max_completion_tokens n stream stream_options tools tool_choice "
    "functions function_call store logprobs top_logprobs".split()
)
# Structured outputs, limits of a schema (platform documentation, read November 2026)
MAX_ENUM_VALUES = 1000


def _quoted(value: object) -> object:
    """Refuse what YAML made of an unquoted word or number."""
    if isinstance(value, bool):
        raise ValueError(f"YAML turned this into `{str(value).lower()}`: quote it")
    if value is None or isinstance(value, (int, float)):
        raise ValueError(f"YAML turned this into {'null' if value is None else repr(value)}: quote it")
    if not isinstance(value, str):
        raise ValueError(f"must be a word or a text, not {type(value).__name__}: quote it")
    return value


Word = Annotated[str, BeforeValidator(_quoted), Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Field(_Strict):
    name: Word
    description: Word | None = None

    @field_validator("name")
    @classmethod
    def _fits_schema_and_column(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"`{name}` can not be a column and a JSON key: use {NAME.pattern}")
        if name in OWN_COLUMNS:
            raise ValueError(f"`{name}` is a column of every table of labels: choose another name")
        return name


class _Choice(_Field):
    values: dict[str, str | None]

    @field_validator("values", mode="before")
    @classmethod
    def _words(cls, values: object) -> dict[str, str | None]:
        if isinstance(values, Mapping):
            pairs = [(key, description) for key, description in values.items()]
        elif isinstance(values, (list, tuple)):
            pairs = [(value, None) for value in values]
        else:
            raise ValueError("must be a list of values, or value: description")
        mistakes = []
        words: dict[str, str | None] = {}
        for value, description in pairs:
            try:
                word = str(_quoted(value))
            except ValueError as error:
                mistakes.append(str(error))
                continue
            if not word.strip():
                mistakes.append("an empty value")
            elif word in words:
                mistakes.append(f"`{word}` appears twice")
            elif any(ord(character) < 32 for character in word):
                mistakes.append(f"{word!r} has a control character")
            elif description is not None and not isinstance(description, str):
                mistakes.append(f"the description of `{word}` must be a text: quote it")
            words[word] = description if isinstance(description, str) else None
        if mistakes:
            raise ValueError("; ".join(mistakes))
        if not 2 <= len(words) <= MAX_ENUM_VALUES:
            raise ValueError(f"has {len(words)} values; 2 to {MAX_ENUM_VALUES} are possible")
        return words


class OneOf(_Choice):
    """Ask for exactly one of the values; a string column."""

    type: Literal["one_of"]


class AnyOf(_Choice):
    """Ask for none, one or several of the values; a column with a JSON array string, in the model's order."""

    type: Literal["any_of"]
    max: int | None = Field(default=None, ge=1)


class Boolean(_Field):
    """Ask for true or false; a boolean column."""

    type: Literal["boolean"]


class Integer(_Field):
    """Ask for a whole number from `min` to `max`; an integer column."""

    type: Literal["integer"]
    min: int
    max: int

    @model_validator(mode="after")
    def _in_order(self) -> Integer:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Text(_Field):
    """Ask for free text of at most `max` characters; a string column."""

    type: Literal["text"]
    max: int = Field(ge=1)


TaskField = Annotated[OneOf | AnyOf | Boolean | Integer | Text, Field(discriminator="type")]


class Run(_Strict):
    """How the task is run; not part of the prompt."""

    max_output_tokens: int = Field(default=200, ge=1)
    max_attempts: int = Field(default=3, ge=1)


class Task(_Strict):
    """One task. `name` is its pending model; its identity is `table` and `version`."""

    name: str
    table: Word
    text: Word
    version: int = Field(default=1, ge=1)
    model: Word
    params: dict[str, Any] = Field(default_factory=dict)
    instructions: Word
    fields: tuple[TaskField, ...]
    examples: tuple[dict[str, Any], ...] = ()
    run: Run = Run()

    @field_validator("fields", "examples", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("table")
    @classmethod
    def _plain_table(cls, table: str) -> str:
        if not NAME.fullmatch(table):
            raise ValueError(f"`{table}` can not be a table's name here: use {NAME.pattern}")
        if table in OWN_TABLES:
            raise ValueError(f"`{table}` is a table of the ledger: choose another name")
        return table

    @field_validator("text")
    @classmethod
    def _plain_column(cls, text: str) -> str:
        if not COLUMN.fullmatch(text):
            raise ValueError(f"`{text}` can not be a column's name: use {COLUMN.pattern}")
        return text

    @field_validator("params")
    @classmethod
    def _not_ours(cls, params: dict[str, Any]) -> dict[str, Any]:
        ours = sorted(OWN_PARAMS & params.keys())
        if ours:
            raise ValueError(f"dbt-labels sets {', '.join(f'`{name}`' for name in ours)} itself: leave it out")
        return params

    @model_validator(mode="after")
    def _names_and_examples(self) -> Task:
        names = [field.name for field in self.fields]
        mistakes = [f"fields: `{name}` appears twice" for name in sorted({n for n in names if names.count(n) > 1})]
        if not names:
            mistakes.append("fields: at least one is needed")
        if self.text in names:
            mistakes.append(f"fields: `{self.text}` is the text's column: choose another name")
        for number, example in enumerate(self.examples, 1):
            mistakes += [f"examples.{number}: {mistake}" for mistake in self._example_mistakes(example)]
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def _example_mistakes(self, example: dict[str, Any]) -> list[str]:
        if not isinstance(example.get("text"), str) or not example["text"].strip():
            return ["needs `text`"]
        answer = {key: value for key, value in example.items() if key != "text"}
        return answer_mistakes(self.fields, answer)


def answer_mistakes(fields: Iterable[TaskField], answer: object) -> list[str]:
    """Return what is wrong with an answer: empty where it fits the fields exactly."""
    if not isinstance(answer, dict):
        return ["is not an object"]
    by_name = {field.name: field for field in fields}
    mistakes = [f"`{name}` is missing" for name in by_name if name not in answer]
    mistakes += [f"`{name}` is not a field" for name in answer if name not in by_name]
    mistakes += [
        f"`{name}`: {mistake}"
        for name, field in by_name.items()
        if name in answer and (mistake := value_mistake(field, answer[name]))
    ]
    return mistakes


def value_mistake(field: TaskField, value: object) -> str | None:
    """Return what is wrong with a field's value, or None."""
    if isinstance(field, OneOf):
        return None if isinstance(value, str) and value in field.values else f"{value!r} is not one of its values"
    if isinstance(field, AnyOf):
        if not isinstance(value, list):
            return "is not a list"
        foreign = [item for item in value if not isinstance(item, str) or item not in field.values]
        if foreign:
            return f"{foreign[0]!r} is not one of its values"
        return f"more than {field.max} values" if field.max and len(set(value)) > field.max else None
    if isinstance(field, Boolean):
        return None if isinstance(value, bool) else "is not true or false"
    if isinstance(field, Integer):
        fits = isinstance(value, int) and not isinstance(value, bool) and field.min <= value <= field.max
        return None if fits else f"is not a whole number from {field.min} to {field.max}"
    if not isinstance(value, str):
        return "is not a text"
    return f"longer than {field.max} characters" if len(value) > field.max else None


def parse_task(name: str, block: Mapping[str, Any]) -> Task | list[str]:
    """Return the task of a pending model, or its mistakes, each naming the key and the fix.

    `block` is `config.meta.dbt_labels` with the instructions' file already read into `instructions`.
    """
    try:
        return Task.model_validate({**block, "name": name})
    except ValidationError as error:
        return [_mistake(detail["loc"], detail["type"], detail["msg"]) for detail in error.errors()]


_KINDS = frozenset({"one_of", "any_of", "boolean", "integer", "text"})


def _mistake(location: tuple[int | str, ...], kind: str, message: str) -> str:
    path = ".".join(
        str(part + 1) if isinstance(part, int) else part
        for place, part in enumerate(location)
        if not (part in _KINDS and place == 2 and location[0] == "fields")
    )
    if kind == "missing":
        return f"`{path}` is missing"
    if kind == "extra_forbidden":
        return f"`{path}` is not a key of a task"
    if kind == "union_tag_invalid":
        return f"`{path}.type` must be one of {', '.join(sorted(_KINDS))}"
    if kind == "union_tag_not_found":
        return f"`{path}.type` is missing: one of {', '.join(sorted(_KINDS))}"
    text = message.removeprefix("Value error, ")
    return f"`{path}`: {text}" if path else text
