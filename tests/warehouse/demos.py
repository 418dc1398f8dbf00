"""The demo in a folder of its own, and its commands on one target, each a process as a person would start it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab import ROOT
from tests.limit import LONGEST_SECONDS
from tests.page import BIN

DBT = str(BIN / "dbt")
LABELS = (str(BIN / "dbt-labels"),)


class Demo:
    """A copy of the demo; `environment` is what its profile reads. A value None takes a variable away.

    `labels` is how `dbt-labels` is called, `longest_seconds` how long a command may take.
    """

    longest_seconds = LONGEST_SECONDS

    def __init__(
        self, folder: Path, target: str, environment: dict[str, str | None], labels: Sequence[str] = LABELS
    ) -> None:
        self.folder = folder
        self._target = target
        self._labels = labels
        merged = {**os.environ, **environment}
        self._environment = {name: value for name, value in merged.items() if value is not None}
        left_out = shutil.ignore_patterns("target", "logs", "dbt_packages", ".dbt*")
        shutil.copytree(ROOT / "dbt_project", folder / "dbt_project", ignore=left_out)
        shutil.copy(ROOT / "profiles.yml", folder)
        packages = folder / "dbt_project" / "packages.yml"
        packages.write_text(f"packages: [{{local: {ROOT / 'connector' / 'dbt_package'}}}]\n")
        (folder / "dbt_project" / "package-lock.yml").unlink(missing_ok=True)
        (folder / "dbt_project" / "dbt_packages").mkdir()
        (folder / "dbt_project" / "dbt_packages" / "dbt_labels").symlink_to(ROOT / "connector" / "dbt_package")

    def command(self, *arguments: str) -> str:
        """Run a command on the demo, which must succeed; return all that it said."""
        done = self._run(arguments)
        return done.stdout + done.stderr

    def label(self, *, has_tests: bool = True) -> Any:
        """Stage, label and build, if wanted without dbt's tests; return what is said of the run."""
        left_out = {} if has_tests else {"DBT_EXCLUDE_RESOURCE_TYPES": "test unit_test"}
        done = self._run([*self._labels, "build", "--local", "--yes", "--json"], left_out)
        secrets = [value for name, value in self._environment.items() if "_SECRET_" in name and value]
        assert not any(secret in done.stdout + done.stderr for secret in secrets)
        return json.loads(done.stdout)["run"]

    def look(self, tool: str, *arguments: str) -> str:
        """Run a tool that knows the profile's own target only, in the project's folder; return what it said."""
        profile = self.folder / "profiles.yml"
        profile.write_text(re.sub(r"target: \w+", f"target: {self._target}", profile.read_text(), count=1))
        environment = {**self._environment, "DBT_PROFILES_DIR": str(self.folder), "DO_NOT_TRACK": "1"}
        around: dict[str, Any] = {"cwd": self.folder / "dbt_project", "env": environment}
        around |= {"timeout": self.longest_seconds, "capture_output": True, "text": True, "check": False}
        done = subprocess.run([str(BIN / tool), *arguments], **around)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def add_comments(self, texts: dict[str, str]) -> None:
        """Give the demo's seed these comments as well, by their ids."""
        seed = self.folder / "dbt_project" / "seeds" / "raw_comments.csv"
        with seed.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([key, "forum", "A Film", "a", "2026-09-01 10:00:00", text] for key, text in texts.items())

    def _run(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [*arguments, "--project-dir", str(self.folder / "dbt_project"), "--target", self._target]
        done = subprocess.run(
            command,
            env={**self._environment, **(environment or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=self.longest_seconds,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done
