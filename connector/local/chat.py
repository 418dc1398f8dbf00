"""What the chat completions endpoint accepts in a request body."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from connector.local.problem import Problem, wrong_type
from connector.local.schema import check_response_format

Body = Mapping[str, Any]

# API reference, "Create chat completion" (read 2026-11).
_PARAMETERS = """
    messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
    metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
"""
PARAMETERS = frozenset(_PARAMETERS.split())
REASONING_MODEL = re.compile(r"(gpt-[5-9]|o\d)")
ROLES = frozenset(("developer", "system", "user", "assistant", "tool", "function"))
EFFORTS = frozenset(("none", "minimal", "low", "medium", "high", "xhigh"))


def check_body(body: Body, known_models: frozenset[str]) -> None:
    """Refuse a request body as the chat endpoint does: with the first thing wrong in it."""
    for name in body:
        if name not in PARAMETERS:
            raise Problem(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Problem(400, "you must provide a model parameter")
    if model not in known_models:
        raise unknown_model(model)
    _check_messages(body.get("messages"))
    _check_limits(body)
    _check_reasoning(body, model)
    if body.get("stream"):
        raise Problem(400, "This server does not stream.", code="unsupported_value", param="stream")
    if body.get("n", 1) not in (1, None):
        raise Problem(400, "This server answers with one choice.", code="unsupported_value", param="n")
    check_response_format(body.get("response_format"))


def unknown_model(model: str) -> Problem:
    """Build the refusal of a model that is not on the server's list."""
    return Problem(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )


def text_of(body: Body) -> str:
    """Give the text a request is about: the content of its last user message."""
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content)
    return ""


def sha256_of(text: str) -> str:
    """Digest a text as the execution log shows it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _check_messages(messages: object) -> None:
    if messages is None:
        raise Problem(
            400, "Missing required parameter: 'messages'.", code="missing_required_parameter", param="messages"
        )
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise Problem(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            code="empty_array",
            param="messages",
        )
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if not isinstance(message, dict):
            raise wrong_type(where, "an object", message)
        if message.get("role") not in ROLES:
            raise Problem(
                400,
                f"Invalid value: {message.get('role')!r}. Supported values are: {', '.join(sorted(ROLES))}.",
                code="invalid_value",
                param=f"{where}.role",
            )
        content = message.get("content")
        if message["role"] == "assistant" and content is None:
            continue
        parts = content if isinstance(content, list) else []
        if not isinstance(content, (str, list)) or not all(isinstance(part, dict) for part in parts):
            raise wrong_type(f"{where}.content", "one of a string or array of objects", content)


def _check_limits(body: Body) -> None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise wrong_type(name, "an integer", limit)
        if limit < 1:
            raise Problem(
                400,
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {limit} instead.",
                code="integer_below_min_value",
                param=name,
            )
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise Problem(400, "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")


def _check_reasoning(body: Body, model: str) -> None:
    reasons = REASONING_MODEL.match(model) is not None
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        raise Problem(
            400,
            f"Invalid value: {effort!r}. Supported values are: {', '.join(sorted(EFFORTS))}.",
            code="invalid_value",
            param="reasoning_effort",
        )
    if not reasons:
        if effort is not None:
            raise Problem(400, "Unrecognized request argument supplied: reasoning_effort")
        return
    if body.get("max_tokens") is not None:
        raise Problem(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            code="unsupported_parameter",
            param="max_tokens",
        )
    if effort != "none" and body.get("logprobs"):
        raise Problem(
            400,
            "logprobs are not supported with reasoning models.",
            code="unsupported_parameter",
            param="logprobs",
        )
    for name in ("temperature", "top_p"):
        # Sampling can be set only where the model is told not to reason.
        if effort != "none" and body.get(name) not in (None, 1):
            raise Problem(
                400,
                f"Unsupported value: '{name}' does not support {body[name]} with this model. "
                "Only the default (1) value is supported.",
                code="unsupported_value",
                param=name,
            )
