"""A batch lives as it does at OpenAI: created, validated later, run, ended, listed."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from connector.local import AddressUnusable, LocalServer, MissingExtra, ServerSettings, StateInUse, settings
from tests.limit import LONGEST_SECONDS


def test_a_batch_answers_every_request_once_in_another_order(lab: Any) -> None:
    client = lab.open()
    batch = lab.run(client, lab.lines(200), metadata={"dbt_labels_batch": "k"})
    assert batch.status == "completed"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (200, 200, 0)
    assert batch.metadata == {"dbt_labels_batch": "k"}
    assert batch.error_file_id is None
    assert batch.model == "gpt-6-luna"
    output = lab.read(client, batch.output_file_id)
    order = [line["custom_id"] for line in output]
    assert sorted(order) == sorted(line["custom_id"] for line in lab.lines(200))
    assert order != [line["custom_id"] for line in lab.lines(200)]
    assert sum(line["response"]["body"]["usage"]["total_tokens"] for line in output) == batch.usage.total_tokens


def test_a_new_batch_is_still_validating_when_create_returns(client: openai.OpenAI, shared_lab: Any) -> None:
    batch = shared_lab.create_from(client, shared_lab.upload(client, b"not json\n"))
    assert batch.status == "validating"
    assert shared_lab.finish(client, batch.id).status == "failed"


def test_an_output_line_has_the_shape_of_a_chat_completion(client: openai.OpenAI, shared_lab: Any) -> None:
    batch = shared_lab.run(client, shared_lab.lines(1))
    (line,) = shared_lab.read(client, batch.output_file_id)
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert line["error"] is None
    assert set(line["response"]) == {"status_code", "request_id", "body"}
    parsed = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
    assert parsed.choices[0].finish_reason == "stop"
    assert parsed.usage
    assert parsed.usage.completion_tokens_details
    assert "instant" in (parsed.system_fingerprint or "")


def test_the_same_text_always_gets_the_same_answer(client: openai.OpenAI, shared_lab: Any) -> None:
    batches = [shared_lab.run(client, [shared_lab.line(n, "same text")]) for n in range(2)]
    answers = [shared_lab.read(client, b.output_file_id)[0]["response"]["body"]["choices"] for b in batches]
    assert answers[0] == answers[1]


def test_lines_end_with_line_feeds_only(client: openai.OpenAI, shared_lab: Any) -> None:
    import json

    content = b"".join(
        json.dumps(shared_lab.line(n, f"a\u2028b\u2029c\x85d {n}"), ensure_ascii=False).encode() + b"\n" for n in (1, 2)
    )
    batch = shared_lab.run(client, content + b"\n")
    assert batch.request_counts.total == 2
    assert batch.status == "completed"


def test_each_execution_is_recorded_with_the_hash_of_its_text(lab: Any) -> None:
    client = lab.open()
    batch = lab.run(client, lab.lines(3))
    executions = lab.executions(client)
    assert {e["content_sha256"] for e in executions} == {
        hashlib.sha256(f"text {n}".encode()).hexdigest() for n in range(3)
    }
    assert {(e["batch_id"], e["model"]) for e in executions} == {(batch.id, "gpt-6-luna")}


def test_paging_over_250_other_batches_finds_every_batch_once(lab: Any) -> None:
    client = lab.open()
    first = lab.create(client, lab.lines(1))
    assert lab.control(client).post("/local/batches", json={"count": 250}).json() == {"created": 250}
    last = lab.create(client, lab.lines(1))
    ids = [batch.id for batch in client.batches.list(limit=100)]
    assert len(ids) == len(set(ids)) == 252
    assert (ids[0], ids[-1]) == (last, first)
    page = client.batches.list(limit=100)
    assert page.has_more
    assert len(page.data) == 100
    rest = client.batches.list(limit=100, after=ids[199])
    assert not rest.has_more
    assert [b.id for b in rest.data] == ids[200:]


def test_a_list_limit_out_of_range_is_refused(client: openai.OpenAI) -> None:
    for limit in (0, 101):
        with pytest.raises(openai.BadRequestError) as caught:
            client.batches.list(limit=limit)
        assert caught.value.param == "limit"


def test_a_cancelled_batch_keeps_what_was_done_and_lists_what_was_not(lab: Any) -> None:
    client = lab.open(faults={"slow": 3600})
    batch_id = lab.create(client, lab.lines(10))
    lab.wait(lambda: client.batches.retrieve(batch_id).request_counts.completed == 5)
    assert client.batches.cancel(batch_id).status == "cancelling"
    batch = lab.finish(client, batch_id)
    assert batch.status == "cancelled"
    assert batch.cancelled_at
    done = {line["custom_id"] for line in lab.read(client, batch.output_file_id)}
    errors = lab.read(client, batch.error_file_id)
    assert len(done) == 5
    assert len(errors) == 5
    assert {line["custom_id"] for line in errors} | done == {f"c{n}" for n in range(10)}
    assert all(line["response"] is None and line["error"]["code"] == "batch_cancelled" for line in errors)
    assert client.batches.cancel(batch_id).status == "cancelled"


def test_a_finished_batch_can_not_be_cancelled(client: openai.OpenAI, shared_lab: Any) -> None:
    batch = shared_lab.run(client, shared_lab.lines(1))
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_a_slow_batch_holds_up_no_other(lab: Any) -> None:
    client = lab.open(workers=1, faults={"slow": 3600})
    slow = [lab.create(client, lab.lines(2)) for _ in range(3)]
    lab.wait(lambda: all(client.batches.retrieve(i).status == "in_progress" for i in slow))
    lab.control(client).put("/local/faults", json={})
    assert lab.run(client, lab.lines(2)).status == "completed"
    assert {client.batches.retrieve(i).status for i in slow} == {"in_progress"}


def test_slow_batches_go_on_once_slow_is_0(lab: Any) -> None:
    client = lab.open(workers=2, faults={"slow": 3600})
    slow = [lab.create(client, lab.lines(2)) for _ in range(3)]
    lab.wait(lambda: all(client.batches.retrieve(i).request_counts.completed == 1 for i in slow))
    lab.control(client).put("/local/faults", json={"slow": 0})
    lab.wait(lambda: all(client.batches.retrieve(i).status == "completed" for i in slow))


def test_a_killed_server_goes_on_without_executing_a_line_twice(lab: Any) -> None:
    process, base_url = lab.spawn("--fault", "slow=3600")
    client = lab.client(base_url)
    batch_id = lab.create(client, lab.lines(3000))
    waiting = lab.create(client, lab.lines(1))
    lab.wait(lambda: client.batches.retrieve(batch_id).request_counts.completed == 1500)
    process.send_signal(signal.SIGKILL)
    process.wait()
    forget_the_wait(lab.directory / "state" / "state.sqlite")

    _, base_url = lab.spawn()
    client = lab.client(base_url)
    batch = lab.finish(client, batch_id)
    assert batch.status == "completed"
    assert batch.request_counts.completed == 3000
    assert len({line["custom_id"] for line in lab.read(client, batch.output_file_id)}) == 3000
    assert lab.finish(client, waiting).status == "completed"
    executed = [(e["batch_id"], e["custom_id"]) for e in lab.executions(client)]
    assert len(executed) == len(set(executed)) == 3001


def test_a_server_killed_at_any_moment_stores_each_execution_with_its_answer(lab: Any) -> None:
    process, base_url = lab.spawn()
    client = lab.client(base_url)
    batch_id = lab.create(client, lab.lines(4000))
    lab.wait(lambda: client.batches.retrieve(batch_id).request_counts.completed > 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, base_url = lab.spawn()
    client = lab.client(base_url)
    batch = lab.finish(client, batch_id)
    executed = [e["custom_id"] for e in lab.executions(client)]
    assert len(executed) == len(set(executed)) == 4000
    assert len(lab.read(client, batch.output_file_id)) == 4000


def forget_the_wait(path: Path) -> None:
    """Make a slow batch of a dead server due now."""
    import sqlite3

    with sqlite3.connect(path) as database:
        database.execute("update batches set document = json_remove(document, '$._plan.not_before')")
    database.close()


def test_a_server_in_this_process_resumes_its_batches_too(lab: Any) -> None:
    with lab.server(faults={"slow": 3600}) as server:
        client = lab.client(server.base_url)
        batch_id = lab.create(client, lab.lines(10))
        lab.wait(lambda: client.batches.retrieve(batch_id).request_counts.completed == 5)
    client = lab.open(faults={"slow": 0})
    assert lab.finish(client, batch_id).request_counts.completed == 10
    assert len(lab.executions(client)) == 10


def test_sigterm_ends_a_server_cleanly(lab: Any) -> None:
    process, _ = lab.spawn()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=LONGEST_SECONDS) == 0


def test_two_servers_on_one_state_directory_are_refused(lab: Any) -> None:
    lab.serve()
    with pytest.raises(StateInUse, match="state"):
        lab.serve()
    command = [sys.executable, "-m", "connector.local", "--state-dir", str(lab.directory / "state"), "--token", "t"]
    root = Path(__file__).resolve().parents[2]
    second = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    assert second.returncode == 1
    assert "another server" in second.stderr
    assert "Traceback" not in second.stderr


def test_state_is_readable_by_its_owner_only_and_holds_no_token(lab: Any) -> None:
    server = lab.serve(tokens=("very-secret-token",))
    client = lab.client(server.base_url, "very-secret-token")
    lab.run(client, lab.lines(2))
    state = lab.directory / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    files = [Path(root) / name for root, _, names in os.walk(state) for name in names]
    assert len(files) > 3
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert b"very-secret-token" not in path.read_bytes()


def test_a_batch_takes_fifty_thousand_requests(lab: Any) -> None:
    client = lab.open()
    batch_id = lab.create(client, lab.lines(50_000))

    def ended() -> Any:
        batch = client.batches.retrieve(batch_id)
        return batch if batch.status == "completed" else None

    batch = lab.wait(ended, pause_seconds=0.2)
    assert batch.request_counts.completed == 50_000
    assert client.files.retrieve(batch.output_file_id).bytes > 50_000 * 100


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: Any, tmp_path: Path) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'dbt-labels\[local\]'"):
        LocalServer(ServerSettings(state_dir=tmp_path)).__enter__()


def test_importing_the_package_imports_no_server_and_no_model() -> None:
    heavy = "{'uvicorn', 'starlette', 'numpy', 'onnxruntime', 'openai'}"
    code = f"import sys, connector.local; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_port_in_use_is_named(lab: Any) -> None:
    port = int(lab.serve().base_url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(AddressUnusable, match=str(port)):
        lab.serve("another", port=port)


def test_settings_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    no_url = {"engine": "upstream", "upstream_url": "localhost:11434/v1"}
    zeros = ({"workers": 0}, {"batches_an_hour": 0})
    for wrong in ({"engine": "magic"}, {"tokens": ()}, {"engine": "upstream"}, *zeros, no_url):
        with pytest.raises(settings.InvalidSettings):
            ServerSettings(state_dir=tmp_path, **wrong)
