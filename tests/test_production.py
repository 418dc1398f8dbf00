"""The recipes of docs/production.md, run as they stand: cron, systemd, GitHub Actions, dbt without dbt-labels."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.provider import Provider
from tests.lab import KEY, ROOT, Lab, Server
from tests.limit import LONGEST_SECONDS, rounds

BIN = Path(sys.executable).parent
EXAMPLES = ROOT / "examples"
WITHIN = "/srv/shop"  # where the examples have the project


@pytest.fixture
def surroundings(lab: Lab, server: Server) -> dict[str, str]:
    """Give the environment of a machine that runs the lab with the server as provider, and nothing else of this one."""
    return {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(lab.folder),
        "LAB_DUCKDB": str(lab.database),
        "DBT_PROFILES_DIR": str(lab.folder),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.base_url,
    }


def _run(command: Sequence[str], folder: Path, surroundings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=LONGEST_SECONDS
    )


def _cron_pass(lab: Lab, tmp_path: Path, surroundings: dict[str, str]) -> tuple[int, str]:
    """Run the line of the crontab as cron does; return its exit code and what cron would mail."""
    secrets = tmp_path / "secrets.env"
    secrets.write_text("".join(f"{name}={value}\n" for name, value in surroundings.items()))
    [line] = [line for line in (EXAMPLES / "cron" / "dbt-labels").read_text().splitlines() if line.startswith("*")]
    command = line.split(" labels ", 1)[1].replace(f"{WITHIN}/label-pass", str(EXAMPLES / "cron" / "label-pass"))
    command = command.replace("/etc/dbt-labels.env", str(secrets)).replace(WITHIN, str(lab.folder))
    done = _run(["bash", "-c", command], tmp_path, {"PATH": surroundings["PATH"]})
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_cron_recipe_labels_silently_and_says_what_stops_it(
    lab: Lab, surroundings: dict[str, str], tmp_path: Path
) -> None:
    nowhere = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    code, said = _cron_pass(lab, tmp_path, surroundings | nowhere)
    assert (code, said.splitlines()[0]) == (1, "dbt-labels: a person is needed")
    assert "no answer from http://127.0.0.1:9/v1" in said
    code, said = _cron_pass(lab, tmp_path, surroundings)
    assert (code, said.splitlines()[0]) == (0, "dbt-labels: all is well again")
    assert "1 batch sent" in said


def _stand_in(tmp_path: Path, surroundings: dict[str, str]) -> dict[str, str]:
    """Return surroundings in which `dbt-labels` only ends with `$CODE`."""
    program = tmp_path / "bin" / "dbt-labels"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '{}'\nexit $CODE\n")
    program.chmod(0o755)
    return surroundings | {"PATH": f"{program.parent}:{surroundings['PATH']}"}


def test_the_cron_recipe_says_a_trouble_once_and_nothing_while_all_is_well(
    lab: Lab, surroundings: dict[str, str], tmp_path: Path
) -> None:
    told = _stand_in(tmp_path, surroundings)
    said = []
    for code in (0, 0, 130, 4, 4, 130, 4, 1, 1, 2, 0, 0):
        ended, mailed = _cron_pass(lab, tmp_path, told | {"CODE": str(code)})
        assert ended == code
        said.append(mailed.partition("\n")[0].removeprefix("dbt-labels: "))
    budget, person = "stopped by a budget, the rest stays pending", "a person is needed"
    assert said == ["", "", "", budget, "", "", "", person, "", person, "all is well again", ""]


def test_a_pass_of_the_cron_recipe_that_finds_another_running_leaves_at_once(lab: Lab, tmp_path: Path) -> None:
    (lab.folder / "logs").mkdir(exist_ok=True)
    holding = ["flock", str(lab.folder / "logs" / "labels.lock"), str(EXAMPLES / "cron" / "label-pass")]
    # without dbt-labels on PATH a pass that began would end with 127
    done = _run([*holding, str(lab.folder)], tmp_path, {"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _unit(name: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((EXAMPLES / "systemd" / name).read_text())
    return {section: dict(parser[section]) for section in parser.sections()}


def test_the_systemd_service_runs_a_pass(lab: Lab, surroundings: dict[str, str]) -> None:
    service = _unit("dbt-labels.service")["Service"]
    assert service["WorkingDirectory"] == WITHIN
    command = shlex.split(service["ExecStart"].replace(f"{WITHIN}/.venv/bin", str(BIN)))
    path = service["Environment"].removeprefix("PATH=").replace(f"{WITHIN}/.venv/bin", str(BIN))
    done = _run(command, lab.folder, surroundings | {"PATH": path})
    assert done.returncode == 0, done.stderr
    assert "1 batch sent" in done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    # it looks for the program and the user
    there = {f"{WITHIN}/.venv/bin/dbt-labels": str(BIN / "dbt-labels"), "User=labels": f"User={os.getuid()}"}
    units = []
    for name in ("dbt-labels.service", "dbt-labels.timer"):
        text = (EXAMPLES / "systemd" / name).read_text()
        for example, real in there.items():
            text = text.replace(example, real)
        units.append(tmp_path / name)
        units[-1].write_text(text)
    done = _run(["systemd-analyze", "verify", *map(str, units)], tmp_path, dict(os.environ))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # it may complain of units of the machine's own, but of neither of these
    assert not [line for line in said.splitlines() if any(unit.name in line for unit in units)]


def _workflow() -> dict[str, Any]:
    found = yaml.safe_load((EXAMPLES / "github" / "labels.yml").read_text())
    assert isinstance(found, dict)
    return found


def _do_step(name: str, lab: Lab, surroundings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a step as a runner does: in a shell of its own."""
    [step] = [step for step in _workflow()["jobs"]["label"]["steps"] if step.get("name") == name]
    script = step["run"].replace("pip install -r requirements.txt", "true")
    return _run(["bash", "-e", "-c", script], lab.folder, surroundings)


def test_the_steps_of_the_github_workflow_label_what_is_pending(
    lab: Lab, surroundings: dict[str, str], tmp_path: Path
) -> None:
    summary = tmp_path / "summary"
    surroundings |= {"GITHUB_STEP_SUMMARY": str(summary)}
    (lab.folder / "models" / "mart.sql").write_text(
        "{{ config(materialized='table') }} select * from {{ source('labels', 'comment_labels') }}"
    )
    # where `init` puts it
    shutil.copytree(ROOT / "connector" / "dbt_package", lab.folder / "packages" / "dbt_labels")
    (lab.folder / "packages.yml").write_text("packages: [{local: packages/dbt_labels}]\n")
    for name in ("Install", "Bring comments up to the pending texts", "Label", "Build what reads the labels"):
        done = _do_step(name, lab, surroundings)
        assert done.returncode == 0, done.stdout + done.stderr
    [shown] = re.findall(r"```json\n(.*?)```", summary.read_text(), re.DOTALL)
    result = json.loads(shown)
    assert len(result["run"]["submitted"]) == 1
    assert result["tasks"][0]["table"] == "comment_labels"

    for _ in rounds():  # as the schedule has it, until a pass loads what the first one sent
        if lab.labels():
            break
        assert _do_step("Label", lab, surroundings).returncode == 0
    assert _do_step("Build what reads the labels", lab, surroundings).returncode == 0
    assert lab.sql("select outcome, count(*) from main.mart group by 1") == [("labelled", 3)]


def test_a_reached_budget_is_a_warning_of_the_github_workflow_and_any_other_trouble_fails_it(
    lab: Lab, surroundings: dict[str, str], tmp_path: Path
) -> None:
    told = _stand_in(tmp_path, surroundings) | {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    said = {code: _do_step("Label", lab, told | {"CODE": str(code)}) for code in (0, 1, 2, 4, 130)}
    assert {code: done.returncode for code, done in said.items()} == {0: 0, 1: 1, 2: 2, 4: 0, 130: 130}
    assert said[4].stdout == "::warning::stopped by a budget, the rest stays pending\n"


def test_the_github_workflow_is_one_by_githubs_schema() -> None:
    pytest.importorskip("check_jsonschema")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = _run([*check, str(EXAMPLES / "github" / "labels.yml")], ROOT, dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_copy_of_the_dbt_package_in_the_repository_is_all_that_dbt_needs(
    lab: Lab, surroundings: dict[str, str]
) -> None:
    lab.database.unlink()
    lab.add_comments(["Loved it", "Hated it"])
    shutil.rmtree(lab.folder / "dbt_packages")
    shutil.copytree(ROOT / "connector" / "dbt_package", lab.folder / "dbt_labels")
    (lab.folder / "packages.yml").write_text("packages: [{local: dbt_labels}]\n")
    without_us = {name: value for name, value in surroundings.items() if not name.startswith("OPENAI")}
    for command in ("dbt deps", "dbt build", "dbt-labels run --yes --poll-seconds 0.01"):
        around = surroundings if command.startswith("dbt-labels") else without_us
        done = _run(shlex.split(command), lab.folder, around)
        assert done.returncode == 0, done.stdout + done.stderr
    assert set(lab.labels()) == {"Loved it", "Hated it"}


def test_azure_is_not_asked_for_a_model_because_a_deployment_is_none() -> None:
    asked: list[str] = []
    provider = Provider("key", "https://shop.openai.azure.com/openai/v1/")
    provider.before_call = lambda: asked.append("something")
    try:
        provider.check_model("my-batch-deployment")
    finally:
        provider.close()
    assert asked == []
