"""Batch objects as the API shows them: created, listed, retrieved and cancelled."""

from __future__ import annotations

import math
import time

from connector.local.faults import Faults
from connector.local.problem import Problem
from connector.local.rate import HourlyRate
from connector.local.runner import Runner
from connector.local.store import Document, Store, new_id
from connector.local.validation import ENDPOINT, check_create

WINDOW_SECONDS = 24 * 3600
STAMPS = ("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at")


class Batches:
    """Answer what clients ask about batches; the runner does the work."""

    def __init__(self, store: Store, runner: Runner, faults: Faults, rate: HourlyRate) -> None:
        self._store = store
        self._runner = runner
        self._faults = faults
        self._rate = rate

    def create(self, account: str, parameters: object) -> Document:
        """Create a batch and hand it to the runner.

        Like OpenAI's, this takes an unknown input file and fails the batch afterwards. A file of another purpose is
        refused.
        """
        asked = check_create(parameters)
        file = self._store.file(account, asked["input_file_id"])
        if file is not None and file["purpose"] != "batch":
            message = f"Invalid value: the purpose of the input file is '{file['purpose']}', not 'batch'."
            raise Problem(400, message, code="invalid_value", param="input_file_id")
        self._take_turn(account)
        metadata = None if self._faults.find("drop_metadata") else asked.get("metadata")
        document = new_batch(asked["input_file_id"], self._store.now(), metadata)
        duration = self._faults.find("duration")
        if duration is not None:
            document["_lasts_until"] = time.time() + duration.seconds
        self._faults.lag(document["id"])
        self._store.add_batches(account, [document])
        self._runner.add(document["id"])
        return _show(document)

    def _take_turn(self, account: str) -> None:
        seconds = self._rate.take(account)
        if seconds is not None:
            message = f"Rate limit reached for batches: {self._rate.most} an hour. Please try again in {seconds:.0f}s."
            raise Problem(
                429, message, code="rate_limit_exceeded", kind="requests", retry_after=max(1, math.ceil(seconds))
            )

    def retrieve(self, account: str, batch_id: str) -> Document:
        """Show a batch."""
        document = _show(self._find(account, batch_id))
        if document["status"] == "completed" and self._faults.strike("output_id_null_first", subject=batch_id):
            document["output_file_id"] = None
        return document

    def list(self, account: str, after: str | None, limit: int) -> tuple[list[Document], bool]:
        """Show a page of batches, newest first, and whether there are more."""
        hidden = self._faults.lagging(first_page=after is None)
        documents = self._store.batches(account, after, limit + 1, hidden)
        if documents is None:
            raise _no_batch(str(after))
        return [_show(d) for d in documents[:limit]], len(documents) > limit

    def cancel(self, account: str, batch_id: str) -> Document:
        """Ask the runner to stop a batch after the chunk in hand."""
        self._find(account, batch_id)

        def change(document: Document) -> None:
            if document["status"] in ("validating", "in_progress"):
                document["status"] = "cancelling"
                document["cancelling_at"] = self._store.now()
            elif document["status"] not in ("cancelling", "cancelled"):
                raise Problem(409, f"Cannot cancel a batch with status '{document['status']}'.")

        document = self._store.change_batch(batch_id, change)
        self._runner.hurry()
        return _show(document)

    def look_again(self) -> None:
        """Look at every batch that waits, because the faults are others."""
        self._runner.hurry()

    def make_finished(self, account: str, count: int) -> int:
        """Create completed batches of no requests."""
        now = self._store.now()
        documents = []
        for _ in range(count):
            document = new_batch(new_id("file-"), now, None)
            document.update(status="completed", in_progress_at=now, finalizing_at=now, completed_at=now, _plan={})
            documents.append(document)
        self._store.add_batches(account, documents)
        return count

    def _find(self, account: str, batch_id: str) -> Document:
        document = self._store.batch(batch_id, account)
        if document is None:
            raise _no_batch(batch_id)
        return document


def new_batch(input_file_id: str, now: int, metadata: Document | None) -> Document:
    """Build the object of a batch that begins to be validated."""
    return {
        "id": new_id("batch_"),
        "object": "batch",
        "endpoint": ENDPOINT,
        "model": None,
        "errors": None,
        "input_file_id": input_file_id,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "expires_at": now + WINDOW_SECONDS,
        **dict.fromkeys(STAMPS),
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": metadata,
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
    }


def _show(document: Document) -> Document:
    return {key: value for key, value in document.items() if not key.startswith("_")}


def _no_batch(batch_id: str) -> Problem:
    return Problem(404, f"No batch found with id '{batch_id}'.")
