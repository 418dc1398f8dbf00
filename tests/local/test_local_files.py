"""The Files, Models and chat endpoints behave as OpenAI's do."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import openai
import pytest


def test_a_file_comes_back_byte_for_byte_and_is_gone_once_deleted(shared_lab: Any, client: openai.OpenAI) -> None:
    content = "a\u2028b\r\nc".encode()
    file = client.files.create(file=("input.jsonl", content), purpose="batch")
    assert (file.bytes, file.purpose, file.filename) == (len(content), "batch", "input.jsonl")
    assert file.expires_at == file.created_at + 30 * 24 * 3600
    assert client.files.content(file.id).content == content
    assert client.files.delete(file.id).deleted
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            ask(file.id)


def test_files_are_listed_newest_first_by_page(lab: Any) -> None:
    client = lab.open()
    ids = [lab.upload(client, b"x") for _ in range(5)]
    assert [f.id for f in client.files.list(limit=2)] == ids[::-1]
    assert [f.id for f in client.files.list(order="asc", after=ids[1])] == ids[2:]
    assert not list(client.files.list(purpose="fine-tune"))


def test_an_upload_may_say_when_it_expires(client: openai.OpenAI) -> None:
    expires: Any = {"anchor": "created_at", "seconds": 3600}
    too_soon: Any = {**expires, "seconds": 1}
    file = client.files.create(file=("a.jsonl", b"x"), purpose="batch", expires_after=expires)
    assert file.expires_at == file.created_at + 3600
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a.jsonl", b"x"), purpose="batch", expires_after=too_soon)
    assert caught.value.param == "expires_after.seconds"


def test_an_upload_of_another_purpose_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a.jsonl", b"x"), purpose="fine-tune")
    assert caught.value.param == "purpose"


def test_a_file_above_200_mb_is_refused_before_it_is_read(client: openai.OpenAI) -> None:
    headers = {"Content-Length": str(300 * 1024 * 1024), "Authorization": "Bearer token-a"}
    assert status_of_head_alone(f"{client.base_url}files", headers) == 413


def status_of_head_alone(url: str, headers: dict[str, str]) -> int:
    """Send a request's head, and no body, and read the answer's status."""
    target = httpx.URL(url)
    with socket.create_connection((target.host, target.port or 80)) as connection:
        lines = [f"POST {target.path} HTTP/1.1", f"Host: {target.host}", *(f"{k}: {v}" for k, v in headers.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(64).split()[1])


def test_a_wrong_or_missing_token_is_an_authentication_error(shared_lab: Any, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        shared_lab.client(str(client.base_url), "wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    reply = httpx.get(f"{client.base_url}models")
    assert reply.status_code == 401
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_every_response_says_whose_it_is_and_the_project_outlives_the_server(lab: Any) -> None:
    seen = []
    for _ in range(2):
        with lab.server(tokens=("token-a", "token-b")) as server:
            for token in server.settings.tokens:
                client = lab.client(server.base_url, token)
                headers = client.models.with_raw_response.list().headers
                assert headers["openai-organization"] == "dbt-labels-serve"
                assert headers["x-request-id"]
                assert headers["date"]
                seen.append(headers["openai-project"])
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]


def test_an_account_does_not_see_the_files_and_batches_of_another(lab: Any) -> None:
    server = lab.serve(tokens=("token-a", "token-b"))
    mine, other = lab.client(server.base_url, "token-a"), lab.client(server.base_url, "token-b")
    file_id = lab.upload(mine, lab.lines(1))
    batch = lab.finish(mine, lab.create_from(mine, file_id).id)
    for ask, what in ((other.files.retrieve, file_id), (other.files.content, file_id), (other.files.delete, file_id)):
        with pytest.raises(openai.NotFoundError):
            ask(what)
    for ask in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            ask(batch.id)
    assert not list(other.files.list())
    assert not list(other.batches.list())
    assert lab.executions(other) == []
    assert len(lab.executions(mine)) == 1
    stolen = lab.finish(other, lab.create_from(other, file_id).id)
    assert stolen.status == "failed"


def test_unknown_models_are_not_found_and_named_ones_are(lab: Any) -> None:
    client = lab.open(models=("my-model",))
    assert {"gpt-6-luna", "my-model"} <= {m.id for m in client.models.list()}
    assert client.models.retrieve("my-model").id == "my-model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-0")
    assert caught.value.code == "model_not_found"


def test_an_unknown_route_answers_in_openais_shape(client: openai.OpenAI) -> None:
    reply = httpx.post(f"{client.base_url}nothing", headers={"Authorization": "Bearer token-a"})
    assert reply.status_code == 404
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_a_chat_completion_follows_its_schema_and_is_recorded(lab: Any) -> None:
    client = lab.open()
    body = lab.line(1, "hello")["body"]
    first, second = (client.chat.completions.create(**body) for _ in range(2))
    answer = json.loads(first.choices[0].message.content or "")
    assert set(answer) == {"sentiment", "themes", "note"}
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.usage
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    executions = lab.executions(client)
    assert len(executions) == 2
    assert executions[0]["batch_id"] is None
    assert executions[0]["content_sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.mark.parametrize("raw", [b"{", b'{"messages": "\\ud800"}', b"\xff", b"[" * 100_000, b"[]"])
def test_a_body_that_is_no_json_object_is_refused(client: openai.OpenAI, raw: bytes) -> None:
    for route in ("chat/completions", "batches"):
        reply = httpx.post(f"{client.base_url}{route}", content=raw, headers={"Authorization": "Bearer token-a"})
        assert reply.status_code == 400
        assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_broken_form_is_refused(client: openai.OpenAI) -> None:
    headers = {"Authorization": "Bearer token-a", "Content-Type": "multipart/form-data"}
    reply = httpx.post(f"{client.base_url}files", content=b"x", headers=headers)
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_an_answer_longer_than_the_limit_is_cut(client: openai.OpenAI, shared_lab: Any) -> None:
    body = shared_lab.line(1, "hello", max_completion_tokens=3)["body"]
    choice = client.chat.completions.create(**body).choices[0]
    assert choice.finish_reason == "length"
    assert len(choice.message.content or "") <= 12


def test_stats_count_files_batches_executions_and_requests_by_route(lab: Any) -> None:
    client = lab.open()
    lab.run(client, lab.lines(3))
    stats = lab.control(client).get("/local/stats").json()
    assert (stats["files"], stats["batches"], stats["executions"]) == (2, 1, 3)
    assert stats["requests"]["create_batch"] == 1
