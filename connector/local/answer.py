"""The shapes of answers: chat completion objects, and the lines of output and error files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connector.local.chat import Body
from connector.local.engine import Reply
from connector.local.logprobs import list_logprobs
from connector.local.problem import Problem
from connector.local.store import new_id

FINGERPRINT = "fp_dbt_labels_"


def completion(body: Body, reply: Reply, usage: Mapping[str, Any], engine_name: str, created: int) -> dict[str, Any]:
    """Build the chat completion object for a reply."""
    logprobs = None
    if body.get("logprobs") is True:
        logprobs = reply.logprobs or list_logprobs(reply.content, reply.refusal, reply.answer)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": reply.content,
        "refusal": reply.refusal,
        "annotations": [],
    }
    return {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": created,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reply.finish_reason}],
        "usage": usage,
        "service_tier": "default",
        # The engine's name, so that no one takes these answers for those of the model that was asked.
        "system_fingerprint": FINGERPRINT + engine_name,
    }


def answered_line(custom_id: str, status: int, body: Mapping[str, Any] | None) -> bytes:
    """Build the line of a request that was answered, with whatever HTTP status."""
    response = {"status_code": status, "request_id": new_id("req_") if status else "", "body": body}
    return _line(custom_id, response, None)


def problem_line(custom_id: str, problem: Problem) -> bytes:
    """Build the error file's line of a request that was refused; its top-level `error` is null, as OpenAI's is."""
    return answered_line(custom_id, problem.status, problem.body())


def unrun_line(custom_id: str, status: str) -> bytes:
    """Build the error file's line of a request that an `expired` or `cancelled` batch never ran."""
    reason = "the completion window expired" if status == "expired" else "the batch was cancelled"
    error = {"code": f"batch_{status}", "message": f"This request could not be executed before {reason}."}
    return _line(custom_id, None, error)


def _line(custom_id: str, response: object, error: object) -> bytes:
    line = {"id": new_id("batch_req_"), "custom_id": custom_id, "response": response, "error": error}
    try:
        return json.dumps(line, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8 form; escaped, it is still JSON.
        return json.dumps(line).encode("ascii")
