"""Reading a task: what is taken, and what each mistake says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.errors import TaskError
from connector.task import MAX_SCHEMA_CHARACTERS, OWN_COLUMNS, Task, answer_mistakes
from connector.warehouse.declaration import Declaration, parse_task, read_tasks

SENTIMENT = {"name": "sentiment", "type": "one_of", "values": ["positive", "negative"]}
THEMES = {"name": "themes", "type": "any_of", "values": {"acting": "how they play", "plot": None}, "max": 1}
SPAM = {"name": "spam", "type": "boolean"}
STARS = {"name": "stars", "type": "integer", "min": 1, "max": 5}
GIST = {"name": "gist", "type": "text", "max": 20}
BLOCK: dict[str, Any] = {
    "table": "comment_labels",
    "text": "comment_text",
    "model": "gpt-6-luna",
    "instructions": "Label the comment.",
    "fields": [SENTIMENT, THEMES, SPAM, STARS, GIST],
}
ANSWER = {"sentiment": "positive", "themes": ["plot"], "spam": False, "stars": 3, "gist": "fine"}


def _mistakes(**changes: Any) -> list[str]:
    block = {key: value for key, value in {**BLOCK, **changes}.items() if value is not ...}
    parsed = parse_task("comments_to_label", block)
    assert isinstance(parsed, list), "there should be a mistake"
    return parsed


def _field(**changes: Any) -> dict[str, Any]:
    return {"fields": [{**SENTIMENT, **changes}]}


def _project(folder: Path, block: Any, yaml: str | None = None, model: str = "comments_to_label") -> Declaration:
    if yaml is not None:
        (folder / f"{model}.yml").write_text(yaml)
    return Declaration(model, block, f"{model}.sql", f"{model}.yml" if yaml is not None else None, in_sql=yaml is None)


def _as_yaml(block: str, model: str = "comments_to_label") -> str:
    head = f"models:\n  - name: {model}\n    config:\n      meta:\n        dbt_labels:\n"
    return head + "".join(f"          {line}\n" for line in block.splitlines())


def test_a_task_with_every_type_of_field_is_read_with_its_defaults() -> None:
    task = parse_task("comments_to_label", BLOCK)
    assert isinstance(task, Task)
    assert [field.name for field in task.fields] == ["sentiment", "themes", "spam", "stars", "gist"]
    assert (task.name, task.version, task.params, task.examples) == ("comments_to_label", 1, {}, ())
    assert (task.run.max_output_tokens, task.run.max_attempts) == (200, 3)


@pytest.mark.parametrize("key", ["table", "text", "model", "fields"])
def test_a_missing_key_is_named(key: str) -> None:
    assert _mistakes(**{key: ...}) == [f"`{key}` is missing"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tabel": "x"}, "`tabel` is not a key of a task: did you mean `table`?"),
        ({"instruction_file": "x"}, "`instruction_file` is not a key of a task: did you mean `instructions_file`?"),
        ({"colour": "x"}, "`colour` is not a key of a task"),
        ({"name": "x"}, "`name` is not a key of a task"),
        ({"run": {"budget": 5}}, "`run.budget` is not a key of `run`: did you mean `budget_usd`?"),
        (
            {"run": {"rows_a_request": 5}},
            "`run.rows_a_request` is not a key of `run`: did you mean `rows_per_request`?",
        ),
        (_field(max=2), "`fields.1.max` is not a key of `fields.1`"),
        ({"fields": [SENTIMENT, {"type": "boolean"}]}, "`fields.2.name` is missing"),
        ({"fields": [{"name": "x"}]}, "`fields.1.type` is missing: one of any_of, boolean, integer, one_of, text"),
        (_field(type="choice"), "`fields.1.type` must be one of any_of, boolean, integer, one_of, text"),
        ({"fields": [{"name": "stars", "type": "integer", "min": 1}]}, "`fields.1.max` is missing"),
    ],
)
def test_an_unknown_or_missing_key_is_named_with_its_place(changes: dict[str, Any], said: str) -> None:
    assert _mistakes(**changes) == [said]


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-5.1", "o4-mini"])
def test_confidence_of_a_reasoning_model_needs_it_not_to_reason(model: str) -> None:
    sure: dict[str, Any] = {"model": model, "run": {"confidence": True}}
    for params in ({}, {"reasoning_effort": "low"}):
        [mistake] = _mistakes(**sure, params=params)
        assert "`params: {reasoning_effort: none}`" in mistake
    for fit in ({"params": {"reasoning_effort": "none"}}, {"model": "gpt-4.1-mini"}):
        assert isinstance(parse_task("m", {**BLOCK, **sure, **fit}), Task)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "YAML turned this into `true`: quote it"),
        (False, "YAML turned this into `false`: quote it"),
        (1, "YAML turned this into 1: quote it"),
        (1.5, "YAML turned this into 1.5: quote it"),
        (None, "YAML turned this into null: quote it"),
        ([1], "must be a word or a text, not a list: quote it"),
        ({"a": 1}, "must be a word or a text, not a mapping: quote it"),
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\ud800", "can not be sent"),
    ],
)
@pytest.mark.parametrize("place", ["values", "descriptions", "description", "model", "instructions"])
def test_what_yaml_made_of_an_unquoted_word_is_said_with_the_fix(place: str, value: Any, said: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "values": _field(values=["yes", "no", value]),
        "descriptions": _field(values={"yes": value, "no": "not"}),
        "description": _field(description=value),
        "model": {"model": value},
        "instructions": {"instructions": value},
    }
    if value is None and place in ("descriptions", "description"):
        assert isinstance(parse_task("m", {**BLOCK, **changes[place]}), Task)
        return
    [mistake] = _mistakes(**changes[place])
    assert said in mistake
    assert (place if place in ("model", "instructions") else "fields.1.") in mistake


def test_every_value_that_yaml_turned_into_something_else_is_said_at_once() -> None:
    [mistake] = _mistakes(**_field(values=[True, False, True, 1]))
    assert mistake.count("quote it") == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (_field(values=["yes", "no", "yes"]), "`yes` appears twice"),
        (_field(values=["yes"]), "has 1 values; 2 to 1000 are possible"),
        (_field(values=[]), "has 0 values"),
        (_field(values="yes"), "must be a list of values, or value: description"),
        (_field(values=[f"value {number}" for number in range(1001)]), "has 1001 values"),
        (_field(values=[f"{number}".rjust(60, "x") for number in range(251)]), "have 15060 characters"),
        (_field(values=["a\nb", "c"]), "has a control character"),
        ({"fields": [SENTIMENT, SENTIMENT]}, "`fields`: `sentiment` appears twice"),
        ({"fields": []}, "`fields`: at least one is needed"),
        ({"fields": [{**STARS, "min": 6}]}, "min 6 is above max 5"),
        ({"fields": [{**STARS, "max": 2**53}]}, "must be less than or equal to 9007199254740991"),
        ({"fields": [{**GIST, "max": 0}]}, "must be greater than or equal to 1"),
        ({"fields": [{**THEMES, "max": 0}]}, "must be greater than or equal to 1"),
    ],
)
def test_empty_duplicate_or_impossible_values_are_refused(changes: dict[str, Any], said: str) -> None:
    assert said in "\n".join(_mistakes(**changes))


def test_fields_that_fit_alone_but_not_in_one_schema_are_refused() -> None:
    many = [{**SENTIMENT, "name": f"f{n}", "values": [f"v{m}" for m in range(600)]} for n in range(2)]
    assert "1200 values in all" in _mistakes(fields=many)[0]
    long = [{**SENTIMENT, "name": "f", "values": ["a" * MAX_SCHEMA_CHARACTERS, "b"]}]
    assert "120002 characters in all" in _mistakes(fields=long)[0]


@pytest.mark.parametrize("name", ["Sentiment", "2nd", "a b", "a-b", "größe", "a" * 64, "a\n", "_a", "__proto__"])
def test_a_name_that_column_and_schema_can_not_both_carry_is_refused(name: str) -> None:
    assert "can not be a column and a JSON key" in _mistakes(**_field(name=name))[0]
    assert "can not be a table's name" in _mistakes(table=name)[0]


@pytest.mark.parametrize("name", sorted(OWN_COLUMNS))
def test_a_field_can_not_take_the_name_of_a_column_of_ours(name: str) -> None:
    assert "is a column of every table of labels" in _mistakes(**_field(name=name))[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": "label_claims"}, "is a table of the ledger"),
        ({"text": "a b"}, "can not be a column's name"),
        ({"text": "sentiment"}, "fields: `sentiment` is the text's column"),
        (_field(name="text"), "`text` is the text itself in `examples`"),
        ({"params": {"max_tokens": 5, "messages": []}}, "dbt-labels sets `max_tokens`, `messages` itself"),
        ({"params": {"temperature": float("nan")}}, "`temperature`: nan is not a number of JSON"),
        ({"params": {"seed": 2**64}}, "is not a number of JSON"),
        ({"params": {"metadata": {1: "x"}}}, "`metadata`: the key 1 must be a text: quote it"),
        ({"params": {1: "x"}}, "the key 1 in `params` must be a text: quote it"),
        ({True: "x"}, "YAML turned a key into `true`"),
        ({3: "x"}, "`3` is not a key of a task"),
    ],
)
def test_names_and_params_that_are_ours_or_not_json_are_refused(changes: dict[Any, Any], said: str) -> None:
    parsed = parse_task("m", {**BLOCK, **changes})
    assert isinstance(parsed, list)
    assert said in "\n".join(parsed)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "1"}, "`version` must be a whole number, not '1'"),
        ({"version": 1.0}, "`version` must be a whole number, not 1.0"),
        ({"version": True}, "`version` must be a whole number, not True"),
        ({"version": 0}, "`version`: must be greater than or equal to 1"),
        ({"version": 2**31}, "`version`: must be less than or equal to"),
        ({"fields": "x"}, "`fields` must be a list, not 'x'"),
        ({"fields": ["x"]}, "`fields.1` must be a mapping of keys, not 'x'"),
        ({"params": []}, "`params` must be a mapping of keys, not []"),
        ({"run": 3}, "`run` must be a mapping of keys, not 3"),
        ({"run": {"max_attempts": 0}}, "`run.max_attempts`: must be greater than or equal to 1"),
        ({"run": {"max_output_tokens": "9"}}, "`run.max_output_tokens` must be a whole number, not '9'"),
        ({"examples": {"text": "x"}}, "`examples` must be a list"),
        ({"examples": ["x"]}, "`examples.1` must be a mapping of keys, not 'x'"),
        ({"examples": [{True: "x"}]}, "the key True in `examples.1` must be a text: quote it"),
    ],
)
def test_a_value_of_the_wrong_type_is_said_with_what_it_is(changes: dict[str, Any], said: str) -> None:
    [mistake] = _mistakes(**changes)
    assert said in mistake


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": ...}, "examples.1: `text`: is empty"),
        ({"text": True}, "examples.1: `text`: YAML turned this into `true`: quote it"),
        ({"sentiment": ...}, "examples.1: `sentiment` is missing"),
        ({"sentiment": "fine"}, "examples.1: `sentiment`: 'fine' is not one of its values"),
        ({"themes": "plot"}, "examples.1: `themes`: is not a list"),
        ({"themes": ["plot", "acting"]}, "examples.1: `themes`: more than 1 values"),
        ({"spam": "yes"}, "examples.1: `spam`: is not true or false"),
        ({"stars": 6}, "examples.1: `stars`: is not a whole number from 1 to 5"),
        ({"stars": True}, "examples.1: `stars`: is not a whole number"),
        ({"gist": "x" * 21}, "examples.1: `gist`: longer than 20 characters"),
        ({"mood": "x"}, "examples.1: `mood` is not a field"),
    ],
)
def test_an_example_is_held_to_the_fields(change: dict[str, Any], said: str) -> None:
    example = {key: value for key, value in {"text": "Fine.", **ANSWER, **change}.items() if value is not ...}
    [mistake] = _mistakes(examples=[example])
    assert said in mistake


def test_all_mistakes_of_a_task_come_at_once() -> None:
    mistakes = _mistakes(
        tabel="x", model=..., version="1", fields=[{**SENTIMENT, "values": [True, "a"]}, {**STARS, "name": "Stars"}]
    )
    assert len(mistakes) == 5


@pytest.mark.parametrize("answer", [ANSWER, {**ANSWER, "themes": []}, {**ANSWER, "gist": ""}])
def test_an_answer_that_fits_the_fields_has_no_mistakes(answer: dict[str, Any]) -> None:
    task = parse_task("m", BLOCK)
    assert isinstance(task, Task)
    assert answer_mistakes(task.fields, answer) == []


def test_a_task_comes_back_the_same_from_the_snapshot_of_a_batch() -> None:
    task = parse_task("m", {**BLOCK, "examples": [{"text": "Fine.", **ANSWER}], "params": {"reasoning_effort": "none"}})
    assert isinstance(task, Task)
    assert Task.model_validate(json.loads(task.model_dump_json()), strict=False) == task


# Blocks in files


def test_instructions_come_from_their_file(tmp_path: Path) -> None:
    (tmp_path / "wording.md").write_text("Braces stay: {{ target }}\n", encoding="utf-8-sig")
    block = {**BLOCK, "instructions_file": "wording.md"}
    del block["instructions"]
    [task], notes = read_tasks([_project(tmp_path, block)], tmp_path)
    assert (task.instructions, notes) == ("Braces stay: {{ target }}\n", [])


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nope.md", "nope.md can not be read: No such file or directory"),
        ("empty.md", "empty.md is empty"),
        ("latin.md", "latin.md is not UTF-8"),
        (".", "can not be read: Is a directory"),
        ("", "`instructions_file` must be a path"),
        (None, "`instructions_file` must be a path"),
        (3, "`instructions_file` must be a path"),
    ],
)
def test_an_unreadable_or_empty_file_of_instructions_is_named_beside_the_other_mistakes(
    tmp_path: Path, named: Any, said: str
) -> None:
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "latin.md").write_bytes(b"gr\xf6\xdfe")
    block = {**BLOCK, "instructions_file": named, "version": "1"}
    del block["instructions"]
    with pytest.raises(TaskError) as caught:
        read_tasks([_project(tmp_path, block)], tmp_path)
    assert "comments_to_label.sql: model `comments_to_label`: `instructions_file`" in caught.value.message
    assert said in caught.value.message
    assert "`version` must be a whole number" in caught.value.message
    assert "`instructions`" not in caught.value.message


def test_instructions_twice_or_not_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="exclude each other: keep one"):
        read_tasks([_project(tmp_path, {**BLOCK, "instructions_file": "x.md"})], tmp_path)
    without = {key: value for key, value in BLOCK.items() if key != "instructions"}
    with pytest.raises(TaskError, match="`instructions` or `instructions_file` is missing"):
        read_tasks([_project(tmp_path, without)], tmp_path)


@pytest.mark.parametrize("block", [None, [], "x", 3, True])
def test_a_block_that_is_no_mapping_is_refused(tmp_path: Path, block: Any) -> None:
    with pytest.raises(TaskError, match="`dbt_labels` must be a mapping of keys"):
        read_tasks([_project(tmp_path, block)], tmp_path)


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("fields: [{name: a, type: one_of, values: {x: one, x: two}}]", "`fields.1.values`: `x` appears twice"),
        ("table: a\ntable: b", "`table` appears twice"),
        ("fields: [{name: a, values: [2024-01-01, b]}]", "`fields.1.values.1`: YAML turned this into the date"),
        ("fields: [{name: a, values: {2024-01-01: x}}]", "`fields.1.values`: YAML turned this into the date"),
        ("instructions: 2024-01-01", "`instructions`: YAML turned this into the date 2024-01-01: quote it"),
    ],
)
def test_what_dbt_hides_of_the_yaml_is_said_all_the_same(tmp_path: Path, yaml: str, said: str) -> None:
    with pytest.raises(TaskError) as caught:
        read_tasks([_project(tmp_path, BLOCK, _as_yaml(yaml))], tmp_path)
    assert f"comments_to_label.yml: model `comments_to_label`: {said}" in caught.value.message


@pytest.mark.parametrize(
    ("yaml", "changed"),
    [
        ('instructions: "Use {{ target.name }}."', True),
        ("instructions: 'A {# comment #}'", True),
        ("instructions: 'Label {% raw %}the{% endraw %} {{ comment }}.'", True),
        ("instructions: '{% raw %}Label{%- endraw -%} the comment.'", False),
        ("instructions: |\n  Label the comment.\n", False),
        ("instructions: Label the comment.", False),
        ("model: \"{{ env_var('MODEL') }}\"", False),
    ],
)
def test_instructions_that_jinja_changed_are_noted_with_a_pointer_to_instructions_file(
    tmp_path: Path, yaml: str, changed: bool
) -> None:
    _, notes = read_tasks([_project(tmp_path, BLOCK, _as_yaml(yaml))], tmp_path)
    assert bool(notes) == changed
    for note in notes:
        assert "dbt rendered the braces in `instructions`" in note
        assert "name it in `instructions_file`" in note


def test_descriptions_that_jinja_changed_are_noted_with_raw_blocks(tmp_path: Path) -> None:
    yaml = _as_yaml("fields:\n  - {name: sentiment, type: one_of, values: {positive: 'like {{ 1 }}', negative: x}}")
    block = {**BLOCK, "fields": [{**SENTIMENT, "values": {"positive": "like 1", "negative": "x"}}]}
    _, [note] = read_tasks([_project(tmp_path, block, yaml)], tmp_path)
    assert "the braces in `fields`" in note
    assert "{% raw %}" in note


def test_two_tasks_with_one_table_are_refused_by_name(tmp_path: Path) -> None:
    both = [_project(tmp_path, BLOCK, model="first"), _project(tmp_path, BLOCK, model="second")]
    with pytest.raises(TaskError, match="models `first`, `second`: two tasks with one table, `comment_labels`"):
        read_tasks(both, tmp_path)


def test_a_block_that_a_folder_hands_to_several_models_is_refused_and_names_them(tmp_path: Path) -> None:
    inherited = [Declaration(name, BLOCK, f"{name}.sql", None, in_sql=False) for name in ("stg", "marts")]
    own = _project(tmp_path, {**BLOCK, "table": "own"}, _as_yaml("table: own"))
    with pytest.raises(TaskError, match="landed on several models: `stg`, `marts`; move it to the YAML"):
        read_tasks([*inherited, own], tmp_path)
    [one], _ = read_tasks(inherited[:1], tmp_path)
    assert one.name == "stg"


def test_the_mistakes_of_all_tasks_come_at_once(tmp_path: Path) -> None:
    wrong = [_project(tmp_path, {**BLOCK, "version": "x"}, model=name) for name in ("first", "second")]
    with pytest.raises(TaskError) as caught:
        read_tasks(wrong, tmp_path)
    assert [line.partition(": `")[0] for line in caught.value.message.splitlines()] == [
        "first.sql: model `first`",
        "second.sql: model `second`",
    ]
    assert caught.value.hint is not None
    assert "docs/task.md" in caught.value.hint
