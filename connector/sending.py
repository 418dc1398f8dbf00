"""Sending: from pending texts to a batch at the provider, every step written down before it is taken.

Before each shard the walls are looked at: the budget by what the ledger has charged, the provider's queue by what of
ours waits in it, the batches that can be created in an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from connector.backoff import Backoff
from connector.budget import has_budget, nearest_wall
from connector.errors import InDoubt, ProviderError, RateLimited, UsageError
from connector.estimate import make_estimate
from connector.ledger import TOKEN_LIMIT, State
from connector.plain import counted
from connector.price import FREE, Price, batch_price
from connector.request import make_template
from connector.run import Run, Settings
from connector.shard import NoRoom, Room, Shard, TooLarge, group, queue_share, write_shards
from connector.task import Task
from connector.warehouse.holder import DURATION_SECONDS
from connector.warehouse.money import read_charges, read_history, read_queue
from connector.warehouse.origin import count_above, count_elsewhere, count_labels_of_others
from connector.warehouse.texts import Which, count_sendable, read_spool, spool_texts

# shorter than the rest of a lease that was renewed just before
CREATE_SECONDS = DURATION_SECONDS / 5
# Batch API, batches created in an hour (platform documentation, read November 2026); a few are left to others
BATCHES_AN_HOUR = 2_000
_BATCHES_KEPT_FREE = 50
# What batches cost less than their bound is sent for again so many times; each time may be a day.
_REFILLS = 5
# a provider that never says whether it created a batch is not asked for ever
_MOST_DOUBTS = 5


@dataclass
class Outbox:
    """What is left to send for a task: all pending texts first, then those to be tried again.

    With `gold_only` only gold texts are sent: all that a pilot sends, and what a quality gate wants to see answered
    before the rest. `agreed_texts` is how many pending ones somebody has agreed to pay for, None for any number: what
    arrives later, perhaps while a gate waits for its gold, is for the next run. What came back unanswered of batches
    that were in flight then comes on top. `price` is that of the whole run. `refills` counts how
    often it has waited for the budget's room, `backoff` is what the queue's refusals ask for.
    """

    task: Task
    price: Price | None
    gold_only: bool = False
    agreed_texts: int | None = None
    sent_texts: int = 0
    began: bool = False
    shards: Iterator[Shard | TooLarge | NoRoom] | None = None
    sent_from: set[str] = field(default_factory=set)
    waiting: int = 0
    is_checked: bool = False
    output_tokens: int | None = None
    queue_limit: int | None = None
    wall: str = ""
    wall_tables: list[str] = field(default_factory=list)
    refills: int = 0
    needs_budget: bool = False
    doubts: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    waits_because: str = ""

    @property
    def rows_per_request(self) -> int:
        """Return how many texts the next request carries."""
        return self.task.run.rows_per_request if self.backoff.packs else 1

    def has_sent_all(self, run: Run) -> bool:
        """Tell whether nothing is left to send now."""
        return self.began and self.shards is None and run.resendable_batches() <= self.sent_from

    def wait(self, run: Run, why: str) -> None:
        """Say why the next shard waits, unless that was said last."""
        if why != self.waits_because:
            run.say(f"task `{self.task.name}` waits: {why}")
        self.waits_because = why

    def open_gate(self) -> None:
        """Go on from the gold texts to all that are pending."""
        self.gold_only = self.began = False

    def is_done(self, run: Run) -> bool:
        """Tell whether nothing is left to send, nor can become free again by what has happened so far."""
        if self.task.run.paused or self.task.table in run.stopped or self.task.table in run.over_budget:
            return True
        return self.has_sent_all(run) and (run.settings.pilot or not self.gold_only)


def check_budget(task: Task, settings: Settings) -> Price | None:
    """Return the price of a whole run; raises `UsageError` where there is a budget and nobody knows it.

    A paused task needs none.
    """
    price = FREE if settings.is_free else batch_price(task, settings.base_url)
    if price is None and has_budget(task, settings.budget_usd) and not task.run.paused:
        raise UsageError(
            f"task `{task.name}` has a budget, but the price of `{task.model}` is not known",
            "say what its batches cost in the task's `price` (`input_usd_per_mtok`, `output_usd_per_mtok`)",
        )
    return price


def open_outbox(task: Task, settings: Settings, has_gate: bool = False, agreed_texts: int | None = None) -> Outbox:
    """Return a task's outbox; with a gate, gold texts go first. Raises `UsageError` as `check_budget` does."""
    price = check_budget(task, settings)
    gold_only = has_gate or settings.pilot
    return Outbox(task, price, gold_only=gold_only, agreed_texts=agreed_texts)


def fill(run: Run, outbox: Outbox) -> None:
    """Read the texts to send: once all that are pending, later those of batches whose texts became free again."""
    free = run.resendable_batches()
    if outbox.shards is not None or (outbox.began and free <= outbox.sent_from):
        return
    path = run.folder / f"{outbox.task.table}.arrow"
    which: Which = "gold" if outbox.gold_only else "pending"
    limit, of_batches, came_back = None, None, list[str]()
    if outbox.began:
        of_batches = sorted(free)
    else:
        if outbox.agreed_texts is not None and (came_back := sorted(run.freed - run.sent)):
            outbox.agreed_texts += count_sendable(run.project, outbox.task, came_back, which)
        mosts = [most for most in (run.settings.limit, outbox.agreed_texts) if most is not None]
        limit = max(0, min(mosts) - outbox.sent_texts) if mosts else None
    spooled = spool_texts(run.project, outbox.task, path, limit, of_batches, which, came_back)
    outbox.sent_texts += 0 if outbox.began else spooled
    outbox.began, outbox.waiting = True, spooled
    outbox.sent_from = free
    if spooled:
        history = read_history(run.project, outbox.task)
        outbox.output_tokens = None if history is None else history.output_tokens
        requests = group(read_spool(path), lambda: outbox.rows_per_request)
        outbox.shards = write_shards(requests, make_template(outbox.task), run.folder, lambda: _room(run, outbox))


def check_origin(run: Run, outbox: Outbox) -> None:
    """Raise `UsageError` where going on would pay again, unconfirmed, or mix providers' labels.

    It pays again for texts whose labels lie in the task's earlier table, or are of a higher version.
    """
    task = outbox.task
    others = count_labels_of_others(run.project, task, run.identity)
    if others and "other-provider" not in run.settings.confirmed:
        made = ", ".join(f"{texts} by {provider}" for provider, texts in others.items())
        raise UsageError(
            f"`{task.table}` has labels of version {task.version} made by another provider: {made};"
            f" going on sends {outbox.waiting} more texts to {run.identity} and mixes the two",
            "raise `version` to label everything by this one, or go on with `--confirm other-provider`",
        )
    earlier = count_elsewhere(run.project, task, [other.table for other in run.project.tasks])
    if earlier and "moved-table" not in run.settings.confirmed:
        had = ", ".join(f"{texts} in `{table}`" for table, texts in earlier.items())
        raise UsageError(
            f"task `{task.name}` had texts in another table ({had}); `{task.table}` does not know them,"
            f" and going on sends {outbox.waiting} texts",
            "move the rows to the new table first, or pay for them again with `--confirm moved-table`",
        )
    above, version = count_above(run.project, task)
    if above and "lower-version" not in run.settings.confirmed:
        raise UsageError(
            f"task `{task.name}`: {above} texts that would be sent as version {task.version} are labelled or in flight"
            f" in version {version}",
            f"put `version: {version}` back, or pay for them again with `--confirm lower-version`",
        )


def send(run: Run, outbox: Outbox) -> None:
    """Send shard after shard until nothing is left, or provider or budget want us to wait or stop."""
    while outbox.shards is not None and not outbox.backoff.pause_rounds and not _has_to_wait(run, outbox):
        shard = next(outbox.shards, None)
        if shard is None:
            outbox.shards = None
        elif isinstance(shard, NoRoom):
            _meet_wall(run, outbox, shard)
            return
        elif isinstance(shard, TooLarge):
            said = f"its request alone has {shard.bytes} bytes"
            run.ledger.reject(outbox.task, shard, "too_large", said)
            run.rejected += 1
        elif not send_shard(run, outbox, shard):
            return


def _has_to_wait(run: Run, outbox: Outbox) -> bool:
    """Tell whether the next shard has to wait: for the budget's room, the queue's, or the hour's."""
    if outbox.needs_budget:
        # what is in flight may leave room before the wall by costing less than its bound
        if run.unresolved(outbox.wall_tables):
            return True
        outbox.needs_budget = False
    queue = read_queue(run.project, outbox.task, run.identity, run.tables, list(run.stuck))
    if queue.unsure:
        return True
    outbox.queue_limit = outbox.task.run.enqueued_tokens or queue.limit
    if queue.created >= BATCHES_AN_HOUR - _BATCHES_KEPT_FREE:
        outbox.wait(run, f"about {BATCHES_AN_HOUR:,} batches were created within an hour, as many as can be")
        return True
    limit = outbox.queue_limit
    if not limit or not queue.tokens or limit - queue.tokens >= queue_share(limit):
        outbox.waits_because = ""
        return False
    if queue.of_others == queue.tokens:
        outbox.wait(
            run,
            f"batches of other tasks or projects fill the queue of {outbox.task.model}"
            f" ({queue.tokens:,} of {limit:,} tokens)",
        )
    return True


def _room(run: Run, outbox: Outbox) -> Room:
    """Return how large the next shard may be."""
    task, limit_usd = outbox.task, run.settings.budget_usd
    left_usd = None
    if has_budget(task, limit_usd):
        wall = nearest_wall(task, read_charges(run.project, run.tables, run.ledger.run_key), limit_usd)
        left_usd, outbox.wall = wall.left_usd, wall.name
        outbox.wall_tables = run.tables if wall.is_shared else [task.table]
    has_to_count = left_usd is not None or outbox.queue_limit is not None
    return Room(
        estimate=make_estimate(task, outbox.output_tokens, counted=has_to_count),
        price=outbox.price,
        requests=outbox.backoff.max_requests,
        tokens=None if outbox.queue_limit is None else queue_share(outbox.queue_limit),
        usd=left_usd,
    )


def _meet_wall(run: Run, outbox: Outbox, met: NoRoom) -> None:
    """Wait for batches that may cost less than their bound, or stop: what is left stays pending."""
    named, waits = f"task `{outbox.task.name}`", not run.settings.once and bool(run.unresolved(outbox.wall_tables))
    if waits and outbox.refills < _REFILLS:
        outbox.refills += 1
        outbox.needs_budget = True
        run.say(f"{named} waits: more would pass {outbox.wall} before it is known what is sent cost")
        return
    room = f"no room for the next request, which costs up to {met.bound_usd:.6f} dollars"
    until = f" until it is known what is in flight cost, for which it waited {_REFILLS} times" if waits else ""
    run.over_budget[outbox.task.table] = f"{named}: {outbox.wall} has {room}{until}"


def send_shard(run: Run, outbox: Outbox, shard: Shard) -> bool:
    """Claim, upload, create; tell whether to go on with the next shard.

    A crash at any point leaves what `recovery` needs. What certainly was not created is released at once.
    """
    ledger, key, task = run.ledger, shard.batch_key, outbox.task
    ledger.claim(shard, task, run.identity, outbox.price)
    run.sent.add(key)
    try:
        file = run.provider.upload(shard.path, key)
    except ProviderError as error:
        ledger.record(key, State.RELEASED, task, reason="upload_failed", message=error.message)
        run.freed.add(key)
        return _wait_or_raise(run, error)
    finally:
        if not run.settings.keep:
            shard.path.unlink(missing_ok=True)
    ledger.record(
        key, State.UPLOADED, task, then=State.CREATING, input_file_id=file.id, file_created_at=file.created_at
    )
    try:
        batch = run.provider.create(file.id, key, CREATE_SECONDS)
    except InDoubt as error:
        run.say(f"batch {key}: {error.message}; it is looked for before anything is sent again")
        outbox.doubts += 1
        if outbox.doubts >= _MOST_DOUBTS:
            run.stop(task, f"{outbox.doubts} batches in a row were created without an answer: {error.message}")
        return False
    except ProviderError as error:
        ledger.record(key, State.RELEASED, task, reason="create_refused", message=error.message)
        run.freed.add(key)
        with suppress(ProviderError):  # it expires by itself
            run.provider.delete_file(file.id)
        return _wait_or_raise(run, error)
    # written without the lease as well: that the batch exists is true whoever holds it
    ledger.record(key, State.SUBMITTED, task, leased=False, provider_batch_id=batch.id)
    outbox.doubts = 0
    run.submitted.append(key)
    run.say(f"batch {key} submitted as {batch.id}: {counted(len(shard.claims), 'text')} of task `{task.name}`")
    return True


def _wait_or_raise(run: Run, error: ProviderError) -> bool:
    if not isinstance(error, (InDoubt, RateLimited)):
        raise error
    run.hesitate(error)
    run.say(f"{error.message}; trying again later")
    return False


def make_room(run: Run, outbox: Outbox) -> None:
    """After a refusal for the queue's limit: wait for one of our own batches to end; without any, wait or send less."""
    newest = run.ledger.newest_refusal(outbox.task, TOKEN_LIMIT)
    live = [] if newest is None else run.ledger.batches(run.tables, [State.SUBMITTED])
    in_queue = {batch.batch_key for batch in live if batch.task.model == outbox.task.model} - run.stuck.keys()
    outbox.backoff.look(newest, in_queue, may_wait=not run.settings.once)
