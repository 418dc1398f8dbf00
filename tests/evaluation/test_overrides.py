"""What people decided in current labels: field by field, before the model's, and held to the task's values."""

from __future__ import annotations

from typing import Any

from tests.demo import dbt, insert
from tests.evaluation import judged, key, label
from tests.lab import Lab

LABELS = "main_labels.comment_labels"
MADE: dict[str, Any] = {"sentiment": "positive", "spoiler": True, "stars": 10, "themes": ["plot"], "summary": "made"}


def current(lab: Lab) -> dict[str, dict[str, Any]]:
    columns = [name for (name,) in lab.sql("select column_name from (describe main.current_labels)")]
    rows = [dict(zip(columns, row, strict=True)) for row in lab.sql("select * from main.current_labels")]
    found = {row["text_key"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_a_persons_value_of_any_type_wins_over_the_models_and_the_others_stay(lab: Lab) -> None:
    people = {"sentiment": "it's", "spoiler": False, "stars": 0, "themes": [], "summary": "by hand, 'quoted'"}
    insert(lab, LABELS, [label(name, **MADE) for name in [*people, "nobody"]])
    insert(lab, "raw.overrides", [judged(name, **{name: value}) for name, value in people.items()])
    insert(lab, "raw.overrides", [judged("nobody")])
    found = current(lab)
    model = found.pop(key("nobody"))
    assert {name: model[name] for name in people} == MADE | {"themes": '["plot"]'}
    assert (model["labelled_by"], model["overridden_fields"]) == ("model", None)
    for name, value in people.items():
        row = found.pop(key(name))
        assert {field: row[field] for field in people} == MADE | {"themes": '["plot"]'} | {
            name: "[]" if value == [] else value
        }
        assert (row["labelled_by"], row["overridden_fields"]) == ("human", name)
        assert (row["model"], row["batch_key"], row["version"]) == ("m", "b", 1)
    assert found == {}


def test_a_text_with_an_override_and_no_label_is_there_under_the_tasks_version(lab: Lab) -> None:
    insert(lab, "raw.overrides", [judged("Loved it", sentiment="neutral", themes=["music"])])
    insert(lab, LABELS, [label("Loved it", **MADE, outcome="rejected"), label("Loved it", 2, **MADE)])
    assert current(lab) == {
        key("Loved it"): {
            "text_key": key("Loved it"),
            "version": 1,
            "sentiment": "neutral",
            "spoiler": None,
            "stars": None,
            "themes": '["music"]',
            "summary": None,
            "model": None,
            "prompt_hash": None,
            "batch_key": None,
            "labelled_at": None,
            "labelled_by": "human",
            "overridden_fields": "sentiment,themes",
        }
    }


def test_a_text_that_was_corrected_twice_is_one_row(lab: Lab) -> None:
    twice = [judged("Loved it", sentiment="neutral"), judged("Loved it", sentiment="negative", stars=1)]
    insert(lab, LABELS, [label("Loved it", **MADE)])
    insert(lab, "raw.overrides", twice)
    row = current(lab)[key("Loved it")]
    assert (row["sentiment"], row["stars"], row["spoiler"]) == ("negative", 1, True)


def test_without_overrides_every_row_is_the_models(lab: Lab) -> None:
    insert(lab, LABELS, [label("Loved it", **MADE)])
    insert(lab, "raw.overrides", [judged("Loved it", sentiment="neutral")])
    with lab.project.connect() as session:
        sql = session.macro(
            "current_labels", labels=LABELS, task=lab.project.tasks[0].model_dump(mode="json"), overrides=None
        )
        rows = session.handle.rows(sql)
    assert [(row["sentiment"], row["labelled_by"], row["overridden_fields"]) for row in rows] == [
        ("positive", "model", None)
    ]
    assert list(rows[0]) == list(current(lab)[key("Loved it")])


def test_overrides_are_held_to_the_tasks_values_even_over_an_older_label(lab: Lab) -> None:
    insert(lab, LABELS, [label("old", 0, sentiment="angry", themes=["angry"]), label("new", **MADE)])
    insert(lab, "raw.overrides", [judged("old", themes=["plot"]), judged("new", sentiment="it's")])
    held = ("test", "--select", "current_labels")
    outcome = dbt(lab, *held)
    # what the older version said of the other field stands as it was
    assert outcome.success, outcome.message
    insert(lab, "raw.overrides", [judged("old", sentiment="Angry"), judged("not labelled", themes=["plot", "price"])])
    outcome = dbt(lab, *held)
    assert (outcome.of("current_labels_sentiment"), outcome.of("current_labels_themes")) == ("fail", "fail")
    assert sorted(outcome.failures.values()) == [1, 1]


def test_how_sure_the_model_was_stays_with_its_own_values_only(lab: Lab) -> None:
    task = lab.project.tasks[0].model_dump(mode="json")
    task["run"]["confidence"] = True
    names = ("confidence", "sentiment_confidence", "spoiler_confidence")
    chosen = [field["name"] for field in task["fields"] if field["type"] != "text"]
    for name in ("confidence", *(f"{field}_confidence" for field in chosen)):
        lab.sql(f"alter table {LABELS} add column if not exists {name} double")
    sure = dict(zip(names, (0.7, 0.8, 0.9), strict=True))
    insert(lab, LABELS, [label(text, **MADE, **sure) for text in ("corrected", "kept")])
    insert(lab, "raw.overrides", [judged("corrected", sentiment="neutral"), judged("new", sentiment="neutral")])
    with lab.project.connect() as session:
        asked = {"labels": LABELS, "task": task, "overrides": "main.label_overrides"}
        found = {row["text_key"]: row for row in session.handle.rows(session.macro("current_labels", **asked))}
        unasked = session.macro("current_labels", **asked | {"task": task | {"run": {}}})
        assert not [name for name in session.handle.rows(unasked)[0] if "confidence" in name]
    assert {name: found[key("kept")][name] for name in names} == sure
    assert [found[key("corrected")][name] for name in names] == [None, None, 0.9]
    assert [found[key("new")][name] for name in names] == [None, None, None]
