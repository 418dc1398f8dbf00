"""An answer: what a line of an output or error file says of one request, however it is written.

`response.status_code` decides, whatever `error` says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from connector.ledger import QUOTA_CODES
from connector.price import Usage
from connector.request import sendable

_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*"([0-9a-f]+-[0-9a-f]+)"')
_LONGEST_CODE = 200
_STOP_STATUSES = frozenset({401, 403, 404})
_FREE_STATUSES = frozenset({0, 408, 409, 429})
# a line is read whole: longer than any answer, and not so long that it fills the memory
_LONGEST_LINE_BYTES = 64 << 20
_RAW_BYTES = 1 << 20
# a trillion tokens in one request is no count
_MAX_TOKENS = 10**12


class _Line(msgspec.Struct):
    """A line as the API promises it, and as little of it as needed: what services make of it differs."""

    custom_id: Any = None
    response: Any = None
    error: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the provider says of one request. `unreadable` is a line of ours that is no JSON: paid for, and no label."""

    status_code: int
    body: dict[str, Any]
    error_code: str | None
    error_message: str | None
    unreadable: str | None = None

    @property
    def code(self) -> str:
        """Return the error's code, or its HTTP status where it has none."""
        return self.error_code or f"http_{self.status_code}"

    @property
    def is_unavailable(self) -> bool:
        """Tell whether the request was not carried out for no reason of its own, and can be tried again.

        An unreadable line has no status and so is one of these, though it is paid for: look at `unreadable` first.
        """
        return self.status_code != 200 and (self.status_code in _FREE_STATUSES or not 400 <= self.status_code < 500)

    @property
    def is_about_all(self) -> bool:
        """Tell whether one such answer is about the key, the endpoint or the account, and so about all."""
        says_nothing = self.status_code != 200 or not self.body.get("choices")
        return self.status_code in _STOP_STATUSES or (self.error_code in QUOTA_CODES and says_nothing)


def read_answers(path: Path) -> Iterator[tuple[str, Answer]]:
    """Give every line of a file that names a request, with its custom_id. Lines end at line feed bytes only.

    What is longer than any answer is read in parts, each as a line of its own.
    """
    with path.open("rb") as handle:
        while line := handle.readline(_LONGEST_LINE_BYTES):
            parsed = _parse_line(line)
            if parsed is not None and isinstance(parsed.custom_id, (str, int)):
                yield str(parsed.custom_id), _answer(parsed)
            elif named := _CUSTOM_ID.search(line):
                raw = sendable(line[:_RAW_BYTES].decode("utf-8", "replace"))
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
    response = mapping(line.response)
    body = mapping(response.get("body"))
    error = mapping(body.get("error")) or mapping(line.error)
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


def mapping(value: object) -> dict[str, Any]:
    """Return a JSON object, empty where there is none."""
    return value if isinstance(value, dict) else {}


def usage_of(answer: Answer) -> Usage | None:
    """Return what a request used, None where it does not say."""
    said = mapping(answer.body.get("usage"))
    read, written = _tokens(said, "prompt_tokens"), _tokens(said, "completion_tokens")
    if read is None or written is None:
        return None
    of_read, of_written = mapping(said.get("prompt_tokens_details")), mapping(said.get("completion_tokens_details"))
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cached_tokens=_tokens(of_read, "cached_tokens") or 0,
        cache_write_tokens=_tokens(of_read, "cache_write_tokens") or 0,
        reasoning_tokens=_tokens(of_written, "reasoning_tokens") or 0,
    )


def _tokens(counts: dict[str, Any], key: str) -> int | None:
    value = counts.get(key)
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS
    return value if fits else None
