"""Answers, wording and names that mean harm: nothing is said twice, nothing is told at length, nothing is rendered."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.judgement import judge_batch
from connector.ledger import Claim
from connector.result import judge
from connector.source import source_yaml
from connector.task import CONFIDENCE, Task
from connector.warehouse.declaration import parse_task
from tests.test_packing import CLAIMS, IDS, PACKED, _row, _said
from tests.test_result import CLAIM, GOOD, TASK, _completion, _error
from tests.test_task import BLOCK, SENTIMENT


def _twice(said: dict[str, Any], name: str, value: Any) -> str:
    """Return an object that says a name a second time, at its end."""
    return f"{json.dumps(said)[:-1]}, {json.dumps(name)}: {json.dumps(value)}}}"


@pytest.mark.parametrize("value", ["good", "bad"])
def test_an_answer_that_says_a_field_twice_is_no_label(value: str) -> None:
    outcome = judge(TASK, CLAIM, _completion(_twice(GOOD, "mood", value)))
    assert (outcome.outcome, outcome.reason) == ("failed", "invalid")


@pytest.mark.parametrize(("name", "value"), [("id", IDS[1]), ("mood", "bad")])
def test_a_packed_row_that_says_a_name_twice_speaks_for_nobody(name: str, value: Any) -> None:
    rows = [_twice(_row(IDS[0]), name, value), json.dumps(_row(IDS[1])), json.dumps(_row(IDS[2]))]
    answer = _completion(f'{{"rows": [{", ".join(rows)}]}}')
    outcomes = judge_batch(PACKED, CLAIMS, [("b-0", answer)]).outcomes
    assert _said(outcomes) == ["failed:unpacked", "labelled", "labelled"]
    assert [(outcome.values or {}).get("mood") for outcome in outcomes] == [None, "good", "good"]


def test_a_second_list_of_rows_speaks_for_nobody() -> None:
    rows = [_row(item_id) for item_id in IDS]
    answer = _completion(_twice({"rows": rows}, "rows", [_row(item_id, mood="bad") for item_id in IDS]))
    assert _said(judge_batch(PACKED, CLAIMS, [("b-0", answer)]).outcomes) == ["failed:unpacked"] * 3


def test_a_provider_that_says_a_request_back_is_quoted_shortly_and_on_one_line() -> None:
    answers = {f"b-{number}": _error(400, "bad", "no:\n" + "a text " * 10_000) for number in range(3)}
    judged = judge_batch(TASK, [Claim(custom_id, "key", 1) for custom_id in answers], answers.items())
    assert judged.stop is not None
    assert len(judged.stop.message) == 300
    assert "\n" not in judged.stop.message


_PIECES = ["{", "}", "%", "#", "{{", "}}", "{% endraw %}", "{% raw %}", "{{ 1 / 0 }}", "{#", "#}", "a", "'", " "]


@settings(deadline=None)
@given(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=8).map("".join))
def test_a_description_is_rendered_as_it_stands(about: str) -> None:
    block = {**BLOCK, "fields": [{**SENTIMENT, "description": f"x{about}x"}]}
    task = parse_task("comments_to_label", block)
    assert isinstance(task, Task)
    [table] = yaml.safe_load(source_yaml([task]))["sources"][0]["tables"]
    written = next(column["description"] for column in table["columns"] if column["name"] == "sentiment")
    assert jinja2.Environment().from_string(written).render() == f"x{about}x One of: positive, negative."


def test_a_field_whose_confidence_is_too_long_for_a_column_is_refused() -> None:
    field = {**SENTIMENT, "name": "a" * (64 - len(CONFIDENCE))}
    run = {"confidence": True}
    params = {"reasoning_effort": "none"}
    mistakes = parse_task("m", {**BLOCK, "fields": [field], "run": run, "params": params})
    assert mistakes == [f"fields: `{field['name']}{CONFIDENCE}` is too long for a column: choose a shorter name"]
    shorter = {**field, "name": field["name"][1:]}
    assert isinstance(parse_task("m", {**BLOCK, "fields": [shorter], "run": run, "params": params}), Task)


@pytest.mark.parametrize("character", ["\x7f", "\x9b", "\x85", "\x1b"])
def test_a_value_with_a_control_character_is_refused(character: str) -> None:
    mistakes = parse_task("m", {**BLOCK, "fields": [{**SENTIMENT, "values": [f"a{character}b", "c"]}]})
    assert mistakes == [f"`fields.1.values`: {f'a{character}b'!r} has a control character"]
