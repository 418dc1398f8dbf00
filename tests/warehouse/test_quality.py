"""What people say beside what the model says: PostgreSQL's figures are DuckDB's, which scikit-learn is held against."""

from __future__ import annotations

import json
import random
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from connector.warehouse.quality import Changes, Quality, read_changes, read_quality
from tests.evaluation import FIELDS, VALUES, key
from tests.evaluation.conftest import make
from tests.lab import Lab
from tests.warehouse.labs import PostgresLab, force_dbapi
from tests.warehouse.server import PostgresServer

KINDS = {"spoiler": pa.bool_(), "stars": pa.int64(), "version": pa.int64(), "attempt": pa.int64()}
KINDS["labelled_at"] = pa.timestamp("us")
Figures = tuple[Quality, Changes, list[tuple[object, ...]], list[tuple[object, ...]]]
TEXTS = [f"text {number}" for number in range(40)]


def _values(draw: random.Random) -> dict[str, object]:
    values: dict[str, object] = {name: draw.choice(choices) for name, choices in VALUES.items() if name != "themes"}
    return values | {"themes": json.dumps(draw.choices(VALUES["themes"], k=draw.randrange(4)))}


def _write(lab: Lab, relation: str, rows: list[dict[str, object]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    kinds = {name: KINDS.get(name, pa.string()) for name in names}
    table = pa.table({name: pa.array([row.get(name) for row in rows], kinds[name]) for name in names})
    with lab.project.connect() as session:
        session.handle.append(relation, table)


def _figures(lab: Lab) -> Figures:
    """Build a project with the same labels, gold and overrides as ever, and return all that is said of them."""
    draw = random.Random(4)
    lab.dbt("build")
    common = {"outcome": "labelled", "model": "m", "attempt": 1, "batch_key": "b"}
    _write(lab, "raw.gold", [{"text_key": key(text), **_values(draw)} for text in TEXTS[:-5]])
    corrected = [{"sentiment": "it's"}, {"spoiler": True, "themes": "[]"}, {"stars": 10, "themes": '["say \\"hi\\""]'}]
    overrides = [{"text_key": key(text), **row} for text, row in zip(TEXTS[-7:], corrected, strict=False)]
    _write(lab, "raw.overrides", overrides)
    labels = [
        {
            "text_key": key(text),
            "version": version,
            **common,
            "labelled_at": datetime(2026, 11, version),
            **_values(draw),
        }
        for version in (1, 2)
        for text in TEXTS[version:]
    ]
    _write(lab, "main_labels.comment_labels", [*labels, *labels[:3]])
    lab.edit_task(version=2)
    lab.dbt("build")
    [task] = lab.project.tasks
    shown = "select field, metric, version, cast(value * 1000000 as bigint) from main.label_quality order by 1, 2, 3"
    current = (
        "select text_key, version, sentiment, spoiler, stars, themes, labelled_by, overridden_fields"
        " from main.current_labels order by text_key"
    )
    quality = read_quality(lab.project, task)
    return quality, read_changes(lab.project, task, 1, 2), lab.sql(shown), lab.sql(current)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Give what is said of them on DuckDB."""
    return _figures(make(tmp_path_factory.mktemp("duckdb")))


@pytest.mark.parametrize("engine", ["postgres", "dbapi"])
def test_figures_changes_and_corrections_are_the_same_on_every_engine(
    postgres: PostgresServer, theirs: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "dbapi":
        force_dbapi(monkeypatch)
    monkeypatch.setattr("tests.evaluation.conftest.Lab", lambda folder: PostgresLab(folder, postgres))
    ours = _figures(make(tmp_path))

    assert ours[0].confusion == theirs[0].confusion
    assert ours[0].classes == theirs[0].classes
    for found, wanted in zip(ours[0].metrics, theirs[0].metrics, strict=True):
        assert (found.version, found.field, found.metric) == (wanted.version, wanted.field, wanted.metric)
        for figure in ("value", "low", "high"):
            assert getattr(found, figure) == pytest.approx(getattr(wanted, figure), abs=1e-12), found
    assert len(ours[0].metrics) > 20
    assert ours[1] == theirs[1]
    assert sum(ours[1].changed.values()) > 50
    assert ours[2] == theirs[2]
    assert ours[3] == theirs[3]
    assert {row[-2] for row in ours[3]} == {"human", "model"}
    assert {field["name"] for field in FIELDS} > set(ours[1].changed)
