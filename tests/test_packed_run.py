"""A whole run with packed requests: the same labels as alone, every text paid once, whatever a packed answer does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from connector.run import Settings
from tests.books import check_money
from tests.lab import Lab, Server
from tests.test_packing import HOSTILE

TEXTS = [f"What a film, take {number}" for number in range(20)]
UNREASONED = {"reasoning_effort": "none"}


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Give the small project with 27 texts that can be sent, some of them hostile, five in a request."""
    lab.add_comments([*TEXTS, *(text.replace("\x00", "").replace("\ud800", "") for text in HOSTILE[:4])])
    lab.edit_task(run={"max_output_tokens": 50, "rows_per_request": 5})
    return lab


def _alone(lab: Lab, server: Server) -> dict[str, Any]:
    """Return the labels of each text asked alone, as version 1, and leave the task packing as version 2."""
    lab.edit_task(run={"max_output_tokens": 50})
    lab.run(server.provider())
    labels = lab.labels()
    lab.edit_task(version=2, run={"max_output_tokens": 50, "rows_per_request": 5})
    lab.build()
    return labels


def _executed(server: Server) -> Counter[str]:
    return Counter(row["content_sha256"] for row in server.executions())


def test_packed_texts_get_the_labels_that_they_get_alone(lab: Lab, server: Server) -> None:
    alone = _alone(lab, server)
    before = server.control("GET", "/local/stats")["executed_requests"]
    summary = lab.run(server.provider())
    assert (summary.labelled, lab.labels(2)) == (27, alone)
    assert server.control("GET", "/local/stats")["executed_requests"] - before == 6
    check_money(lab)
    [[requests, claims, items]] = lab.sql(
        "select count(distinct custom_id), count(*), count(distinct item_id) from main_labels.label_claims"
        " where version = 2"
    )
    assert (requests, claims) == (6, 27)
    assert items == 27


@pytest.mark.parametrize("fault", ["item_missing", "item_twice", "item_wrong_id", "item_bad_value"])
def test_a_spoilt_row_is_asked_again_alone_and_nothing_else_is(lab: Lab, server: Server, fault: str) -> None:
    alone = _alone(lab, server)
    seen = _executed(server)
    server.faults(**{fault: {"share": 0.4, "by": "content"}})
    summary = lab.run(server.provider())
    assert lab.labels(2) == alone
    spoilt = lab.sql("select text_key from main_labels.comment_labels where version = 2 and reason = 'unpacked'")
    assert summary.retried == len(spoilt) > 0
    check_money(lab)
    # what is left out of an answer is not recorded as executed
    extra = 0 if fault == "item_missing" else 1
    again = _executed(server) - seen
    assert {key: again[key] for (key,) in spoilt} == dict.fromkeys((key for (key,) in spoilt), 1 + extra)
    assert sum(again.values()) == 27 + extra * len(spoilt)
    sent_alone = lab.sql(
        "select count(*) from main_labels.label_claims where version = 2 and attempt = 2 and item_id is null"
    )
    assert sent_alone == [(len(spoilt),)]


@pytest.mark.parametrize(
    "fault", ["row_refusal", "row_content_filter", "row_truncate", "row_not_json", "row_empty_body", "row_break_schema"]
)
def test_a_packed_request_that_fails_as_a_whole_is_asked_again_text_by_text(
    lab: Lab, server: Server, fault: str
) -> None:
    alone = _alone(lab, server)
    server.faults(**{fault: {"share": 1.0, "times": 1}})
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0))
    check_money(lab)
    unpacked = lab.sql("select count(*) from main_labels.comment_labels where version = 2 and reason = 'unpacked'")
    assert unpacked == [(27,)]
    # the texts alone meet the fault once more each, now on their own account
    final = dict(
        lab.sql(
            "select text_key, max(outcome) from main_labels.comment_labels where version = 2"
            " and outcome in ('labelled', 'rejected') group by text_key"
        )
    )
    assert len(final) == 27
    if fault in ("row_refusal", "row_content_filter"):
        assert set(final.values()) == {"rejected"}
    else:
        assert lab.labels(2) == alone


def test_a_packed_request_that_was_not_carried_out_is_packed_again(lab: Lab, server: Server) -> None:
    server.faults(row_500={"share": 1.0})
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, once=True))
    server.ended("completed")
    server.faults()
    assert lab.run(server.provider()).labelled == 27
    assert lab.outcomes() == {"labelled": 27, "failed:unavailable": 27}
    assert lab.sql("select count(*) from main_labels.label_claims where item_id is null") == [(0,)]


def test_a_change_of_packing_labels_nothing_again(lab: Lab, server: Server) -> None:
    lab.run(server.provider())
    lab.edit_task(run={"max_output_tokens": 50, "rows_per_request": 20})
    assert lab.run(server.provider()).submitted == []


def test_confidences_are_those_of_the_provider_alone_and_packed(lab: Lab, server: Server) -> None:
    lab.edit_task(params=UNREASONED, run={"max_output_tokens": 50, "rows_per_request": 5, "confidence": True})
    lab.build()
    assert lab.run(server.provider()).labelled == 27
    rows = lab.sql(
        "select sentiment_confidence, themes_confidence, confidence from main_labels.comment_labels"
        " where outcome = 'labelled'"
    )
    for sentiment, themes, least in rows:
        assert 0 < sentiment <= 1
        assert 0 < themes <= 1
        assert least == min(sentiment, themes)
    assert len(set(rows)) > 10
    packed = dict(lab.sql("select text_key, sentiment_confidence from main_labels.comment_labels"))
    lab.edit_task(params=UNREASONED, version=2, run={"max_output_tokens": 50, "confidence": True})
    lab.build()
    lab.run(server.provider())
    alone = dict(lab.sql("select text_key, sentiment_confidence from main_labels.comment_labels where version = 2"))
    assert alone.keys() == packed.keys()
    assert all(abs(alone[key] - packed[key]) < 1e-9 for key in alone)


def test_without_log_probabilities_there_is_no_confidence(lab: Lab, server: Server) -> None:
    lab.edit_task(params=UNREASONED, run={"max_output_tokens": 50, "confidence": True})
    lab.build()
    server.faults(no_logprobs={"share": 1.0})
    assert lab.run(server.provider()).labelled == 27
    assert lab.sql("select distinct sentiment_confidence, confidence from main_labels.comment_labels") == [(None, None)]


def test_reasoning_and_cached_tokens_are_written_down_and_answers_without_usage_are_counted(
    lab: Lab, server: Server
) -> None:
    server.faults(reasoning={"tokens": 7, "share": 1.0}, no_usage={"share": 0.3})
    lab.run(server.provider())
    check_money(lab)
    [[reasoning, uncosted]] = lab.sql(
        "select sum(reasoning_tokens), sum(uncosted) from main_labels.label_events where event = 'loaded'"
    )
    assert reasoning > 0
    assert reasoning % 7 == 0
    [[silent]] = lab.sql("select count(*) from main_labels.comment_labels where input_tokens is null")
    assert (silent > 0) == (uncosted > 0)
