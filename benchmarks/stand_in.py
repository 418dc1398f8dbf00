"""A provider that takes no time, for measuring the connector alone: files stay on this disk, batches end when told to.

What it answers are lines as the local server writes them. A thousand are made with its instant engine; all others are
those under the ids that were asked.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Set
from pathlib import Path

from benchmarks.process import Stopwatch
from connector.ledger import Identity
from connector.local.answer import answered_line, completion
from connector.local.engine import InstantEngine
from connector.local.usage import PromptCache, count_usage
from connector.provider import Provider, RemoteBatch, RemoteFile

_SAMPLE = 1_000
_ID_BEGINS = len('{"custom_id":"')
_HOLE = "0-0"


class StandIn(Provider):
    """A provider in a folder, which other processes go on with. What it does is counted to `provider`.

    With `is_done` every batch is completed, else none is. `keeps_input` keeps the input files for a look at them.
    """

    def __init__(self, folder: Path, watch: Stopwatch, is_done: bool, keeps_input: bool = False) -> None:
        super().__init__("no-key", "http://127.0.0.1:9/v1")
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._is_done = is_done
        self._keeps_input = keeps_input
        self._lines: list[tuple[bytes, bytes]] = []
        self.uploaded_bytes = 0
        for name in ("upload", "download", "list_batches", "retrieve"):
            setattr(self, name, watch.wrap("provider", getattr(self, name)))

    def identify(self) -> Identity:
        """Return who answers."""
        return Identity("http://127.0.0.1:9/v1")

    def check_model(self, model: str) -> None:
        """Know every model."""

    def upload(self, path: Path, batch_key: str) -> RemoteFile:
        """Take a file, and write what will be answered at once."""
        file_id = f"file-{batch_key}"
        size = path.stat().st_size
        self.uploaded_bytes += size
        self._answer(path, self._folder / f"{file_id}.output")
        if self._keeps_input:
            os.link(path, self._folder / f"{file_id}.input")
        return RemoteFile(file_id, int(time.time()), size)

    def create(self, file_id: str, batch_key: str, timeout_seconds: float) -> RemoteBatch:
        """Make the batch of a file."""
        return self._batch(f"batch-{file_id}")

    def list_batches(self, ids: Set[str], since: int) -> dict[str, RemoteBatch]:
        """Return these batches."""
        return {batch_id: self._batch(batch_id) for batch_id in ids}

    def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return one batch."""
        return self._batch(batch_id)

    def see_file(self, file_id: str) -> RemoteFile:
        """Return a file's size."""
        return RemoteFile(file_id, 0, (self._folder / file_id).stat().st_size)

    def download(self, file_id: str, path: Path, most_bytes: int = 1 << 40) -> int:
        """Copy a file; it is never too large."""
        shutil.copyfile(self._folder / file_id, path)
        return path.stat().st_size

    def delete_file(self, file_id: str) -> None:
        """Leave it."""

    def _batch(self, batch_id: str) -> RemoteBatch:
        file_id = batch_id.removeprefix("batch-")
        output = f"{file_id}.output" if self._is_done else None
        return RemoteBatch(
            id=batch_id,
            status="completed" if self._is_done else "in_progress",
            batch_key=None,
            input_file_id=file_id,
            output_file_id=output,
            error_file_id=None,
            completed=0,
            failed=0,
            errors=(),
        )

    def _answer(self, questions: Path, answers: Path) -> None:
        with questions.open("rb") as lines:
            if not self._lines:
                self._lines = [_answered(line) for line, _ in zip(lines, range(_SAMPLE), strict=False)]
                lines.seek(0)
            ids = [line[_ID_BEGINS : line.index(b'"', _ID_BEGINS)] for line in lines]
        random.Random(7).shuffle(ids)
        with answers.open("wb") as output:
            for number, custom_id in enumerate(ids):
                head, tail = self._lines[number % len(self._lines)]
                output.write(head + custom_id + tail)


def _answered(question: bytes) -> tuple[bytes, bytes]:
    """Return what is before and after the id in the line that answers a request."""
    body = json.loads(question)["body"]
    [reply] = InstantEngine().answer([body])
    usage = count_usage(body, reply, PromptCache())
    line = answered_line(_HOLE, 200, completion(body, reply, usage, "instant", int(time.time())))
    head, _, tail = line.partition(f'"custom_id": "{_HOLE}"'.encode())
    assert tail, "the server writes its ids so"
    return head + b'"custom_id": "', b'"' + tail + b"\n"
