"""The command `evaluate`: what people read, what programs read, and what it says where nothing can be measured."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.command import run_command
from tests.demo import dbt, insert
from tests.evaluation import judged, key, label
from tests.lab import Lab

LABELS = "main_labels.comment_labels"


@pytest.fixture
def measured(lab: Lab) -> Iterator[Lab]:
    """Give the small project with two versions, of 40 texts that people judged."""
    yaml_file = lab.folder / "models" / "comments_to_label.yml"
    kept = yaml_file.read_text()
    texts = [f"text {number}" for number in range(40)]
    insert(lab, "raw.gold", [judged(text, sentiment="positive", themes=["plot"]) for text in texts])
    insert(lab, "raw.gold", [judged(f"late {number}", sentiment="negative") for number in range(2)])
    first = [
        label(text, 1, sentiment="positive" if place < 30 else "it's", themes=[]) for place, text in enumerate(texts)
    ]
    second = [label(text, 2, sentiment="negative", themes=["plot"]) for text in texts[:10]]
    insert(lab, LABELS, first + second)
    yield lab
    if yaml_file.read_text() != kept:
        yaml_file.write_text(kept)
        lab.reparse()


def lines(out: str) -> list[str]:
    """Return the lines with single spaces."""
    return [" ".join(line.split()) for line in out.splitlines() if line.strip()]


def test_people_read_figures_with_intervals_classes_and_confusion(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_command(measured, capfd, "evaluate")
    assert said.code == 0, said.err
    read = lines(said.out)
    assert read[:3] == [
        "task comments_to_label -> comment_labels, version 1, gold: gold_labels, corrected by label_overrides",
        "sentiment: 40 texts with gold and a label, 2 without a label",
        "metric value 95% interval",
    ]
    for line in [
        "accuracy 0.750 [0.598, 0.858]",
        "kappa 0.000",
        "macro_f1 0.429",
        "version 2: accuracy 0.000 [0.000, 0.278] on 10 texts",
        "positive 40 30 30 1.000 [0.886, 1.000] 0.750 [0.598, 0.858] 0.857",
        "it's 0 10 0 0.000 [0.000, 0.278] 0.000 0.000",
        "gold \\ label positive it's",
        "positive 30 10",
        "it's 0 0",
        "exact_match 0.000 [0.000, 0.088]",
        "plot 40 0 0 0.000 0.000 [0.000, 0.088] 0.000",
    ]:
        assert line in read, said.out
    assert said.out.count("gold \\ label") == 1
    assert "few" not in said.out
    assert "spoiler" not in said.out
    assert key("text 1") not in said.out


def test_another_version_is_shown_on_request_and_few_texts_are_said_to_be_few(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_command(measured, capfd, "evaluate", "--version", "2")
    read = lines(said.out)
    assert "sentiment: 10 texts with gold and a label, 32 without a label" in read
    assert "note: 10 texts are few, under 30: these figures can be far off" in read
    assert "version 1: accuracy 0.750 [0.598, 0.858] on 40 texts" in read
    said = run_command(measured, capfd, "evaluate", "--version", "3")
    assert said.code == 1
    assert "no text of `gold_labels` has an answer of version 3; there are of 1, 2" in said.err


def test_before_the_tasks_version_has_labels_the_one_below_is_shown(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    measured.edit_task(version=5)
    said = run_command(measured, capfd, "evaluate")
    assert lines(said.out)[0].startswith("task comments_to_label -> comment_labels, version 2,")
    assert "note: no gold text has an answer of version 5, the task's, yet" in said.out


def test_an_older_version_on_request_says_nothing_of_the_tasks_where_that_has_labels(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    measured.edit_task(version=2)
    said = run_command(measured, capfd, "evaluate", "--version", "1")
    assert lines(said.out)[0].startswith("task comments_to_label -> comment_labels, version 1,")
    assert "no gold text has an answer" not in said.out


def test_programs_read_every_figure_of_every_version(measured: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    [found] = run_command(measured, capfd, "evaluate", "--json").json
    assert {name: found[name] for name in ("task", "table", "version", "gold", "overrides", "versions")} == {
        "task": "comments_to_label",
        "table": "comment_labels",
        "version": 1,
        "gold": "gold_labels",
        "overrides": "label_overrides",
        "versions": [1, 2],
    }
    figures = {(row["version"], row["field"], row["metric"]): row for row in found["metrics"]}
    assert figures[1, "sentiment", "accuracy"]["value"] == 0.75
    assert figures[1, "sentiment", "missing"] == {
        "version": 1, "field": "sentiment", "metric": "missing", "value": 2, "low": None, "high": None
    }  # fmt: skip
    assert figures[2, "themes", "exact_match"]["value"] == 1
    assert {"version": 1, "field": "sentiment", "gold_value": "positive", "label_value": "it's", "texts": 10} in found[
        "confusion"
    ]
    assert {(row["version"], row["field"], row["value"], row["true_positives"]) for row in found["classes"]} >= {
        (1, "sentiment", "positive", 30),
        (2, "themes", "plot", 10),
    }


def test_what_the_golds_yaml_says_of_it_stands_beside_its_figures(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    path = measured.folder / "models" / "gold_labels.yml"
    document = {"models": [{"name": "gold_labels", "description": "Judged by one person,\nwho wrote them."}]}
    path.write_text(yaml.safe_dump(document))
    try:
        said = run_command(measured, capfd, "evaluate")
    finally:
        path.unlink()
    assert "  gold_labels: Judged by one person, who wrote them.\n" in said.out


def test_changes_between_versions_are_counted_without_any_text(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_command(measured, capfd, "evaluate", "--changes", "1", "2")
    assert said.code == 0, said.err
    read = lines(said.out)
    assert read[0] == "task comments_to_label, version 1 to 2: 10 texts with a label of both"
    for line in [
        "sentiment: 10 changed (100.0%)",
        "positive -> negative 10",
        "themes: 10 changed (100.0%)",
        '[] -> ["plot"] 10',
        "stars: 0 changed (0.0%)",
        f'{key("text 3")} themes [] -> ["plot"]',
    ]:
        assert line in read, said.out
    assert "text 3" not in said.out
    [found] = run_command(measured, capfd, "evaluate", "--changes", "1", "2", "--json").json
    assert found["changed"] == {"sentiment": 10, "spoiler": 0, "stars": 0, "themes": 10}
    assert len(found["first"]) == 20
    assert {"field": "sentiment", "old_value": "positive", "new_value": "negative", "texts": 10} in found["counts"]


def test_a_field_of_many_values_shows_the_most_frequent_differences(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [f"many {number}" for number in range(44)]
    insert(measured, "raw.gold", [judged(text, stars=place // 4) for place, text in enumerate(texts)])
    insert(measured, LABELS, [label(text, stars=10) for text in texts])
    read = lines(run_command(measured, capfd, "evaluate").out)
    assert "most frequent differences, gold -> label" in read
    assert "7 -> 10 4" in read
    assert "10 -> 10 4" not in read


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--changes", "1", "1"], 2, "two versions"),
        (["--changes", "1", "2", "--version", "1"], 2, "exclude each other"),
        (["--changes", "1", "9"], 1, "no labels of version 9; there are labels of `1`, `2`"),
        (["--version", "0"], 2, "0"),
        (["--task", "nobody"], 1, "no task is called `nobody`"),
    ],
)
def test_what_can_not_be_shown_is_told(
    measured: Lab, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    told = run_command(measured, capfd, "evaluate", *arguments)
    assert (told.code, told.out) == (code, "")
    assert said in told.err


def test_without_gold_or_without_labels_it_says_what_to_do(measured: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    measured.sql(f"delete from {LABELS}")
    told = run_command(measured, capfd, "evaluate")
    assert (told.code, told.out) == (1, "")
    assert "no text of `gold_labels` has an answer of version 1" in told.err
    assert "hint: `dbt-labels run`" in told.err
    measured.sql("delete from raw.gold")
    assert run_command(measured, capfd, "evaluate", "--json").code == 1
    measured.edit_task(gold=None)
    told = run_command(measured, capfd, "evaluate")
    assert (told.code, told.out) == (1, "")
    assert "task `comments_to_label` has no `gold` to measure its labels against" in told.err
    assert "hint: name there the model or seed" in told.err


def test_a_task_without_gold_is_passed_over_where_another_has_some(
    measured: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    other = measured.folder / "models" / "others_to_label"
    document = yaml.safe_load((measured.folder / "models" / "comments_to_label.yml").read_text())
    model = document["models"][0]
    model["name"] = "others_to_label"
    model["config"]["meta"]["dbt_labels"] |= {"table": "other_labels"}
    for name in ("gold", "overrides"):
        model["config"]["meta"]["dbt_labels"].pop(name)
    other.with_suffix(".yml").write_text(yaml.safe_dump(document))
    sql = (measured.folder / "models" / "comments_to_label.sql").read_text()
    other.with_suffix(".sql").write_text(sql)
    try:
        [found] = run_command(measured, capfd, "evaluate", "--json").json
        assert found["task"] == "comments_to_label"
        told = run_command(measured, capfd, "evaluate", "--task", "others_to_label")
        assert "task `others_to_label` has no `gold`" in told.err
        assert dbt(measured, "run", "--select", "label_quality_pairs+").success
        assert measured.sql("select distinct label_table from main.label_quality") == [("comment_labels",)]
    finally:
        other.with_suffix(".sql").unlink()
        other.with_suffix(".yml").unlink()


def test_json_is_one_document_whatever_the_values_are(measured: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    insert(measured, "raw.gold", [judged("odd", themes=['say "hi"', "[x]"])])
    insert(measured, LABELS, [label("odd", themes=['say "hi"'])])
    said = run_command(measured, capfd, "evaluate", "--json")
    values = {row["value"] for row in json.loads(said.out)[0]["classes"]}
    assert {'say "hi"', "[x]"} <= values
    read = lines(run_command(measured, capfd, "evaluate").out)
    assert 'say "hi" 1 1 1 1.000 [0.207, 1.000] 1.000 [0.207, 1.000] 1.000' in read
