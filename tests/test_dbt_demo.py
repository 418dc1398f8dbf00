"""The demo project under real dbt: empty, labelled, refreshed in full, and read by others."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from dbt.contracts.graph.manifest import Manifest

from connector.cli import cli
from tests.demo import NO_DEPRECATIONS, NO_PROOFS, Outcome, dbt, demo_lab
from tests.lab import Lab

MARTS = ("daily_sentiment", "theme_sentiment", "intent_mix", "label_coverage", "comment_themes")


@dataclass(frozen=True)
class Demo:
    """The demo on a warehouse that was empty, after its first `dbt build`."""

    lab: Lab
    manifest: Manifest
    first: Outcome
    built: Path

    def dbt(self, *arguments: str) -> Outcome:
        return dbt(self.lab, *arguments, manifest=self.manifest)

    def label(self, condition: str = "true", version: int = 1, sentiment: str = "positive") -> None:
        """Label the texts of the comments that meet a condition, as a run's load does."""
        self.lab.sql(
            "insert into films_labels.comment_labels by name"
            f" select distinct text_key, {version} as version, '{sentiment}' as sentiment, 'praise' as intent,"
            " '[\"acting\",\"price\"]' as themes, 'labelled' as outcome, 1 as attempt, 'b' as batch_key,"
            f" now() at time zone 'UTC' as labelled_at from films.stg_comments where not is_blank and {condition}"
        )

    def rows(self, relation: str) -> list[tuple[object, ...]]:
        return self.lab.sql(f"select * from {relation} order by all")


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    had = os.environ.get("DBT_LABELS_DUCKDB")
    lab = demo_lab(tmp_path_factory.mktemp("demo"))
    first = dbt(lab, "build", *NO_DEPRECATIONS)
    manifest = dbt(lab, "parse").manifest
    assert manifest is not None
    built = lab.database.with_suffix(".built")
    shutil.copy(lab.database, built)
    yield Demo(lab, manifest, first, built)
    os.environ.pop("DBT_LABELS_DUCKDB")
    if had is not None:
        os.environ["DBT_LABELS_DUCKDB"] = had


@pytest.fixture
def demo(first_build: Demo) -> Demo:
    """Give the demo as its first build left it."""
    shutil.copy(first_build.built, first_build.lab.database)
    return first_build


def test_dbt_build_passes_before_any_label_exists_and_only_the_age_of_what_waits_is_warned_of(demo: Demo) -> None:
    assert demo.first.success, demo.first.message
    # dbt does not know that the figures need the gold
    assert ["gold_labels` is not built yet" in warning for warning in demo.first.warnings] in ([], [True])
    # an exposure has nothing to build
    others = [name for name, status in demo.first.statuses.items() if status not in ("success", "pass", "no-op")]
    warned = ("pending_no_older_than", "label_quality_comments_to_label")
    assert all(any(name_part in name for name_part in warned) for name in others), others
    assert all(demo.first.statuses[name] == "warn" for name in others), others
    by_people = demo.lab.sql("select count(*) from films.comment_label_overrides where intent is not null")
    assert demo.lab.sql("select count(*) from films.comments_labelled") == by_people
    columns = "sum(labelled), sum(labelled) + sum(pending) + sum(blank) = sum(comments)"
    assert demo.lab.sql(f"select {columns} from films.label_coverage") == [(*by_people[0], True)]


def test_a_build_after_labelling_measures_them_against_gold_and_peoples_corrections(demo: Demo) -> None:
    demo.label()
    outcome = demo.dbt("build", *NO_PROOFS)
    assert outcome.success, outcome.message
    assert outcome.warnings == []
    texts = "select field, value from films.label_quality where metric = 'n' order by 1"
    gold = "select count(*) from films.gold_labels where text_key not in ({})"
    corrected = "select text_key from films.comment_label_overrides where {} is not null"
    wanted = [
        (field, demo.lab.sql(gold.format(corrected.format(field)))[0][0] + len(demo.lab.sql(corrected.format(field))))
        for field in ("intent", "sentiment", "themes")
    ]
    assert demo.lab.sql(texts) == wanted
    assert all(count > 350 for _, count in wanted)
    for table in ("label_quality_classes", "label_confusion", "label_quality_pairs"):
        assert demo.rows(f"films.{table}"), table


def test_a_persons_correction_reaches_the_marts_and_no_seed_of_them_is_needed(demo: Demo) -> None:
    demo.label()
    assert demo.dbt("build", *NO_PROOFS).success
    by_people = "select comment_id, sentiment, intent, themes from films.comments_labelled where labelled_by = 'human'"
    assert sorted(demo.lab.sql(by_people)) == [
        ("c0079", "negative", "complaint", '["plot"]'),
        ("c0123", "neutral", "praise", "[]"),
        ("c0143", "negative", "recommendation", '["music","price"]'),
    ]
    seed = demo.lab.folder / "seeds" / "label_overrides.csv"
    kept = seed.read_text()
    try:
        # a correction of a correction, without any new label
        seed.write_text(kept.replace("c0079,negative", "c0079,neutral"))
        assert demo.dbt("build", *NO_PROOFS).success
        assert ("c0079", "neutral", "complaint", '["plot"]') in demo.lab.sql(by_people)
        seed.write_text(kept.partition("\n")[0] + "\n")
        outcome = demo.dbt("build", "--exclude", "comments_to_label")
        assert outcome.success, outcome.message
        assert demo.lab.sql(by_people) == []
    finally:
        seed.write_text(kept)


def test_the_hundred_labels_to_review_are_the_least_sure_that_no_person_decided(demo: Demo) -> None:
    demo.label()
    labels, corrected = "films_labels.comment_labels", "select text_key from films.comment_label_overrides"
    sure = "cast(cast('0x' || substr(text_key, 1, 6) as integer) / 16777216 as float)"
    demo.lab.sql(f"update {labels} set confidence = {sure} where text_key < 'c'")
    demo.lab.sql(f"update {labels} set confidence = 0 where text_key in ({corrected})")
    assert demo.dbt("build", "--select", "comments_to_review").success
    wanted = (
        f"select text_key, confidence from {labels} where confidence is not null and text_key not in ({corrected})"
        " order by confidence, text_key limit 100"
    )
    found = demo.lab.sql("select text_key, confidence from films.comments_to_review order by confidence, text_key")
    assert len(found) == 100
    assert found == demo.lab.sql(wanted)
    said = "select count(*) from films.comments_to_review join films.raw_comments using (comment_id, comment_text)"
    assert demo.lab.sql(said) == [(100,)]


def test_the_pending_texts_are_the_distinct_texts_that_are_not_blank(demo: Demo) -> None:
    pending = demo.lab.sql("select comment_text, occurrences from films.comments_to_label")
    raw = [text for (text,) in demo.lab.sql("select comment_text from films.raw_comments")]
    wanted = [text for text in raw if text is not None and re.search(r"\w", text)]
    assert len(pending) == len({text for text, _ in pending})
    assert set(wanted) <= {text for text, _ in pending}
    assert all(raw.count(text) == occurrences for text, occurrences in pending)
    assert not {None, "", " "} & {text for text, _ in pending}


def test_nothing_is_pending_and_nothing_warns_once_every_text_has_a_label(demo: Demo) -> None:
    demo.label()
    outcome = demo.dbt("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "seed")
    assert outcome.success, outcome.message
    assert outcome.warnings == []
    assert outcome.of("pending_no_older_than") == "pass"
    assert demo.rows("films.comments_to_label") == []
    covered = demo.lab.sql("select sum(comments), sum(labelled), sum(blank) from films.label_coverage")
    comments, labelled, blank = covered[0]
    assert labelled == comments - blank > 500
    rows = demo.lab.sql("select count(*), count(distinct comment_id) from films.comments_labelled")
    assert rows == [(labelled, labelled)]
    for mart in MARTS:
        assert demo.rows(f"films.{mart}"), mart


def test_a_full_refresh_loses_nothing_that_was_paid_for(demo: Demo) -> None:
    demo.label("platform = 'youtube'")
    tables = ("comment_labels", "label_claims", "label_events", "label_leases")
    demo.lab.sql("insert into films_labels.label_claims by name select 'b' as batch_key, 'k' as text_key")
    demo.lab.sql("insert into films_labels.label_events by name select 'b' as batch_key, 'planned' as event")
    demo.lab.sql("insert into films_labels.label_leases by name select 'comment_labels' as label_table")
    ledger = {table: demo.rows(f"films_labels.{table}") for table in tables}
    assert all(ledger.values())
    assert demo.dbt("build", *NO_PROOFS).success
    before = {name: demo.rows(f"films.{name}") for name in ("comments_labelled", "comments_to_label")}
    assert all(before.values())
    for command in (("seed", "--full-refresh"), ("build", "--full-refresh", *NO_PROOFS)):
        outcome = demo.dbt(*command)
        assert outcome.success, outcome.message
    assert {table: demo.rows(f"films_labels.{table}") for table in tables} == ledger
    assert {name: demo.rows(f"films.{name}") for name in before} == before


def test_a_label_that_comes_days_after_its_comment_is_merged_and_no_row_comes_twice(demo: Demo) -> None:
    days = "select cast(min(posted_at) as date), cast(max(posted_at) as date) from films.stg_comments"
    first, last = demo.lab.sql(days)[0]
    assert (last - first).days > 14
    demo.label(f"posted_at >= date '{last}' - 3")
    assert demo.dbt("build", *NO_PROOFS).success
    early = demo.rows("films.comments_labelled")
    demo.label(f"posted_at < date '{first}' + 3 and text_key not in (select text_key from films_labels.comment_labels)")
    for _ in range(2):
        assert demo.dbt("run", "--select", "comments_labelled").success
    both = demo.rows("films.comments_labelled")
    assert set(early) < set(both)
    assert len({row[0] for row in both}) == len(both)
    late = f"select count(*) > 0 from films.comments_labelled where posted_at < date '{first}' + 3"
    assert demo.lab.sql(late) == [(True,)]


def test_a_relabelled_version_replaces_the_old_label_text_by_text(demo: Demo) -> None:
    demo.label()
    assert demo.dbt("build", *NO_PROOFS).success
    comments = demo.lab.sql("select count(*) from films.comments_labelled")
    task = demo.manifest.nodes["model.film_comments.comments_to_label"].config.meta["dbt_labels"]
    task["version"] = 2
    try:
        assert demo.dbt("build", *NO_PROOFS).success
        pending = demo.lab.sql("select count(*) from films.comments_to_label")[0][0]
        texts = "select count(distinct text_key) from films.stg_comments where not is_blank"
        assert pending == demo.lab.sql(texts)[0][0]
        assert demo.lab.sql("select distinct label_version from films.comments_labelled") == [(1,)]

        demo.label("platform = 'reddit'", version=2, sentiment="negative")
        assert demo.dbt("build", *NO_PROOFS).success
    finally:
        task["version"] = 1
    assert demo.lab.sql("select count(*) from films.comments_labelled") == comments
    wrong = (
        "select count(*) from films.comments_labelled as c where labelled_by = 'model'"
        " and (label_version, sentiment) <> case when exists ("
        "select 1 from films.stg_comments as s where s.text_key = c.text_key and s.platform = 'reddit')"
        " then (2, 'negative') else (1, 'positive') end"
    )
    assert demo.lab.sql(wrong) == [(0,)]
    versions = demo.lab.sql("select label_version, count(*) > 0 from films.comments_labelled group by 1 order by 1")
    assert versions == [(1, True), (2, True)]


def test_an_edited_comment_is_pending_again_and_keeps_its_old_label_until_then(demo: Demo) -> None:
    demo.label()
    assert demo.dbt("build", *NO_PROOFS).success
    comment = demo.lab.sql("select comment_id from films.comments_labelled order by 1 limit 1")[0][0]
    demo.lab.sql("update films.raw_comments set comment_text = 'Edited: I was wrong' where comment_id = ?", [comment])
    assert demo.dbt("run", "--exclude", "package:dbt_labels").success
    assert demo.lab.sql("select comment_text from films.comments_to_label") == [("Edited: I was wrong",)]
    now = "select comment_text, sentiment from films.comments_labelled where comment_id = ?"
    assert demo.lab.sql(now, [comment])[0][1] == "positive"
    demo.label("comment_text like 'Edited:%'", sentiment="neutral")
    assert demo.dbt("run", "--select", "comments_labelled").success
    assert demo.lab.sql(now, [comment]) == [("Edited: I was wrong", "neutral")]

    # to a text that has a label already, from the same load: nothing to send, and the mart follows at once
    other = demo.lab.sql("select comment_text from films.comments_labelled where sentiment = 'positive' limit 1")[0][0]
    for text in (other, "Edited: I was wrong"):
        demo.lab.sql("update films_labels.comment_labels set labelled_at = timestamp '2026-11-01'")
        demo.lab.sql("update films.comments_labelled set labelled_at = timestamp '2026-11-01'")
        demo.lab.sql("update films.raw_comments set comment_text = ? where comment_id = ?", [text, comment])
        assert demo.dbt("run", "--exclude", "package:dbt_labels").success
        assert demo.rows("films.comments_to_label") == []
        assert demo.lab.sql(now, [comment])[0][0] == text


def test_the_docs_show_the_way_from_the_source_over_current_labels_to_the_marts(demo: Demo) -> None:
    schemas = "select schema_name from information_schema.schemata order by all"
    before = demo.lab.sql(schemas)
    outcome = demo.dbt("docs", "generate")
    assert outcome.success, outcome.message
    assert demo.lab.sql(schemas) == before
    written = json.loads((demo.lab.folder / "target" / "manifest.json").read_text())
    children = written["child_map"]
    source = "source.film_comments.labels.comment_labels"
    model = "model.film_comments.{}".format
    assert {model("current_comment_labels"), model("comments_to_label")} <= set(children[source])
    assert model("comments_labelled") in children[model("current_comment_labels")]
    for mart in MARTS:
        assert model(mart) in children[model("comments_labelled")], mart
    catalog = json.loads((demo.lab.folder / "target" / "catalog.json").read_text())
    assert source in catalog["sources"]


def test_every_column_is_described_and_every_description_ends_with_the_grain(demo: Demo) -> None:
    nodes = [node for node in demo.manifest.nodes.values() if node.resource_type in ("model", "seed")]
    nodes += list(demo.manifest.sources.values())
    assert len(nodes) > 12
    columns: dict[str, set[str]] = {}
    found = "select table_schema, table_name, column_name from information_schema.columns"
    for schema, table, column in demo.lab.sql(found):
        columns.setdefault(f"{schema}.{table}", set()).add(column)
    for node in nodes:
        assert re.search(r"[Oo]ne row per [^.]+\.(?: Void .*)?$", node.description), (node.name, node.description)
        assert all(column.description for column in node.columns.values()), node.name
        assert set(node.columns) == columns[f"{node.schema}.{node.identifier}"], node.name


def test_the_labels_source_in_the_repository_is_what_sync_writes(demo: Demo) -> None:
    options = ["--check", "--project-dir", str(demo.lab.folder), "--profiles-dir", str(demo.lab.folder)]
    checked = CliRunner().invoke(cli, ["sync", *options])
    assert checked.exit_code == 0, checked.exception
    path = demo.lab.folder / "models" / "labeling" / "labels.yml"
    content = path.read_text()
    path.write_text(content.replace("praise", "prays"))
    try:
        assert CliRunner().invoke(cli, ["sync", *options]).exit_code == 1
    finally:
        path.write_text(content)


BROKEN_RULES = [
    ("a_text_is_pending_until", "settled", "version = {{ version }} and outcome = 'labelled'", "outcome = 'labelled'"),
    ("a_text_is_pending_until", "settled", "outcome = 'labelled'", "outcome in ('labelled', 'failed')"),
    ("a_rejection_holds", "settled", "'reopened' then attempt else", "'reopened' then 0 else"),
    ("a_rejection_holds", "settled", "        > max(", "        >= max("),
    ("a_live_batch_holds", "settled", "batches.state in", "batches.state not in"),
    ("a_live_batch_holds", "batch_states", '"released", "holds": false', '"released", "holds": true'),
    ("a_live_batch_holds", "batch_states", '"lost", "holds": true', '"lost", "holds": false'),
    ("a_live_batch_holds", "batches", "| format(loop.index) }}' {%-", "| format(12 - loop.index) }}' {%-"),
    ("claims_without_intent", "settled", "claimed.label_table = '{{ table }}'\n        and ", ""),
    ("claims_without_intent", "settled", "        and claimed.version = {{ version }}\n", ""),
    ("claims_without_intent", "batches", "having count(case when event = 'planned' then 1 end) > 0", ""),
    ("blank_texts", "pending", "not {{ dbt_labels.is_blank(text) }}", "{{ text }} is not null"),
    ("equal_comments", "pending", "min({{ age }})", "max({{ age }})"),
]


@pytest.mark.parametrize(("unit_test", "macro", "right", "wrong"), BROKEN_RULES)
def test_a_broken_rule_of_what_is_pending_fails_its_unit_test(
    demo: Demo, unit_test: str, macro: str, right: str, wrong: str
) -> None:
    node = demo.manifest.macros[f"macro.dbt_labels.{macro}"]
    sql = node.macro_sql
    assert right in sql
    node.macro_sql = sql.replace(right, wrong)
    try:
        outcome = demo.dbt("test", "--select", f"{unit_test}*")
    finally:
        node.macro_sql = sql
    assert outcome.of(unit_test) == "fail", outcome.message
