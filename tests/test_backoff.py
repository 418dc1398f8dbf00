"""What a full queue teaches a task: to wait for its own batches, to send less, to ask ever more rarely."""

from __future__ import annotations

import pytest

from connector.backoff import Backoff
from connector.ledger import Refusal
from connector.shard import MAX_REQUESTS

SAYS_LIMIT = "Enqueued token limit reached for gpt-6-luna. Limit: 5,000 enqueued tokens."
SAYS_NONE = "Enqueued token limit reached."


def _refused(key: str, tokens: int = 100, requests: int = 10, message: str = SAYS_LIMIT) -> Refusal:
    return Refusal(key, requests, tokens, message)


def test_a_task_waits_until_one_of_its_batches_has_ended_and_no_longer() -> None:
    backoff, refused = Backoff(), _refused("a")
    backoff.look(refused, {"x", "y"}, may_wait=True)
    assert backoff.pause_rounds, "the queue was full of its own batches"
    backoff.look(refused, {"x", "y"}, may_wait=True)
    assert backoff.pause_rounds, "none of them has ended"
    backoff.look(refused, {"y", "z"}, may_wait=True)
    assert not backoff.pause_rounds
    assert backoff.max_requests == MAX_REQUESTS, "what fits the limit need not be smaller"


@pytest.mark.parametrize(("may_wait", "pauses"), [(True, [2, 4, 8, 16, 32, 32]), (False, [0] * 6)])
def test_a_queue_that_others_fill_is_asked_ever_more_rarely(may_wait: bool, pauses: list[int]) -> None:
    backoff, seen = Backoff(), []
    for number in range(6):
        backoff.look(_refused(f"{number}"), set(), may_wait)
        seen.append(backoff.pause_rounds)
    assert seen == pauses
    backoff.look(_refused("5"), set(), may_wait)
    assert backoff.pause_rounds == max(0, pauses[-1] - 1), "a round later"


def test_a_refusal_of_what_fits_the_limit_asks_for_less_only_after_six_of_them() -> None:
    backoff = Backoff()
    for number in range(6):
        backoff.look(_refused(f"{number}"), set(), may_wait=True)
    assert backoff.max_requests == MAX_REQUESTS
    backoff.look(_refused("6", requests=10), set(), may_wait=True)
    assert backoff.max_requests == 5


def test_without_a_limit_in_the_refusal_half_as_much_is_sent_at_once() -> None:
    backoff = Backoff()
    backoff.look(_refused("a", requests=9, message=SAYS_NONE), set(), may_wait=True)
    assert backoff.max_requests == 4
    backoff.look(_refused("b", requests=1, message=SAYS_NONE), set(), may_wait=True)
    assert backoff.max_requests == 1


def test_what_is_larger_than_the_queue_is_cut_without_a_pause_and_a_lone_request_is_unpacked() -> None:
    backoff = Backoff()
    backoff.look(_refused("a", tokens=5_001, requests=2), {"x"}, may_wait=True)
    assert (backoff.pause_rounds, backoff.packs) == (0, True), "the next shard is cut by the limit, which is known now"
    backoff.look(_refused("b", tokens=5_001, requests=1), {"x"}, may_wait=True)
    assert (backoff.pause_rounds, backoff.packs) == (0, False)


def test_a_batch_that_is_taken_ends_the_pause_and_doubles_what_is_sent() -> None:
    backoff = Backoff()
    backoff.look(_refused("a", requests=6, message=SAYS_NONE), set(), may_wait=True)
    backoff.look(None, {"x"}, may_wait=True)
    assert (backoff.pause_rounds, backoff.max_requests) == (0, 6)
    backoff.look(_refused("b"), set(), may_wait=True)
    assert backoff.pause_rounds == 2, "refusals are counted from the start again"
