"""dbt's own docs as a browser shows them: tasks, labels, lineage, who owns what reads them."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.looking.chromium import open_page


def _manifest(labelled: Lab) -> Any:
    return json.loads((labelled.folder / "target" / "manifest.json").read_text())


def _ancestors(manifest: Any, key: str) -> set[str]:
    parents = manifest["parent_map"].get(key, [])
    return {*parents, *(found for parent in parents for found in _ancestors(manifest, parent))}


def _shown(labelled: Lab, browser: str, folder: Path, place: str) -> str:
    """Return what dbt's docs show of one place, without the lists of everything around it."""
    index = (labelled.folder / "target" / "static_index.html").as_uri()
    page = open_page(browser, f"{index}#!/{place}", folder)
    assert page.asked == []
    return html.unescape(page.html.split('ui-view=""')[-1].split('query="search.query"')[0])


def test_the_docs_show_a_task_and_what_it_reads_and_what_reads_it(browser: str, labelled: Lab, tmp_path: Path) -> None:
    shown = _shown(labelled, browser, tmp_path, "model/model.film_comments.comments_to_label")
    assert "Distinct comment texts without a label" in shown
    for part in ('"model":"gpt-6-luna"', '"version":1', '"instructions_file":"prompts/comments.md"', '"max":3'):
        assert part in shown, part
    for neighbour in ("stg_comments", "label_coverage"):
        assert re.search(rf">\s*{neighbour}\s*<", shown), neighbour


def test_the_docs_show_the_labels_with_every_column_described(browser: str, labelled: Lab, tmp_path: Path) -> None:
    source = "source.film_comments.labels.comment_labels"
    shown = _shown(labelled, browser, tmp_path, f"source/{source}")
    columns = _manifest(labelled)["sources"][source]["columns"]
    assert len(columns) > 20
    for name, column in columns.items():
        assert re.search(rf">\s*{name}\s*<", shown), name
        assert column["description"], name
        assert column["description"].partition("`")[0] in shown, name


def test_every_exposure_has_an_owner_a_person_can_write_to_and_stands_at_the_end_of_the_lineage(labelled: Lab) -> None:
    manifest = _manifest(labelled)
    exposures = manifest["exposures"]
    assert len(exposures) == 3
    for key, exposure in exposures.items():
        assert exposure["owner"]["name"], key
        assert re.fullmatch(r"[^@]+@[^@]+", exposure["owner"]["email"]), key
        assert exposure["description"], key
        assert manifest["parent_map"][key], key
        assert manifest["child_map"][key] == [], key
        assert "source.film_comments.labels.comment_labels" in _ancestors(manifest, key), key
