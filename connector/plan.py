"""The plan: how a task stands, what a run would send for it, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from connector.estimate import Estimate, Tally
from connector.price import Price
from connector.request import make_template, sendable
from connector.retirement import Retirement
from connector.shard import MAX_BYTES, MAX_REQUESTS, MAX_TEXTS, Pending, Request, group, make_request, queue_share
from connector.task import Task

# Above so many texts a sample is counted, of this size; its error is that of a mean, at 95 %.
SAMPLE_ABOVE = 1_000_000
SAMPLE_TEXTS = 200_000
_NORMAL_95 = 1.96
_KEY_DIGITS = 8


@dataclass(frozen=True)
class Standing:
    """How a task stands, in texts; `comments`, `distinct_texts`, `blank` are of what the pending model selects from."""

    task: str
    table: str
    version: int
    model: str
    comments: int | None
    distinct_texts: int | None
    blank: int | None
    labelled: int
    rejected: int
    in_flight: int
    pending: dict[str, int]
    changed_wording: int
    paused: bool

    @property
    def may_spend(self) -> bool:
        """Tell whether a run could send anything: what is pending, or is in flight and may come back unanswered."""
        return not self.paused and self.waiting_texts + self.in_flight > 0

    @property
    def waiting_texts(self) -> int:
        """Return how many texts are pending, for whatever reason."""
        return sum(self.pending.values())

    @property
    def has_work(self) -> bool:
        """Tell whether a run would send anything."""
        return not self.paused and self.waiting_texts > 0


@dataclass(frozen=True)
class Cost:
    """What sending takes: tokens and US dollars, expected and at most; `shards` is at least so many files.

    `input_tokens_error` is the 95 % error of a sample, 0 where each text was counted; `is_exact` tells that the count
    is the model's own. Dollars are None where no price is known. `synchronous_usd` is the price of the same requests
    one by one. What was saved is against asking for each comment in a request of its own, one by one: in this order, by
    asking once for equal comments, by packing, by batches.
    """

    texts: int
    requests: int
    shards: int
    bytes: int
    input_tokens: int
    input_tokens_error: int
    is_exact: bool
    output_tokens: int
    most_output_tokens: int
    price: str | None
    expected_usd: Decimal | None
    bound_usd: Decimal | None
    synchronous_usd: Decimal | None
    saved_by_deduplication_usd: Decimal | None
    saved_by_packing_usd: Decimal | None
    saved_by_batch_usd: Decimal | None


@dataclass(frozen=True)
class Plan:
    """What a run would do for one task: how it stands, what sending costs, and what raising the version would.

    `raise_texts` would be labelled again by a raised version, for about `raise_usd` and at most `raise_bound_usd`, as
    the task asks today. `above_texts` are pending and have labels of the higher version `above_version`: the task's
    was lowered. `local_labels` are of this version and cost nothing. `gate_failures` are what the labels so far do not
    reach of `gates`, `gate_note` is what their figures do not say. The budgets are the task's, `budget_left_usd` what
    a run that began now could still spend of them, with what is in flight at its bound. `retirement` is that of its
    model, where it is announced.
    """

    standing: Standing
    cost: Cost
    raise_texts: int
    raise_usd: Decimal | None
    raise_bound_usd: Decimal | None
    above_texts: int
    above_version: int
    local_labels: int
    gates: list[str]
    gate_failures: list[str]
    gate_note: str
    budget_usd: Decimal | None
    budget_usd_per_month: Decimal | None
    budget_left_usd: Decimal | None
    is_free: bool
    retirement: Retirement | None

    @property
    def has_budget(self) -> bool:
        """Tell whether the task has a wall of its own."""
        return self.budget_usd is not None or self.budget_usd_per_month is not None


NOTHING = Cost(0, 0, 0, 0, 0, 0, True, 0, 0, None, *[Decimal(0)] * 3, *[None] * 3)
"""The cost of sending nothing."""


def sample_key(texts: int) -> str | None:
    """Return the key below which a sample of so many texts lies, None where all are to be counted.

    Keys are hashes, so those below a value are a sample that no author can aim at.
    """
    if texts <= SAMPLE_ABOVE:
        return None
    return format(SAMPLE_TEXTS * 16**_KEY_DIGITS // texts, f"0{_KEY_DIGITS}x")


def measure(
    task: Task,
    texts: Iterable[Pending],
    estimate: Estimate,
    batch: Price | None,
    synchronous: Price | None,
    of_texts: int,
    of_comments: int | None,
) -> Cost:
    """Return what sending costs, from the texts to send or a sample of them; `of_texts` is how many there are in all.

    `of_comments` is how many comments say them.
    """
    count = _Count(task, estimate, batch, synchronous)
    for together in group(texts, lambda: task.run.rows_per_request):
        count.add(make_request(together))
    tally = count.in_batches
    scale = Decimal(of_texts) / count.texts if count.texts else Decimal(0)
    requests, tokens, size_bytes = (_scaled(seen, scale) for seen in (tally.requests, tally.tokens, count.bytes))
    expected, one_by_one = _usd(tally.expected_usd, scale), _usd(count.at_once.expected_usd, scale)
    each_alone = _usd(count.alone.expected_usd, scale)
    repeated = None if of_comments is None or not of_texts else Decimal(max(0, of_comments - of_texts)) / of_texts
    return Cost(
        texts=of_texts,
        requests=requests,
        shards=_shards(task, of_texts, requests, size_bytes, tokens),
        bytes=size_bytes,
        input_tokens=tokens,
        input_tokens_error=0 if count.texts in (0, of_texts) else count.error(requests),
        is_exact=estimate.is_exact,
        output_tokens=_scaled(tally.output_tokens, scale),
        most_output_tokens=_scaled(tally.most_output_tokens, scale),
        price=None if batch is None else batch.source,
        expected_usd=expected,
        bound_usd=_usd(tally.bound_usd, scale),
        synchronous_usd=one_by_one,
        saved_by_deduplication_usd=None if each_alone is None or repeated is None else each_alone * repeated,
        saved_by_packing_usd=None if each_alone is None or one_by_one is None else each_alone - one_by_one,
        saved_by_batch_usd=None if one_by_one is None or expected is None else one_by_one - expected,
    )


class _Count:
    """What the requests seen so far take: in batches, one by one, and with each text in a request of its own."""

    def __init__(self, task: Task, estimate: Estimate, batch: Price | None, synchronous: Price | None) -> None:
        self._template, self._estimate = make_template(task), estimate
        self.in_batches, self.at_once = Tally(batch), Tally(synchronous)
        self.alone = Tally(synchronous) if task.run.rows_per_request > 1 else self.at_once
        self.texts = self.bytes = 0
        self._squares = 0.0

    def add(self, request: Request) -> None:
        """Count a request."""
        carried = request.content, request.rows, request.doublings
        size = self._estimate.measure(self._template, *carried)
        self.in_batches.add(size)
        self.at_once.add(size)
        self.texts += request.rows
        self.bytes += len(self._template.line("0" * 24, *carried))
        self._squares += size.tokens * size.tokens
        if self.alone is not self.at_once:
            for text in request.texts:
                self.alone.add(self._estimate.measure(self._template, sendable(text.text), 1, text.truncations))

    def error(self, requests: int) -> int:
        """Return the error, at 95 %, of the input tokens of so many requests, of which these are a sample."""
        mean = self.in_batches.tokens / self.in_batches.requests
        variance = max(0.0, self._squares / self.in_batches.requests - mean * mean)
        return math.ceil(_NORMAL_95 * math.sqrt(variance / self.in_batches.requests) * requests)


def _shards(task: Task, texts: int, requests: int, size_bytes: int, tokens: int) -> int:
    """Return how many files these fill at least, by every limit that is known before anything is sent."""
    limits = [(requests, MAX_REQUESTS), (texts, MAX_TEXTS), (size_bytes, MAX_BYTES)]
    if task.run.enqueued_tokens is not None:
        limits.append((tokens, queue_share(task.run.enqueued_tokens)))
    return max(-(-amount // most) for amount, most in limits)


def _scaled(number: int, scale: Decimal) -> int:
    return math.ceil(number * scale)


def _usd(amount: Decimal | None, scale: Decimal) -> Decimal | None:
    return None if amount is None else amount * scale
