"""The versions that dbt-labels is held to: each row of them in an environment of its own, from the wheel.

`make matrix` builds the wheel; for each row it makes an environment under .matrix/, installs the wheel there, runs the
demo from it in an empty folder, runs the core of the tests, and prints what was run as rows of the README's table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.distribution import DEMO, DEMO_ENDS_WITH, build

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".matrix"
NEWEST = "newest"
CORE = (
    "tests/test_run.py",
    "tests/test_cli.py",
    "tests/test_task.py",
    "tests/test_request.py",
    "tests/test_result.py",
    "tests/test_shard.py",
    "tests/test_text_round_trip.py",
    "tests/dbt_package",
    "tests/kills/test_at_random.py::test_two_faults_and_two_kills_at_random_cost_no_text_and_no_second_payment[0-True]",
)
TEST_TOOLS = ("httpx", "hypothesis", "pytest", "scikit-learn")
SHOWN = ("dbt-core", "duckdb", "openai")
HEADER = "| what was run | Python | dbt-core | duckdb | openai |"
# dbt-core 1.12 asks for it. It is only a source that fetches a program from GitHub while it installs, and only
# `--use-v2-parser` needs it (dbt-core issue 15670, August 2026): dbt is run without.
FETCHED_FROM_ELSEWHERE = "dbt-core-experimental-parser"


class RowFailed(Exception):
    """A row's environment could not be made, or something in it did not hold."""


@dataclass(frozen=True)
class Row:
    """One combination, as far as it is chosen; pip finds the rest."""

    python: str
    dbt: str
    duckdb: str
    openai: str

    @property
    def name(self) -> str:
        """Return what the row's folder is called."""
        return f"python{self.python}-dbt{self.dbt}-duckdb{self.duckdb}-openai{self.openai}"

    @property
    def constraints(self) -> list[str]:
        """Return what pip is held to. dbt-core 1.12 is put in the place of the newest that pip can install."""
        wanted = {"dbt-core": "1.11" if self.dbt == "1.12" else self.dbt, "duckdb": self.duckdb, "openai": self.openai}
        return [f"{package}=={version}.*" for package, version in wanted.items() if version != NEWEST]


ROWS = (
    Row("3.10", "1.10", "1.4", "2.54"),
    Row("3.11", "1.11", "1.5", "2.54"),
    Row("3.12", "1.10", "1.5", NEWEST),
    Row("3.12", "1.12", "2.0", NEWEST),
    Row("3.13", "1.11", "2.0", NEWEST),
)


def interpreters(version: str) -> Iterator[str]:
    """Give every interpreter of a version that may be there: on PATH, and those of pyenv."""
    found = shutil.which(f"python{version}")
    if found:
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python{version}")))


def find_interpreter(version: str) -> str:
    """Return an interpreter of this version that starts; pyenv puts names on PATH that do not."""
    for path in interpreters(version):
        if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return path
    raise RowFailed(f"python{version} is neither on PATH nor in pyenv")


class Environment:
    """A row's environment, in a folder of its own with a log of all that was said."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.folder = FOLDER / row.name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.bin = self.folder / "venv" / "bin"
        self.log = self.folder / "log"

    def run(self, command: Sequence[str], where: Path | None = None) -> str:
        """Run a command with nothing of the surrounding shell; return what it said, or raise `RowFailed`."""
        kept = {key: value for key, value in os.environ.items() if key in ("HOME", "TMPDIR", "LANG") or "PIP_" in key}
        environment = kept | {"PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin"}
        done = subprocess.run(
            command, cwd=where or self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = done.stdout.decode(errors="replace")
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{said}\n")
        if done.returncode:
            raise RowFailed(f"{command[0].rpartition('/')[2]} ended with {done.returncode}; see {self.log}")
        return said

    def pip(self, *arguments: str) -> None:
        """Install packages."""
        self.run([str(self.bin / "pip"), "install", "--quiet", "--disable-pip-version-check", *arguments])

    def install(self, wheel: Path) -> None:
        """Make the environment and install the wheel, with what its demo and the tests need."""
        self.run([find_interpreter(self.row.python), "-m", "venv", "venv"])
        (self.folder / "constraints.txt").write_text("\n".join(self.row.constraints) + "\n", encoding="utf-8")
        self.pip("--constraint", "constraints.txt", f"{wheel}[local]", *TEST_TOOLS)
        if self.row.dbt == "1.12":
            self.pip("--no-deps", "dbt-core==1.12.*")
            self.pip(*self._requirements("dbt-core"))

    def _requirements(self, package: str) -> list[str]:
        """Return what a package asks for, but what fetches a program from elsewhere."""
        asked = self._python(f"import json, importlib.metadata as m; print(json.dumps(m.requires({package!r})))")
        required = [line for line in json.loads(asked) if "extra ==" not in line]
        return [line for line in required if not line.startswith(FETCHED_FROM_ELSEWHERE)]

    def versions(self) -> dict[str, str]:
        """Return the versions that pip chose, and Python's."""
        names = f"{{name: m.version(name) for name in {SHOWN}}} | {{'python': platform.python_version()}}"
        return dict(
            json.loads(self._python(f"import json, platform, importlib.metadata as m; print(json.dumps({names}))"))
        )

    def _python(self, code: str) -> str:
        return self.run([str(self.bin / "python"), "-I", "-c", code]).strip()

    def run_demo(self) -> None:
        """Run the demo from the wheel alone, in an empty folder."""
        folder = self.folder / "demo"
        folder.mkdir()
        said = self.run(["bash", "-euo", "pipefail", "-c", DEMO], folder)
        if DEMO_ENDS_WITH not in said:
            raise RowFailed(f"the demo did not label its comments; see {self.log}")

    def run_tests(self) -> str:
        """Run the core of the tests; return pytest's last line."""
        said = self.run([str(self.bin / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", *CORE], ROOT)
        return said.strip().splitlines()[-1].strip("= ")


def run_row(row: Row, wheel: Path) -> tuple[str, bool]:
    """Run one row; return its line of the table and whether all of it held."""
    environment = Environment(row)
    shown = {"python": row.python, "dbt-core": row.dbt, "duckdb": row.duckdb, "openai": row.openai}
    try:
        environment.install(wheel)
        shown = environment.versions()
        environment.run_demo()
        outcome, held = f"the demo from the wheel; {environment.run_tests()}", True
    except RowFailed as error:
        outcome, held = f"FAILED: {error}", False
    cells = [shown[name] for name in ("python", *SHOWN)]
    return f"| {' | '.join([outcome, *cells])} |", held


def main(names: Sequence[str]) -> int:
    """Run the rows whose name has one of `names` in it, all without any; return the exit code."""
    FOLDER.mkdir(exist_ok=True)
    _, wheel = build(ROOT, FOLDER / "dist")
    print(f"{HEADER}\n|---|---|---|---|---|", flush=True)
    all_held = True
    for row in ROWS:
        if not names or any(name in row.name for name in names):
            line, held = run_row(row, wheel)
            print(line, flush=True)
            all_held = all_held and held
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
