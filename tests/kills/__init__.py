"""Runs that meet faults and die: the faults, and how a run is repeated until it is done and held to its books."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.books import check_money
from tests.forge import Forge

FREE_FAULTS: dict[str, Any] = {
    "lost_reply to create": {"lost_reply": {"route": "create_batch"}},
    "lost_reply to upload": {"lost_reply": {"route": "upload", "times": 2}},
    "refuse_before create": {"refuse_before": {"route": "create_batch"}},
    "refuse_before retrieve": {"refuse_before": {"route": "retrieve", "times": 3}},
    "429 on create": {"http_429": {"route": "create_batch", "times": 2, "retry_after": 0.01}},
    "503 on create": {"http_503": {"route": "create_batch", "times": 1, "retry_after": 0.01}},
    "500 on upload": {"http_500": {"route": "upload", "times": 2, "retry_after": 0.01}},
    "503 on download": {"http_503": {"route": "download", "times": 2, "retry_after": 0.01}},
    "lost reply, list lags": {"lost_reply": {"route": "create_batch"}, "list_lag": {"seconds": 0.2}},
    "lost reply, metadata dropped": {"lost_reply": {"route": "create_batch"}, "drop_metadata": True},
    "expired with partial output": {"expire_after": {"share": 0.5, "times": 1}},
    "expired, lines missing": {"expire_after": {"share": 0.5, "times": 1}, "expire_unlisted": True},
    "cancelled by somebody": {"cancel_midway": {"share": 0.5, "times": 1}},
    "output id null at first": {"output_id_null_first": {"times": 2}},
    "404 after completion": {"content_404_first": {"times": 2}},
    "cut download": {"cut_download": {"times": 1, "variant": "length"}},
    "cut download that looks complete": {"cut_download": {"times": 1, "variant": "chunked"}},
    "empty string for no error file": {"error_file_id_empty_string": True},
    "rows missing": {"row_missing": {"share": 0.5, "times": 1}},
    "rows twice": {"row_twice": {"share": 0.5}},
    "rows 429": {"row_429": {"share": 0.5, "times": 1}},
    "rows 500": {"row_500": {"share": 0.5, "times": 2}},
    "rows status 0": {"row_status_0": {"share": 0.5, "times": 1}},
    "queue full": {"fail_validation": {"code": "token_limit_exceeded", "times": 1}},
}
PAID_FAULTS: dict[str, Any] = {
    "rows truncated": {"row_truncate": {"share": 0.5, "times": 1}},
    "rows off the schema": {"row_break_schema": {"share": 0.5, "times": 2}},
    "rows not JSON": {"row_not_json": {"share": 0.5, "times": 1}},
    "rows with an empty body": {"row_empty_body": {"share": 0.5, "times": 1}},
}
FINAL_FAULTS: dict[str, Any] = {
    "rows refuse": {"row_refusal": {"share": 0.5}},
    "rows filtered": {"row_content_filter": {"share": 0.5}},
    "rows 400": {"row_400": {"share": 0.6, "by": "content"}},
    "rows always truncated": {"row_truncate": {"share": 0.5, "by": "content"}},
    "rows always unavailable": {"row_500": {"share": 0.5, "by": "content"}},
}
GRACE_SECONDS = 0.4


def run_until_done(forge: Forge, key: str, kills: list[int] = [], **settings: Any) -> list[str]:  # noqa: B006 - only read
    """Run again and again as a person would; return what the last run said."""
    for kill_at in [*kills, *[None] * 8]:
        answer = forge.run(key, kill_at, grace_seconds=GRACE_SECONDS, **settings)
        if answer["code"] == 0:
            return list(answer["said"])
        assert answer["code"] in (-9, 1), answer
        assert "Traceback" not in answer.get("error", ""), answer
    raise AssertionError(answer)


def check_books(forge: Forge, key: str, context: str) -> None:
    """Hold the warehouse to what the server did: each execution is one row, each text has one outcome."""
    paid = dict(
        forge.lab.sql(
            "select text_key, count(*) from main_labels.comment_labels where reason is null or reason in"
            " ('truncated', 'invalid', 'refused', 'filtered', 'unpacked') group by text_key"
        )
    )
    assert forge.executed(key) == Counter(paid), f"{context}: paid for and not written down, or the other way round"
    finals = forge.lab.sql(
        "select text_key, count(*) from main_labels.comment_labels where outcome in ('labelled', 'rejected')"
        " group by text_key"
    )
    assert (
        dict(finals).keys()
        == dict(forge.lab.sql("select text_key, 1 from stg_comments where trim(comment_text) <> ''")).keys()
    ), context
    assert {count for _, count in finals} == {1}, context
    check_money(forge.lab)
    assert not set(forge.lab.states()) - {"loaded", "released", "refused"}, context
