"""What is settled: dbt, the connector and the design agree on it, whatever the ledger says."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_package import key, label, list_everything, pending, texts_to_send
from tests.demo import insert
from tests.lab import Lab

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
        {
            "text_key": key("Hated it"),
            "attempt": 3,
            "failures": 1,
            "truncations": 0,
            "unpacked": 0,
            "unavailable_in_row": 0,
        },
        {
            "text_key": key("Loved it"),
            "attempt": 5,
            "failures": 2,
            "truncations": 1,
            "unpacked": 0,
            "unavailable_in_row": 2,
        },
    ]
    wanted = [{**row, "unpacked": 0} for row in wanted]
    for _ in range(2):
        insert(lab, "main_labels.comment_labels", history)
        with lab.project.connect() as session:
            sql = session.macro("text_history", labels="main_labels.comment_labels", version=1)
            found = session.handle.rows(sql)
        assert {row["text_key"]: row for row in found} == {row["text_key"]: row for row in wanted}
        assert len(found) == len(wanted)
        assert lab.sql("select text_key from main.current_labels") == [(key("The music was fine"),)]
