"""What each row fault does to an answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from connector.local.answer import answered_line
from connector.local.chat import Body
from connector.local.engine import Reply, resolve, type_of
from connector.local.faults import Fault
from connector.local.problem import Problem
from connector.local.schema import schema_of

POISON = "\u0000 \ud800 \u2028"
OTHER_MODEL = "gpt-3.5-turbo-0125"


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
    if fault.name == "row_refusal":
        return Reply(content=None, refusal="I'm sorry, I can't assist with that request.")
    if fault.name == "row_content_filter":
        return dataclasses.replace(reply, content=content[: len(content) // 2], finish_reason="content_filter")
    if fault.name == "row_truncate":
        return dataclasses.replace(reply, content=content[: len(content) // 2], finish_reason="length")
    if fault.name == "row_not_json":
        return dataclasses.replace(reply, content="Sure! Here is the label you asked for: it looks positive to me.")
    if fault.name in ("row_break_schema", "poison_answer"):
        schema = schema_of(body)
        if schema is None:
            return reply
        change = _break if fault.name == "row_break_schema" else _poison
        return dataclasses.replace(reply, content=json.dumps(change(json.loads(content), schema)))
    return reply


def spoil_completion(fault: Fault, custom_id: str, completion: dict[str, Any]) -> dict[str, Any]:
    """Change the completion object around what the engine said."""
    if fault.name == "wrong_model_echo":
        return {**completion, "model": OTHER_MODEL}
    if fault.name == "row_empty_body":
        if hashlib.blake2b(custom_id.encode()).digest()[0] % 2:
            return {}
        completion["choices"][0]["message"]["content"] = None
    return completion


def _break(answer: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for name, node in schema.get("properties", {}).items():
        if "enum" in resolve(node, schema):
            return {**answer, name: "a value outside the enum"}
    first = next(iter(answer), "unexpected")
    return {**answer, first: {"wrong": "type"}}


def _poison(answer: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    poisoned = dict(answer)
    for name, node in schema.get("properties", {}).items():
        node = resolve(node, schema)
        if type_of(node) == "string" and "enum" not in node and "const" not in node:
            poisoned[name] = f"{answer[name]} {POISON}"
    return poisoned
