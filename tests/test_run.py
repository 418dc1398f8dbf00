"""A run from pending texts to labels, and what it does with every kind of answer."""

from __future__ import annotations

from tests.lab import Lab, Server


def test_every_text_gets_its_own_label_once_and_nothing_is_sent_again(lab: Lab, server: Server) -> None:
    summary = lab.run(server.provider())
    assert (summary.labelled, summary.rejected, summary.problems) == (3, 0, [])
    assert set(lab.labels()) == {"Loved it", "Hated it", "The music was fine"}
    assert len(server.executions()) == 3

    lab.run(server.provider())
    assert len(server.executions()) == 3
