"""The commands as people and programs call them: options, exit codes, what is on stdout and what on stderr."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from connector import __version__
from connector.cli import main
from tests.command import QUICKLY, Command
from tests.lab import ROOT, Lab, Server
from tests.limit import LONGEST_SECONDS, limited


def test_the_commands_of_a_first_run_from_plan_to_status(lab: Lab, server: Server, command: Command) -> None:
    plan = command("plan")
    assert (plan.code, plan.err) == (0, "")
    assert "task comments_to_label -> comment_labels, version 1, gpt-6-luna" in plan.out
    assert "6 comments, 4 distinct texts, 1 of them blank" in plan.out
    assert "3 pending: 3 new" in plan.out
    assert "to send: 3 requests in 1 batch, about 2.9 kB" in plan.out
    assert server.executions() == []

    run = command("run", *QUICKLY)
    assert run.code == 0
    assert "3 pending: 3 new" in run.err, "the plan comes before it spends"
    assert "submitted as batch_" in run.err
    assert "1 batch sent, 3 labelled, 0 rejected, 0 tried again" in run.out
    assert re.search(r"^sentiment *$", run.out, re.MULTILINE)
    assert "themes (of all that were named)" in run.out
    assert "nothing is pending" in run.out
    assert not any(text in run.out + run.err for text in ("Loved it", "Hated it")), "no text is shown"

    again = command("run")
    assert again.code == 0, "with nothing to send nobody is asked"
    assert "0 batches sent" in again.out
    assert len(server.executions()) == 3

    status = command("status")
    assert status.code == 0
    stands = r"^comments_to_label +comment_labels +1 +gpt-6-luna +6 +4 +3 +0 +0 +0 +1 blank *$"
    assert re.search(stands, status.out, re.MULTILINE), status.out
    assert re.search(r" comments_to_label version 1  loaded +3 +3 +0 +0 ", status.out), status.out


def test_json_is_one_document_on_stdout_for_every_command(lab: Lab, command: Command) -> None:
    [plan] = command("plan", "--json", "--limit", "2").json
    assert (plan["pending"], plan["requests"], plan["shards"]) == ({"new": 3}, 2, 1)
    run = command("run", "--json", *QUICKLY).json
    assert run["run"]["labelled"] == 3
    assert run["run"]["in_flight"] == []
    assert sum(run["labels"]["comments_to_label"]["sentiment"].values()) == 3
    build = command("build", "--json", *QUICKLY)
    assert build.json["run"]["submitted"] == []
    assert "Completed successfully" in build.err, "dbt speaks on stderr"
    status = command("status", "--json").json
    assert [batch["state"] for batch in status["batches"]] == ["loaded"]
    assert status["tasks"][0]["labelled"] == 3
    assert command("cancel", "--json").json["run"]["in_flight"] == []
    assert command("ddl", "--json").json == []
    assert all(check["ok"] for check in command("debug", "--json").json)


def test_json_stays_clean_where_python_and_dbt_write_it_in_a_process_of_their_own(lab: Lab, command: Command) -> None:
    (lab.folder / "models" / "loud.sql").write_text(
        "{{ print('LOUD') }} select 1 as one from {{ ref('stg_comments') }}"
    )
    called = [sys.executable, "-m", "connector", "build", "--json", *QUICKLY, "--project-dir", str(lab.folder)]
    done = subprocess.run(
        [*called, "--profiles-dir", str(lab.folder)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]["labelled"] == 3
    assert "[2K" not in done.stderr, "no bars without a terminal"


def test_a_limit_sends_so_many_texts_per_task_and_a_following_run_the_rest(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.add_task()
    lab.reparse()
    lab.dbt("run", "--select", "moods_to_label")
    assert command("run", "--json", "--limit", "2", *QUICKLY).json["run"]["labelled"] == 4
    assert len(server.executions()) == 4
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 2
    assert len(server.executions()) == 6
    assert len(lab.labels()) == 3


def test_once_does_one_pass_and_says_what_is_in_flight(lab: Lab, server: Server, command: Command) -> None:
    server.faults(slow=3600)
    first = command("run", "--once", "--json", *QUICKLY).json["run"]
    assert (len(first["submitted"]), first["in_flight"]) == (1, first["submitted"])
    lab.add_comments(["A late one"])
    second = command("run", "--once", "--json", *QUICKLY).json["run"]
    assert len(second["in_flight"]) == 2
    text = command("run", "--once", *QUICKLY)
    assert text.code == 0
    assert "2 in flight; `dbt-labels run` collects them" in text.out

    cancelled = command("cancel", "--json", *QUICKLY).json["run"]
    assert (cancelled["in_flight"], cancelled["submitted"]) == ([], [])
    server.faults()
    command("run", *QUICKLY)
    assert len(lab.labels()) == 4
    texts = [execution["content_sha256"] for execution in server.executions()]
    assert len(texts) == len(set(texts)) == 4


def test_status_and_plan_need_no_key_and_no_provider(
    lab: Lab, server: Server, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults(slow=3600)
    command("run", "--once", *QUICKLY)
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    status = command("status")
    assert status.code == 0
    assert re.search(r"gpt-6-luna +6 +4 +0 +0 +3 +0", status.out), status.out
    assert " submitted " in status.out
    assert command("plan").code == 0


def test_a_task_that_is_not_built_hides_no_other_in_status(lab: Lab, command: Command) -> None:
    lab.add_task()
    lab.reparse()
    status = command("status", "--json")
    assert status.code == 1
    assert "missing in the labels schema" in status.err
    assert "comment_moods" in status.err
    assert [task["task"] for task in json.loads(status.out)["tasks"]] == ["comments_to_label"]
    only = command("status", "--task", "moods_to_label")
    assert (only.code, only.out) == (1, "")


def test_build_labels_two_tasks_and_runs_what_reads_them(lab: Lab, server: Server, command: Command) -> None:
    lab.add_task()
    built = command("build", "--json", *QUICKLY).json
    assert built["run"]["labelled"] == 6
    assert set(built["labels"]) == {"comments_to_label", "moods_to_label"}
    assert set(built["labels"]["moods_to_label"]["calm"]) <= {"true", "false"}
    assert lab.sql("select texts from main.moods") == [(3,)]
    assert lab.sql("select count(*), min(stars) >= 1, max(stars) <= 5 from main_labels.comment_moods") == [
        (3, True, True)
    ]

    only = command("status", "--json", "--task", "moods_to_label").json
    assert [task["task"] for task in only["tasks"]] == ["moods_to_label"]
    assert {batch["task"] for batch in only["batches"]} == {"moods_to_label"}


def test_the_plan_tells_new_texts_from_retries_and_from_a_raised_version(
    lab: Lab, server: Server, command: Command
) -> None:
    command("run", "--limit", "2", *QUICKLY)
    lab.edit_task(version=2)
    assert command("plan", "--json").json[0]["pending"] == {"new": 1, "version raised": 2}
    server.faults(row_not_json={"share": 1.0, "times": 1})
    command("run", "--once", *QUICKLY)
    command("run", "--once", "--limit", "1", *QUICKLY)
    plan = command("plan", "--json").json[0]
    assert plan["pending"].get("retry", 0) >= 1, plan


def test_the_plan_notes_labels_of_another_wording_under_the_same_version(lab: Lab, command: Command) -> None:
    command("run", *QUICKLY)
    assert "another wording" not in command("plan").out
    lab.edit_task(instructions="Label the comment with care.")
    plan = command("plan")
    assert "note: 3 labels of version 1 had another wording, model or fields; `version: 2` would label" in plan.out
    assert command("plan", "--json").json[0]["changed_wording"] == 3
    lab.edit_task(run={"max_output_tokens": 99})
    lab.edit_task(instructions="Label the comment.")
    assert command("plan", "--json").json[0]["changed_wording"] == 0


def test_target_and_vars_are_dbt_s_own(lab: Lab, command: Command) -> None:
    assert command("build", "--target", "other", "--json", *QUICKLY).json["run"]["labelled"] == 3
    assert lab.sql("select count(*) from other_labels.comment_labels") == [(3,)]
    assert lab.sql("select count(*) from main_labels.comment_labels") == [(0,)]
    statements = command("ddl", "--vars", "dbt_labels_schema: elsewhere", "--json").json
    assert any("elsewhere" in statement and "create schema" in statement for statement in statements)


def test_ddl_prints_what_is_missing_and_running_it_makes_it(lab: Lab, command: Command) -> None:
    off = ("--vars", "{dbt_labels_schema: elsewhere, dbt_labels_make_tables: false}")
    printed = command("ddl", *off)
    assert printed.code == 0
    lab.sql(printed.out)
    assert command("ddl", *off).out == "-- nothing is missing\n"


def test_sync_writes_a_source_that_dbt_takes_and_check_holds_it(lab: Lab, command: Command) -> None:
    models = lab.folder / "models"
    refused = command("sync")
    assert refused.code == 1
    assert "was not written by `dbt-labels sync`, so it is left as it is" in refused.err

    sources = yaml.safe_load((models / "raw.yml").read_text())
    sources["sources"].pop()
    (models / "raw.yml").write_text(yaml.safe_dump(sources))
    (models / "labels.yml").write_text(
        "# Written by `dbt-labels sync` from the tasks' YAML; `dbt-labels sync --check` fails where it differs.\n"
        "sources: [{name: labels, schema: main_labels, tables: [{name: comment_labels}]}]\n"
    )
    check = command("sync", "--check")
    assert check.code == 1
    assert "does not fit the tasks" in check.err
    assert "run `dbt-labels sync` and commit the file" in check.err
    assert command("sync", "--json").json == {"file": str(models / "labels.yml"), "changed": True}
    assert command("sync", "--check").code == 0
    written = yaml.safe_load((models / "labels.yml").read_text())["sources"][0]["tables"][0]
    by_name = {column["name"]: column for column in written["columns"]}
    assert by_name["sentiment"]["data_tests"] == ["dbt_labels.accepted_label"]
    assert by_name["themes"]["description"] == "JSON array of: acting, plot, music."
    assert command("build", *QUICKLY).code == 0
    lab.edit_task(
        fields=[
            {"name": "sentiment", "type": "one_of", "values": {"a": "{% raw %}like {{ x( }}{% endraw %}", "b": "x"}}
        ]
    )
    assert command("sync", "--check").code == 1
    assert command("sync").code == 0
    assert command("plan").code == 0, "braces in a description do not break the project"


@pytest.mark.parametrize(
    ("option", "said"), [("--version", f"dbt-labels, version {__version__}"), ("--help", "as part of dbt build")]
)
def test_version_and_help_need_no_project(capfd: pytest.CaptureFixture[str], option: str, said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    assert said in capfd.readouterr().out


def test_serve_says_how_to_reach_it_once_it_can_be_and_stops_cleanly(tmp_path: Path) -> None:
    called = [sys.executable, "-m", "connector", "serve", "--engine", "instant", "--port", "0"]
    process = subprocess.Popen(
        [*called, "--state-dir", str(tmp_path / "state")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with limited(process):
        line = process.stdout.readline()
    variables = dict(part.split("=", 1) for part in line.removeprefix("export ").split())
    server = Server(tmp_path)
    server.base_url = variables["OPENAI_BASE_URL"]
    assert server.control("GET", "/local/stats", key=variables["OPENAI_API_KEY"])["executions"] == 0
    taken = variables["OPENAI_BASE_URL"].removesuffix("/v1").rpartition(":")[2]
    again = [*called[:-1], taken, "--state-dir", str(tmp_path / "other")]
    second = subprocess.run(again, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS)
    assert second.returncode == 1
    assert "Address already in use" in second.stderr
    assert "Traceback" not in second.stderr
    process.send_signal(signal.SIGTERM)
    with limited(process):
        _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


def test_serve_refuses_a_fault_that_there_is_not(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--engine", "instant", "--port", "0", "--state-dir", str(tmp_path), "--fault", "nope=1"])
    assert ended.value.code == 1
    assert "fault `nope` is unknown; there are: " in capfd.readouterr().err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_what_is_in_flight_frees_the_lease_and_the_next_run_finishes(
    lab: Lab, server: Server, command: Command, sent: signal.Signals
) -> None:
    server.faults(slow=3600)
    called = [sys.executable, "-m", "connector", "run", *QUICKLY, "--project-dir", str(lab.folder)]
    process = subprocess.Popen(
        [*called, "--profiles-dir", str(lab.folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    before = []
    with limited(process):
        while "submitted as" not in (line := process.stderr.readline()):
            assert line, before
            before.append(line)
        batch_key = line.split()[1]
        process.send_signal(sent)
        out, err = process.communicate()
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "Interrupted; nothing is lost. 1 batch in flight" in err
    assert f"batch {batch_key} submitted, 3 texts, comments_to_label version 1" in err
    assert "hint: `dbt-labels run` goes on" in err
    assert lab.sql("select count(*) from main_labels.label_leases") == [(0,)]

    server.faults(slow=0)
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 3
    assert len(server.executions()) == len(lab.labels()) == 3
