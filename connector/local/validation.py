"""What OpenAI refuses of a batch: at create, and while it validates the input file line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from connector.local.problem import Problem, json_type, wrong_type
from connector.local.usage import count_prompt

# Batch guide and API reference (read 2026-11). Codes and their params as observed from the service by its clients.
MAX_FILE_BYTES = 209_715_200
MAX_REQUESTS = 50_000
MAX_REPORTED_ERRORS = 1000
ENDPOINT = "/v1/chat/completions"
REQUIRED = ("custom_id", "method", "url", "body")
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512


@dataclass(frozen=True)
class Request:
    """Hold one parsed line of an input file; `number` counts from 1."""

    number: int
    custom_id: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Hold what validation found; `errors` empty means the batch may run."""

    errors: list[dict[str, Any]]
    total: int
    model: str | None
    tokens: int


def check_create(parameters: object) -> dict[str, Any]:
    """Refuse what `POST /v1/batches` refuses before there is a batch; return the parameters."""
    if not isinstance(parameters, dict):
        raise Problem(400, "We could not parse the JSON body of your request.")
    for name in ("input_file_id", "endpoint", "completion_window"):
        if name not in parameters:
            raise Problem(400, f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
        if not isinstance(parameters[name], str):
            raise wrong_type(name, "a string", parameters[name])
    for name in parameters:
        if name not in ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"):
            raise Problem(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    for name, supported in (("endpoint", ENDPOINT), ("completion_window", "24h")):
        if parameters[name] != supported:
            raise Problem(
                400,
                f"Invalid value: '{parameters[name]}'. Supported values for '{name}' are: '{supported}'.",
                code="invalid_value",
                param=name,
            )
    check_metadata(parameters.get("metadata"))
    return parameters


def check_metadata(metadata: object) -> None:
    """Refuse metadata that is not up to 16 pairs of short strings."""
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise wrong_type("metadata", "an object", metadata)
    if len(metadata) > MAX_METADATA_PAIRS:
        raise Problem(
            400,
            f"Invalid 'metadata': too many properties. Expected at most {MAX_METADATA_PAIRS} properties, "
            f"but got an object with {len(metadata)} properties instead.",
            code="object_above_max_properties",
            param="metadata",
        )
    for key, value in metadata.items():
        if len(key) > MAX_METADATA_KEY:
            raise _too_long(f"metadata.{key}", "key", MAX_METADATA_KEY, len(key))
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", "a string", value)
        if len(value) > MAX_METADATA_VALUE:
            raise _too_long(f"metadata.{key}", "string", MAX_METADATA_VALUE, len(value))


def _too_long(param: str, what: str, limit: int, length: int) -> Problem:
    return Problem(
        400,
        f"Invalid '{param}': {what} too long. Expected at most {limit} characters, but got {length} instead.",
        code="string_above_max_length",
        param=param,
    )


def read_requests(lines: Iterable[bytes]) -> Iterator[Request]:
    """Parse the lines of a file that passed validation."""
    for number, raw in enumerate(lines, 1):
        if raw.strip():
            line = json.loads(raw)
            yield Request(number, line["custom_id"], line["body"])


def validate(lines: Iterable[bytes], known_models: frozenset[str]) -> Verdict:
    """Judge an input file, whose lines end with `\\n` bytes and nothing else, in memory bounded by its custom ids.

    Tokens are the prompts', as `usage` counts them. At most 1,000 errors are listed.
    """
    judge = _Judge(known_models)
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        judge.total += 1
        if judge.total > MAX_REQUESTS:
            message = f"The batch input file contains more than the maximum of {MAX_REQUESTS} requests."
            return Verdict([batch_error("maximum_requests_exceeded", message)], judge.total, judge.model, 0)
        if len(judge.errors) < MAX_REPORTED_ERRORS:
            judge.judge_line(number, raw)
    if not judge.total:
        message = "The input file is empty: a batch has at least one request."
        return Verdict([batch_error("empty_file", message)], 0, None, 0)
    return Verdict(judge.errors, judge.total, judge.model, judge.tokens)


def batch_error(code: str, message: str, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    """Build one entry of a failed batch's `errors.data`."""
    return {"code": code, "line": line, "message": message, "param": param}


class _Judge:
    """Judge lines one by one, remembering what has to be the same or different across them."""

    def __init__(self, known_models: frozenset[str]) -> None:
        self._known_models = known_models
        self._custom_ids: set[str] = set()
        self.errors: list[dict[str, Any]] = []
        self.total = 0
        self.tokens = 0
        self.model: str | None = None

    def judge_line(self, number: int, raw: bytes) -> None:
        """Add a line's errors."""
        try:
            line = parse_json(raw)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            self.errors.append(batch_error("invalid_json_line", "This line is not parseable as valid JSON.", number))
            return
        found = len(self.errors)
        for name in REQUIRED:
            if line.get(name) in (None, ""):
                self._add("missing_required_parameter", f"Missing required parameter: '{name}'.", number, name)
        if len(self.errors) > found:
            return
        self._judge_custom_id(number, line["custom_id"])
        if line["method"] != "POST":
            self._add(
                "invalid_method", "Invalid value: the method of a batch request must be 'POST'.", number, "method"
            )
        if line["url"] != ENDPOINT:
            message = "The URL provided for this request does not match the batch endpoint."
            self._add("invalid_url", message, number, "url")
        if not isinstance(line["body"], dict):
            message = f"Invalid type for 'body': expected an object, but got {json_type(line['body'])} instead."
            self._add("invalid_type", message, number, "body")
        else:
            self._judge_body(number, line["body"])

    def _judge_custom_id(self, number: int, custom_id: object) -> None:
        if not isinstance(custom_id, str):
            message = f"Invalid type for 'custom_id': expected a string, but got {json_type(custom_id)} instead."
            self._add("invalid_type", message, number, "custom_id")
        elif custom_id in self._custom_ids:
            message = f"The custom_id '{custom_id}' is used more than once: it must be unique within a batch."
            self._add("duplicate_custom_id", message, number, "custom_id")
        else:
            self._custom_ids.add(custom_id)

    def _judge_body(self, number: int, body: dict[str, Any]) -> None:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            self._add("invalid_request", "Model parameter is required.", number, "body.model")
        elif model not in self._known_models:
            message = f"The provided model '{model}' is not supported by the Batch API."
            self._add("model_not_found", message, number, "body.model")
        elif model != (self.model or model):
            message = f"The model '{model}' differs from '{self.model}': each batch has requests for a single model."
            self._add("mismatched_model", message, number, "body.model")
        else:
            self.model = model
        if not body.get("messages"):
            self._add("invalid_request", "Messages parameter is required.", number, "body.messages")
        if body.get("stream"):
            message = "Chat Completions: Streaming is not supported in the Batch API."
            self._add("streaming_unsupported", message, number, "body.stream")
        self.tokens += count_prompt(body).tokens

    def _add(self, code: str, message: str, number: int, param: str) -> None:
        self.errors.append(batch_error(code, message, number, param))


def parse_json(raw: bytes) -> Any:
    """Parse JSON as strictly as the service does; raise ValueError for what is no JSON text.

    Python's parser by itself takes NaN and lone surrogates; a byte-order mark and invalid UTF-8 it refuses.
    """
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(name)
