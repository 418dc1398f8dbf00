"""The life of a batch: validating, in_progress, finalizing, and how each end comes about."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from connector.local.answer import unrun_line
from connector.local.execution import Executor
from connector.local.faults import Faults
from connector.local.queue import Queue
from connector.local.store import UNFINISHED, Document, Store
from connector.local.validation import Verdict, batch_error, read_requests, validate

logger = logging.getLogger(__name__)
ORGANIZATION = "dbt-labels-serve"
DEFERRED_SECONDS = 2.0


class Runner:
    """Run batches in worker threads.

    A batch is taken as far as it goes now; one that has to wait is put back with the time it is due, so it holds up no
    other. `stop` ends after the chunk in hand; what is unfinished then is gone on with by the next runner on the store.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        faults: Faults,
        *,
        known_models: frozenset[str],
        queue: Queue,
        workers: int,
    ) -> None:
        self._store = store
        self._faults = faults
        self._executor = executor
        self._known_models = known_models
        self._queue = queue
        self._due: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._wakeup = threading.Condition()
        self._hurries = 0
        self._stopping = False
        self._threads = [threading.Thread(target=self._work, name=f"batch-{n}", daemon=True) for n in range(workers)]

    def start(self) -> None:
        """Start the workers and go on with every unfinished batch."""
        for batch_id, account, model, tokens in self._store.enqueued():
            self._queue.restore(batch_id, account, model, tokens)
        for batch_id in self._store.unfinished_batches():
            self.add(batch_id)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the chunks in hand."""
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify_all()
        for thread in self._threads:
            thread.join()

    def add(self, batch_id: str, due: float = 0.0) -> None:
        """Take a batch on, not before `due` (seconds since 1970)."""
        with self._wakeup:
            heapq.heappush(self._due, (due, next(self._order), batch_id))
            self._wakeup.notify()

    def hurry(self) -> None:
        """Look at every waiting batch now, because one was cancelled or the faults are others."""
        with self._wakeup:
            self._hurries += 1
            self._due = [(0.0, n, waiting) for _, n, waiting in self._due]
            heapq.heapify(self._due)
            self._wakeup.notify_all()

    def _work(self) -> None:
        while (batch_id := self._next()) is not None:
            hurries = self._hurries
            due = self._advance(batch_id)
            if due is not None:
                with self._wakeup:  # nobody hurries between the look and the adding
                    self.add(batch_id, due if hurries == self._hurries else 0.0)

    def _next(self) -> str | None:
        with self._wakeup:
            while not self._stopping:
                wait = self._due[0][0] - time.time() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._wakeup.wait(wait)
            return None

    def _advance(self, batch_id: str) -> float | None:
        """Take a batch as far as it goes now; return when to come back, or None where it is over."""
        batch = self._store.batch(batch_id)
        if batch is None or batch["status"] not in UNFINISHED:
            return None
        if "_plan" not in batch and not self._validate(batch):
            return None
        return self._execute(batch_id)

    # Validation

    def _validate(self, batch: Document) -> bool:
        verdict = self._judge(batch)
        plan: Document = {}
        stop = None if verdict.errors else self._faults.stop_after(verdict.total)
        if stop is not None:
            plan = {"end": stop[0], "rows": stop[1], "listed": self._faults.find("expire_unlisted") is None}
        slow = self._faults.find("slow")
        if slow is not None:
            plan["not_before"] = time.time() + slow.seconds

        def change(document: Document) -> None:
            if verdict.errors:
                document["errors"] = {"object": "list", "data": verdict.errors}
                _enter(document, "failed", self._store.now())
                return
            document["model"] = verdict.model
            document["request_counts"]["total"] = verdict.total
            document["_plan"] = plan
            if document["status"] == "validating":
                _enter(document, "in_progress", self._store.now())

        self._store.change_batch(batch["id"], change)
        if verdict.errors:
            self._queue.leave(batch["id"])
            self._store.release_input(batch["id"])
        return not verdict.errors

    def _judge(self, batch: Document) -> Verdict:
        fault = self._faults.strike("fail_validation")
        if fault is not None:
            error = batch_error(fault.code or "invalid_request", fault.message or "This batch was told to fail.")
            return Verdict([error], 0, None, 0)
        if not self._store.hold_input(batch["id"], batch["input_file_id"]):
            return _file_is_gone(batch)
        with self._open_input(batch) as handle:
            verdict = validate(handle, self._known_models)
        if verdict.errors:
            return verdict

        def name_model(document: Document) -> None:
            document["model"] = verdict.model

        self._store.change_batch(batch["id"], name_model)
        if self._queue.enter(batch["id"], self._store.owner(batch["id"]), str(verdict.model), verdict.tokens):
            self._store.remember_enqueued(batch["id"], verdict.tokens)
            return verdict
        message = (
            f"Enqueued token limit reached for {verdict.model} in organization {ORGANIZATION}. "
            f"Limit: {self._queue.limit:,} enqueued tokens. "
            "Please try again once some in_progress batches have been completed."
        )
        return Verdict([batch_error("token_limit_exceeded", message)], 0, verdict.model, 0)

    @contextmanager
    def _open_input(self, batch: Document) -> Iterator[BinaryIO]:
        # Binary lines end with \n alone: U+2028 and the like may stand inside one.
        with self._store.input_path(batch["id"]).open("rb") as handle:
            yield handle

    # Execution

    def _execute(self, batch_id: str) -> float | None:
        batch = self._store.batch(batch_id)
        if batch is None:
            return None
        account, plan = self._store.owner(batch_id), batch.get("_plan", {})
        total = batch["request_counts"]["total"]
        stop_at = plan.get("rows", total)
        not_before = plan.get("not_before", 0.0)
        slow = self._faults.find("slow")
        waiting = time.time() < not_before and (slow is None or slow.seconds > 0)
        target = min(stop_at, total // 2) if waiting else stop_at
        answered = self._store.answered_lines(batch_id)
        with self._open_input(batch) as handle:
            pending = (r for r in read_requests(handle) if r.number not in answered)
            done = len(answered)
            while done < target and self._status(batch_id) != "cancelling":
                if self._stopping:
                    return math.inf
                answers, taken = self._executor.run(pending, target - done)
                self._store.save_answers(account, batch_id, answers)
                if len(answers) < taken:
                    return time.time() + DEFERRED_SECONDS
                done += taken
        if self._status(batch_id) == "cancelling":
            self._finish(batch_id, account, "cancelled", listed=True)
        elif waiting:
            return float(not_before)
        elif time.time() < batch.get("_lasts_until", 0.0):
            return float(batch["_lasts_until"])
        else:
            self._finish(batch_id, account, plan.get("end", "completed"), listed=plan.get("listed", True))
        return None

    def _status(self, batch_id: str) -> str:
        batch = self._store.batch(batch_id)
        return "failed" if batch is None else str(batch["status"])

    # The end

    def _finish(self, batch_id: str, account: str, end: str, *, listed: bool) -> None:
        def begin(document: Document) -> None:
            if document["status"] == "in_progress":
                if end == "cancelled":
                    _enter(document, "cancelling", self._store.now())
                else:
                    _enter(document, "finalizing", self._store.now())

        batch = self._store.change_batch(batch_id, begin)
        # A cancel that came in just before `begin` wins; one that comes later finds the batch finalizing.
        end = "cancelled" if batch["status"] == "cancelling" else end
        outputs = self._store.shuffled_lines(batch_id, errors=False)
        errors = self._store.shuffled_lines(batch_id, errors=True)
        if end != "completed" and (listed or end == "cancelled"):
            errors = itertools.chain(errors, self._unrun_lines(batch, end))
        output, error = self._write(outputs), self._write(errors)
        # Before anyone can see the end: who sees it may fill the queue anew.
        self._queue.leave(batch_id)
        nothing = "" if self._faults.find("error_file_id_empty_string") else None

        def close(document: Document) -> None:
            document["output_file_id"] = output and output[0]
            document["error_file_id"] = error[0] if error else nothing
            _enter(document, end, self._store.now())

        with self._store.transaction():
            for name, written in (("output", output), ("error", error)):
                if written is not None:
                    self._store.add_file(account, written[0], f"{batch_id}_{name}.jsonl", "batch_output", written[1])
            self._store.change_batch(batch_id, close)
            self._store.forget_answers(batch_id)
        self._store.release_input(batch_id)
        logger.info("batch %s %s: %d requests", batch_id, end, batch["request_counts"]["total"])

    def _unrun_lines(self, batch: Document, end: str) -> Iterator[bytes]:
        answered = self._store.answered_lines(batch["id"])
        with self._open_input(batch) as handle:
            for request in read_requests(handle):
                if request.number not in answered:
                    yield unrun_line(request.custom_id, end) + b"\n"

    def _write(self, lines: Iterator[bytes]) -> tuple[str, int] | None:
        first = next(lines, None)
        return None if first is None else self._store.write_content(itertools.chain((first,), lines))


def _enter(document: Document, status: str, now: int) -> None:
    document["status"] = status
    document[f"{status}_at"] = now


def _file_is_gone(batch: Document) -> Verdict:
    message = f"Cannot find file {batch['input_file_id']}, or organization {ORGANIZATION} does not have access to it."
    return Verdict([batch_error("invalid_request", message, param="file_id")], 0, None, 0)
