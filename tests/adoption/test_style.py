"""The style of a project is what most of its files do; ours where it has none."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
import yaml

from connector.adoption.draft import Wish, draft_files, draft_source, name_all
from connector.adoption.style import Style, read_style
from connector.warehouse.inventory import Relation


def _relation(name: str, code: str = "") -> Relation:
    return Relation(name, "model", ("ref", name), True, f"models/{name}.sql", code, (), None, False)


def test_a_project_without_files_gets_our_style() -> None:
    assert read_style("name: shop\n", {}) == Style()
    assert read_style("name: shop\r\n", {}).newline == "\r\n"


def test_indentation_quotes_capitals_and_tests_are_those_of_most_files() -> None:
    files = {
        "a.sql": "SELECT * FROM {{ ref('x') }}",
        "b.sql": "SELECT 1",
        "a.yaml": "version: 2\nmodels:\n- name: a\n  config:\n      tags: [x]\n  columns:\n  - tests: [unique]\n",
        "b.yaml": "version: 2\nmodels:\n- name: b\n  meta:\n      owner: me\n",
        "c.yml": "# Written by `dbt-labels sync` from the tasks' YAML\nsources:\n    - name: labels\n",
    }
    style = read_style("", {PurePosixPath("models") / name: text for name, text in files.items()})
    assert style == Style(extension="yaml", has_version=True, dash=0, indent=4, quote="'", is_upper=True, tests="tests")


@pytest.mark.parametrize(("file", "shared"), [("_shop__models", "_{folder}__models"), ("schema", "schema")])
def test_a_file_that_a_folder_shares_is_called_as_in_the_other_folders(file: str, shared: str) -> None:
    path = PurePosixPath(f"models/shop/{file}.yml")
    sqls = {PurePosixPath(f"models/shop/{name}.sql"): "select 1" for name in "ab"}
    style = read_style("", {path: "models:\n  - name: a\n  - name: b\n", **sqls})
    assert style.models_file == shared
    folder = PurePosixPath("models/labeling")
    files = draft_files(name_all(_relation("stg_reviews")), Wish(_relation("stg_reviews"), "body", None), folder, style)
    [written] = [text for name, text in files.items() if name.suffix == ".yml"]
    assert [model["name"] for model in yaml.safe_load(written)["models"]] == [
        "reviews_with_key",
        "reviews_to_label",
        "current_review_labels",
    ]


@pytest.mark.parametrize(
    ("stem", "new"),
    [
        ("_shop__sources", "_labels__sources"),
        ("__sources", "__sources"),
        ("sources", "sources"),
        ("src_shop", "src_labels"),
        ("shop_sources", "labels_sources"),
        ("shop", "labels"),
    ],
)
def test_files_of_sources_are_called_as_the_project_calls_them(stem: str, new: str) -> None:
    style = read_style("", {PurePosixPath(f"models/{stem}.yml"): "sources:\n  - name: shop\n"})
    path, _ = draft_source(name_all(_relation("reviews")), PurePosixPath("models/labeling"), style)
    assert path == PurePosixPath(f"models/labeling/{new}.yml")


@pytest.mark.parametrize(
    ("model", "task", "table"),
    [
        ("stg_shop__reviews", "reviews_to_label", "review_labels"),
        ("int_ticket_replies", "ticket_replies_to_label", "ticket_reply_labels"),
        ("Feedback", "feedback_to_label", "feedback_labels"),
        ("press", "press_to_label", "press_labels"),
    ],
)
def test_names_come_from_the_models_name(model: str, task: str, table: str) -> None:
    names = name_all(_relation(model))
    assert (names.task, names.table) == (task, table)


def test_a_model_with_a_key_of_ours_needs_no_other() -> None:
    relation = _relation("stg_reviews", "select {{ dbt_labels.text_key('body') }} as text_key")
    names = name_all(relation)
    assert names.keyed is None
    files = draft_files(names, Wish(relation, "body", "Posted At"), PurePosixPath("models"), Style())
    assert 'texts=ref("stg_reviews")' in files[PurePosixPath("models/reviews_to_label.sql")]
    assert 'age=adapter.quote("Posted At")' in files[PurePosixPath("models/reviews_to_label.sql")]
