"""What is left of a text that was to be forgotten."""

from __future__ import annotations

from typing import Any

from tests.dbt_package import key
from tests.lab import Lab, Server


def mentions(lab: Lab, text: str) -> list[str]:
    """Return the tables of the labels schema that have the key of a text anywhere."""
    tables = lab.sql("select table_name from information_schema.tables where table_schema = 'main_labels'")
    rows = {name: lab.sql(f"select * from main_labels.{name}") for (name,) in tables}
    return sorted(name for name, found in rows.items() if any(key(text) in map(str, row) for row in found))


def files(server: Server) -> list[Any]:
    """Return the files that the provider has."""
    found: list[Any] = server.control("GET", "/v1/files")["data"]
    return found
