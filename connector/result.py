"""A result: what a line of an output or error file says, and what it becomes by the task it was asked under.

Order means nothing, a line twice is one answer, and `response.status_code` decides, whatever `error` says.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import orjson

from connector.ledger import Claim
from connector.request import sendable
from connector.task import AnyOf, Task, answer_mistakes

UNAVAILABLE_CEILING = 5
NEARLY_ALL = 0.9
FEW = 10

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
_STOP_STATUSES = frozenset({401, 403, 404})
_FREE_STATUSES = frozenset({0, 408, 409, 429})
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*"([0-9a-f]+-[0-9a-f]+)"')
_LONGEST_CODE = 200
_MAX_TOKENS = 2**63 - 1


class _Line(msgspec.Struct):
    """A line as the API promises it, and as little of it as needed: what services make of it differs."""

    custom_id: Any = None
    response: Any = None
    error: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider says of one request. `unreadable` is a line of ours that is no JSON: paid for, and no label."""

    status_code: int
    body: dict[str, Any]
    error_code: str | None
    error_message: str | None
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a claim. `outcome` is labelled, rejected or failed; `values` are the columns of a label."""

    claim: Claim
    outcome: str
    reason: str | None = None
    values: dict[str, Any] | None = None
    raw: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Stop:
    """Why a task must not go on: one error on the request's form, the key or the account, with the provider's words."""

    code: str
    message: str
    lines: int


def read_answers(path: Path) -> Iterator[tuple[str, Answer]]:
    """Give every line of a file that names a request, with its custom_id. Lines end at line feed bytes only."""
    with path.open("rb") as handle:
        for line in handle:
            parsed = _parse_line(line)
            if parsed is not None and isinstance(parsed.custom_id, (str, int)):
                yield str(parsed.custom_id), _answer(parsed)
            elif named := _CUSTOM_ID.search(line):
                raw = sendable(line.decode("utf-8", "replace"))
                yield named[1].decode("ascii"), Answer(0, {}, None, None, unreadable=raw)


def _parse_line(line: bytes) -> _Line | None:
    try:
        return _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    # lone surrogates, control characters and broken UTF-8 are refused by strict parsers, but the answer is paid for
    try:
        return msgspec.convert(json.loads(line.decode("utf-8-sig", "replace"), strict=False), _Line)
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def _answer(line: _Line) -> Answer:
    response = _mapping(line.response)
    body = _mapping(response.get("body"))
    error = _mapping(body.get("error")) or _mapping(line.error)
    code, message = error.get("code") or error.get("type"), error.get("message")
    return Answer(
        status_code=_status(response.get("status_code")),
        body=body,
        error_code=sendable(str(code))[:_LONGEST_CODE] if code else None,
        error_message=sendable(str(message)) if message else None,
    )


def _status(value: object) -> int:
    """Return the HTTP status however it is written, 0 where there is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 5:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def judge_batch(task: Task, claims: Iterable[Claim], answers: dict[str, Answer]) -> tuple[list[Outcome], Stop | None]:
    """Return an outcome for every claim, and why to stop where the answers tell of more than single texts."""
    claims = list(claims)
    stop = _find_stop(answers.values())
    outcomes = []
    for claim in claims:
        answer = answers.get(claim.custom_id)
        if answer is None:
            outcomes.append(_unavailable(claim, "missing", None))
        elif _is_stop(answer) or (stop is not None and _error_code(answer) == stop.code):
            outcomes.append(Outcome(claim, "failed", "stopped", raw=_dump(answer)))
        else:
            outcomes.append(judge(task, claim, answer))
    return outcomes, stop


def judge(task: Task, claim: Claim, answer: Answer) -> Outcome:
    """Return what one answer becomes, by the design's table."""
    if answer.unreadable is not None:
        return _failed(task, Outcome(claim, "labelled", "invalid", raw=answer.unreadable))
    if answer.status_code == 200:
        return _judge_completion(task, claim, answer)
    if 400 <= answer.status_code < 500 and answer.status_code not in _FREE_STATUSES | _STOP_STATUSES:
        return Outcome(claim, "rejected", answer.error_code or f"http_{answer.status_code}", raw=_dump(answer))
    return _unavailable(claim, answer.error_code or f"http_{answer.status_code}", _dump(answer))


def _judge_completion(task: Task, claim: Claim, answer: Answer) -> Outcome:
    body = answer.body
    choice = _first(body.get("choices"))
    message = _mapping(choice.get("message"))
    finish, content, refusal = choice.get("finish_reason"), message.get("content"), message.get("refusal")
    paid = Outcome(
        claim,
        "labelled",
        model=_text_or_none(body.get("model")),
        input_tokens=_tokens(body, "prompt_tokens"),
        output_tokens=_tokens(body, "completion_tokens"),
    )
    if refusal:
        return replace(paid, outcome="rejected", reason="refused", raw=sendable(str(refusal)))
    if finish == "content_filter":
        return replace(paid, outcome="rejected", reason="filtered", raw=_text_or_none(content))
    if finish == "length":
        return _failed(task, replace(paid, reason="truncated", raw=_text_or_none(content)))
    answered = _parse_content(content)
    if finish not in ("stop", None) or answered is None or answer_mistakes(task.fields, answered):
        raw = _text_or_none(content) if isinstance(content, str) else _dump(answer)
        return _failed(task, replace(paid, reason="invalid", raw=raw))
    return replace(paid, values=_columns(task, answered))


def _failed(task: Task, paid: Outcome) -> Outcome:
    last = paid.claim.failures + 1 >= task.run.max_attempts
    return replace(paid, outcome="rejected" if last else "failed")


def _unavailable(claim: Claim, code: str, raw: str | None) -> Outcome:
    last = claim.unavailable_in_row + 1 >= UNAVAILABLE_CEILING
    return Outcome(claim, "rejected" if last else "failed", "unavailable", raw=raw or f'{{"code":"{code}"}}')


def _find_stop(answers: Iterable[Answer]) -> Stop | None:
    codes: Counter[str] = Counter()
    samples: dict[str, Answer] = {}
    answered = 0
    for answer in answers:
        code = _error_code(answer)
        # what was not carried out says nothing of the others
        answered += answer.status_code == 200 or code is not None
        if code is not None:
            codes[code] += 1
            samples.setdefault(code, answer)
    for code, lines in codes.most_common():
        sample = samples[code]
        about_all = _is_stop(sample)
        about_form = lines >= NEARLY_ALL * answered and (answered >= FEW or code not in _TEXT_CODES)
        if about_all or about_form:
            return Stop(code, sample.error_message or f"HTTP {sample.status_code}", lines)
    return None


def _is_stop(answer: Answer) -> bool:
    """Tell whether one such answer is about the key, the endpoint or the account, and so about all."""
    return answer.status_code in _STOP_STATUSES or answer.error_code in _QUOTA_CODES


def _error_code(answer: Answer) -> str | None:
    """Return the code of an error that is not free to try again, or None."""
    if answer.error_code in _QUOTA_CODES:
        return answer.error_code
    if not 400 <= answer.status_code < 500 or answer.status_code in _FREE_STATUSES:
        return None
    return answer.error_code or f"http_{answer.status_code}"


def _parse_content(content: object) -> object:
    """Return what the content says as JSON, None where it is none. Lone surrogates are read too: they are paid for."""
    if not isinstance(content, str):
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _first(value: object) -> dict[str, Any]:
    return _mapping(value[0]) if isinstance(value, list) and value else {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _columns(task: Task, answered: object) -> dict[str, Any]:
    assert isinstance(answered, dict), "only called with an answer that fits the fields"
    columns: dict[str, Any] = {}
    for field in task.fields:
        value = answered[field.name]
        if isinstance(field, AnyOf):
            value = orjson.dumps(list(dict.fromkeys(value))).decode()
        elif isinstance(value, str):
            value = sendable(value)
        columns[field.name] = value
    return columns


def _tokens(body: dict[str, Any], key: str) -> int | None:
    usage = body.get("usage")
    value = usage.get(key) if isinstance(usage, dict) else None
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS
    return value if fits else None


def _text_or_none(value: object) -> str | None:
    return sendable(value) if isinstance(value, str) else None


def _dump(answer: Answer) -> str:
    """Return the error as it came, or what was said in place of an answer."""
    said = answer.body or {"code": answer.error_code, "message": answer.error_message}
    try:
        return sendable(json.dumps({"status_code": answer.status_code, **said}, ensure_ascii=False))
    except RecursionError:
        return json.dumps({"status_code": answer.status_code, "code": answer.error_code})
