"""The dbt package under real dbt on DuckDB: its hook, its macros, its views and its tests, in a small project."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from connector.cli import cli
from connector.source import source_yaml
from connector.warehouse.project import parse_project
from connector.warehouse.texts import read_spool, spool_texts
from tests.demo import NO_DEPRECATIONS, dbt, insert
from tests.lab import Lab

ODD = ["it's", 'say "hi"', "a, b", "naïve 👍", "back\\slash", "{ braces }", "[1]"]
OURS = ["comment_labels", "label_claims", "label_events", "label_leases"]


@dataclass(frozen=True)
class Built:
    """A small project with its labels source as `sync` writes it and with current labels, built on its comments."""

    lab: Lab
    empty: bytes

    def restore(self) -> Lab:
        self.lab.database.write_bytes(self.empty)
        return self.lab


def make(folder: Path, **task: Any) -> Lab:
    lab = Lab(folder)
    lab.add_comments(["Loved it", "Hated it", "Loved it", "The music was fine", "  ", None])
    raw = lab.folder / "models" / "raw.yml"
    sources = yaml.safe_load(raw.read_text())
    sources["sources"] = [source for source in sources["sources"] if source["name"] == "raw"]
    raw.write_text(yaml.safe_dump(sources))
    model = '{{ dbt_labels.current_labels(source("labels", "comment_labels"), task="comments_to_label") }}'
    (lab.folder / "models" / "current_labels.sql").write_text(model)
    labels = lab.folder / "models" / "labels.yml"
    labels.write_text("sources: [{name: labels, tables: [{name: comment_labels}]}]")
    lab.edit_task(**task)
    labels.write_text(source_yaml(lab.project.tasks))
    lab.reparse()
    return lab


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    had = {name: os.environ.get(name) for name in ("LAB_DUCKDB", "DBT_LABELS_DUCKDB")}
    yield
    for name, value in had.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    lab = make(
        tmp_path_factory.mktemp("package"),
        fields=[
            {"name": "sentiment", "type": "one_of", "values": ["positive", "negative", *ODD]},
            {"name": "themes", "type": "any_of", "values": ["acting", "plot", *ODD]},
        ],
    )
    outcome = dbt(lab, "build", *NO_DEPRECATIONS)
    assert outcome.success, outcome.message
    assert outcome.warnings == []
    return Built(lab, lab.database.read_bytes())


@pytest.fixture
def lab(built: Built) -> Lab:
    """Give the small project as its first build left it: no labels, claims or events."""
    return built.restore()


@pytest.fixture
def fresh(tmp_path: Path) -> Lab:
    """Give a small project of its own on which nothing was built."""
    return make(tmp_path)


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def tables(lab: Lab) -> set[str]:
    rows = lab.sql("select table_schema, table_name from information_schema.tables")
    return {f"{schema}.{table}" for schema, table in rows if schema != "raw"}


def label(text: str, **values: Any) -> dict[str, Any]:
    given = {"text_key": key(text), "version": 1, "outcome": "labelled", "sentiment": "positive", "themes": "[]"}
    return given | {"attempt": 1, "batch_key": "b", "labelled_at": datetime(2026, 11, 1)} | values


def pending(lab: Lab, relation: str = "main.comments_to_label") -> set[str]:
    return {text for (text,) in lab.sql(f"select comment_text from {relation}")}


def texts_to_send(lab: Lab, folder: Path) -> set[str]:
    """Return what the connector would send."""
    spool_texts(lab.project, lab.project.tasks[0], folder / "spool")
    return {text.text for text in read_spool(folder / "spool")}


def list_everything(lab: Lab) -> None:
    """Put a stale table in the pending model's place, which lists every text there is."""
    every = "select distinct text_key, comment_text from main.stg_comments where comment_text is not null"
    lab.sql("drop view main.comments_to_label")
    lab.sql(f"create table main.comments_to_label as {every}")


# The hook


@pytest.mark.parametrize("command", ["parse", "compile", "ls", "docs generate", "test", "seed", "source freshness"])
def test_a_command_that_builds_nothing_makes_no_table(built: Built, command: str) -> None:
    lab = built.restore()
    lab.sql("drop schema main_labels cascade")
    before = tables(lab)
    dbt(lab, *command.split())
    assert tables(lab) == before
    assert lab.sql("select count(*) from information_schema.schemata where schema_name = 'main_labels'") == [(0,)]


@pytest.mark.parametrize("command", ["build", "run"])
def test_a_command_that_builds_makes_what_is_missing_and_keeps_what_is_there(lab: Lab, command: str) -> None:
    insert(lab, "main_labels.comment_labels", [label("Loved it")])
    lab.sql("drop table main_labels.label_claims")
    outcome = dbt(lab, command, "--select", "comments_to_label")
    assert outcome.success, outcome.message
    assert lab.sql("select count(*) from main_labels.label_claims") == [(0,)]
    assert lab.sql("select count(*) from main_labels.comment_labels") == [(1,)]


def test_a_new_field_becomes_a_column_and_the_rows_stay(fresh: Lab) -> None:
    assert dbt(fresh, "run").success
    insert(fresh, "main_labels.comment_labels", [label("Loved it")])
    rows = fresh.sql("select * from main_labels.comment_labels")
    fresh.edit_task(
        fields=[
            {"name": "sentiment", "type": "one_of", "values": ["positive", "negative"]},
            {"name": "themes", "type": "any_of", "values": ["acting", "plot"]},
            {"name": "is_spam", "type": "boolean"},
            {"name": "stars", "type": "integer", "min": 1, "max": 5},
            {"name": "quote", "type": "text", "max": 100},
            {"name": "select", "type": "one_of", "values": ["a", "b"]},
        ]
    )
    outcome = dbt(fresh, "run")
    assert outcome.success, outcome.message
    described = dict(row[:2] for row in fresh.sql("describe main_labels.comment_labels"))
    wanted = {"is_spam": "BOOLEAN", "stars": "BIGINT", "quote": "VARCHAR", "select": "VARCHAR"}
    assert wanted.items() <= described.items()
    assert [row[: len(rows[0])] for row in fresh.sql("select * from main_labels.comment_labels")] == rows
    assert fresh.sql('select text_key, "select" from main.current_labels') == [(key("Loved it"), None)]


def test_every_target_has_a_labels_schema_of_its_own(lab: Lab) -> None:
    insert(lab, "main_labels.comment_labels", [label("Loved it")])
    outcome = dbt(lab, "run", "--target", "other")
    assert outcome.success, outcome.message
    assert lab.sql("select count(*) from other_labels.comment_labels") == [(0,)]
    assert pending(lab, "other.comments_to_label") == {"Loved it", "Hated it", "The music was fine"}
    assert dbt(lab, "run").success
    assert pending(lab) == {"Hated it", "The music was fine"}


def test_a_role_without_the_right_leaves_the_tables_to_who_runs_the_printed_statements(fresh: Lab) -> None:
    off = ("--vars", "{dbt_labels_make_tables: false}")
    assert dbt(fresh, "run", "--select", "stg_comments", *off).success
    assert tables(fresh) == {"main.stg_comments"}
    options = ["--json", "--project-dir", str(fresh.folder), "--profiles-dir", str(fresh.folder)]
    printed = CliRunner().invoke(cli, ["ddl", *options])
    assert printed.exit_code == 0, printed.exception
    for statement in json.loads(printed.stdout):
        fresh.sql(statement)
    outcome = dbt(fresh, "build", *off)
    assert outcome.success, outcome.message
    assert pending(fresh) == {"Loved it", "Hated it", "The music was fine"}
    again = CliRunner().invoke(cli, ["ddl", *options])
    assert json.loads(again.stdout) == []


BROKEN: dict[str, Any] = {
    "a_word": "comment_labels",
    "a_list": ["comment_labels"],
    "empty": {},
    "no_table": {"fields": [{"name": "a", "type": "boolean"}]},
    "no_fields": {"table": "t01"},
    "fields_a_word": {"table": "t02", "fields": "sentiment"},
    "fields_a_mapping": {"table": "t03", "fields": {"name": "a", "type": "boolean"}},
    "fields_of_words": {"table": "t04", "fields": ["sentiment", None, 7]},
    "field_without_a_name": {"table": "t05", "fields": [{"type": "boolean"}]},
    "field_of_no_type": {"table": "t06", "fields": [{"name": "a"}, {"name": "b", "type": "colour"}]},
    "field_of_a_list_as_type": {"table": "t07", "fields": [{"name": "a", "type": ["boolean"]}]},
    "field_twice": {"table": "t08", "fields": [{"name": "a", "type": "boolean"}, {"name": "a", "type": "boolean"}]},
    "field_twice_but_for_case": {
        "table": "t09",
        "fields": [{"name": "a", "type": "boolean"}, {"name": "A", "type": "boolean"}],
    },
    "field_named_as_ours": {"table": "t10", "fields": [{"name": "outcome", "type": "boolean"}]},
    "field_with_a_quote": {"table": "t11", "fields": [{"name": 'a" boolean, "b', "type": "boolean"}]},
    "table_with_a_quote": {"table": "t'12\"", "fields": [{"name": "a", "type": "boolean"}]},
    "table_of_the_ledger": {"table": "label_claims", "fields": [{"name": "a", "type": "boolean"}]},
    "table_a_number": {"table": 13, "fields": [{"name": "a", "type": "boolean"}]},
    "version_a_word": {"table": "t14", "version": "two", "fields": [{"name": "a", "type": "boolean"}]},
}


def test_a_broken_task_stops_no_other_model(fresh: Lab) -> None:
    models = fresh.folder / "models"
    document = {"models": [{"name": n, "config": {"meta": {"dbt_labels": block}}} for n, block in BROKEN.items()]}
    (models / "broken.yml").write_text(yaml.safe_dump(document))
    for name in BROKEN:
        (models / f"{name}.sql").write_text("select 1 as one")
    outcome = dbt(fresh, "build")
    assert outcome.success, outcome.message
    claims = {name for name, *_ in fresh.sql("describe main_labels.label_claims")}
    assert "batch_key" in claims
    assert "a" not in claims
    assert pending(fresh) == {"Loved it", "Hated it", "The music was fine"}
    insert(fresh, "main_labels.comment_labels", [label("Loved it", outcome="rejected", reason="refused")])
    assert fresh.sql("select text_key, reason from main.label_rejections") == [(key("Loved it"), "refused")]


# Where the tables are


def test_one_variable_moves_every_table_for_dbt_and_for_the_connector(lab: Lab, tmp_path: Path) -> None:
    moved = "{dbt_labels_schema: paid_labels}"
    lab.sql("drop schema main_labels cascade")
    for command in ("run", "build"):
        outcome = dbt(lab, command, "--vars", moved)
        assert outcome.success, outcome.message
        assert not any(name.startswith("main_labels") for name in tables(lab))
        assert {f"paid_labels.{name}" for name in OURS} <= tables(lab)
        insert(lab, "paid_labels.comment_labels", [label("Loved it")])
    assert pending(lab) == {"Hated it", "The music was fine"}
    assert dbt(lab, "source", "freshness", "--vars", moved).success
    project = parse_project(lab.options(variables=moved))
    spool_texts(project, project.tasks[0], tmp_path / "spool")
    assert {text.text for text in read_spool(tmp_path / "spool")} == {"Hated it", "The music was fine"}


def test_what_another_schema_has_labelled_is_not_pending_here_and_nothing_is_written_there(
    lab: Lab, tmp_path: Path
) -> None:
    assert dbt(lab, "run", "--target", "other").success
    lab.sql("alter table other_labels.comment_labels drop column themes")
    theirs = label("Loved it", sentiment="negative", batch_key="theirs")
    theirs.pop("themes")
    rejected = theirs | {"text_key": key("Hated it"), "outcome": "rejected"}
    older = theirs | {"text_key": key("The music was fine"), "version": 0}
    insert(lab, "other_labels.comment_labels", [theirs, rejected, older])
    insert(lab, "main_labels.comment_labels", [label("Hated it", themes='["plot"]')])
    there = lab.sql("select * from other_labels.comment_labels order by all")

    variables = "{dbt_labels_read_from: other_labels}"
    outcome = dbt(lab, "build", "--vars", variables)
    assert outcome.success, outcome.message
    assert pending(lab) == {"The music was fine"}
    current = "select text_key, version, sentiment, themes from main.current_labels order by version, sentiment"
    assert lab.sql(current) == [
        (key("The music was fine"), 0, "negative", None),
        (key("Loved it"), 1, "negative", None),
        (key("Hated it"), 1, "positive", '["plot"]'),
    ]
    project = parse_project(lab.options(variables=variables))
    list_everything(lab)
    spool_texts(project, project.tasks[0], tmp_path / "spool")
    assert {text.text for text in read_spool(tmp_path / "spool")} == {"The music was fine"}
    assert lab.sql("select * from other_labels.comment_labels order by all") == there

    insert(lab, "main_labels.comment_labels", [label("Loved it", sentiment="positive", batch_key="ours")])
    assert dict(lab.sql("select text_key, batch_key from main.current_labels"))[key("Loved it")] == "ours"


def test_a_schema_to_read_from_that_is_not_there_is_warned_of(lab: Lab) -> None:
    outcome = dbt(lab, "run", "--select", "comments_to_label", "--vars", "{dbt_labels_read_from: nowhere}")
    assert outcome.success, outcome.message
    assert any("nowhere" in warning for warning in outcome.warnings)


# Tests and freshness on the source


def test_every_value_that_the_task_declares_is_accepted_and_any_other_fails(lab: Lab) -> None:
    right = [label(value, sentiment=value, themes=json.dumps([value], ensure_ascii=False)) for value in ODD]
    right += [
        label("no themes", themes="[]"),
        label("an older version's", version=0, sentiment="angry", themes='["angry"]'),
        label("failed", outcome="failed", sentiment=None, themes=None),
    ]
    insert(lab, "main_labels.comment_labels", right)
    outcome = dbt(lab, "test", "--select", "source:labels.comment_labels")
    assert outcome.success, outcome.message
    wrong = [
        label("a", sentiment="Positive"),
        label("b", sentiment="it''s"),
        label("c", themes='["plot","it is"]'),
        label("d", themes="[null]"),
        label("e", themes='["acting","say \\"ho\\""]'),
    ]
    insert(lab, "main_labels.comment_labels", wrong)
    outcome = dbt(lab, "test", "--select", "source:labels.comment_labels")
    assert (outcome.of("comment_labels_sentiment"), outcome.of("comment_labels_themes")) == ("fail", "fail")
    assert sorted(outcome.failures.values()) == [2, 3]


def test_an_empty_table_is_fresh_and_one_without_new_labels_gets_stale(lab: Lab) -> None:
    assert dbt(lab, "source", "freshness").of("comment_labels") == "pass"
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    insert(lab, "main_labels.comment_labels", [label("old", labelled_at=now - timedelta(days=8))])
    assert dbt(lab, "source", "freshness").of("comment_labels") == "warn"
    insert(lab, "main_labels.comment_labels", [label("new", labelled_at=now - timedelta(days=6))])
    assert dbt(lab, "source", "freshness").of("comment_labels") == "pass"


# Texts, their keys and their labels


NASTY = [
    "NUL \0 inside",
    "line\u2028separator",
    "\u202eright to left\u202c",
    "مرحبا",
    "👩‍👩‍👧‍👦",
    "e\u0301",
    "é",
    "\r\n",
    "",
]
NASTY += [
    '{"a": "b"}',
    "it's",
    '"',
    "\\",
    "$$",
    "{{ this }}",
    "x" * 1_000_000,
    "\U0010ffff",
    "\ufeffbom",
    "a\0",
    "a",
    " a\n",
]


def random_texts(count: int) -> list[str]:
    rng = random.Random(2)
    points = [*range(0, 0x3000, 7), *range(0xE000, 0x10000, 11), *range(0x1F300, 0x1F600, 3)]
    return ["".join(chr(point) for point in rng.choices(points, k=rng.randrange(40))) for _ in range(count)]


def test_the_key_of_a_text_is_the_sha256_of_its_utf8(lab: Lab) -> None:
    texts = NASTY + random_texts(300)
    lab.sql("create or replace table main.nasty (number integer, body varchar)")
    insert(lab, "main.nasty", [{"number": number, "body": text} for number, text in enumerate(texts)])
    with lab.project.connect() as session:
        rows = session.handle.rows(
            f"select number, {session.macro('text_key', column='body')} as text_key from main.nasty order by number"
        )
    assert [row["text_key"] for row in rows] == [key(text) for text in texts]


BLANK = ["", " ", "\t\r\n\v\f", "\u00a0", "\u200b", "\u3000", "\ufeff", "\u2060", "\u200d", "\u2028\u2029", "\u00ad"]
BLANK += [
    "\0",
    "\x1b",
    "\u202e",
    "\u180e",
    "\u2800",
    "\u3164",
    "\u115f",
    "\uffa0",
    "\ufe0f",
    "\u034f",
    " \u200b\u00a0\n ",
]
NOT_BLANK = [
    "👍",
    "👍\ufe0f",
    "❤\ufe0f",
    "👩‍👧",
    ".",
    "!?",
    "…",
    "-",
    "e\u0301",
    "ا",
    "\u200b.\u200b",
    "0",
    "_",
    "한",
    "♥",
]


@pytest.mark.parametrize(("texts", "wanted"), [(BLANK, True), (NOT_BLANK, False)])
def test_only_texts_without_anything_to_see_are_blank(lab: Lab, texts: list[str], wanted: bool) -> None:
    with lab.project.connect() as session:
        is_blank = session.macro("is_blank", column="cast(? as varchar)").replace("?", "body")
        rows = [session.handle.rows(f"select {is_blank} as blank from (select ? as body)", [text]) for text in texts]
    assert [row[0]["blank"] for row in rows] == [wanted] * len(texts)


def test_null_is_blank(lab: Lab) -> None:
    with lab.project.connect() as session:
        rows = session.handle.rows(f"select {session.macro('is_blank', column='cast(null as varchar)')} as blank")
    assert rows == [{"blank": True}]


def test_every_value_of_an_any_of_field_is_a_row(lab: Lab) -> None:
    values = {"none": [], "one": ["acting"], "odd": ODD, "unicode": ["ünï", "👍", "\u2028"], "unknown": None}
    lab.sql("create or replace table main.answers (text_key varchar, version integer, themes varchar)")
    for version, ascii_only in enumerate((True, False)):
        written = {n: None if v is None else json.dumps(v, ensure_ascii=ascii_only) for n, v in values.items()}
        insert(lab, "main.answers", [{"text_key": n, "version": version, "themes": v} for n, v in written.items()])
    with lab.project.connect() as session:
        sql = session.macro("unnest_labels", labels="main.answers", field="themes", keys=["text_key", "version"])
        rows = session.handle.rows(sql)
    found = sorted((row["text_key"], row["version"], row["value"]) for row in rows)
    assert found == sorted((name, v, value) for name in values for v in (0, 1) for value in values[name] or [])


# What is settled


ORDER = ["planned", "uploading", "uploaded", "creating", "fencing", "released", "submitted", "ended", "loaded"]
ORDER += ["refused", "lost"]
FREE = {"released", "loaded", "refused"}


@dataclass
class Story:
    """A random ledger, and what follows from it by the design, worked out in Python."""

    rng: random.Random
    labels: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    rejected: set[tuple[int, str]] = field(default_factory=set)

    def any_time(self) -> datetime:
        return datetime(2026, 9, 1) + timedelta(minutes=self.rng.randrange(100_000))

    def happen_to_batch(self, batch: str) -> None:
        happened = {name for name in ORDER if self.rng.random() < (0.85 if name == "planned" else 0.2)}
        self.events += [{"batch_key": batch, "event": name, "event_at": self.any_time()} for name in sorted(happened)]
        if "planned" in happened:
            self.states[batch] = max(happened, key=ORDER.index)

    def happen_to_text(self, text: str, version: int) -> None:
        final = None
        for attempt in range(1, self.rng.randrange(1, 5)):
            outcomes = [self.rng.choice(["labelled", "failed", "rejected", "rejected"])]
            if outcomes == ["rejected"] and self.rng.random() < 0.5:
                outcomes.append("reopened")
            for outcome in outcomes:
                row = label(text, version=version, attempt=attempt, outcome=outcome, labelled_at=self.any_time())
                self.labels += [row] * self.rng.choice([1, 1, 2])
            if outcomes != ["failed"] and final != "labelled":
                final = outcomes[-1]
        if final == "rejected":
            self.rejected.add((version, key(text)))
        if version == 1 and final in ("labelled", "rejected"):
            self.settled.add(text)

    def claim(self, text: str, batch: str) -> None:
        table, version = self.rng.choice(["comment_labels", "comment_labels", "other"]), self.rng.choice([1, 1, 2])
        self.claims.append({"batch_key": batch, "label_table": table, "version": version, "text_key": key(text)})
        if (table, version) == ("comment_labels", 1) and self.states.get(batch, "released") not in FREE:
            self.settled.add(text)


def random_story(texts: list[str], seed: int) -> Story:
    story = Story(random.Random(seed))
    batches = [f"b{number}" for number in range(60)]
    for batch in batches:
        story.happen_to_batch(batch)
    for text in texts:
        for version in (0, 1, 2):
            story.happen_to_text(text, version)
        if story.rng.random() < 0.4:
            story.claim(text, story.rng.choice(batches))
    story.rng.shuffle(story.labels)
    return story


@pytest.mark.parametrize("seed", range(3))
def test_dbt_the_connector_and_the_design_agree_on_what_is_pending(lab: Lab, tmp_path: Path, seed: int) -> None:
    texts = [f"text {n}" for n in range(150)]
    story = random_story(texts, seed)
    lab.sql("delete from raw.comments")
    lab.add_comments(texts)
    insert(lab, "main_labels.comment_labels", story.labels)
    insert(lab, "main_labels.label_claims", story.claims)
    insert(lab, "main_labels.label_events", story.events)

    wanted = set(texts) - story.settled
    assert 10 < len(wanted) < 140
    assert pending(lab) == wanted
    assert texts_to_send(lab, tmp_path) == wanted
    assert set(lab.sql("select version, text_key from main.label_rejections")) == story.rejected
    assert lab.sql("select count(*) from main.label_rejections") == [(len(story.rejected),)]
    assert dict(lab.sql("select batch_key, state from main.label_batches")) == story.states
    live = {batch for (batch,) in lab.sql("select batch_key from main.label_batches where is_live")}
    assert live == {batch for batch, state in story.states.items() if state not in FREE}

    list_everything(lab)
    assert texts_to_send(lab, tmp_path) == wanted


def test_a_batch_loaded_twice_changes_no_history_and_no_label(lab: Lab) -> None:
    history = [
        label("Loved it", outcome="failed", reason="unavailable", attempt=1),
        label("Loved it", outcome="failed", reason="truncated", attempt=2),
        label("Loved it", outcome="failed", reason="invalid", attempt=3),
        label("Loved it", outcome="failed", reason="unavailable", attempt=4),
        label("Loved it", outcome="failed", reason="unavailable", attempt=5),
        label("Hated it", outcome="failed", reason="truncated", attempt=1),
        label("Hated it", outcome="rejected", reason="truncated", attempt=2),
        label("Hated it", outcome="reopened", attempt=2),
        label("Hated it", outcome="failed", reason="invalid", attempt=3),
        label("Hated it", version=2, outcome="failed", reason="invalid", attempt=1),
        label("The music was fine"),
    ]
    wanted: list[dict[str, Any]] = [
        {"text_key": key("Hated it"), "attempt": 3, "failures": 1, "truncations": 0, "unavailable_in_row": 0},
        {"text_key": key("Loved it"), "attempt": 5, "failures": 2, "truncations": 1, "unavailable_in_row": 2},
    ]
    for _ in range(2):
        insert(lab, "main_labels.comment_labels", history)
        with lab.project.connect() as session:
            sql = session.macro("text_history", labels="main_labels.comment_labels", version=1)
            found = session.handle.rows(sql)
        assert {row["text_key"]: row for row in found} == {row["text_key"]: row for row in wanted}
        assert len(found) == len(wanted)
        assert lab.sql("select text_key from main.current_labels") == [(key("The music was fine"),)]


def test_a_model_without_a_task_is_told_what_it_needs(lab: Lab, tmp_path: Path) -> None:
    path = lab.folder / "models" / "lost.sql"
    path.write_text('{{ dbt_labels.current_labels(source("labels", "comment_labels"), task="no_such_model") }}')
    try:
        outcome = dbt(lab, "run", "--select", "lost")
    finally:
        path.unlink()
    assert not outcome.success
    assert "`no_such_model` has no task" in outcome.message
