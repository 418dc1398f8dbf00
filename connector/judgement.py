"""A judgement: what the answers to a batch's requests become together, and whether its task may go on.

Order means nothing: an answer belongs to the claims with its custom_id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from connector.answer import Answer
from connector.ledger import Claim, shorten
from connector.price import Price
from connector.result import Outcome, judge_missing, judge_request, judge_stopped
from connector.task import Task

# Where nearly all of a batch's requests, and not few, fail for one reason, it is the form that they have in common.
_NEARLY_ALL = 0.9
_FEW = 10
# Codes that speak of one text, read November 2026; any other code is the text's only where its neighbours got through.
_TEXT_CODES = frozenset(
    {
        "context_length_exceeded",
        "string_above_max_length",
        "content_policy_violation",
        "content_filter",
        "invalid_prompt",
        "moderation_blocked",
        "cyber_policy_violation",
    }
)


@dataclass(frozen=True)
class Judgement:
    """What becomes of a batch's claims; `stop` is why its task must not go on.

    `uncosted` counts the requests that were carried out, and so are paid, without saying what they used, `succeeded`
    the answers with status 200, `missing` the claims without any answer, `unreadable` those whose line is no JSON.
    """

    outcomes: list[Outcome]
    stop: Stop | None
    uncosted: int
    succeeded: int
    missing: int
    unreadable: int

    @property
    def doubtful(self) -> int:
        """Return of how many claims a whole file may say more than these files do."""
        return self.missing + self.unreadable


@dataclass(frozen=True)
class Stop:
    """Why a task must not go on: one error on the request's form, the key or the account, with the provider's words."""

    code: str
    message: str
    lines: int


def judge_batch(
    task: Task, claims: Iterable[Claim], answers: Iterable[tuple[str, Answer]], price: Price | None = None
) -> Judgement:
    """Return an outcome for every claim, and why to stop where the answers tell of more than single texts.

    `answers` are read once. Of several for one custom_id the first counts, one that can be read before one that can
    not; for one that was not asked none does.
    """
    hearing = _Hearing(task, claims, price)
    for custom_id, answer in answers:
        hearing.hear(custom_id, answer)
    return hearing.judgement()


class _Hearing:
    """A batch's answers as they come: what succeeded is judged at once and let go of, errors wait for all others."""

    def __init__(self, task: Task, claims: Iterable[Claim], price: Price | None) -> None:
        self._task, self._price = task, price
        self._requests: dict[str, list[Claim]] = {}
        for claim in claims:
            self._requests.setdefault(claim.custom_id, []).append(claim)
        self._judged: dict[str, list[Outcome]] = {}
        self._errors: dict[str, Answer] = {}
        self._unreadable: dict[str, Answer] = {}
        self._uncosted = self._succeeded = 0

    def hear(self, custom_id: str, answer: Answer) -> None:
        """Take one answer."""
        if custom_id not in self._requests or custom_id in self._judged or custom_id in self._errors:
            return
        if answer.unreadable is not None:
            self._unreadable.setdefault(custom_id, answer)
            return
        self._succeeded += answer.status_code == 200
        if answer.status_code == 200 and not answer.is_about_all:
            self._judge(custom_id, answer)
        else:
            self._errors[custom_id] = answer

    def judgement(self) -> Judgement:
        """Return what all of them come to."""
        unread = self._unreadable.keys() - self._judged.keys() - self._errors.keys()
        errors = self._errors | {custom_id: self._unreadable[custom_id] for custom_id in sorted(unread)}
        stop = _find_stop(errors.values(), len(self._judged))
        for custom_id, answer in errors.items():
            if answer.is_about_all or (stop is not None and _final_code(answer) == stop.code):
                self._judged[custom_id] = judge_stopped(self._requests[custom_id], answer)
            else:
                self._judge(custom_id, answer)
        missing = self._requests.keys() - self._judged.keys()
        self._judged |= {custom_id: judge_missing(self._requests[custom_id]) for custom_id in missing}
        return Judgement(
            outcomes=[outcome for custom_id in self._requests for outcome in self._judged[custom_id]],
            stop=stop,
            uncosted=self._uncosted,
            succeeded=self._succeeded,
            missing=sum(len(self._requests[custom_id]) for custom_id in missing),
            unreadable=sum(len(self._requests[custom_id]) for custom_id in unread),
        )

    def _judge(self, custom_id: str, answer: Answer) -> None:
        self._judged[custom_id], is_uncosted = judge_request(self._task, self._requests[custom_id], answer, self._price)
        self._uncosted += is_uncosted


def _find_stop(errors: Iterable[Answer], answered: int) -> Stop | None:
    """Return why to stop, by the errors of a batch beside which so many requests were answered."""
    codes: Counter[str] = Counter()
    samples: dict[str, Answer] = {}
    for answer in errors:
        code = _final_code(answer)
        # what was not carried out says nothing of the others
        if code is not None:
            answered += 1
            codes[code] += 1
            samples.setdefault(code, answer)
    for code, lines in codes.most_common():
        sample = samples[code]
        about_form = lines >= _NEARLY_ALL * answered and (answered >= _FEW or code not in _TEXT_CODES)
        if sample.is_about_all or about_form:
            return Stop(code, shorten(sample.error_message or "") or f"HTTP {sample.status_code}", lines)
    return None


def _final_code(answer: Answer) -> str | None:
    """Return the code of an error that is not free to try again, or None."""
    return answer.code if answer.is_about_all or not answer.is_unavailable else None
