"""A task: what to ask of a text, as declared in the YAML of its pending model."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
OWN_TABLES = frozenset({"label_claims", "label_events", "label_leases"})
_OWN_COLUMNS = """
    text_key version outcome reason raw model prompt_hash input_tokens cached_tokens output_tokens reasoning_tokens
    cost_usd confidence attempt batch_key labelled_at labelled_by overridden_fields
"""
OWN_COLUMNS = frozenset(_OWN_COLUMNS.split())
_OWN_PARAMS = """
    messages model response_format max_tokens max_completion_tokens n stream stream_options tools tool_choice functions
    function_call store logprobs top_logprobs service_tier web_search_options prediction modalities audio
"""
OWN_PARAMS = frozenset(_OWN_PARAMS.split())
# Structured outputs, limits of a schema: enum values and characters of names and values (platform documentation, read
# November 2026)
MAX_ENUM_VALUES = 1000
MAX_ENUM_CHARACTERS = 15_000
MAX_SCHEMA_CHARACTERS = 120_000
# Larger whole numbers are not exact in every JSON reader.
MAX_WHOLE = 2**53 - 1
# More texts in one request lose more at once, and models lose count.
MAX_ROWS = 100
CONFIDENCE = "_confidence"
# OpenAI's names of models that think before they answer (reasoning guide, read November 2026)
_REASONING_MODEL = re.compile(r"(gpt-[5-9]|o\d)")
_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")


def _quoted(value: object) -> object:
    """Refuse what YAML made of an unquoted word or number, and what no JSON reader has to take."""
    if isinstance(value, bool):
        raise ValueError(f"YAML turned this into `{str(value).lower()}`: quote it")
    if value is None or isinstance(value, (int, float)):
        raise ValueError(f"YAML turned this into {'null' if value is None else repr(value)}: quote it")
    if not isinstance(value, str):
        raise ValueError(f"must be a word or a text, not {_kind_of(value)}: quote it")
    if not value.strip():
        raise ValueError("is empty")
    if found := _UNSENDABLE.search(value):
        raise ValueError(f"has the character {found[0]!r}, which can not be sent: take it out")
    return value


def _kind_of(value: object) -> str:
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else type(value).__name__


Word = Annotated[str, BeforeValidator(_quoted)]


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
        if name == "text":
            raise ValueError("`text` is the text itself in `examples`: choose another name")
        return name


class _Choice(_Field):
    values: dict[str, str | None]

    @field_validator("values", mode="before")
    @classmethod
    def _words(cls, values: object) -> dict[str, str | None]:
        if isinstance(values, Mapping):
            pairs = list(values.items())
        elif isinstance(values, (list, tuple)):
            pairs = [(value, None) for value in values]
        else:
            raise ValueError("must be a list of values, or value: description")
        mistakes = []
        words: dict[str, str | None] = {}
        for value, description in pairs:
            try:
                word = str(_quoted(value))
                about = description if description is None else str(_quoted(description))
            except ValueError as error:
                mistakes.append(f"{value!r}: {error}" if isinstance(value, str) and value else str(error))
                continue
            if word in words:
                mistakes.append(f"`{word}` appears twice")
            elif any(unicodedata.category(character) == "Cc" for character in word):
                mistakes.append(f"{word!r} has a control character")
            words[word] = about
        if mistakes:
            raise ValueError("; ".join(mistakes))
        if not 2 <= len(words) <= MAX_ENUM_VALUES:
            raise ValueError(f"has {len(words)} values; 2 to {MAX_ENUM_VALUES} are possible")
        characters = sum(map(len, words))
        if len(words) > 250 and characters > MAX_ENUM_CHARACTERS:
            raise ValueError(f"{len(words)} values have {characters} characters; {MAX_ENUM_CHARACTERS} are possible")
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
    min: int = Field(ge=-MAX_WHOLE, le=MAX_WHOLE)
    max: int = Field(ge=-MAX_WHOLE, le=MAX_WHOLE)

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


def _amount(value: object) -> object:
    """Read a number of YAML as it is written there: 0.1 is a tenth, not its nearest binary fraction."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"must be a number, not {_kind_of(value)}")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"must be a number, not {value!r}") from None
    if not amount.is_finite():
        raise ValueError("must be a finite number")
    return amount


Usd = Annotated[Decimal, BeforeValidator(_amount), Field(ge=0, le=1_000_000_000)]


class OwnPrice(_Strict):
    """What the task's model costs in batches, in US dollars per million tokens, where genai-prices does not know it.

    What is read from a cache costs as much as other input where nothing is said, what is written to one a quarter more,
    as it does where it is charged at all.
    """

    input_usd_per_mtok: Usd
    output_usd_per_mtok: Usd
    cached_input_usd_per_mtok: Usd | None = None
    cache_write_usd_per_mtok: Usd | None = None


class RunOptions(_Strict):
    """How the task is run; not part of the prompt.

    `paused` sends nothing, and what was sent is still collected. `budget_usd` is the wall of one run,
    `budget_usd_per_month` that of all runs in a calendar month (UTC); `enqueued_tokens` is the provider's limit of
    input tokens waiting in batches, where it is known.
    """

    max_output_tokens: int = Field(default=200, ge=1, le=1_000_000)
    max_attempts: int = Field(default=3, ge=1, le=100)
    rows_per_request: int = Field(default=1, ge=1, le=MAX_ROWS)
    budget_usd: Usd | None = None
    budget_usd_per_month: Usd | None = None
    enqueued_tokens: int | None = Field(default=None, ge=1)
    confidence: bool = False
    paused: bool = False


class Task(_Strict):
    """One task. `name` is its pending model; its identity is `table` and `version`.

    `gold` and `overrides` name relations of what people said: to measure labels against, and to put in their place.
    """

    name: str
    table: Word
    text: Word
    version: int = Field(default=1, ge=1, le=2**31 - 1)
    model: Word
    params: dict[str, Any] = Field(default_factory=dict)
    instructions: Word
    fields: tuple[TaskField, ...]
    examples: tuple[dict[str, Any], ...] = ()
    price: OwnPrice | None = None
    gold: Word | None = None
    overrides: Word | None = None
    run: RunOptions = RunOptions()

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

    @field_validator("gold", "overrides")
    @classmethod
    def _plain_model(cls, name: str | None) -> str | None:
        if name is not None and not COLUMN.fullmatch(name):
            raise ValueError(f"`{name}` can not be a model's or seed's name: use {COLUMN.pattern}")
        return name

    @field_validator("params")
    @classmethod
    def _not_ours(cls, params: dict[str, Any]) -> dict[str, Any]:
        ours = sorted(OWN_PARAMS & params.keys())
        if ours:
            raise ValueError(f"dbt-labels sets {', '.join(f'`{name}`' for name in ours)} itself: leave it out")
        if not all(params):
            raise ValueError("a key is empty: name it")
        if mistakes := _json_mistakes(params):
            raise ValueError("; ".join(mistakes))
        return params

    @field_validator("fields")
    @classmethod
    def _fit_one_schema(cls, fields: tuple[TaskField, ...]) -> tuple[TaskField, ...]:
        names = [field.name for field in fields]
        words = [word for field in fields if isinstance(field, (OneOf, AnyOf)) for word in field.values]
        characters = sum(map(len, names)) + sum(map(len, words))
        mistakes = [f"`{name}` appears twice" for name in sorted({n for n in names if names.count(n) > 1})]
        if not names:
            mistakes.append("at least one is needed")
        if len(words) > MAX_ENUM_VALUES:
            mistakes.append(f"{len(words)} values in all; a schema can have {MAX_ENUM_VALUES}")
        if characters > MAX_SCHEMA_CHARACTERS:
            mistakes.append(f"{characters} characters in all; a schema can have {MAX_SCHEMA_CHARACTERS}")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return fields

    @model_validator(mode="after")
    def _text_and_examples(self) -> Task:
        mistakes = []
        names = {field.name for field in self.fields}
        if self.run.confidence:
            mistakes += [
                f"fields: `{name}` is the column of another field's confidence: choose another name"
                for name in sorted(names)
                if name.endswith(CONFIDENCE) and name.removesuffix(CONFIDENCE) in names
            ]
            mistakes += [
                f"fields: `{name}{CONFIDENCE}` is too long for a column: choose a shorter name"
                for name in sorted(names)
                if not NAME.fullmatch(name + CONFIDENCE)
            ]
            if _REASONING_MODEL.match(self.model) and self.params.get("reasoning_effort") != "none":
                mistakes.append(
                    f"run.confidence: `{self.model}` is a reasoning model, and those give probabilities only where they"
                    " are told not to reason: add `params: {reasoning_effort: none}`"
                )
        if self.run.rows_per_request > 1 and "id" in names:
            mistakes.append("fields: `id` is the text's id in a packed request: choose another name")
        if self.text in names:
            mistakes.append(f"fields: `{self.text}` is the text's column: choose another name")
        for number, example in enumerate(self.examples, 1):
            mistakes += [f"examples.{number}: {mistake}" for mistake in self._example_mistakes(example)]
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def _example_mistakes(self, example: dict[str, Any]) -> list[str]:
        try:
            _quoted(example.get("text", ""))
        except ValueError as error:
            return [f"`text`: {error}"]
        answer = {key: value for key, value in example.items() if key != "text"}
        return answer_mistakes(self.fields, answer)

    @property
    def confidences(self) -> list[str]:
        """Return the columns with the probability of each choice, where the task asks for them."""
        chosen = (field.name for field in self.fields if not isinstance(field, Text))
        return [f"{name}{CONFIDENCE}" for name in chosen] if self.run.confidence else []


def _json_mistakes(value: object, path: str = "") -> list[str]:
    """Return what JSON has no form for."""
    where = f"`{path}`: " if path else ""
    if isinstance(value, dict):
        return [
            mistake
            for key, member in value.items()
            for mistake in (
                _json_mistakes(member, f"{path}.{key}".lstrip("."))
                if isinstance(key, str)
                else [f"{where}the key {key!r} must be a text: quote it"]
            )
        ]
    if isinstance(value, list):
        return [
            mistake
            for place, member in enumerate(value, 1)
            for mistake in _json_mistakes(member, f"{path}.{place}".lstrip("."))
        ]
    if isinstance(value, str):
        return [f"{where}has a character that can not be sent"] if _UNSENDABLE.search(value) else []
    if value is None or isinstance(value, bool):
        return []
    if isinstance(value, (int, float)):
        fits = math.isfinite(value) and (isinstance(value, float) or abs(value) <= MAX_WHOLE)
        return [] if fits else [f"{where}{value} is not a number of JSON"]
    return [f"{where}YAML turned this into {_kind_of(value)}: quote it"]


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
    # by `type`, not isinstance, which asks a model's class in Python: that was a fifth of the time to judge an answer
    if field.type == "one_of":
        return None if isinstance(value, str) and value in field.values else f"{value!r} is not one of its values"
    if field.type == "any_of":
        if not isinstance(value, list):
            return "is not a list"
        foreign = [item for item in value if not isinstance(item, str) or item not in field.values]
        if foreign:
            return f"{foreign[0]!r} is not one of its values"
        return f"more than {field.max} values" if field.max and len(set(value)) > field.max else None
    if field.type == "boolean":
        return None if isinstance(value, bool) else "is not true or false"
    if field.type == "integer":
        fits = isinstance(value, int) and not isinstance(value, bool) and field.min <= value <= field.max
        return None if fits else f"is not a whole number from {field.min} to {field.max}"
    if not isinstance(value, str):
        return "is not a text"
    return f"longer than {field.max} characters" if len(value) > field.max else None
