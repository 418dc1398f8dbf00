"""The data test `label_quality` in a build, the same as a gate of the connector, and what a task may name as gold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.errors import LabelsError, ProjectError
from connector.request import prompt_hash
from connector.task import Task
from connector.warehouse.declaration import parse_task
from connector.warehouse.gate import Gate, gate_failures, gates
from connector.warehouse.quality import gold_texts, read_quality
from tests.demo import Outcome, dbt, insert
from tests.evaluation import FIELDS, judged, label
from tests.lab import Lab

LABELS = "main_labels.comment_labels"
SENTIMENT = {"field": "sentiment", "metric": "accuracy", "at_least": 0.6}


def put_tests(lab: Lab, model: str, *tests: dict[str, Any], severity: str = "error", **config: str) -> None:
    """Put `label_quality` tests on a model, or on the source of labels."""
    written = [
        {"dbt_labels.label_quality": {"arguments": test, "config": {"severity": severity, **config}}} for test in tests
    ]
    labels = lab.folder / "models" / "labels.yml"
    if model == "comment_labels":
        document = yaml.safe_load(labels.read_text())
        document["sources"][0]["tables"][0]["data_tests"] = written
        labels.write_text(yaml.safe_dump(document))
    else:
        document = {"models": [{"name": model, "data_tests": written}]}
        if model == "comments_to_label":
            path = lab.folder / "models" / "comments_to_label.yml"
            document = yaml.safe_load(path.read_text())
            document["models"][0]["data_tests"] = written
            path.write_text(yaml.safe_dump(document))
        else:
            (lab.folder / "models" / "gates.yml").write_text(yaml.safe_dump(document))
    lab.reparse()


@pytest.fixture
def changed(lab: Lab) -> Iterator[Lab]:
    """Give the small project, and put its files back as they were."""
    models = lab.folder / "models"
    kept = {path: path.read_bytes() for path in models.iterdir()}
    yield lab
    for path in models.iterdir():
        if path not in kept:
            path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    lab.reparse()


def run_gate(lab: Lab) -> Outcome:
    outcome = dbt(lab, "test", "--select", "test_name:label_quality")
    outcome.statuses.pop("dbt_labels-on-run-start-0", None)
    return outcome


def three_of_four(lab: Lab, **right: Any) -> None:
    """Fill gold with four texts, three of which the model agrees with."""
    values = right or {"sentiment": "positive"}
    insert(lab, "raw.gold", [judged(text, **values) for text in "abcd"])
    wrong = {name: "negative" if value == "positive" else [] for name, value in values.items()}
    insert(lab, LABELS, [*(label(text, **values) for text in "abc"), label("d", **wrong)])


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("comment_labels", {}),
        ("comments_to_label", {}),
        ("comments_to_label", {"gold": "ref('gold_labels')"}),
        ("current_labels", {"task": "comments_to_label"}),
    ],
)
def test_a_build_fails_where_labels_are_below_what_is_asked(
    changed: Lab, model: str, arguments: dict[str, str]
) -> None:
    three_of_four(changed)
    if model == "current_labels":
        (changed.folder / "models" / "current_labels.yml").unlink()
    put_tests(changed, model, SENTIMENT | {"at_least": 0.75} | arguments)
    assert run_gate(changed).success
    assert gate_failures(changed.project, changed.project.tasks[0]) == []
    put_tests(changed, model, SENTIMENT | {"at_least": 0.751} | arguments)
    outcome = run_gate(changed)
    assert not outcome.success
    assert list(outcome.failures.values()) == [1]
    assert gate_failures(changed.project, changed.project.tasks[0]) == [
        "sentiment: accuracy of version 1 is 0.750 [0.301, 0.954] on 4 gold texts, below 0.751"
    ]


@pytest.mark.parametrize("model", ["comment_labels", "comments_to_label"])
def test_a_gate_finds_its_task_behind_an_alias_and_a_where(changed: Lab, model: str) -> None:
    three_of_four(changed)
    pending = changed.folder / "models" / "comments_to_label.sql"
    pending.write_text("{{ config(alias='texts_that_wait') }}\n" + pending.read_text())
    put_tests(changed, model, SENTIMENT, where="text_key is not null")
    assert dbt(changed, "run", "--select", "comments_to_label").success
    assert run_gate(changed).success
    put_tests(changed, model, SENTIMENT | {"at_least": 0.9}, where="text_key is not null")
    assert list(run_gate(changed).failures.values()) == [1]


def test_a_failing_gate_shows_what_it_found(changed: Lab) -> None:
    three_of_four(changed)
    put_tests(changed, "comments_to_label", SENTIMENT | {"at_least": 0.9})
    assert not dbt(changed, "test", "--select", "test_name:label_quality", "--store-failures").success
    stored = "select table_schema || '.' || table_name from information_schema.tables where table_name like '%quality%'"
    (table,) = (name for (name,) in changed.sql(stored) if "dbt_test__audit" in name)
    found = "label_table, version, field, metric, at_least, texts, missing, value, round(low, 3), round(high, 3)"
    row = changed.sql(f"select {found} from {table}")
    assert [tuple(map(str, row[0]))] == [
        ("comment_labels", "1", "sentiment", "accuracy", "0.9", "4.0", "0.0", "0.75", "0.301", "0.954")
    ]


def test_a_gate_judges_the_tasks_version_only_and_fails_before_it_has_labels(changed: Lab) -> None:
    three_of_four(changed)
    insert(changed, LABELS, [label(text, 2, sentiment="negative") for text in "abcd"])
    put_tests(changed, "comments_to_label", SENTIMENT, {"field": "themes", "metric": "jaccard", "at_least": 0})
    task = changed.project.tasks[0]
    assert gate_failures(changed.project, task) == ["themes: no text of `gold_labels` has an answer of version 1 yet"]
    assert sorted(run_gate(changed).statuses.values()) == ["fail", "pass"]
    changed.edit_task(version=2)
    task = changed.project.tasks[0]
    assert len(gate_failures(changed.project, task)) == 2
    changed.edit_task(version=3)
    task = changed.project.tasks[0]
    assert (
        gate_failures(changed.project, task)[0] == "sentiment: no text of `gold_labels` has an answer of version 3 yet"
    )
    assert list(run_gate(changed).failures.values()) == [1, 1]
    assert read_quality(changed.project, task).count(3, "sentiment", "missing") == 4


def test_a_figure_without_a_value_reaches_no_gate(changed: Lab) -> None:
    insert(changed, "raw.gold", [judged(text, sentiment="positive") for text in "ab"])
    insert(changed, LABELS, [label(text, sentiment="positive") for text in "ab"])
    put_tests(changed, "comments_to_label", {"field": "sentiment", "metric": "kappa", "at_least": 0})
    assert gate_failures(changed.project, changed.project.tasks[0]) == [
        "sentiment: kappa has no value on 2 gold texts: they all say the same"
    ]
    assert not run_gate(changed).success


def test_sets_have_gates_of_their_own(changed: Lab) -> None:
    three_of_four(changed, themes=["plot"])
    metrics = ("exact_match", "jaccard", "micro_f1", "macro_f1")
    for at_least, status in ((0.7, "pass"), (0.95, "fail")):
        asked = [{"field": "themes", "metric": metric, "at_least": at_least} for metric in metrics]
        put_tests(changed, "comment_labels", *asked)
        assert list(run_gate(changed).statuses.values()) == [status] * 4


def test_gold_that_is_not_built_fails_the_test_and_not_dbt(changed: Lab) -> None:
    three_of_four(changed)
    changed.sql("drop view main.gold_labels")
    put_tests(changed, "comments_to_label", SENTIMENT)
    outcome = run_gate(changed)
    assert list(outcome.statuses.values()) == ["fail"]
    assert any("not built yet" in warning for warning in outcome.warnings)


def test_gates_are_the_tests_that_would_stop_a_build(changed: Lab) -> None:
    of_another = SENTIMENT | {"task": "another", "at_least": 0.9}
    put_tests(changed, "comments_to_label", SENTIMENT, of_another)
    put_tests(changed, "comment_labels", {"field": "stars", "metric": "kappa", "at_least": "0.5"})
    put_tests(
        changed, "gold_labels", {"field": "spoiler", "metric": "macro_f1", "at_least": 1, "task": "comments_to_label"}
    )
    project, task = changed.project, changed.project.tasks[0]
    wanted = [Gate("sentiment", "accuracy", 0.6), Gate("spoiler", "macro_f1", 1.0), Gate("stars", "kappa", 0.5)]
    assert gates(project, task) == wanted
    put_tests(changed, "comments_to_label", SENTIMENT, severity="warn")
    assert gates(changed.project, task) == wanted[1:]


@pytest.mark.parametrize(
    ("wrong", "said", "in_dbt"),
    [
        ({"field": "mood"}, "`mood` is not a field that can be measured", "has no field `mood`"),
        ({"field": "summary"}, "`summary` is not a field that can be measured", "has no field `summary`"),
        ({"metric": "jaccard"}, "`sentiment` has no metric `jaccard`; it has `accuracy`", "has no metric `jaccard`"),
        ({"at_least": "much"}, "`at_least` must be a number from -1 to 1, not 'much'", None),
        ({"at_least": 80}, "`at_least` must be a number from -1 to 1, not 80", "must be a number from -1 to 1"),
    ],
)
def test_a_gate_that_can_not_be_is_a_clear_mistake(
    changed: Lab, wrong: dict[str, Any], said: str, in_dbt: str | None
) -> None:
    put_tests(changed, "comments_to_label", SENTIMENT | wrong)
    with pytest.raises(ProjectError, match=said) as raised:
        gates(changed.project, changed.project.tasks[0])
    assert "task `comments_to_label`" in raised.value.message
    outcome = run_gate(changed)
    assert not outcome.success
    assert (in_dbt or "much") in outcome.message


def test_a_rejected_text_that_nobody_judged_the_field_of_closes_no_gate(changed: Lab) -> None:
    insert(changed, "raw.gold", [judged("a", sentiment="positive"), *(judged(text, stars=1) for text in "bcd")])
    insert(
        changed, LABELS, [label("a", sentiment="positive"), *(label(text) | {"outcome": "rejected"} for text in "bcd")]
    )
    put_tests(changed, "comments_to_label", SENTIMENT)
    assert gate_failures(changed.project, changed.project.tasks[0]) == []
    put_tests(changed, "comments_to_label", {**SENTIMENT, "field": "stars"})
    [failure] = gate_failures(changed.project, changed.project.tasks[0])
    assert failure == "stars: no text of `gold_labels` has an answer of version 1 yet"


def test_a_test_and_its_task_can_not_name_different_gold(changed: Lab) -> None:
    (changed.folder / "models" / "second_gold.sql").write_text("select 'k' as text_key, 'positive' as sentiment")
    three_of_four(changed)
    for named, success in (("second_gold", False), ("gold_labels", True)):
        put_tests(changed, "comments_to_label", SENTIMENT | {"gold": f'ref("{named}")'})
        outcome = run_gate(changed)
        assert outcome.success is success, outcome.message
        assert ("but task `comments_to_label` names `gold_labels`, by which" in outcome.message) is not success


UNFIT = [
    ({"gold": "gone"}, None, "`gold: gone`: there is no model or seed of that name"),
    ({"overrides": "gone"}, None, "`overrides: gone`: there is no model or seed of that name"),
    (
        {"gold": "passing"},
        "{{ config(materialized='ephemeral') }} select 1 as text_key",
        "`gold: passing`: it is ephemeral",
    ),
    ({"gold": "other"}, "select 'k' as key, 'positive' as sentiment", "`gold: other` has no column `text_key`"),
    ({"overrides": "other"}, "select 'k' as key, 'good' as sentiment", "`overrides: other` has no column `text_key`"),
    ({"gold": "other"}, "select 'k' as text_key, 'a' as summary", "`gold: other` has no column of a field"),
    ({"overrides": "other"}, "select 'k' as text_key, 'good' as mood", "`overrides: other` has no column of a field"),
]


@pytest.mark.parametrize(("keys", "sql", "said"), UNFIT)
def test_gold_and_overrides_that_can_not_be_used_are_clear_mistakes(
    changed: Lab, keys: dict[str, str], sql: str | None, said: str
) -> None:
    name = next(iter(keys.values()))
    if sql is not None:
        (changed.folder / "models" / f"{name}.sql").write_text(sql)
    changed.edit_task(**keys)
    assert dbt(changed, "run", "--exclude", "package:dbt_labels").success
    with pytest.raises(LabelsError, match=said) as raised:
        read_quality(changed.project, changed.project.tasks[0])
    assert raised.value.message.startswith("task `comments_to_label`: ")
    assert raised.value.hint
    outcome = dbt(changed, "run", "--select", "label_quality_pairs")
    assert not outcome.success
    assert f"task `comments_to_label`: {said}" in outcome.message


def test_gold_that_is_not_built_or_has_a_text_twice_is_told_with_what_to_do(changed: Lab) -> None:
    insert(changed, "raw.gold", [judged("a", sentiment="positive")] * 3)
    with pytest.raises(LabelsError, match="`gold: gold_labels` has 2 rows whose `text_key` appears before"):
        read_quality(changed.project, changed.project.tasks[0])
    changed.sql("drop view main.gold_labels")
    with pytest.raises(LabelsError, match="`gold: gold_labels` is not built") as raised:
        read_quality(changed.project, changed.project.tasks[0])
    assert raised.value.hint == "run `dbt build --indirect-selection buildable --select +gold_labels`"


def test_a_text_that_comes_twice_in_gold_is_counted_once_by_dbt(lab: Lab) -> None:
    insert(lab, "raw.gold", [judged("a", sentiment="positive"), judged("a", sentiment="positive", stars=1)])
    insert(lab, LABELS, [label("a", sentiment="positive", stars=1)])
    assert dbt(lab, "run", "--select", "label_quality_pairs+").success
    assert set(lab.sql("select field, value from main.label_quality where metric = 'n'")) == {
        ("sentiment", 1),
        ("stars", 1),
    }


def test_gold_need_not_judge_every_field(changed: Lab) -> None:
    (changed.folder / "models" / "gold_labels.sql").write_text(
        'select text_key, sentiment from {{ source("raw", "gold") }}'
    )
    changed.reparse()
    three_of_four(changed)
    assert dbt(changed, "run", "--select", "gold_labels", "label_quality_pairs+").success
    assert changed.sql("select distinct field from main.label_quality") == [("sentiment",)]
    assert read_quality(changed.project, changed.project.tasks[0]).fields == ["sentiment"]


def texts_of(lab: Lab) -> dict[str, str]:
    with lab.project.connect() as session:
        rows = session.handle.rows(gold_texts(session, lab.project, lab.project.tasks[0]))
    found = {row["text_key"]: row["text"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_texts_of_gold_are_its_own_or_those_that_the_pending_model_selects_from(changed: Lab) -> None:
    insert(changed, "raw.gold", [judged(text, stars=1) for text in ("Loved it", "Hated it", "  ", "gone since")])
    own = {judged(text)["text_key"]: text for text in ("Loved it", "Hated it", "gone since")}
    assert texts_of(changed) == own
    model = changed.folder / "models" / "gold_labels.sql"
    model.write_text('select text_key, stars from {{ source("raw", "gold") }}')
    changed.reparse()
    assert dbt(changed, "run", "--select", "gold_labels").success
    assert texts_of(changed) == {key: text for key, text in own.items() if text != "gone since"}


def test_gold_without_any_text_to_find_is_told(changed: Lab) -> None:
    models = changed.folder / "models"
    (models / "gold_labels.sql").write_text('select text_key, stars from {{ source("raw", "gold") }}')
    (models / "stg_comments.sql").write_text(
        "{{ config(materialized='ephemeral') }}" + (models / "stg_comments.sql").read_text()
    )
    changed.reparse()
    assert dbt(changed, "run", "--select", "gold_labels").success
    with pytest.raises(LabelsError, match="`gold: gold_labels` has no column `comment_text`"):
        texts_of(changed)


BLOCK: dict[str, Any] = {"table": "t", "text": "body", "model": "m", "instructions": "Label.", "fields": FIELDS}


def test_gold_and_overrides_are_no_part_of_the_prompt() -> None:
    plain = parse_task("pending", BLOCK)
    named = parse_task("pending", BLOCK | {"gold": "gold_Labels2", "overrides": "_o"})
    assert isinstance(plain, Task)
    assert isinstance(named, Task)
    assert (named.gold, named.overrides) == ("gold_Labels2", "_o")
    assert (plain.gold, plain.overrides) == (None, None)
    assert prompt_hash(named) == prompt_hash(plain)


@pytest.mark.parametrize("key", ["gold", "overrides"])
@pytest.mark.parametrize("wrong", ["ref('gold')", "my.gold", "1gold", "gold-labels", "", True, 3, ["gold"]])
def test_what_can_not_name_a_model_is_a_mistake_of_the_task(key: str, wrong: object) -> None:
    mistakes = parse_task("pending", BLOCK | {key: wrong})
    assert isinstance(mistakes, list)
    assert len(mistakes) == 1
    assert mistakes[0].startswith(f"`{key}`: ")


def test_a_package_may_bring_the_gold_but_the_projects_own_comes_first(changed: Lab, tmp_path: Path) -> None:
    brought = tmp_path / "brought"
    (brought / "models").mkdir(parents=True)
    (brought / "dbt_project.yml").write_text("{name: brought, version: '1.0', profile: small, model-paths: [models]}")
    (brought / "models" / "their_gold.sql").write_text("select 'k' as text_key, 'positive' as sentiment")
    link = changed.folder / "dbt_packages" / "brought"
    link.symlink_to(brought)
    packages = changed.folder / "packages.yml"
    before = packages.read_text()
    packages.write_text(before.replace("]", f", {{local: {brought}}}]"))
    try:
        changed.edit_task(gold="their_gold")
        assert dbt(changed, "run", "--select", "their_gold", "label_quality_pairs").success
        assert changed.sql("select text_key, gold_value from main.label_quality_pairs") == [("k", "positive")]
        assert read_quality(changed.project, changed.project.tasks[0]).fields == ["sentiment"]
    finally:
        packages.write_text(before)
        link.unlink()
