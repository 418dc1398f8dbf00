"""A provider that means harm: it sends us elsewhere, says the key back, answers without end or with something else."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from connector.answer import read_answers
from connector.errors import InDoubt
from connector.provider import Provider
from connector.run import Settings
from tests.between import DOWNLOAD, LOOK, Between
from tests.lab import Lab, Server
from tests.trust import KEY

Connect = Callable[[Callable[[Request], Response]], Provider]
BATCH = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
BATCH |= {"completion_window": "24h", "status": "failed", "created_at": 1}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_neither_texts_nor_key_follow_a_redirection_to_another_address(
    connect: Connect, serve_answer: Callable[..., str], tmp_path: Path, status: int
) -> None:
    seen: list[str] = []

    def elsewhere(asked: Request) -> Response:
        seen.append(asked.method)
        return JSONResponse(BATCH)

    address = serve_answer(elsewhere)
    provider = connect(lambda asked: RedirectResponse(address + asked.url.path.removeprefix("/v1"), status))
    (tmp_path / "texts.jsonl").write_text("a text\n")
    for call in (
        lambda: provider.upload(tmp_path / "texts.jsonl", "0" * 20),
        lambda: provider.create("file-1", "key", 5.0),
        lambda: provider.retrieve("batch_1"),
        lambda: provider.download("file-1", tmp_path / "answers"),
    ):
        with pytest.raises(InDoubt, match=r"redirects to http://127\.0\.0\.1, which OPENAI_BASE_URL does not name"):
            call()
    assert seen == []


def test_only_a_file_is_read_from_another_address_over_tls_and_without_the_key(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect(lambda _: RedirectResponse("https://127.0.0.1:9/file", 302))
    provider._client = provider._client.with_options(max_retries=0)
    with pytest.raises(InDoubt) as doubt:
        provider.download("file-1", tmp_path / "answers")
    assert "redirects" not in doubt.value.message


def test_a_redirection_within_the_address_is_followed(connect: Connect) -> None:
    def answer(asked: Request) -> Response:
        if asked.url.path == "/v1/batches/batch_1":
            return RedirectResponse("/v1/elsewhere", 307)
        return JSONResponse({**BATCH, "status": asked.headers["authorization"].removeprefix("Bearer ")[:2]})

    assert connect(answer).retrieve("batch_1").status == "sk"


def test_a_key_that_the_provider_says_back_is_kept_nowhere(lab: Lab, server: Server, between: Between) -> None:
    message = f"Incorrect API key provided: {KEY}\nfor \x1b[2Jyou"
    errors = {"object": "list", "data": [{"code": f"no_{KEY}", "message": message, "line": None, "param": None}]}

    def change(answer: Any) -> Response:
        counts = {"total": 0, "completed": 0, "failed": 0}
        nothing = {"output_file_id": None, "error_file_id": None, "request_counts": counts}
        return JSONResponse({**answer.json(), "status": "failed", "errors": errors, **nothing})

    between.change(LOOK, change)
    between.change("GET /v1/batches", lambda answer: JSONResponse(answer.json(), 200, {"openai-organization": KEY}))
    said: list[str] = []
    summary = lab.run(Provider(KEY, between.base_url), say=said.append)
    assert "Incorrect API key provided: ***" in summary.problems[0]
    assert KEY not in "".join((*said, *summary.problems))
    assert KEY.encode() not in lab.database.read_bytes()
    assert lab.sql("select reason from main_labels.label_events where event = 'refused'") == [("no_***",)]
    assert lab.sql("select organisation from main_labels.label_events where event = 'planned'") == [("***",)]


def test_a_key_in_an_answer_is_stars_in_the_warehouse_wherever_the_chunks_end(
    lab: Lab, server: Server, between: Between
) -> None:
    def change(answer: Any) -> Response:
        lines = [json.loads(line) for line in answer.content.splitlines()]
        for line in lines:
            line["response"]["body"]["choices"][0]["message"]["content"] = f"my key is {KEY}, is it not"
        return Response(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    between.change(DOWNLOAD, change)
    lab.edit_task(run={"max_output_tokens": 50, "max_attempts": 1})
    lab.run(Provider(KEY, between.base_url))
    assert {raw for (raw,) in lab.sql("select raw from main_labels.comment_labels")} == {
        f"my key is {'*' * len(KEY)}, is it not"
    }


@pytest.mark.parametrize("size", [1, 7, len(KEY) - 1, len(KEY), len(KEY) + 1, 1000])
def test_stars_are_as_many_as_the_key_is_long(connect: Connect, tmp_path: Path, size: int) -> None:
    content = f"{KEY}a{KEY[:-1]}b{KEY}{KEY}c{KEY[:5]}{KEY}".encode()
    pieces = [content[place : place + size] for place in range(0, len(content), size)]
    provider = connect(lambda _: StreamingResponse(iter(pieces)))
    assert provider.download("file-1", tmp_path / "answers") == len(content)
    assert (tmp_path / "answers").read_bytes() == content.replace(KEY.encode(), b"*" * len(KEY))


def test_a_file_that_unpacks_without_end_is_left_and_its_batch_stays(
    lab: Lab, server: Server, between: Between
) -> None:
    lab.run(Provider(KEY, between.base_url), Settings(poll_seconds=0.01, grace_seconds=60, once=True))
    bomb = gzip.compress(b"\n" * (200 << 20), 1)
    assert len(bomb) < 1 << 20
    headers = {"content-encoding": "gzip", "content-length": str(len(bomb))}
    between.change(DOWNLOAD, lambda _: Response(bomb, headers=headers))
    summary = lab.run(Provider(KEY, between.base_url))
    assert "that answers can have" in summary.problems[0]
    assert lab.states() == ["ended"]
    between.heal()
    assert lab.run(Provider(KEY, between.base_url)).labelled == 3


def _zipped(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../answers.jsonl", content)
    return made.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, _zipped, lambda _: b"", lambda content: content[::-1]])
def test_a_packed_or_broken_file_is_no_answer_and_loses_none(
    lab: Lab, server: Server, between: Between, pack: Callable[[bytes], bytes]
) -> None:
    packed: list[int] = []

    def once(answer: Any) -> Response | None:
        packed.append(1)
        return Response(pack(answer.content)) if len(packed) == 1 else None

    between.change(DOWNLOAD, once)
    lab.run(Provider(KEY, between.base_url))
    lab.run(Provider(KEY, between.base_url))
    assert len(packed) > 1
    assert len(lab.labels()) == 3
    assert set(lab.outcomes()) <= {"labelled", "failed:unavailable"}


def test_a_line_of_somebody_else_is_nobody_s_answer_and_stops_nothing(
    lab: Lab, server: Server, between: Between
) -> None:
    strange = {"response": {"status_code": 401, "body": {"error": {"code": "invalid_api_key", "message": "x"}}}}
    ids = ["../../../x", "0" * 20 + "-0", "' or 1=1 --", "\x1b[2J"]
    lines = b"".join(json.dumps({"custom_id": name, **strange}).encode() + b"\n" for name in ids)
    between.change(DOWNLOAD, lambda answer: Response(lines + answer.content))
    summary = lab.run(Provider(KEY, between.base_url))
    assert (summary.labelled, summary.problems) == (3, [])


def test_ids_of_the_provider_name_no_other_endpoint(connect: Connect) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        asked.append(request.scope["raw_path"].decode())
        return JSONResponse(BATCH)

    provider = connect(answer)
    for name in ("../../../etc/passwd", "../files?x=", "a/b#c", "%2e%2e/x"):
        provider.retrieve(name)
        provider.cancel(name)
    assert len(asked) == 8
    named = [path.removeprefix("/v1/batches/").removesuffix("/cancel") for path in asked]
    assert not [name for name in named if re.search("[/?#]", name)]


def test_a_batch_with_a_key_of_somebody_else_s_making_is_left_alone(lab: Lab, server: Server, tmp_path: Path) -> None:
    server.faults(slow={"seconds": 3600})
    lab.run(Provider(KEY, server.base_url), Settings(poll_seconds=0.01, grace_seconds=60, once=True))
    server.faults()
    for table in ("label_events", "label_claims"):
        lab.sql(f"update main_labels.{table} set batch_key = '../../../../outside'")
    summary = lab.run(Provider(KEY, server.base_url), Settings(poll_seconds=0.01, grace_seconds=0, once=True))
    assert "can not read what it was sent with" in summary.problems[0]
    assert not list(tmp_path.rglob("outside*"))


def test_a_line_longer_than_any_answer_is_passed_over_in_parts(tmp_path: Path) -> None:
    good = b'{"custom_id": "aa-1", "response": {"status_code": 200, "body": {}}}\n'
    with (tmp_path / "long").open("wb") as handle:
        handle.write(b'{"custom_id": "bb-1", "response": {"body": "')
        for _ in range(70):
            handle.write(b"x" * (1 << 20))
        handle.write(b'"}}\n' + good)
    answers = dict(read_answers(tmp_path / "long"))
    assert set(answers) == {"aa-1", "bb-1"}
    assert len(answers["bb-1"].unreadable or "") == 1 << 20
