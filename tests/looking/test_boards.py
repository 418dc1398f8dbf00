"""The boards that `make dashboard` draws: what a browser without a network shows is what SQL says."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import ROOT, Lab
from tests.limit import LONGEST_SECONDS
from tests.looking.chromium import Page, open_page

BIN = Path(sys.executable).parent
MADE_BY_MAKE = (".demo", ".charts")


def _make_dashboard(lab: Lab, folder: Path) -> Path:
    """Run `make dashboard` on a labelled project; the environment that runs this test stands in for .venv."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "profiles.yml"):
        shutil.copy2(ROOT / name, folder)
    shutil.copytree(lab.folder, folder / "dbt_project", symlinks=True)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(BIN)
    for stamp in MADE_BY_MAKE:
        (folder / ".venv" / stamp).touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment |= {"DBT_LABELS_DUCKDB": str(lab.database), "DCT_CACHE_PATH": str(folder / "cache.duckdb")}
    done = subprocess.run(
        ["make", "dashboard"], cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr
    return folder / "dbt_project" / "target" / "boards"


@pytest.fixture(scope="module")
def boards(browser: str, labelled: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """Give every board as Chromium shows it, or skip with what is missing."""
    if not (BIN / "dct").exists():
        pytest.skip("dbt-charts is not installed: pip install 'dbt-labels[charts]'")
    drawn = _make_dashboard(labelled, tmp_path_factory.mktemp("dashboard"))
    return {
        path.stem: open_page(browser, path.as_uri(), tmp_path_factory.mktemp(path.stem))
        for path in sorted(drawn.glob("*.html"))
    }


def _texts(page: Page) -> str:
    """Return what can be read on a page, in its order, without the signs of units."""
    return " " + " ".join(text for text in page.texts if text not in ("%", "$")) + " "


def _marks(page: Page) -> list[str]:
    """Return what points and bars say of themselves, without order and colours."""
    labels = re.findall(r'aria-label="([^"]*)"', page.html)
    plain = [
        re.sub("[\u200b\u200c\u2061-\u2063]", "", re.sub("\u200b#\\w+\u200b|\u200c\\d+; ", "", it)) for it in labels
    ]
    return [label for label in plain if "; " in label]


def _rounded(value: Any, places: int) -> str:
    """Round as the boards do: the double itself, half away from zero, and a zero has no sign."""
    rounded = Decimal(float(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{rounded or abs(rounded):,}"


def _percent(value: Any, places: int = 1) -> str:
    return _rounded(float(value) * 100, places)


def _week(monday: dt.date) -> str:
    sunday = monday + dt.timedelta(days=6)
    first = str(monday.day) if monday.month == sunday.month else f"{monday.day} {monday:%b}"
    dash = "–" if monday.month == sunday.month else " – "
    return f"{first}{dash}{sunday.day} {sunday:%b %Y}"


def test_every_board_opens_without_a_network_and_asks_for_nothing_from_one(boards: dict[str, Page]) -> None:
    assert set(boards) == {"comments", "labels"}
    for page in boards.values():
        assert page.asked == []
        assert "<svg" in page.html


def test_the_shares_of_all_comments_and_of_each_platform_are_those_of_sql(
    boards: dict[str, Page], labelled: Lab
) -> None:
    shares = (
        "count(*), avg((sentiment = 'positive')::int), avg((sentiment = 'negative')::int),"
        " avg(case sentiment when 'positive' then 1 when 'negative' then -1 else 0 end)"
    )
    texts = _texts(boards["comments"])
    [(comments, positive, negative, net)] = labelled.sql(f"select {shares} from films.comments_labelled")
    assert f" {comments} Labelled Comments {_percent(positive)} Positive {_percent(negative)} Negative" in texts
    assert f" {'-' if net < 0 else '+'}{_rounded(abs(net), 2)} Net Sentiment" in texts.replace("−", "-")
    platforms = labelled.sql(f"select platform, {shares} from films.comments_labelled group by 1 order by 2 desc")
    assert len(platforms) == 5
    for platform, comments, positive, negative, net in platforms:
        row = f" {platform} {comments} {_percent(positive)} {_percent(negative)} {_rounded(net, 2)} "
        assert row in texts.replace("−", "-")


def test_an_address_that_a_page_asks_for_is_seen(browser: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('<img src="https://pictures.example/1.png">')
    page = open_page(browser, (tmp_path / "page.html").as_uri(), tmp_path)
    assert page.asked == ["https://pictures.example/1.png"]


def test_every_week_of_a_platform_with_five_comments_is_a_point_with_its_positive_share(
    boards: dict[str, Page], labelled: Lab
) -> None:
    weeks = labelled.sql(
        "select cast(date_trunc('week', posted_at) as date), platform, avg((sentiment = 'positive')::int)"
        " from films.comments_labelled group by 1, 2 having count(*) >= 5"
    )
    assert len(weeks) > 25
    wanted = {f"{_week(week)}; {platform}; positive share: {_percent(share, 0)}%" for week, platform, share in weeks}
    assert {mark for mark in _marks(boards["comments"]) if "positive share" in mark} == wanted


def test_every_theme_and_intent_is_a_bar_as_long_as_its_comments(boards: dict[str, Page], labelled: Lab) -> None:
    bars = {mark.partition("; Σ")[0] for mark in _marks(boards["comments"]) if "Σ" in mark}
    themes = labelled.sql(
        "select theme, sentiment, count(*) from films.comment_themes join films.comments_labelled using (comment_id)"
        " group by 1, 2"
    )
    intents = labelled.sql("select intent, platform, count(*) from films.comments_labelled group by 1, 2")
    assert bars == {f"{group}; {part}; comments: {count}" for group, part, count in [*themes, *intents]}


def test_coverage_and_rejections_are_those_of_the_labels_table(boards: dict[str, Page], labelled: Lab) -> None:
    # people have labelled what they corrected, whatever the model refused
    by_text = (
        "(select text_key, case when bool_or(text_key in (select text_key from films.comment_label_overrides))"
        " then 'labelled' else max(outcome) end as outcome from films_labels.comment_labels group by 1)"
    )
    outcomes = f"films.stg_comments left join {by_text} using (text_key)"
    rows = labelled.sql(
        f"select platform, coalesce(outcome, 'blank'), count(*) from {outcomes} group by 1, 2 order by 1, 2"
    )
    bars = [mark.partition("; Σ")[0] for mark in _marks(boards["labels"]) if "Σ" in mark]
    assert {bar for bar in bars if not bar.endswith(": 0")} == {
        f"{p}; {became}; comments: {n}" for p, became, n in rows
    }
    [(comments, done, rejected)] = labelled.sql(
        "select count(*), avg((outcome is not null and outcome = 'labelled')::int), sum((outcome = 'rejected')::int)"
        f" from {outcomes}"
    )
    texts = _texts(boards["labels"])
    totals = f" {comments} Comments {_percent(done)} Labelled 0 Pending or in Flight {rejected} Rejected "
    assert totals in texts
    reasons = "select reason, count(*) from films_labels.comment_labels where outcome = 'rejected' group by 1"
    for reason, count in labelled.sql(reasons):
        assert f" comment_labels {reason} {count} " in texts


def test_quality_has_its_interval_and_spend_is_what_was_paid_beside_what_was_expected(
    boards: dict[str, Page], labelled: Lab
) -> None:
    texts, marks = _texts(boards["labels"]), _marks(boards["labels"])
    quality = labelled.sql("select version, field, metric, value, low, high from films.label_quality where low > 0")
    assert len(quality) == 3
    for version, field, metric, value, low, high in quality:
        figures = " ".join(_rounded(figure, 2) for figure in (value, low, high))
        assert f" {version} {field} {metric} {figures} " in texts
        ends = f"{field}; Agreement: {_percent(value)}%; low: {_percent(low)}%; Agreement: {_percent(high)}%"
        assert any(mark.startswith(ends) for mark in marks), (ends, marks)
    [(paid, labels)] = labelled.sql(
        "select sum(cost_usd), count(*) filter (outcome = 'labelled') from films_labels.comment_labels"
    )
    planned = "select sum(expected_usd), count(*) from films_labels.label_events where event = 'planned'"
    [(expected, batches)] = labelled.sql(planned)
    assert paid > 0
    assert f" {_rounded(paid, 4)} Paid ${_rounded(expected, 4)} expected " in texts
    assert f" gpt-6-luna {batches} {labels} {_rounded(expected, 4)} {_rounded(paid, 4)} " in texts


def test_each_board_is_an_exposure_of_exactly_the_models_it_reads() -> None:
    document = yaml.safe_load((ROOT / "dbt_project" / "models" / "exposures.yml").read_text())
    exposures = {exposure["name"]: exposure for exposure in document["exposures"]}
    boards = sorted((ROOT / "dbt_project" / "charts").glob("*.yml"))
    assert len(boards) == 2
    for board in boards:
        read = set(re.findall(r"ref\('(\w+)'\)", board.read_text()))
        named = exposures[f"{board.stem}_board"]["depends_on"]
        assert read == {re.findall(r"'(\w+)'", reference)[-1] for reference in named}
