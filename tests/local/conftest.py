"""A laboratory for the local batch server: real servers, real clients, and the requests they exchange."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from connector.local import LocalServer, ServerSettings
from tests.limit import limited

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 300.0
MODEL = "gpt-6-luna"
FIELDS: dict[str, Any] = {
    "sentiment": {"type": "string", "enum": ["positive", "negative", "neutral"]},
    "themes": {"type": "array", "items": {"type": "string", "enum": ["acting", "plot", "price"]}, "maxItems": 2},
    "note": {"type": "string", "description": "what the text says"},
}
Line = dict[str, Any]


def schema_format(fields: dict[str, Any]) -> dict[str, Any]:
    """Build a strict `response_format` of these fields."""
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "labels", "strict": True, "schema": schema}}


def packed_format(fields: dict[str, Any], name: str = "rows") -> dict[str, Any]:
    """Build the strict `response_format` of rows that have an id and these fields."""
    row = schema_format({"id": {"type": "integer"}, **fields})["json_schema"]["schema"]
    return schema_format({name: {"type": "array", "items": row}})


class Lab:
    """Start servers and clients, and close them all at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._resources = ExitStack()

    def close(self) -> None:
        """Close everything, the newest first."""
        self._resources.close()

    def serve(self, state: str = "state", **settings: Any) -> LocalServer:
        """Start a server in this process."""
        return self._resources.enter_context(self.server(state, **settings))

    def server(self, state: str = "state", **settings: Any) -> LocalServer:
        """Make a server that the test itself starts and stops."""
        settings.setdefault("tokens", ("token-a",))
        return LocalServer(ServerSettings(state_dir=self.directory / state, **settings))

    def spawn(self, *arguments: str, state: str = "state") -> tuple[subprocess.Popen[str], str]:
        """Start a server as a process of its own; return it and its base URL."""
        command = [sys.executable, "-m", "connector.local", "--state-dir", str(self.directory / state)]
        process = subprocess.Popen(
            [*command, "--token", "token-a", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._resources.enter_context(process)
        self._resources.callback(process.kill)
        assert process.stdout is not None
        with limited(process):
            ready = json.loads(process.stdout.readline())
        assert ready["pid"] == process.pid
        return process, ready["base_url"]

    def client(self, base_url: str, token: str = "token-a") -> openai.OpenAI:
        """Open an openai client that never retries."""
        client = openai.OpenAI(base_url=base_url, api_key=token, max_retries=0)
        self._resources.callback(client.close)
        return client

    def open(self, **settings: Any) -> openai.OpenAI:
        """Start a server and open a client on it."""
        return self.client(self.serve(**settings).base_url)

    def control(self, client: openai.OpenAI) -> httpx.Client:
        """Open a client of the control endpoints."""
        url = str(client.base_url).removesuffix("v1/")
        headers = {"Authorization": f"Bearer {client.api_key}"}
        # Without certificates to load, a client is made in no time.
        control = httpx.Client(base_url=url, headers=headers, timeout=DEADLINE_SECONDS, verify=False)
        return self._resources.enter_context(control)

    def line(self, number: int, text: str | None = None, **body: Any) -> Line:
        """Build one request line."""
        messages = [{"role": "system", "content": "Label it."}, {"role": "user", "content": text or f"text {number}"}]
        # a reasoning model gives probabilities only where it does not reason
        effort = {"reasoning_effort": "none"} if body.get("logprobs") else {}
        asked = {"model": MODEL, "messages": messages, "response_format": schema_format(FIELDS), **effort, **body}
        return {"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": asked}

    def packed(self, number: int, texts: Sequence[str], **body: Any) -> Line:
        """Build a request line that asks several texts, under ids that have nothing to do with their order."""
        items = [{"id": 900 - 7 * place, "text": text} for place, text in enumerate(texts)]
        return self.line(number, json.dumps(items), response_format=packed_format(FIELDS), **body)

    def lines(self, count: int) -> list[Line]:
        """Build lines of different texts."""
        return [self.line(number) for number in range(count)]

    def upload(self, client: openai.OpenAI, content: bytes | list[Line]) -> str:
        """Upload an input file and return its id."""
        if isinstance(content, list):
            content = b"".join(json.dumps(line).encode() + b"\n" for line in content)
        return client.files.create(file=("input.jsonl", content), purpose="batch").id

    def create(self, client: openai.OpenAI, content: bytes | list[Line], **more: Any) -> str:
        """Upload a file, create its batch and return the batch's id."""
        return str(self.create_from(client, self.upload(client, content), **more).id)

    def create_from(self, client: openai.OpenAI, file_id: str, **more: Any) -> Any:
        """Create a batch of an uploaded file."""
        asked: dict[str, Any] = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
        return client.batches.create(input_file_id=file_id, **asked)

    def wait(self, condition: Callable[[], Any], pause_seconds: float = 0.01) -> Any:
        """Poll until a condition gives something, and return that."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := condition()):
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(pause_seconds)
        return found

    def finish(self, client: openai.OpenAI, batch_id: str) -> Any:
        """Wait until a batch is over and return it."""

        def ended() -> Any:
            batch = client.batches.retrieve(batch_id)
            return batch if batch.status in ("completed", "failed", "expired", "cancelled") else None

        return self.wait(ended)

    def run(self, client: openai.OpenAI, content: bytes | list[Line], **more: Any) -> Any:
        """Create a batch and wait until it is over."""
        return self.finish(client, self.create(client, content, **more))

    def read(self, client: openai.OpenAI, file_id: str | None) -> list[Line]:
        """Read an output or error file."""
        assert file_id
        return [json.loads(raw) for raw in client.files.content(file_id).content.split(b"\n") if raw]

    def choices(self, client: openai.OpenAI, batch: Any) -> dict[str, Any]:
        """Read the choice of each answered request by its custom id."""
        output = self.read(client, batch.output_file_id)
        return {line["custom_id"]: line["response"]["body"]["choices"][0] for line in output}

    def ask(self, client: openai.OpenAI, line: Line) -> Any:
        """Run a batch of one request and return its parsed answer."""
        (choice,) = self.choices(client, self.run(client, [line])).values()
        return json.loads(choice["message"]["content"])

    def stats(self, client: openai.OpenAI) -> dict[str, Any]:
        """Read the server's counts."""
        found: dict[str, Any] = self.control(client).get("/local/stats").json()
        return found

    def executions(self, client: openai.OpenAI) -> list[Line]:
        """Read the execution log."""
        found: list[Line] = self.control(client).get("/local/executions").json()
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Give a laboratory that cleans up after the test."""
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.close()


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give a laboratory for the tests of a module that do not disturb each other."""
    laboratory = Lab(tmp_path_factory.mktemp("lab"))
    yield laboratory
    laboratory.close()


@pytest.fixture(scope="module")
def client(shared_lab: Lab) -> openai.OpenAI:
    """Give a client of one server that a module's tests share."""
    return shared_lab.open()
