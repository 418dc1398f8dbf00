"""The shapes of answers: chat completion objects, and the lines of output and error files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connector.local.chat import Body
from connector.local.engine import Reply
from connector.local.problem import Problem
from connector.local.store import new_id

FINGERPRINT = "fp_dbt_labels_"


def limit_tokens(body: Body, reply: Reply) -> Reply:
    """Cut an answer that is longer than the request allows, as a model that runs out of tokens."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if reply.content is None or limit is None or reply.completion_tokens is not None:
        return reply
    raw = reply.content.encode("utf-8", "surrogatepass")
    if estimate_tokens(len(raw)) <= limit:
        return reply
    content = raw[: 4 * limit].decode("utf-8", "ignore")
    return Reply(content=content, finish_reason="length")


def estimate_tokens(size_bytes: int) -> int:
    """Estimate tokens as a quarter of the bytes, rounded up."""
    return -(-size_bytes // 4)


def completion(body: Body, reply: Reply, engine_name: str, created: int) -> dict[str, Any]:
    """Build the chat completion object for a reply."""
    usage = count_usage(body, reply)
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
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}],
        "usage": usage,
        "service_tier": "default",
        # The engine's name, so that no one takes these answers for those of the model that was asked.
        "system_fingerprint": FINGERPRINT + engine_name,
    }


def count_usage(body: Body, reply: Reply) -> dict[str, Any]:
    """Count a request's tokens: the engine's own counts, or a quarter of the bytes."""
    prompt, output = reply.prompt_tokens, reply.completion_tokens
    if prompt is None:
        asked = json.dumps([body["messages"], body.get("response_format")], ensure_ascii=False)
        prompt = estimate_tokens(len(asked.encode("utf-8", "surrogatepass")))
    if output is None:
        said = (reply.content or "") + (reply.refusal or "")
        output = estimate_tokens(len(said.encode("utf-8", "surrogatepass")))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
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
