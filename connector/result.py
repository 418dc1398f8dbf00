"""A result: what the answer to one request becomes, for each of its texts, by the task that it was asked under.

Order means nothing: a row of a packed answer belongs to the claim with its id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import orjson
from msgspec.structs import astuple, replace

from connector.answer import Answer, mapping, usage_of
from connector.confidence import Probabilities, Span, find_rows, find_values, read_probabilities
from connector.ledger import Claim
from connector.price import Price, Usage, share, share_units
from connector.request import ROWS, sendable
from connector.task import CONFIDENCE, Task, Text, answer_mistakes

UNAVAILABLE_CEILING = 5
UNPACKED = "unpacked"
"""The reason of a failed attempt in a packed request: the text is sent again alone."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a claim. `outcome` is labelled, rejected or failed; `values` are the columns of a label.

    Tokens and dollars are the request's; of a packed request each row has its part, and the parts sum to the whole.
    """

    claim: Claim
    outcome: str
    reason: str | None = None
    values: dict[str, Any] | None = None
    raw: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost_usd: Decimal | None = None


def judge_request(
    task: Task, together: Sequence[Claim], answer: Answer, price: Price | None
) -> tuple[list[Outcome], bool]:
    """Return the outcomes of one request's texts, and whether it was paid for without saying what it used."""
    usage = usage_of(answer)
    cost = None if usage is None or price is None else price.cost(usage)
    is_uncosted = cost is None and (answer.status_code == 200 or answer.unreadable is not None)
    is_packed = together[0].item_id is not None
    outcomes = judge_packed(task, together, answer) if is_packed else [judge(task, together[0], answer)]
    return _shared(outcomes, usage, cost), is_uncosted


def judge_stopped(together: Sequence[Claim], answer: Answer) -> list[Outcome]:
    """Return the outcomes of a request whose error is about more than its texts: none of them is to blame."""
    return _each(together, "failed", "stopped", _dump(answer))


def judge_missing(together: Sequence[Claim]) -> list[Outcome]:
    """Return the outcomes of a request without any answer."""
    return [_unavailable(claim, "missing", None) for claim in together]


def judge_packed(task: Task, claims: Sequence[Claim], answer: Answer) -> list[Outcome]:
    """Return what a packed answer becomes for each of its texts; what is no label is sent again alone.

    Nothing counts as a text's attempt, for a neighbour may be the cause; and nothing is final, unless the provider did
    not carry a text out too often. Each row stands by itself: one that is missing, there twice or off the schema costs
    only itself, one that nobody asked for is nobody's.
    """
    if answer.unreadable is None and answer.is_unavailable:
        return [_unavailable(claim, answer.code, _dump(answer)) for claim in claims]
    choice, said = _choice(answer)
    is_whole = choice.get("finish_reason") in ("stop", None)
    rows = _rows(said, task.run.confidence) if said is not None and is_whole else None
    if rows is None:
        raw = answer.unreadable or (sendable(said) if said else _dump(answer))
        return _each(claims, "failed", UNPACKED, raw)
    probabilities = _probabilities(task, said or "", choice)
    model = _text_or_none(answer.body.get("model"))
    return [_judge_row(task, claim, rows.get(claim.item_id or "", []), model, probabilities) for claim in claims]


def _judge_row(
    task: Task,
    claim: Claim,
    found: Sequence[tuple[dict[str, Any], dict[str, Span]]],
    model: str | None,
    probabilities: Probabilities | None,
) -> Outcome:
    if len(found) == 1:
        row, spans = found[0]
        answered = {name: value for name, value in row.items() if name != "id"}
        if not answer_mistakes(task.fields, answered):
            values = {**_columns(task, answered), **_confidences(task, spans, probabilities)}
            return Outcome(claim, "labelled", values=values, model=model)
    raw = sendable(json.dumps([row for row, _ in found], ensure_ascii=False))
    return Outcome(claim, "failed", UNPACKED, raw=raw, model=model)


def _rows(content: str, placed: bool) -> dict[str, list[tuple[dict[str, Any], dict[str, Span]]]] | None:
    """Return the rows of a packed answer by id, if `placed` each with where its values stand; None off the schema."""
    try:
        answered = json.loads(content, object_pairs_hook=_object)
        listed = answered[ROWS] if isinstance(answered, dict) and answered.keys() == {ROWS} else None
        if not isinstance(listed, list):
            return None
        places: Iterable[int | None] = [None] * len(listed)
        if placed:
            places = find_rows(content, find_values(content)[ROWS])
        rows: dict[str, list[tuple[dict[str, Any], dict[str, Span]]]] = {}
        for row, place in zip(listed, places, strict=True):
            if isinstance(row, dict):
                item_id = row.get("id")
                named = str(item_id) if isinstance(item_id, int) and not isinstance(item_id, bool) else ""
                rows.setdefault(named, []).append((row, {} if place is None else find_values(content, place)))
        return rows
    except (ValueError, RecursionError):
        return None


def _each(claims: Sequence[Claim], outcome: str, reason: str, raw: str | None) -> list[Outcome]:
    """Return the same outcome for texts of one request; what was said is kept once."""
    return [Outcome(claim, outcome, reason, raw=None if place else raw) for place, claim in enumerate(claims)]


def _shared(outcomes: list[Outcome], usage: Usage | None, cost: Decimal | None) -> list[Outcome]:
    """Give each row of a request its part of what the request used and cost."""
    if usage is None:
        return outcomes
    size = len(outcomes)
    if size == 1:
        return [replace(outcomes[0], usage=usage, cost_usd=cost)]
    columns = [share_units(tokens, size) for tokens in astuple(usage)]
    costs: Sequence[Decimal | None] = [None] * size if cost is None else share(cost, size)
    return [
        replace(outcome, usage=Usage(*tokens), cost_usd=part)
        for outcome, part, *tokens in zip(outcomes, costs, *columns, strict=True)
    ]


def judge(task: Task, claim: Claim, answer: Answer) -> Outcome:
    """Return what one answer becomes, by the design's table."""
    if answer.unreadable is not None:
        return _failed(task, Outcome(claim, "failed", "invalid", raw=answer.unreadable))
    if answer.status_code == 200:
        return _judge_completion(task, claim, answer)
    if not (answer.is_unavailable or answer.is_about_all):
        return Outcome(claim, "rejected", answer.code, raw=_dump(answer))
    return _unavailable(claim, answer.code, _dump(answer))


def _judge_completion(task: Task, claim: Claim, answer: Answer) -> Outcome:
    choice, said = _choice(answer)
    finish, refusal = choice.get("finish_reason"), mapping(choice.get("message")).get("refusal")
    paid = Outcome(claim, "failed", model=_text_or_none(answer.body.get("model")))
    if refusal:
        return replace(paid, outcome="rejected", reason="refused", raw=sendable(str(refusal)))
    if finish == "content_filter":
        return replace(paid, outcome="rejected", reason="filtered", raw=_text_or_none(said))
    if finish == "length":
        return _failed(task, replace(paid, reason="truncated", raw=_text_or_none(said)))
    answered = _parse_content(said)
    if finish not in ("stop", None) or answered is None or answer_mistakes(task.fields, answered):
        return _failed(task, replace(paid, reason="invalid", raw=_dump(answer) if said is None else sendable(said)))
    assert isinstance(answered, dict), "it fits the fields"
    values = _columns(task, answered)
    if probabilities := _probabilities(task, said or "", choice):
        values |= _confidences(task, find_values(said or ""), probabilities)
    return replace(paid, outcome="labelled", values=values)


def _choice(answer: Answer) -> tuple[dict[str, Any], str | None]:
    """Return the first choice and what it says."""
    choice = _first(answer.body.get("choices"))
    content = mapping(choice.get("message")).get("content")
    return choice, content if isinstance(content, str) else None


def _probabilities(task: Task, said: str, choice: dict[str, Any]) -> Probabilities | None:
    return read_probabilities(said, choice.get("logprobs")) if task.run.confidence else None


def _confidences(task: Task, spans: dict[str, Span], probabilities: Probabilities | None) -> dict[str, float]:
    """Return the columns of confidence: one per choice, and the row's least."""
    if probabilities is None:
        return {}
    chosen = [field.name for field in task.fields if not isinstance(field, Text)]
    found = {f"{name}{CONFIDENCE}": probabilities.of(spans[name]) for name in chosen}
    return {**found, "confidence": min(found.values())} if found else {}


def _failed(task: Task, paid: Outcome) -> Outcome:
    last = paid.claim.failures + 1 >= task.run.max_attempts
    return replace(paid, outcome="rejected" if last else "failed")


def _unavailable(claim: Claim, code: str, raw: str | None) -> Outcome:
    last = claim.unavailable_in_row + 1 >= UNAVAILABLE_CEILING
    return Outcome(claim, "rejected" if last else "failed", "unavailable", raw=raw or f'{{"code":"{code}"}}')


def _parse_content(content: object) -> object:
    """Return what the content says as JSON, None where it is none. Lone surrogates are read too: they are paid for."""
    if not isinstance(content, str):
        return None
    try:
        # orjson is faster and takes the last of what is said twice
        return json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """Return an object of an answer, None where it says a thing twice: readers differ in which one they take."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


def _first(value: object) -> dict[str, Any]:
    return mapping(value[0]) if isinstance(value, list) and value else {}


def _columns(task: Task, answered: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for field in task.fields:
        value = answered[field.name]
        if field.type == "any_of":
            value = orjson.dumps(list(dict.fromkeys(value))).decode()
        elif isinstance(value, str):
            value = sendable(value)
        columns[field.name] = value
    return columns


def _text_or_none(value: object) -> str | None:
    return sendable(value) if isinstance(value, str) else None


def _dump(answer: Answer) -> str:
    """Return the error as it came, or what was said in place of an answer."""
    said = answer.body or {"code": answer.error_code, "message": answer.error_message}
    try:
        return sendable(json.dumps({"status_code": answer.status_code, **said}, ensure_ascii=False))
    except RecursionError:
        return json.dumps({"status_code": answer.status_code, "code": answer.error_code})
