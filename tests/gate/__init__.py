"""The gate and the pilot: gold texts are sent first, and where their labels are too bad nothing else is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import yaml

from connector import planning
from connector.plan import Plan
from connector.run import Settings
from tests.demo import insert
from tests.lab import QUICK, Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
TEXTS = [f"What a film, take {number}" for number in range(8)]
GOLD, REST = TEXTS[:3], TEXTS[3:]
OUTSIDE = "Nobody said this"
KEYS = {hashlib.sha256(text.encode()).hexdigest(): text for text in [*TEXTS, OUTSIDE]}
SENTIMENTS = ["positive", "negative", "neutral"]
ASKED = {"field": "sentiment", "metric": "accuracy", "at_least": 0.9}
NOT_HELD = "sentiment: accuracy of version 1 is 0.000 [0.000, 0.561] on 3 gold texts, below 0.9"


class Gated:
    """A lab of eight texts whose task has gold and a gate, and what the server answers to each of them."""

    def __init__(self, lab: Lab, answers: dict[str, str]) -> None:
        self.lab = lab
        self._answers = answers

    def judge(self, texts: Iterable[str], agree: bool) -> None:
        """Have people judge these texts, and agree with the model or not."""
        self.lab.sql("delete from raw.gold")
        rows = []
        for key, text in KEYS.items():
            answer = self._answers[text]
            value = answer if agree else next(other for other in SENTIMENTS if other != answer)
            rows.append({"text_key": key, "comment_text": text, "sentiment": value})
        insert(self.lab, "raw.gold", [row for row in rows if row["comment_text"] in set(texts)])

    def sent(self, version: int = 1) -> list[list[str]]:
        """Return the texts of each batch, in the order in which they were planned."""
        rows = self.lab.sql(
            "select e.batch_key, list(c.text_key) from main_labels.label_events e"
            " join main_labels.label_claims c on c.batch_key = e.batch_key"
            " where e.event = 'planned' and c.label_table = 'comment_labels' and c.version = ?"
            " group by 1, e.event_at order by e.event_at",
            [version],
        )
        return [sorted(KEYS[key] for key in keys) for _, keys in rows]

    def raise_version(self, version: int) -> None:
        """Raise the task's version and build the pending model, as a run's first step does."""
        self.lab.edit_task(version=version)
        self.lab.dbt("run", "--select", "comments_to_label")

    def plan(self) -> Plan:
        """Return the plan of the one task."""
        [plan] = planning.make_plans(self.lab.project, self.lab.project.tasks, QUICK)
        return plan

    def gate(self, severity: str = "error", **arguments: Any) -> None:
        """Put the gate on the table of labels; without arguments for the test there is none."""
        path = self.lab.folder / "models" / "raw.yml"
        document = yaml.safe_load(path.read_text())
        test = {"arguments": arguments, "config": {"severity": severity}}
        tests = [{"dbt_labels.label_quality": test}] if arguments else []
        document["sources"][1]["tables"][0]["data_tests"] = tests
        path.write_text(yaml.safe_dump(document))
        self.lab.reparse()


def executed(server: Server) -> list[str]:
    """Return every text that was executed, sorted."""
    return sorted(KEYS[row["content_sha256"]] for row in server.executions())
