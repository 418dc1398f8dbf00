"""What a run does about a batch whose fate it does not know: it asks, waits, and never sends again on a guess."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connector.errors import KeyRefused, NotThere, ProviderError
from connector.ledger import State
from connector.provider import Provider
from connector.run import Settings
from tests.lab import Lab, Server
from tests.limit import rounds

PATIENT = Settings(poll_seconds=0.02, grace_seconds=3600.0)
ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)


def test_a_lost_reply_among_250_batches_and_a_lagging_list_is_found_and_never_created_again(
    lab: Lab, server: Server
) -> None:
    server.faults(lost_reply={"route": "create_batch"}, list_lag={"calls": 4}, drop_metadata=True)
    # the batch is created first and then buried under younger ones, so that it is on the third page
    summary = lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=3600.0, once=True))
    assert (summary.submitted, lab.states()) == ([], ["creating"])
    server.control("POST", "/local/batches", {"count": 250})
    said: list[str] = []
    summary = lab.run(server.provider(), PATIENT, said.append)
    assert any("does not show it yet" in line for line in said)
    assert any("was found at the provider" in line for line in said)
    assert (summary.labelled, summary.submitted, lab.states()) == (3, [], ["loaded"])
    assert server.control("GET", "/local/stats")["batches"] == 251
    assert len(server.executions()) == 3


def _upload_without_batch(lab: Lab, server: Server) -> None:
    """Leave a batch in `creating` that the provider never got to see."""
    server.faults(refuse_before={"route": "create_batch"})
    lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=3600.0, once=True))
    assert lab.states() == ["creating"]


def _begin_fence(lab: Lab, provider: Provider) -> str:
    """Write that the file of a batch without an answer is about to be deleted, and return the file's id."""
    witness = provider.upload_witness("half")
    file_id, key = lab.sql("select input_file_id, batch_key from main_labels.label_events where event = 'uploaded'")[0]
    lab.sql(
        "insert into main_labels.label_events (batch_key, event, witness_file_id, label_table, version, event_at)"
        " values (?, 'fencing', ?, 'comment_labels', 1, now() at time zone 'UTC')",
        [key, witness],
    )
    return str(file_id)


def test_a_file_without_a_batch_is_released_only_after_the_grace_time_and_the_fence(lab: Lab, server: Server) -> None:
    _upload_without_batch(lab, server)
    summary = lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=3600.0, once=True))
    assert (lab.states(), len(summary.in_flight), server.executions()) == (["creating"], 1, [])
    file_id = lab.sql("select input_file_id from main_labels.label_events where event = 'uploaded'")[0][0]
    assert server.provider().see_file(file_id).id == file_id

    summary = lab.run(server.provider())
    events = [row[0] for row in lab.sql("select event from main_labels.label_events order by event_at, rowid")]
    assert events.index(State.FENCING.value) < events.index(State.RELEASED.value)
    with pytest.raises(NotThere):
        server.provider().see_file(file_id)
    assert (summary.labelled, lab.states()) == (3, ["released", "loaded"])
    assert len(server.executions()) == 3


def test_another_key_proves_nothing_and_nothing_is_sent_again(lab: Lab, server: Server) -> None:
    _upload_without_batch(lab, server)
    summary = lab.run(server.provider("other-key"))
    assert "proves nothing" in summary.problems[0]
    assert (lab.states(), server.control("GET", "/local/executions", key="other-key")) == (["creating"], [])

    assert lab.run(server.provider()).labelled == 3


def test_a_submitted_batch_is_left_alone_by_another_key(lab: Lab, server: Server) -> None:
    server.faults(slow={"seconds": 3600})
    lab.run(server.provider(), ONCE)
    assert lab.states() == ["submitted"]
    summary = lab.run(server.provider("other-key"))
    assert "proves nothing" in summary.problems[0]
    assert lab.states() == ["submitted"]


def test_another_server_proves_nothing_and_nothing_is_sent_again(lab: Lab, start_server: Callable[..., Server]) -> None:
    first, second = start_server(state="first"), start_server(state="second")
    _upload_without_batch(lab, first)
    summary = lab.run(second.provider())
    assert "proves nothing" in summary.problems[0]
    assert (lab.states(), second.executions()) == (["creating"], [])


def test_a_fence_that_another_key_meets_half_done_stays_as_it_is(lab: Lab, server: Server) -> None:
    _upload_without_batch(lab, server)
    provider = server.provider()
    provider.delete_file(_begin_fence(lab, provider))
    # without what the provider says of organisation and project, only the witness tells the keys apart
    lab.sql("update main_labels.label_events set organisation = null, provider_project = null")
    summary = lab.run(server.provider("other-key"))
    assert "proves nothing" in summary.problems[0]
    assert lab.states() == ["fencing"]

    assert lab.run(server.provider()).labelled == 3
    assert lab.states() == ["released", "loaded"]


def test_a_fence_whose_file_is_still_there_is_counted_from_its_deletion(lab: Lab, server: Server) -> None:
    _upload_without_batch(lab, server)
    provider = server.provider()
    file_id = _begin_fence(lab, provider)
    lab.sql("update main_labels.label_events set event_at = event_at - interval 1 hour")
    patient_once = Settings(poll_seconds=0.01, grace_seconds=3600.0, once=True)
    for _ in range(2):
        lab.run(server.provider(), patient_once)
        assert lab.states() == ["fencing"]
        with pytest.raises(NotThere):
            provider.see_file(file_id)
    lab.sql("update main_labels.label_events set event_at = event_at - interval 61 second")
    lab.run(server.provider(), patient_once)
    assert lab.states()[0] == "released"


def test_a_refused_key_stops_the_run_and_leaves_everything(lab: Lab, server: Server) -> None:
    _upload_without_batch(lab, server)
    with pytest.raises(KeyRefused, match="401"):
        lab.run(server.provider("no-such-key"))
    assert lab.states() == ["creating"]


def test_an_output_gone_after_30_days_is_lost_and_its_texts_stay_claimed(lab: Lab, server: Server) -> None:
    server.faults(content_404_first={"times": 1000})
    lab.run(server.provider(), ONCE)
    for _ in rounds():
        lab.run(server.provider(), ONCE)
        if lab.states() == ["ended"]:
            break
    lab.sql("update main_labels.label_events set event_at = event_at - interval 31 day")
    summary = lab.run(server.provider())
    assert "gone after 30 days" in summary.problems[0]
    assert lab.states() == ["lost"]
    assert lab.run(server.provider()).submitted == []


def test_a_server_killed_in_the_middle_of_a_batch_goes_on_with_it(
    lab: Lab, start_server: Callable[..., Server]
) -> None:
    first = start_server("--fault", "slow=3600")
    lab.run(first.provider(), ONCE)
    assert lab.states() == ["submitted"]
    first.kill()
    second = start_server("--fault", "slow=0")
    assert lab.run(second.provider()).labelled == 3
    assert lab.states() == ["loaded"]
    assert {row["custom_id"] for row in second.executions()} == {
        row[0] for row in lab.sql("select custom_id from main_labels.label_claims")
    }


def test_an_unknown_model_is_refused_before_anything_is_sent(lab: Lab, server: Server) -> None:
    lab.edit_task(model="no-such-model")
    lab.build()
    with pytest.raises(ProviderError, match="no-such-model"):
        lab.run(server.provider())
    assert (lab.states(), server.control("GET", "/local/stats")["files"]) == ([], 0)


def test_a_provider_that_is_not_there_is_named(lab: Lab) -> None:
    provider = Provider("key", "http://127.0.0.1:9/v1")
    with pytest.raises(ProviderError, match=r"127\.0\.0\.1:9"):
        lab.run(provider)
