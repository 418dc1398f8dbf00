"""The gate and the pilot: gold texts are sent first, and where their labels are too bad nothing else is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import yaml

from connector import planning
from connector.plan import Plan
from connector.run import Settings
from tests.books import highest_charges
from tests.demo import insert
from tests.lab import QUICK, Lab, Server
from tests.test_cli import QUICKLY, Bench, Command, _add_task, run_command

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
TEXTS = [f"What a film, take {number}" for number in range(8)]
GOLD, REST = TEXTS[:3], TEXTS[3:]
OUTSIDE = "Nobody said this"
KEYS = {hashlib.sha256(text.encode()).hexdigest(): text for text in [*TEXTS, OUTSIDE]}
SENTIMENTS = ["positive", "negative", "neutral"]
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
        [plan] = planning.plan(self.lab.project, self.lab.project.tasks, QUICK)
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


ASKED = {"field": "sentiment", "metric": "accuracy", "at_least": 0.9}


def _executed(server: Server) -> list[str]:
    return sorted(KEYS[row["content_sha256"]] for row in server.executions())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, dict[str, str]]]:
    """Give a bench with eight texts, gold that is empty and a gate, and what the instant engine says of each text."""
    had = os.environ.get("LAB_DUCKDB")
    folder = tmp_path_factory.mktemp("gate")
    lab = Lab(folder)
    lab.add_comments([*TEXTS, OUTSIDE])
    lab.sql("create table raw.gold (text_key varchar, comment_text varchar, sentiment varchar)")
    models = lab.folder / "models"
    raw = yaml.safe_load((models / "raw.yml").read_text())
    raw["sources"][0]["tables"].append({"name": "gold"})
    (models / "raw.yml").write_text(yaml.safe_dump(raw))
    (models / "gold_labels.sql").write_text('select * from {{ source("raw", "gold") }}')
    (models / "moods.sql").write_text("select sentiment from {{ source('labels', 'comment_labels') }}")
    lab.build()
    (folder / "server").mkdir()
    server = Server(folder / "server").start()
    try:
        lab.run(server.provider())
    finally:
        server.kill()
    answers = {text: values[0] for text, values in lab.labels().items()}
    for table in ("comment_labels", "label_claims", "label_events"):
        lab.sql(f"delete from main_labels.{table}")
    lab.sql("delete from raw.comments where comment_text = ?", [OUTSIDE])
    lab.edit_task(gold="gold_labels", price={"input_usd_per_mtok": "0.1", "output_usd_per_mtok": "0.4"})
    Gated(lab, answers).gate(**ASKED)
    lab.dbt("build", "--select", "+comments_to_label", "gold_labels", "--exclude", "test_name:label_quality")
    yield Bench(folder, lab), answers
    os.environ.pop("LAB_DUCKDB")
    if had is not None:
        os.environ["LAB_DUCKDB"] = had


@pytest.fixture
def gated(made: tuple[Bench, dict[str, str]]) -> Gated:
    """Give the bench's lab as it was at first, with what the model will answer."""
    bench, answers = made
    lab = bench.restored()
    lab.reparse()
    return Gated(lab, answers)


@pytest.fixture
def command(
    gated: Gated, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Give what runs a command on the lab with the server as provider, in this process."""
    monkeypatch.setenv("LAB_DUCKDB", str(gated.lab.database))
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    return lambda *arguments: run_command(gated.lab, capfd, *arguments)


def test_gold_is_sent_and_loaded_first_and_where_the_gate_holds_the_rest_follows_in_the_same_run(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    said = command("run", "--json", *QUICKLY)
    assert said.json["run"]["labelled"] == 8
    assert gated.sent() == [GOLD, REST]
    assert _executed(server) == TEXTS
    order = gated.lab.sql(
        "select event, claims from main_labels.label_events where event in ('planned', 'loaded') order by event_at"
    )
    assert [event for event, _ in order] == ["planned", "loaded", "planned", "loaded"]
    assert command("run", "--json", *QUICKLY).json["run"]["submitted"] == []


def test_where_the_gate_does_not_hold_only_gold_is_sent_however_often_it_runs(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=False)
    for _ in range(2):
        said = command("run", *QUICKLY)
        assert said.code == 1
        assert f"its quality gate does not hold, so only gold texts were sent: {NOT_HELD}" in said.err
        assert "Traceback" not in said.err
        assert _executed(server) == GOLD
    assert gated.sent() == [GOLD]
    assert gated.lab.outcomes() == {"labelled": 3}


def test_a_raised_version_asks_the_gate_again(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    assert gated.lab.run(server.provider()).labelled == 8
    server.faults(row_refusal={"share": 1.0})
    gated.raise_version(2)
    [problem] = gated.lab.run(server.provider()).problems
    assert "no text of `gold_labels` has a label of version 2 yet" in problem
    assert gated.sent(2) == [GOLD]
    server.faults()
    gated.raise_version(3)
    assert gated.lab.run(server.provider()).labelled == 8
    assert gated.sent(3) == [GOLD, REST]


def test_with_once_nothing_else_is_sent_while_gold_is_in_flight(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(slow=2)
    first = gated.lab.run(server.provider(), ONCE)
    assert (len(first.submitted), first.in_flight, gated.sent()) == (1, first.submitted, [GOLD])
    passes_in_flight = 0
    while True:
        summary = gated.lab.run(server.provider(), ONCE)
        if summary.labelled:
            break
        assert (summary.submitted, summary.problems, gated.sent()) == ([], [], [GOLD])
        passes_in_flight += 1
    assert passes_in_flight
    assert summary.labelled == 3
    assert gated.sent() == [GOLD, REST], "the pass that loads the gold sends the rest"
    server.faults()
    while gated.lab.run(server.provider(), ONCE).in_flight:
        pass
    assert gated.lab.outcomes() == {"labelled": 8}
    assert gated.sent() == [GOLD, REST]


def test_with_once_a_gate_that_does_not_hold_is_told_by_every_pass(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=False)
    server.faults(slow=1)
    summary = gated.lab.run(server.provider(), ONCE)
    assert summary.problems == []
    while summary.in_flight:
        summary = gated.lab.run(server.provider(), ONCE)
    for _ in range(2):
        assert NOT_HELD in summary.problems[0]
        assert gated.sent() == [GOLD]
        summary = gated.lab.run(server.provider(), ONCE)


def test_gold_that_fails_is_tried_again_before_the_gate_is_asked(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(row_not_json={"share": 1.0, "times": 1})
    summary = gated.lab.run(server.provider())
    assert (summary.labelled, summary.problems) == (8, [])
    assert gated.sent() == [GOLD, GOLD, REST, REST]


def test_gold_that_is_all_rejected_holds_the_rest_back(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(row_refusal={"share": 1.0})
    summary = gated.lab.run(server.provider())
    assert "no text of `gold_labels` has a label of version 1 yet" in summary.problems[0]
    assert gated.sent() == [GOLD]


def test_gold_in_a_lost_batch_ends_the_run_and_says_what_to_do(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, once=True, limit=1))
    gated.lab.sql("delete from main_labels.comment_labels")
    gated.lab.sql("delete from main_labels.label_events where event = 'loaded'")
    gated.lab.sql(
        "insert into main_labels.label_events by name select batch_key, 'lost' as event from"
        " main_labels.label_events where event = 'planned'"
    )
    assert gated.lab.states() == ["lost"]
    summary = gated.lab.run(server.provider())
    assert "nothing more is known of batches with 1 gold texts" in summary.problems[0]
    assert [len(texts) for texts in gated.sent()] == [1, 2], "the other gold texts are sent, the rest is not"


def test_gold_that_was_sent_with_another_key_ends_the_run(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(slow=3600)
    gated.lab.run(server.provider(), ONCE)
    for settings in (Settings(poll_seconds=0.01, grace_seconds=0.0), ONCE):
        summary = gated.lab.run(server.provider("other-key"), settings)
        assert any("nothing more is known of batches with 3 gold texts" in problem for problem in summary.problems)
        assert any("proves nothing" in problem for problem in summary.problems)
    assert gated.sent() == [GOLD]


def test_a_gate_that_only_warns_is_no_gate(gated: Gated, server: Server) -> None:
    gated.gate("warn", **ASKED)
    gated.judge(GOLD, agree=False)
    assert gated.plan().gates == []
    assert gated.lab.run(server.provider()).labelled == 8
    assert gated.sent() == [TEXTS]


def test_a_gate_of_a_task_without_gold_is_told_before_anything_is_sent(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.lab.edit_task(gold=None)
    said = command("run", *QUICKLY)
    assert (said.code, "task `comments_to_label` has no `gold`" in said.err) == (1, True)
    assert server.control("GET", "/local/stats")["files"] == 0


def test_a_pilot_labels_the_gold_alone_and_says_that_the_gate_holds(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    said = command("pilot", *QUICKLY)
    assert said.code == 0, said
    assert "sentiment: 3 texts with gold and a label" in said.out
    assert "accuracy" in said.out
    assert said.out.rstrip().endswith("the quality gate holds")
    assert (_executed(server), gated.sent()) == (GOLD, [GOLD])
    again = command("pilot", "--json").json
    assert again["run"]["submitted"] == [], "with nothing to send nobody is asked"
    assert again["failures"] == {"comments_to_label": []}
    [quality] = again["quality"]
    assert {"version": 1, "field": "sentiment", "metric": "accuracy", "value": 1.0} in [
        {name: metric[name] for name in ("version", "field", "metric", "value")} for metric in quality["metrics"]
    ]
    assert _executed(server) == GOLD
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 5, "the run goes on from the pilot"
    assert gated.sent() == [GOLD, REST]


def test_a_pilot_whose_gate_does_not_hold_ends_with_1_and_what_is_missing(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=False)
    for arguments in (("--json", *QUICKLY), QUICKLY):
        said = command("pilot", *arguments)
        assert said.code == 1
        assert f"Error: task `comments_to_label`: {NOT_HELD}" in said.err
        assert "raise `version`, and pilot again" in said.err
        assert NOT_HELD in said.out if "--json" in arguments else "the quality gate does not hold" in said.out
    assert _executed(server) == GOLD


def test_a_pilot_without_a_gate_says_so(gated: Gated, server: Server, command: Command) -> None:
    gated.gate()
    gated.judge(GOLD, agree=False)
    said = command("pilot", *QUICKLY)
    assert said.code == 0
    assert "there is no quality gate: put a `dbt_labels.label_quality` test on the table of labels" in said.out
    assert gated.sent() == [GOLD]


def test_a_pilot_without_gold_is_a_clear_error(gated: Gated, server: Server, command: Command) -> None:
    gated.gate()
    gated.lab.edit_task(gold=None)
    said = command("pilot", *QUICKLY)
    assert said.code == 1
    assert "task `comments_to_label` has no `gold` to measure its labels against" in said.err
    assert "\nhint: name there the model or seed of what people say" in said.err
    assert server.control("GET", "/local/stats")["files"] == 0


def test_a_pilot_never_sends_the_rest_when_what_was_in_flight_comes_back_unanswered(
    gated: Gated, server: Server
) -> None:
    gated.gate()
    server.faults(row_429={"share": 1.0, "times": 1})
    gated.lab.run(server.provider(), ONCE)
    gated.judge(GOLD, agree=True)
    gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, pilot=True))
    assert gated.sent() == [TEXTS, GOLD]


def test_a_pilots_plan_and_price_are_of_the_gold_alone_and_it_is_asked_first(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    whole = command("plan")
    assert "8 pending: 8 new" in whole.out
    assert "to send: 8 requests" in whole.out
    asked = command("pilot")
    assert asked.code == 2
    assert "there is no terminal to ask on, so nothing was sent" in asked.err
    assert "3 pending: 3 new" in asked.err
    assert "to send: 3 requests in 1 batch" in asked.err
    [bound_whole], [bound_pilot] = (
        [Decimal(line.partition("at most $")[2].split()[0]) for line in said.splitlines() if line.startswith("  cost:")]
        for said in (whole.out, asked.err)
    )
    assert bound_pilot == pytest.approx(bound_whole * 3 / 8, rel=Decimal("0.05"))
    assert server.executions() == []


def test_the_plan_shows_the_gate_and_whether_it_holds(gated: Gated, server: Server, command: Command) -> None:
    gated.judge(GOLD, agree=False)
    asked, nothing_yet = "sentiment accuracy at least 0.9", "sentiment: no text of `gold_labels` has a label of version"
    before = command("plan").out
    assert f"  gate: {asked}: does not hold yet\n    {nothing_yet} 1 yet\n" in before
    command("run", *QUICKLY)
    assert f"  gate: {asked}: does not hold yet\n    {NOT_HELD}\n" in command("plan").out
    gated.judge(GOLD, agree=True)
    assert f"  gate: {asked}: holds\n" in command("plan").out
    [plan] = command("plan", "--json").json
    assert (plan["gates"], plan["gate_failures"]) == ([asked], [])


@pytest.mark.parametrize("of_run", [("run", *QUICKLY), ("pilot", *QUICKLY)], ids=["run", "pilot"])
def test_gold_that_nobody_commented_is_priced_and_sent_from_its_own_text(
    gated: Gated, server: Server, command: Command, of_run: tuple[str, ...]
) -> None:
    gated.judge([*GOLD, OUTSIDE], agree=True)
    said = command(*of_run)
    assert said.code == 0, said
    gold = sorted([*GOLD, OUTSIDE])
    assert gated.sent() == ([gold, REST] if of_run[0] == "run" else [gold])
    assert _executed(server) == sorted(text for texts in gated.sent() for text in texts)
    priced = len(_executed(server))
    assert f"to send: {priced} requests in 1 batch" in said.err, "what is sent was shown before"


def test_gold_that_nobody_commented_is_in_the_plan_of_a_gated_task_only(gated: Gated, server: Server) -> None:
    gated.judge([*GOLD, OUTSIDE], agree=True)
    assert gated.plan().standing.pending == {"new": 9}
    gated.gate()
    assert gated.plan().standing.pending == {"new": 8}
    assert gated.lab.run(server.provider()).labelled == 8
    assert gated.sent() == [TEXTS]


def _bound(gated: Gated, texts: str) -> Decimal:
    """Return what so many texts cost at most; they are equally long."""
    bound_usd = gated.plan().cost.bound_usd
    assert bound_usd is not None
    return bound_usd / 8 * Decimal(texts)


def test_a_budget_is_a_wall_for_the_gold_and_for_the_rest(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(no_usage={"share": 1.0})  # each answer counts at its bound
    quick = Settings(poll_seconds=0.01, grace_seconds=0.0, budget_usd=_bound(gated, "1.5"))
    for _ in range(4):
        summary = gated.lab.run(server.provider(), quick)
        assert (summary.labelled, len(summary.over_budget), summary.problems) == (1, 1, [])
    assert {text for [text] in gated.sent()[:3]} == set(GOLD)
    assert gated.sent()[3][0] in REST
    assert max(highest_charges(gated.lab).values()) <= quick.budget_usd


def test_a_budget_that_ends_within_the_rest_is_kept_from_the_first_gold_text_on(
    gated: Gated, server: Server, command: Command
) -> None:
    gated.judge(GOLD, agree=True)
    budget = _bound(gated, "5.5")
    server.faults(no_usage={"share": 1.0})
    said = command("run", "--budget-usd", str(budget), *QUICKLY)
    assert said.code == 4, said
    assert [len(texts) for texts in gated.sent()] == [3, 2]
    assert gated.sent()[0] == GOLD
    assert highest_charges(gated.lab).popitem()[1] <= budget


def test_a_limit_is_of_gold_and_rest_together(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    for limit in (2, 3, 10):
        gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=limit))
    assert [len(texts) for texts in gated.sent()] == [2, 1, 2, 3]
    assert {*gated.sent()[0], *gated.sent()[1]} == set(GOLD)
    assert gated.lab.outcomes() == {"labelled": 8}


def test_a_limit_counts_a_gold_text_once_however_often_it_is_tried(gated: Gated, server: Server) -> None:
    gated.judge(GOLD, agree=True)
    server.faults(row_not_json={"share": 1.0, "times": 1})
    summary = gated.lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=5))
    assert summary.labelled == 5
    assert [len(texts) for texts in gated.sent()] == [3, 3, 2, 2]


def test_a_build_whose_gate_does_not_hold_goes_on_with_nothing(gated: Gated, server: Server, command: Command) -> None:
    gated.judge(GOLD, agree=False)
    said = command("build", *QUICKLY)
    assert said.code == 1, said
    assert NOT_HELD in said.err
    assert _executed(server) == GOLD
    made = "select count(*) from information_schema.tables where table_name = 'moods' and table_schema = 'main'"
    assert gated.lab.sql(made) == [(0,)], "what reads the labels is skipped"
    gated.judge(GOLD, agree=True)
    assert command("build", *QUICKLY).code == 0
    assert gated.lab.sql("select count(*) from main.moods") == [(8,)]


def test_a_task_whose_gate_does_not_hold_does_not_stop_the_others(
    gated: Gated, server: Server, command: Command
) -> None:
    _add_task(gated.lab)
    document = yaml.safe_load((gated.lab.folder / "models" / "comments_to_label.yml").read_text())
    document["models"][1]["config"]["meta"]["dbt_labels"].pop("gold")
    (gated.lab.folder / "models" / "comments_to_label.yml").write_text(yaml.safe_dump(document))
    gated.lab.reparse()
    gated.lab.dbt("run", "--select", "moods_to_label")
    gated.judge(GOLD, agree=False)
    server.faults(row_not_json={"share": 1.0, "times": 2})  # the other has something to send after the first stopped
    said = command("run", *QUICKLY)
    assert (said.code, NOT_HELD in said.err) == (1, True)
    assert {text for texts in gated.sent() for text in texts} == set(GOLD)
    assert gated.lab.sql("select count(*) from main_labels.comment_moods where outcome = 'labelled'") == [(8,)]
    assert gated.lab.outcomes()["labelled"] == 3
    piloted = command("pilot", *QUICKLY)
    assert "moods_to_label" not in piloted.out + piloted.err, "a task without gold is passed over"
