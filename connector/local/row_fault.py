"""What each row fault does to an answer, and each item fault to a row of a packed one."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Container, Set
from typing import Any

from connector.local.answer import answered_line
from connector.local.chat import Body
from connector.local.choice import Choice
from connector.local.engine import Reply, resolve, say, type_of
from connector.local.faults import Fault
from connector.local.problem import Problem
from connector.local.schema import schema_of

POISON = "\u0000 \ud800 \u2028"
OTHER_MODEL = "gpt-3.5-turbo-0125"
NOT_FREE: dict[str, Any] = {"type": "null"}


def refusal_of(fault: Fault, body: Body) -> Problem | None:
    """Give the HTTP error a fault answers with instead of running the request."""
    model = body.get("model")
    problems = {
        "row_400": Problem(
            400,
            fault.message or "Your request was rejected as a result of our safety system.",
            code=fault.code or "content_policy_violation",
        ),
        "row_401": Problem(401, "Incorrect API key provided.", code="invalid_api_key"),
        # openai-python issue 3071: whole batches came back like this, with a model name nobody had sent.
        "row_404": Problem(
            404,
            f"The model `{model}-batch` does not exist or you do not have access to it.",
            code="model_not_found",
        ),
        "row_429": Problem(
            429, f"Rate limit reached for {model}. Please try again later.", code="rate_limit_exceeded", kind="requests"
        ),
        "row_500": Problem(500, "The server had an error while processing your request.", kind="server_error"),
    }
    return problems.get(fault.name)


def unanswered_line(fault: Fault, custom_id: str) -> bytes | None:
    """Give the line of a request that a fault keeps from running without an HTTP error; empty where it has no line."""
    if fault.name == "row_status_0":
        return answered_line(custom_id, 0, None)
    return b"" if fault.name == "row_missing" else None


def spoil_reply(fault: Fault, body: Body, reply: Reply) -> Reply:
    """Change what the engine said."""
    content = reply.content or ""
    # Whatever is said instead has another number of tokens, and other ones.
    anew = dataclasses.replace(reply, completion_tokens=None, logprobs=None)
    if fault.name == "row_refusal":
        refusal = "I'm sorry, I can't assist with that request."
        return dataclasses.replace(anew, content=None, answer=None, refusal=refusal, finish_reason="stop")
    if fault.name == "row_content_filter":
        return dataclasses.replace(anew, content=content[: len(content) // 2], finish_reason="content_filter")
    if fault.name == "row_truncate":
        return dataclasses.replace(anew, content=content[: len(content) // 2], finish_reason="length")
    if fault.name == "row_not_json":
        prose = "Sure! Here is the label you asked for: it looks positive to me."
        return dataclasses.replace(anew, content=prose, answer=None)
    if fault.name in ("row_break_schema", "poison_answer"):
        schema, answer = schema_of(body), _answer_of(reply)
        if schema is None or not isinstance(answer, dict):
            return reply
        changed = say(_break(answer, schema) if fault.name == "row_break_schema" else _poison(answer, schema, schema))
        return dataclasses.replace(anew, content=changed.content, answer=changed.answer)
    return reply


def spoil_item(fault: Fault, row: dict[str, Any], schema: dict[str, Any], asked: Set[int]) -> list[dict[str, Any]]:
    """Give the rows that come instead of one; `schema` is a row's without its id, `asked` are all ids."""
    if fault.name == "item_missing":
        return []
    if fault.name == "item_twice":
        return [row, row]
    if fault.name == "item_wrong_id":
        return [{**row, "id": next(n for n in itertools.count(row["id"] + 1) if n not in asked)}]
    broken = _break({name: value for name, value in row.items() if name != "id"}, schema)
    return [{name: broken.get(name, value) for name, value in row.items()}]


def spoil_completion(
    fault: Fault | None, extras: Container[str], custom_id: str, completion: dict[str, Any]
) -> dict[str, Any]:
    """Change the completion object around what the engine said."""
    if "no_usage" in extras:
        completion["usage"] = None
    if "no_logprobs" in extras:
        completion["choices"][0]["logprobs"] = None
    if fault is None:
        return completion
    if fault.name == "wrong_model_echo":
        return {**completion, "model": OTHER_MODEL}
    if fault.name == "row_empty_body":
        if hashlib.blake2b(custom_id.encode()).digest()[0] % 2:
            return {}
        choice = completion["choices"][0]
        choice["message"]["content"] = choice["logprobs"] = None
    return completion


def _answer_of(reply: Reply) -> Any:
    if reply.answer is not None:
        return reply.answer
    try:
        return json.loads(reply.content or "")
    except ValueError:
        return None


def _break(answer: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for name, node in schema.get("properties", {}).items():
        if "enum" in resolve(node, schema):
            return {**answer, name: "a value outside the enum"}
    first = next(iter(answer), "unexpected")
    return {**answer, first: {"wrong": "type"}}


def _poison(answer: Any, node: dict[str, Any], root: dict[str, Any]) -> Any:
    node = resolve(node, root)
    if isinstance(answer, dict):
        nodes = node.get("properties", {})
        return {name: _poison(value, nodes.get(name, NOT_FREE), root) for name, value in answer.items()}
    if isinstance(answer, list):
        return [_poison(member, node.get("items", NOT_FREE), root) for member in answer]
    is_free = type_of(node) == "string" and not {"enum", "const", "anyOf"} & node.keys()
    said = answer.value if isinstance(answer, Choice) else answer
    return f"{said} {POISON}" if is_free else answer
