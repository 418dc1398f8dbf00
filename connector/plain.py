"""Words for people: numbers with their nouns; what others wrote, without what a terminal obeys and without the key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

# control characters but tab and line feed, what turns the direction of writing, other ends of lines, half characters
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# a shorter key is a word for a server of one's own, and may stand in any text
SHORTEST_SECRET = 16


def shown(text: str) -> str:
    """Return text for a person: what a terminal would obey is written out, as in `\\x1b`; a key becomes stars."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), _without_key(text))


def shown_json(data: Any, indent: int | None = None) -> str:
    """Return data as JSON without anything that a terminal would obey; a key becomes stars.

    Money is a string of digits, `"0.0051"`, so that no reader rounds it; a time is a string as well.
    """
    text = json.dumps(data, default=_as_string, ensure_ascii=False, indent=indent)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", _without_key(text))


def listed(names: Iterable[object]) -> str:
    """Return names as a sentence has them: `a`, `b`."""
    return ", ".join(f"`{name}`" for name in names)


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, `3 texts` or `1 text`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _as_string(value: object) -> str:
    if not isinstance(value, Decimal):
        return str(value)
    digits = f"{value:f}"  # `normalize` would round to 28 digits
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _without_key(text: str) -> str:
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    return text.replace(key, "***") if len(key) >= SHORTEST_SECRET else text
