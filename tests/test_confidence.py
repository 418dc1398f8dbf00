"""Confidence: read from the provider's tokens wherever they are cut, and never made up."""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.confidence import find_rows, find_values, read_probabilities

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _json, max_size=5), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_values_are_found_where_they_stand(answer: dict[str, Any], ascii_only: bool, indent: Any) -> None:
    content = json.dumps(answer, ensure_ascii=ascii_only, indent=indent)
    spans = find_values(content)
    assert {name: json.loads(content[start:end]) for name, (start, end) in spans.items()} == answer


@given(st.lists(st.dictionaries(st.text(), _json, max_size=3), max_size=4), st.sampled_from([None, 2]))
def test_rows_are_found_where_they_stand(rows: list[dict[str, Any]], indent: Any) -> None:
    content = json.dumps({"n": 1, "rows": rows}, indent=indent)
    found = [find_values(content, place) for place in find_rows(content, find_values(content)["rows"])]
    assert [{name: json.loads(content[a:b]) for name, (a, b) in spans.items()} for spans in found] == rows


def _tokens(content: str, cuts: list[int], logprob: float) -> list[dict[str, Any]]:
    raw = content.encode()
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    pieces = [raw[a:b] for a, b in itertools.pairwise(places)]
    return [{"token": "?", "bytes": list(piece), "logprob": logprob} for piece in pieces]


@given(st.lists(st.integers(0, 200), max_size=30))
def test_a_value_has_the_probability_of_the_tokens_that_reach_into_it(cuts: list[int]) -> None:
    content = '{"mood":"größer","ok":true}'
    tokens = _tokens(content, cuts, math.log(0.5))
    found = read_probabilities(content, {"content": tokens})
    assert found is not None
    spans = find_values(content)
    start, end = (len(content[:place].encode()) for place in (spans["mood"][0] + 1, spans["mood"][1] - 1))
    reaching, place = 0, 0
    for token in tokens:
        after = place + len(token["bytes"])
        reaching += place < end and after > start
        place = after
    assert found.of(spans["mood"]) == pytest.approx(0.5**reaching)


def test_a_token_over_an_edge_belongs_to_both_values() -> None:
    content = '{"a":1,"b":2}'
    pieces = [('{"a":', 0.0), ('1,"b":2', math.log(0.25)), ("}", 0.0)]
    tokens = [{"token": text, "logprob": logprob} for text, logprob in pieces]
    found = read_probabilities(content, {"content": tokens})
    assert found is not None
    assert [round(found.of(span), 6) for span in find_values(content).values()] == [0.25, 0.25]


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": "no"},
        {"content": [None]},
        {"content": [{"token": '{"a":1}', "logprob": None}]},
        {"content": [{"token": '{"a":1}', "logprob": True}]},
        {"content": [{"token": '{"a":1}', "logprob": float("nan")}]},
        {"content": [{"token": '{"a":1}', "logprob": float("-inf")}]},
        {"content": [{"token": '{"a":2}', "logprob": -0.1}]},
        {"content": [{"token": '{"a":1', "logprob": -0.1}]},
        {"content": [{"token": "x", "bytes": [300], "logprob": -0.1}]},
        {"content": [{"token": "x", "bytes": ["a"], "logprob": -0.1}]},
    ],
)
def test_tokens_that_are_not_the_answers_give_no_confidence(logprobs: Any) -> None:
    assert read_probabilities('{"a":1}', logprobs) is None


def test_a_probability_is_never_above_one() -> None:
    tokens = [{"token": '{"a":1}', "logprob": 3}]
    found = read_probabilities('{"a":1}', {"content": tokens})
    assert found is not None
    assert found.of((5, 6)) == 1.0


def test_each_row_of_a_packed_answer_has_its_own() -> None:
    rows = [{"id": number, "mood": random.Random(number).choice(["good", "bad"])} for number in range(100)]
    content = json.dumps({"rows": rows})
    found = read_probabilities(content, {"content": [{"token": sign, "logprob": -0.01} for sign in content]})
    assert found is not None
    places = find_rows(content, find_values(content)["rows"])
    read = [found.of(find_values(content, place)["mood"]) for place in places]
    assert [round(math.log(value) / -0.01) for value in read] == [len(row["mood"]) for row in rows]
