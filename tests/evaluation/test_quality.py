"""The figures: scikit-learn's, from the package's macros, and the same in dbt's tables and in the connector."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import Any

import pytest
from scipy.stats import binomtest

from connector.warehouse.project import parse_project
from connector.warehouse.quality import Quality, read_changes, read_quality
from tests.demo import dbt, insert
from tests.evaluation import VALUES, as_text, class_scores, judged, key, label, scores
from tests.lab import Lab

LABELS = "main_labels.comment_labels"
Values = dict[str, dict[str, Any]]


def quality(lab: Lab) -> Quality:
    return read_quality(lab.project, lab.project.tasks[0])


def values(found: Quality, version: int, field: str) -> dict[str, float | None]:
    return {row.metric: row.value for row in found.metrics if (row.version, row.field) == (version, field)}


def random_value(rng: random.Random, field: str, among: list[Any]) -> Any:
    if field == "themes":
        # repetition and order mean nothing
        return [rng.choice(among) for _ in range(rng.choice([0, 0, 1, 2, 3]))] if among else []
    return rng.choice(among)


def random_classes(rng: random.Random, field: str) -> list[Any]:
    least = 0 if field == "themes" else 1
    return rng.sample(VALUES[field], rng.randint(least, len(VALUES[field])))


def random_labels(rng: random.Random, texts: list[str], version: int, gold: Values) -> tuple[list[Any], Values]:
    """Return rows of one version, with everything that must not count, and the labels that do."""
    classes = {field: random_classes(rng, field) for field in VALUES}
    skill = rng.random()
    rows, labels = [], {}
    for text in texts:
        found = {field: random_value(rng, field, classes[field]) for field in VALUES}
        for field, value in gold[text].items():
            if rng.random() < skill:
                found[field] = value
        fate = rng.random()
        if fate < 0.8:
            labels[text] = found
            rows += [label(text, version, **found)] * rng.choice([1, 1, 2])
        if fate > 0.7:
            rows.append(label(text, version, **found, outcome=rng.choice(["rejected", "failed", "reopened"])))
    return rows, labels


@pytest.mark.parametrize("seed", range(4))
def test_every_figure_is_scikit_learns(lab: Lab, seed: int) -> None:
    rng = random.Random(seed)
    texts = [f"text {number}" for number in range(rng.choice([3, 12, 40]))]
    among = {field: random_classes(rng, field) for field in VALUES}
    gold = {
        text: {field: random_value(rng, field, among[field]) for field in VALUES if rng.random() < 0.9}
        for text in texts
    }
    insert(lab, "raw.gold", [judged(text, **gold[text]) for text in texts])
    labels: dict[int, Values] = {}
    for version in range(1, 13):
        rows, labels[version] = random_labels(rng, [*texts, "not judged"], version, gold | {"not judged": {}})
        insert(lab, LABELS, rows)

    found = quality(lab)
    compared = 0
    for version, made in labels.items():
        for field in VALUES:
            both = [(gold[text][field], made[text][field]) for text in texts if field in gold[text] and text in made]
            figures = values(found, version, field)
            judged_texts = sum(field in gold[text] for text in texts)
            assert (figures.pop("n"), figures.pop("missing")) == (len(both), judged_texts - len(both))
            classes = {row.value: row for row in found.classes if (row.version, row.field) == (version, field)}
            confusion = {
                (row.gold_value, row.label_value): row.texts
                for row in found.confusion
                if (row.version, row.field) == (version, field)
            }
            if not both:
                assert set(figures.values()) == {None}
                assert (classes, confusion) == ({}, {})
                continue
            left, right = zip(*both, strict=True)
            wanted = scores(field, left, right)
            assert figures.keys() == wanted.keys()
            for metric, value in wanted.items():
                given = figures[metric]
                assert (given is None) == math.isnan(value), (version, field, metric)
                assert given is None or math.isclose(given, value, abs_tol=1e-12), (version, field, metric)
            by_class = class_scores(field, left, right)
            assert classes.keys() == by_class.keys()
            for name, (precision, recall, f1, gold_texts, label_texts) in by_class.items():
                row = classes[name]
                assert (row.gold_texts, row.label_texts) == (gold_texts, label_texts)
                assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))
                assert row.true_positives == round(recall * gold_texts)
            pairs = Counter((as_text(one), as_text(other)) for one, other in both) if field != "themes" else {}
            assert confusion == pairs
            compared += 1
    assert compared > 20


def test_hand_made_sets_give_the_figures_that_one_works_out_by_hand(lab: Lab) -> None:
    sets = {
        "equal": (["plot", "acting"], ["acting", "plot", "plot"]),
        "both empty": ([], []),
        "half": (["plot"], ["plot", "music"]),
        "nothing found": (["music"], []),
    }
    insert(lab, "raw.gold", [judged(text, themes=gold) for text, (gold, _) in sets.items()])
    insert(lab, LABELS, [label(text, themes=made) for text, (_, made) in sets.items()])
    found = quality(lab)
    # acting 1 of 1 and 1; plot 2 of 2 and 2; music 0 of 1 and 1
    assert values(found, 1, "themes") == pytest.approx(
        {"n": 4, "missing": 0, "exact_match": 0.5, "jaccard": 0.625, "micro_f1": 0.75, "macro_f1": 2 / 3}
    )


def test_where_neither_side_has_any_value_sets_agree_and_f1_is_nothing_of_nothing(lab: Lab) -> None:
    insert(lab, "raw.gold", [judged("a", themes=[]), judged("b", themes=[])])
    insert(lab, LABELS, [label("a", themes=[]), label("b", themes=[])])
    figures = values(quality(lab), 1, "themes")
    assert figures == {"n": 2, "missing": 0, "exact_match": 1, "jaccard": 1, "micro_f1": 0, "macro_f1": 0}


@pytest.mark.parametrize(("right", "texts"), [(0, 1), (1, 1), (0, 7), (20, 20), (3, 7), (81, 263), (15, 148)])
def test_intervals_are_wilsons(lab: Lab, right: int, texts: int) -> None:
    rows = [(f"text {number}", number < right) for number in range(texts)]
    insert(lab, "raw.gold", [judged(text, spoiler=True, themes=["plot"]) for text, _ in rows])
    insert(lab, LABELS, [label(text, spoiler=good, themes=["plot"] if good else []) for text, good in rows])
    found = quality(lab)
    wanted = binomtest(right, texts).proportion_ci(0.95, method="wilson")
    for field, metric in (("spoiler", "accuracy"), ("themes", "exact_match")):
        row = found.metric(1, field, metric)
        assert row is not None
        assert (row.low, row.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
        assert 0 <= row.low <= row.high <= 1
    by_value = {(row.field, row.value): row for row in found.classes}
    plot = by_value["themes", "plot"]
    assert (plot.recall_low, plot.recall_high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    if right:
        certain = binomtest(right, right).proportion_ci(0.95, method="wilson")
        assert (plot.precision_low, plot.precision_high) == pytest.approx((certain.low, certain.high), abs=1e-12)
    else:
        assert (plot.precision, plot.precision_low, plot.precision_high) == (0, None, None)
    others = {row.metric: (row.low, row.high) for row in found.metrics if row.metric not in ("accuracy", "exact_match")}
    assert set(others.values()) == {(None, None)}


def test_accuracy_by_hand_is_81_of_263_between_0_2553_and_0_3662() -> None:
    # Newcombe 1998, table I: the same case, by Wilson's method without continuity correction
    wanted = binomtest(81, 263).proportion_ci(0.95, method="wilson")
    assert (round(wanted.low, 4), round(wanted.high, 4)) == (0.2553, 0.3662)


def test_dbts_tables_say_what_the_connector_says(lab: Lab) -> None:
    rng = random.Random(7)
    texts = [f"text {number}" for number in range(25)]
    gold = {text: {field: random_value(rng, field, VALUES[field]) for field in VALUES} for text in texts}
    insert(lab, "raw.gold", [judged(text, **gold[text]) for text in texts])
    insert(lab, "raw.overrides", [judged("text 3", sentiment="it's"), judged("only here", themes=["music"])])
    for version in (1, 2, 4):
        insert(lab, LABELS, random_labels(rng, texts, version, gold)[0])
    outcome = dbt(lab, "build", "--select", "label_quality_pairs+")
    assert outcome.success, outcome.message
    assert outcome.warnings == []
    found = quality(lab)
    wanted = {
        "label_quality": [
            (lab_row.version, lab_row.field, lab_row.metric, lab_row.value, lab_row.low, lab_row.high)
            for lab_row in found.metrics
        ],
        "label_quality_classes": [tuple(vars(row).values()) for row in found.classes],
        "label_confusion": [tuple(vars(row).values()) for row in found.confusion],
    }
    for table, rows in wanted.items():
        there = lab.sql(f"select * exclude (label_table) from main.{table}")
        assert {table: len(there)} == {table: len(rows)}
        assert rows, table

        def rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(round(value, 9) if isinstance(value, float) else value for value in row)

        assert sorted(map(rounded, there), key=str) == sorted(map(rounded, rows), key=str)
        assert lab.sql(f"select distinct label_table from main.{table}") == [("comment_labels",)]
    assert {row.version for row in found.metrics} == {1, 2, 4}


def test_an_override_counts_as_gold_and_wins_and_what_is_judged_is_always_the_models_label(lab: Lab) -> None:
    insert(lab, "raw.gold", [judged("Loved it", sentiment="positive"), judged("Hated it", sentiment="negative")])
    insert(lab, "raw.overrides", [judged("Loved it", sentiment="neutral"), judged("The music was fine", stars=10)])
    made = {"sentiment": "positive", "stars": 1}
    insert(lab, LABELS, [label(text, **made) for text in ("Loved it", "Hated it", "The music was fine")])
    found = quality(lab)
    assert (found.gold, found.overrides) == ("gold_labels", "label_overrides")
    # by the overridden label, or by gold alone, one of two would be right
    assert {k: v for k, v in values(found, 1, "sentiment").items() if k in ("n", "accuracy")} == {"n": 2, "accuracy": 0}
    assert {k: v for k, v in values(found, 1, "stars").items() if k in ("n", "accuracy")} == {"n": 1, "accuracy": 0}
    assert {row.gold_value for row in found.confusion} == {"neutral", "negative", "10"}
    assert lab.sql("select distinct sentiment from main.current_labels order by 1") == [("neutral",), ("positive",)]


def test_the_version_of_the_task_is_there_before_it_has_any_label(lab: Lab) -> None:
    insert(lab, "raw.gold", [judged("Loved it", sentiment="positive")])
    figures = values(quality(lab), 1, "sentiment")
    assert figures == {"n": 0, "missing": 1, "accuracy": None, "kappa": None, "macro_f1": None}
    assert quality(lab).versions == []


def test_labels_of_the_schema_read_as_well_are_judged_too_after_ones_own(lab: Lab) -> None:
    assert dbt(lab, "run", "--target", "other", "--select", "+comments_to_label").success
    insert(lab, "other_labels.comment_labels", [label("Loved it", sentiment="neutral"), label("Hated it", stars=1)])
    insert(lab, LABELS, [label("Loved it", sentiment="positive")])
    insert(lab, "raw.gold", [judged("Loved it", sentiment="positive"), judged("Hated it", stars=1)])
    try:
        project = parse_project(lab.options(variables="{dbt_labels_read_from: other_labels}"))
        found = read_quality(project, project.tasks[0])
    finally:
        lab.reparse()  # dbt has one adapter for a process, with the vars and the target it was last given
    assert values(found, 1, "sentiment")["accuracy"] == 1
    assert values(found, 1, "stars")["accuracy"] == 1


def test_a_project_without_gold_has_empty_tables_of_quality(fresh: Lab) -> None:
    fresh.edit_task(gold=None)
    outcome = dbt(fresh, "build")
    assert outcome.success, outcome.message
    assert outcome.warnings == []
    types = "select column_name, data_type from information_schema.columns where table_name = ? order by 1"
    empty = {}
    for table in ("label_quality_pairs", "label_quality", "label_quality_classes", "label_confusion"):
        assert fresh.sql(f"select * from main.{table}") == []
        empty[table] = fresh.sql(types, [table])
    fresh.edit_task(gold="gold_labels")
    insert(fresh, "raw.gold", [judged("Loved it", sentiment="positive")])
    insert(fresh, LABELS, [label("Loved it", sentiment="positive")])
    outcome = dbt(fresh, "build")
    assert outcome.success, outcome.message
    assert {table: fresh.sql(types, [table]) for table in empty} == empty
    assert fresh.sql("select count(*) from main.label_quality") == [(5,)]


def test_gold_that_is_not_built_yet_gives_no_rows_and_a_warning(fresh: Lab) -> None:
    insert(fresh, "raw.gold", [judged("Loved it", sentiment="positive")])
    quality_models = ("--select", "label_quality_pairs+")
    outcome = dbt(fresh, "build", *quality_models)
    assert outcome.success, outcome.message
    assert [warning for warning in outcome.warnings if "gold: gold_labels" in warning and "not built yet" in warning]
    assert fresh.sql("select count(*) from main.label_quality") == [(0,)]
    assert dbt(fresh, "run", "--select", "gold_labels", "label_overrides").success
    outcome = dbt(fresh, "build", *quality_models)
    assert outcome.success, outcome.message
    assert outcome.warnings == []
    assert fresh.sql("select distinct field from main.label_quality") == [("sentiment",)]


def test_changes_are_values_that_differ_whatever_their_order_in_an_array(lab: Lab) -> None:
    before = {"sentiment": "positive", "spoiler": False, "stars": 3, "themes": ["plot", "music"], "summary": "a"}
    same = before | {"themes": ["music", "plot"], "summary": "other words"}
    texts = ["same", "turned", "emptied", "only before"]
    insert(lab, LABELS, [label(text, 1, **before) for text in texts] * 2)
    after = {
        "same": same,
        "turned": same | {"sentiment": "it's", "spoiler": True, "stars": 10},
        "emptied": same | {"themes": []},
        "only after": same,
    }
    insert(lab, LABELS, [label(text, 2, **made) for text, made in after.items()])
    insert(lab, LABELS, [label("only before", 2, **same, outcome="rejected"), label("same", 3, sentiment="neutral")])
    changes = read_changes(lab.project, lab.project.tasks[0], 1, 2)
    assert changes.texts == 3
    assert changes.changed == {"sentiment": 1, "spoiler": 1, "stars": 1, "themes": 1}
    assert {(row.field, row.old_value, row.new_value, row.texts) for row in changes.counts} == {
        ("sentiment", "positive", "it's", 1),
        ("spoiler", "false", "true", 1),
        ("stars", "3", "10", 1),
        ("themes", json.dumps(["plot", "music"]), "[]", 1),
    }
    assert {(row.text_key, row.field) for row in changes.first} == {
        (key("turned"), "sentiment"),
        (key("turned"), "spoiler"),
        (key("turned"), "stars"),
        (key("emptied"), "themes"),
    }
    back = read_changes(lab.project, lab.project.tasks[0], 2, 1)
    assert {(row.old_value, row.new_value) for row in back.counts if row.field == "stars"} == {("10", "3")}
    # version 3 does not have the other fields yet
    assert read_changes(lab.project, lab.project.tasks[0], 1, 3).changed == changes.changed | {
        "spoiler": 0,
        "stars": 0,
        "themes": 0,
    }
