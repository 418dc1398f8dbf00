"""Parameters in SQL: `?` as we write them, in the mark that a driver knows."""

from __future__ import annotations

import re

# what stands in quotes or in a comment is no parameter
_MARK = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\?""", re.DOTALL)


def marked(sql: str, mark: str) -> str:
    """Return SQL with a driver's mark in place of `?`; for `%s` every other percent sign is doubled."""
    if mark.startswith("%"):
        sql = sql.replace("%", "%%")
    return _MARK.sub(lambda found: mark if found[0] == "?" else found[0], sql)
