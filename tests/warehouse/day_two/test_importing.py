"""Labels that were paid for elsewhere come in, once, held to the task; on every engine."""

from __future__ import annotations

import yaml

from connector.run import Settings
from tests.books import check_money
from tests.command import Command
from tests.dbt_package import key
from tests.lab import Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
COLUMNS = "comment_text varchar, sentiment varchar, themes varchar"


def _have(lab: Lab, rows: list[tuple[str | None, ...]], columns: str = COLUMNS) -> None:
    """Put labels from elsewhere into a source of the project, `raw.old_labels`."""
    path = lab.folder / "models" / "raw.yml"
    document = yaml.safe_load(path.read_text())
    document["sources"][0]["tables"].append({"name": "old_labels"})
    path.write_text(yaml.safe_dump(document))
    lab.reparse()
    lab.sql(f"create table raw.old_labels ({columns})")
    for row in rows:
        lab.sql(f"insert into raw.old_labels values ({', '.join('?' for _ in row)})", row)


def test_labels_from_elsewhere_come_in_once_and_are_not_paid_for_again(
    lab: Lab, server: Server, command: Command
) -> None:
    _have(
        lab,
        [
            ("Loved it", "positive", '["acting", "plot", "acting"]'),
            ("Loved it", "positive", '["acting","plot"]'),
            ("Hated it", "negative", "[]"),
            ("said by nobody here", "neutral", '["music"]'),
        ],
    )
    asked = command("import", "--from", "raw.old_labels")
    assert (asked.code, "so nothing was imported" in asked.err, lab.outcomes()) == (2, True, {})
    said = command("import", "--from", "raw.old_labels", "--model-name", "gpt-4o", "--yes", "--json")
    assert said.json == {"labels": 3, "labelled_before": 0, "in_flight": 0}
    assert "pending, not to be sent any more: 2" in said.err
    assert "that saves about $0.0" in said.err
    assert lab.labels()["Loved it"] == ("positive", '["acting","plot"]')
    rows = lab.sql(
        "select distinct outcome, version, model, prompt_hash, cost_usd, attempt, batch_key, labelled_at is null"
        " from main_labels.comment_labels"
    )
    assert rows == [("labelled", 1, "gpt-4o", None, 0, 0, None, False)]

    again = command("import", "--from", "raw.old_labels", "--yes", "--json")
    assert again.json == {"labels": 0, "labelled_before": 3, "in_flight": 0}
    [planned] = command("plan", "--json").json
    assert (planned["pending"], planned["changed_wording"]) == ({"new": 1}, 0)
    assert lab.run(server.provider()).labelled == 1
    check_money(lab)
    lab.dbt("build")


def test_every_row_that_does_not_fit_is_told_and_nothing_is_imported(lab: Lab, command: Command) -> None:
    _have(
        lab,
        [
            ("Loved it", "positve", "[]"),
            ("Hated it", "negative", '["acting", "plot", "music"]'),
            ("The music was fine", "The music was fine", "acting"),
            ("twice", "positive", "[]"),
            ("twice", "negative", "[]"),
            ("no sentiment", None, "[]"),
            (None, "positive", "[]"),
        ],
    )
    said = command("import", "--from", "raw.old_labels", "--yes")
    assert (said.code, lab.outcomes()) == (1, {})
    for line in (
        f"`sentiment` has 'positve', which is not one of its values: 1 row, first {key('Loved it')}",
        f"`themes` more than 2 values: 1 row, first {key('Hated it')}",
        f"`sentiment` is not one of its values: 1 row, first {key('The music was fine')}",
        f"`themes` is not a list: 1 row, first {key('The music was fine')}",
        f"the same text again with another label: 1 row, first {key('twice')}",
        f"`sentiment` is null: 1 row, first {key('no sentiment')}",
        "no text and no key: 1 row",
    ):
        assert line in said.err
    assert "The music was fine" not in said.err


def test_a_key_that_is_not_the_texts_is_told(lab: Lab, command: Command) -> None:
    rows = [(key("Loved it"), "Hated it", "negative", "[]"), ("c0ffee", None, "negative", "[]")]
    _have(lab, rows, f"text_key varchar, {COLUMNS}")
    said = command("import", "--from", "raw.old_labels", "--yes")
    assert (said.code, lab.outcomes()) == (1, {})
    assert f"`text_key` is not that of `comment_text`: 1 row, first {key('Loved it')}" in said.err
    assert "`text_key` is not SHA-256 in lower-case hex" in said.err


def test_a_text_in_flight_is_left_to_the_batch_that_is_paid_for(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider(), ONCE)
    _have(lab, [("Loved it", "positive", "[]"), ("another", "neutral", "[]")])
    said = command("import", "--from", "raw.old_labels", "--yes", "--json")
    assert said.json == {"labels": 1, "labelled_before": 0, "in_flight": 1}
    assert "in flight, left to the batch that is paid for: 1" in said.err
    assert lab.run(server.provider()).labelled == 3
    check_money(lab)


def test_a_label_from_elsewhere_stands_over_a_rejection(lab: Lab, server: Server, command: Command) -> None:
    server.faults(row_refusal={"share": 1.0})
    lab.run(server.provider())
    _have(lab, [("Loved it", "positive", "[]")])
    assert command("import", "--from", "raw.old_labels", "--yes", "--json").json["labels"] == 1
    [planned] = command("plan", "--json").json
    assert (planned["labelled"], planned["rejected"], planned["pending"]) == (1, 2, {})


def test_a_relation_that_can_not_be_read_is_named_with_what_it_lacks(lab: Lab, command: Command) -> None:
    said = command("import", "--from", "nowhere", "--yes")
    assert (said.code, "there is no model, seed, snapshot or source `nowhere`" in said.err) == (2, True)
    _have(lab, [], "id varchar, themes varchar")
    said = command("import", "--from", "raw.old_labels", "--yes")
    assert (said.code, "neither `text_key` nor `comment_text`, no column `sentiment`" in said.err) == (1, True)
    lab.add_task()
    lab.dbt("run", "--select", "+moods_to_label")
    said = command("import", "--from", "raw.old_labels", "--yes")
    assert (said.code, "name it: `--task`" in said.err) == (2, True)
