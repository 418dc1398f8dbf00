"""Sending: from pending texts to a batch at the provider, every step written down before it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from connector.errors import InDoubt, ProviderError, RateLimited
from connector.ledger import TOKEN_LIMIT, State, exceeds_queue
from connector.request import make_template
from connector.run import Run
from connector.shard import MAX_REQUESTS, Shard, TooLarge, write_shards
from connector.task import Task
from connector.warehouse.lease import DURATION_SECONDS
from connector.warehouse.texts import read_spool, spool_texts

# shorter than the rest of a lease that was renewed just before
CREATE_SECONDS = DURATION_SECONDS / 5
# a queue that others fill is asked again after 1, 2, 4, ... rounds, and after so many refusals with less
_LONGEST_PAUSE_ROUNDS = 32
_PATIENT_REFUSALS = 6


@dataclass
class Outbox:
    """What is left to send for a task: all pending texts first, then those to be tried again."""

    task: Task
    began: bool = False
    shards: Iterator[Shard | TooLarge] | None = None
    max_requests: int = field(default_factory=lambda: MAX_REQUESTS)
    sent_from: set[str] = field(default_factory=set)
    waiting: int = 0
    is_checked: bool = False
    refusals: int = 0
    pause_rounds: int = 0
    last_refused: str | None = None

    def is_done(self, run: Run) -> bool:
        """Tell whether nothing is left to send, nor can become free again by what has happened so far."""
        nothing_left = self.began and self.shards is None and run.resendable() <= self.sent_from
        return nothing_left or self.task.table in run.stopped


def fill(run: Run, outbox: Outbox) -> None:
    """Read the texts to send: once all that are pending, later those of batches whose texts became free again."""
    free = run.resendable()
    if outbox.shards is not None or (outbox.began and free <= outbox.sent_from):
        return
    path = run.folder / f"{outbox.task.table}.arrow"
    limit, of_batches = (None, sorted(free)) if outbox.began else (run.settings.limit, None)
    spooled = spool_texts(run.project, outbox.task, path, limit, of_batches)
    outbox.began, outbox.waiting = True, spooled
    outbox.sent_from = free
    if spooled:
        template = make_template(outbox.task)
        outbox.shards = write_shards(read_spool(path), template, run.folder, lambda: outbox.max_requests)


def send(run: Run, outbox: Outbox) -> None:
    """Send shard after shard until nothing is left, or the provider wants us to wait or stop."""
    while outbox.shards is not None and not outbox.pause_rounds:
        shard = next(outbox.shards, None)
        if shard is None:
            outbox.shards = None
        elif isinstance(shard, TooLarge):
            said = f"its request alone has {shard.bytes} bytes"
            run.ledger.reject(outbox.task, shard, "too_large", said)
            run.rejected += 1
        elif not send_shard(run, outbox.task, shard):
            return


def send_shard(run: Run, task: Task, shard: Shard) -> bool:
    """Claim, upload, create; tell whether to go on with the next shard.

    A crash at any point leaves what `recovery` needs. What certainly was not created is released at once.
    """
    ledger, key = run.ledger, shard.batch_key
    ledger.claim(shard, task, run.identity)
    run.sent.add(key)
    ledger.record(key, State.UPLOADING, task)
    try:
        file = run.provider.upload(shard.path, f"dbt-labels-{key}.jsonl")
    except ProviderError as error:
        ledger.record(key, State.RELEASED, task, reason="upload_failed", message=error.message)
        run.freed.add(key)
        return _wait_or_raise(run, error)
    finally:
        shard.path.unlink(missing_ok=True)
    ledger.record(key, State.UPLOADED, task, input_file_id=file.id, file_created_at=file.created_at)
    ledger.record(key, State.CREATING, task)
    try:
        batch = run.provider.create(file.id, key, CREATE_SECONDS)
    except InDoubt as error:
        run.say(f"batch {key}: {error.message}; it is looked for before anything is sent again")
        return False
    except ProviderError as error:
        ledger.record(key, State.RELEASED, task, reason="create_refused", message=error.message)
        run.freed.add(key)
        with suppress(ProviderError):  # it expires by itself
            run.provider.delete_file(file.id)
        return _wait_or_raise(run, error)
    # written without the lease as well: that the batch exists is true whoever holds it
    ledger.record(key, State.SUBMITTED, task, leased=False, provider_batch_id=batch.id)
    run.submitted.append(key)
    run.say(f"batch {key} submitted as {batch.id}: {len(shard.claims)} texts of task `{task.name}`")
    return True


def _wait_or_raise(run: Run, error: ProviderError) -> bool:
    if not isinstance(error, (InDoubt, RateLimited)):
        raise error
    run.hesitate(error)
    run.say(f"{error.message}; trying again later")
    return False


def make_room(run: Run, outbox: Outbox) -> None:
    """After a refusal for the queue's limit: wait for our own batches to end; without any in it, wait or send less.

    How much less and how long is told by the ledger's newest batch, so that a run from cron goes on where the last was.
    """
    newest = run.ledger.newest_refusal(outbox.task, TOKEN_LIMIT)
    if newest is None:
        outbox.refusals = outbox.pause_rounds = 0
        return
    live = run.ledger.batches(run.tables, [State.SUBMITTED])
    if any(batch.task.model == outbox.task.model for batch in live):
        outbox.pause_rounds = 1
        return
    if newest.batch_key == outbox.last_refused:
        outbox.pause_rounds = max(0, outbox.pause_rounds - 1)
        return
    outbox.last_refused, outbox.refusals = newest.batch_key, outbox.refusals + 1
    exceeds = exceeds_queue(newest.input_bytes, newest.message)
    if exceeds is not False or outbox.refusals > _PATIENT_REFUSALS:
        outbox.max_requests = newest.claims // 2 or (MAX_REQUESTS if exceeds else 1)
    if not exceeds and not run.settings.once:
        outbox.pause_rounds = min(2**outbox.refusals, _LONGEST_PAUSE_ROUNDS)
