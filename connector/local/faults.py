"""The faults a server can be told to have, how their values are written, and which of them strike now.

A value is a single scalar (the first key below), or a JSON object of the keys. `times` counts strikes until the fault
is over: unlimited where not given, but 1 for the faults of one route and cut downloads. Shares are 0 to 1. Which rows a
share takes is decided by a hash of `seed` and the custom id, or of `seed` and the text where `times` is given (or `by`
is `content`). Rows' strikes are counted per text on disk, so a text is struck at most `times` times, whatever its
custom id and across restarts; all other counters begin anew with the process. PUT /local/faults resets all of them.
Of the row faults that would take a request the first in the table does; reasoning, no_usage and no_logprobs come on top
of any other. A packed request's text is its whole user message, but for item faults, which take its items one by one:
the first that takes an item, by the item's text, or by custom id and item id (not with the upstream engine).
Routes: upload, list_files, retrieve_file, download, delete_file, create_batch, list, retrieve, cancel, chat, models.

| name | keys | what happens |
|---|---|---|
| lost_reply | route, times | the work is done, then the connection closes without a reply |
| refuse_before | route, times | the connection closes before the work is done |
| http_429, http_500, http_503 | route, times, retry_after | an error reply instead of the work |
| quota | times | create_batch answers 429 `insufficient_quota` |
| list_lag | calls, seconds | a created batch is missing from the next list calls (from first pages), or for a while |
| drop_metadata | on | batches are created without their metadata |
| fail_validation | code, message, times | the batch ends `failed` with this error |
| duration | seconds | each batch that is created now ends no sooner than so many seconds after its creation |
| slow | seconds | half of a batch's rows are done at once, the rest so many seconds later; 0 lets all go on that wait |
| expire_after | share, times | the batch ends `expired` when this share of its rows is done |
| expire_unlisted | on | rows that an expired batch did not do are missing, not listed in the error file |
| cancel_midway | share, times | someone cancels the batch when this share of its rows is done (half, where not given) |
| output_id_null_first | times | so many retrieves of each completed batch show `output_file_id` null |
| error_file_id_empty_string | on | a batch without an error file shows "" instead of null |
| content_404_first | times | so many downloads of each file answer 404 |
| cut_download | times, variant | the body stops halfway: `length` (connection lost) or `chunked` (looks complete) |
| row_refusal | share, times, seed, by | executed; `message.refusal` instead of content |
| row_content_filter | 〃 | executed; finish_reason `content_filter`, content cut |
| row_truncate | 〃 | executed; finish_reason `length`, JSON cut in the middle |
| row_break_schema | 〃 | executed; valid JSON with a value the schema does not allow |
| row_not_json | 〃 | executed; prose instead of JSON |
| row_empty_body | 〃 | executed; status 200 with body {} or (every second, by custom id) content null |
| poison_answer | 〃 | executed; NUL, a lone surrogate and U+2028 in every free-text field |
| wrong_model_echo | 〃 | executed; the completion names another model |
| row_twice | 〃 | executed; the line is in the file twice |
| row_missing | 〃 | not executed; counted as completed, but in neither file |
| row_status_0 | 〃 | not executed; a line with status_code 0 in the output file, counted as completed |
| row_400 | 〃, code, message | not executed; refused, `content_policy_violation` where no code is given |
| row_401, row_404, row_429, row_500 | 〃 | not executed; a line in the error file with that status |
| reasoning | tokens, 〃 | executed; so many reasoning tokens, which count as completion tokens and to the limit |
| no_usage | 〃 | executed; `usage` is null |
| no_logprobs | 〃 | executed; `logprobs` is null although it was asked for |
| item_missing | 〃 | this text is not executed; its row is missing |
| item_twice | 〃 | this text is executed; its row comes twice |
| item_wrong_id | 〃 | this text is executed; its row has an id that was not asked |
| item_bad_value | 〃 | this text is executed; its row has a value the schema does not allow |
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from connector.local.settings import LocalServerError

_ROUTES = """
    upload list_files retrieve_file download delete_file create_batch list retrieve cancel chat models
"""
ROUTES = _ROUTES.split()
ROW_KEYS = ("share", "times", "seed", "by")
_ROW_FAULTS = """
    row_refusal row_content_filter row_truncate row_break_schema row_not_json row_empty_body poison_answer
    wrong_model_echo row_twice row_missing row_status_0 row_400 row_401 row_404 row_429 row_500
"""
ROW_FAULTS = _ROW_FAULTS.split()
EXTRA_FAULTS = ["reasoning", "no_usage", "no_logprobs"]
ITEM_FAULTS = ["item_missing", "item_twice", "item_wrong_id", "item_bad_value"]
KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lost_reply", "refuse_before"), ("route", "times")),
    **dict.fromkeys(("http_429", "http_500", "http_503"), ("route", "times", "retry_after")),
    "quota": ("times",),
    "list_lag": ("calls", "seconds"),
    **dict.fromkeys(("drop_metadata", "expire_unlisted", "error_file_id_empty_string"), ("on",)),
    "fail_validation": ("code", "message", "times"),
    **dict.fromkeys(("duration", "slow"), ("seconds",)),
    **dict.fromkeys(("expire_after", "cancel_midway"), ("share", "times")),
    **dict.fromkeys(("output_id_null_first", "content_404_first"), ("times",)),
    "cut_download": ("times", "variant"),
    **dict.fromkeys((*ROW_FAULTS, *EXTRA_FAULTS, *ITEM_FAULTS), ROW_KEYS),
    "row_400": (*ROW_KEYS, "code", "message"),
    "reasoning": ("tokens", *ROW_KEYS),
}
STRIKES_ONCE = ("lost_reply", "refuse_before", "http_429", "http_500", "http_503", "cut_download")
CHOICES = {"route": ROUTES, "variant": ["length", "chunked"], "by": ["custom_id", "content"]}
TEXTS = ("code", "message")


class InvalidFault(LocalServerError):
    """Say what is wrong with a fault's name or value."""


@dataclass(frozen=True)
class Fault:
    """Hold one active fault; only the keys its name has in the table mean something."""

    name: str
    route: str | None = None
    times: int | None = None
    retry_after: float | None = None
    calls: int = 0
    seconds: float = 0
    tokens: int = 0
    on: bool = True
    share: float = 1.0
    seed: int = 0
    by: str = "custom_id"
    code: str | None = None
    message: str | None = None
    variant: str = "length"


def parse_assignment(text: str) -> tuple[str, object]:
    """Split a command line's `NAME[=VALUE]`; the value is JSON, or else a plain string."""
    name, equals, value = text.partition("=")
    if not equals:
        return name, True
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def parse_fault(name: str, value: object) -> Fault:
    """Read a fault in any of its forms, or raise InvalidFault."""
    keys = KEYS.get(name)
    if keys is None:
        raise InvalidFault(f"fault `{name}` is unknown; there are: {', '.join(sorted(KEYS))}")
    given = dict(value) if isinstance(value, Mapping) else {} if value is True else {keys[0]: value}
    for key, member in given.items():
        if key not in keys:
            raise InvalidFault(f"fault `{name}` has no `{key}`; it has: {', '.join(keys)}")
        _check_member(name, key, member)
    if "route" in keys and "route" not in given:
        raise InvalidFault(f"fault `{name}` needs a route: {', '.join(ROUTES)}")
    defaults: dict[str, Any] = {"times": 1} if name in STRIKES_ONCE else {}
    if name == "cancel_midway":
        defaults["share"] = 0.5
    if "times" in given:
        defaults["by"] = "content"
    return Fault(name, **{**defaults, **given})


def _check_member(name: str, key: str, value: object) -> None:
    where = f"fault `{name}`: `{key}`"
    if key in CHOICES and value not in CHOICES[key]:
        raise InvalidFault(f"{where} is one of: {', '.join(CHOICES[key])}")
    if key in TEXTS and not isinstance(value, str):
        raise InvalidFault(f"{where} is a string")
    if key == "on" and not isinstance(value, bool):
        raise InvalidFault(f"{where} is true or false")
    if key in CHOICES or key in TEXTS or key == "on":
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise InvalidFault(f"{where} is a number of at least 0")
    if key == "share" and value > 1:
        raise InvalidFault(f"{where} is at most 1")
    if key in ("times", "calls", "seed", "tokens") and not isinstance(value, int):
        raise InvalidFault(f"{where} is a whole number")


class Faults:
    """Know which faults are active and how often each has struck; safe to use from several threads."""

    def __init__(self, values: Mapping[str, object], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[str, Fault] = {}
        self._strikes: dict[tuple[str, str], int] = {}
        self._lagging: dict[str, tuple[int, float]] = {}
        self.replace(values)

    def replace(self, values: Mapping[str, object]) -> None:
        """Make these the active faults, counters at zero; raise InvalidFault and change nothing on a wrong one."""
        active = {name: parse_fault(name, value) for name, value in values.items() if value is not False}
        with self._lock:
            self._active = active
            self._strikes = {}
            self._lagging = {}

    def show(self) -> dict[str, dict[str, object]]:
        """List the active faults with their keys and how often each has struck, rows not counted."""
        with self._lock:
            return {
                name: {f.name: getattr(fault, f.name) for f in fields(fault) if f.name in KEYS[name]}
                | {"strikes": sum(n for (struck, _), n in self._strikes.items() if struck == name)}
                for name, fault in self._active.items()
            }

    def find(self, name: str) -> Fault | None:
        """Give a fault if it is active, without counting a strike."""
        fault = self._active.get(name)
        return fault if fault is not None and fault.on else None

    def strike(self, name: str, *, route: str | None = None, subject: str = "") -> Fault | None:
        """Give a fault if it strikes now and count that, per subject where its `times` are per batch or file."""
        with self._lock:
            fault = self._active.get(name)
            if fault is None or not fault.on or fault.route != route:
                return None
            struck = self._strikes.get((name, subject), 0)
            if fault.times is not None and struck >= fault.times:
                return None
            self._strikes[name, subject] = struck + 1
            return fault

    def taking(
        self, names: Sequence[str], subject_id: str, content_sha256: str, hits: Callable[[str, str], int]
    ) -> Iterator[Fault]:
        """Yield the faults of these names that take a row or an item; `hits` tells how often one has struck a text."""
        for name in names:
            fault = self.find(name)
            if fault is None:
                continue
            subject = content_sha256 if fault.by == "content" else subject_id
            if _draw(f"{name}/{fault.seed}/{subject}") >= fault.share:
                continue
            if fault.times is None or hits(name, content_sha256) < fault.times:
                yield fault

    def stop_after(self, total: int) -> tuple[str, int] | None:
        """Decide once for a batch whether it stops early: as what, and after how many rows."""
        for name, status in (("expire_after", "expired"), ("cancel_midway", "cancelled")):
            fault = self.strike(name)
            if fault is not None:
                return status, min(total, math.ceil(fault.share * total))
        return None

    def lag(self, batch_id: str) -> None:
        """Hide a new batch from lists if lists lag."""
        with self._lock:
            fault = self._active.get("list_lag")
            if fault is not None:
                self._lagging[batch_id] = (fault.calls, self._clock() + fault.seconds)

    def lagging(self, *, first_page: bool) -> list[str]:
        """Name the batches that a list call does not see; each first page is one call."""
        with self._lock:
            now = self._clock()
            hidden = [batch_id for batch_id, (calls, until) in self._lagging.items() if calls > 0 or now < until]
            if first_page:
                self._lagging = {b: (max(0, self._lagging[b][0] - 1), self._lagging[b][1]) for b in hidden}
            return hidden


def _draw(key: str) -> float:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
