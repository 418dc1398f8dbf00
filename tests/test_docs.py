"""The pages in docs/: the reference says what the code says, and every link leads somewhere."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

from connector import result
from connector.ledger import State
from connector.task import RunOptions, Task
from tests.lab import ROOT

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "SECURITY")),
]


def test_the_reference_is_as_the_code_has_it() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "reference.py"))["pages"]()
    for name, content in pages.items():
        present = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert present == content, f"docs/{name} is older than the code: make docs"


def test_every_key_of_a_task_is_explained() -> None:
    page = (ROOT / "docs" / "task.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([a-z_.]+)`", "".join(re.findall(r"^\| (.*?) \|", page, re.MULTILINE))))
    keys = Task.model_fields.keys() - {"name", "run"}
    keys |= {f"run.{name}" for name in RunOptions.model_fields}
    assert keys <= explained
    assert {key for key in explained if key.startswith("run.")} <= keys


def _reasons() -> set[str]:
    """Return the reasons that the code itself gives a text: what makes an `Outcome` or a rejection."""
    found = set()
    for name in ("result", "sending"):
        tree = ast.parse((ROOT / "connector" / f"{name}.py").read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = getattr(call.func, "id", getattr(call.func, "attr", ""))
            given = call.args[2:3] if called in ("Outcome", "_each", "reject") else []
            named = call.keywords if called in ("Outcome", "replace") else []
            given += [keyword.value for keyword in named if keyword.arg == "reason"]
            found |= {getattr(word, "value", getattr(result, getattr(word, "id", ""), None)) for word in given}
    return {word for word in found if isinstance(word, str)}


def test_every_state_outcome_and_reason_is_explained() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    reasons = _reasons()
    assert len(reasons) >= 8, reasons
    outcomes = {"labelled", "rejected", "failed", "reopened", "forgotten"}
    words = {state.value for state in State} | outcomes | reasons
    assert {word for word in words if f"`{word}`" not in page} == set()
    # the first column of the table of texts has the outcomes; `reopened` is a batch's state as well
    assert set(re.findall(r"^\| `(\w+)` ", page.partition("A batch in")[0], re.MULTILINE)) == outcomes
    columns = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8").partition("## `label_claims`")[0]
    said = {name: re.findall(rf"^\| `{name}` \| (.*) \|$", columns, re.MULTILINE)[0] for name in ("outcome", "reason")}
    assert {word for word in outcomes if word not in said["outcome"]} == set()
    assert {word for word in reasons if word not in said["reason"]} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        there = page if not name else (page.parent / name).resolve()
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(there), f"{page.name} links to {target}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as repositories' web sites make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
