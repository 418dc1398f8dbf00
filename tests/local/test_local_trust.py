"""Who may ask the local server: this machine by its own name, with the token, and not without end."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.lab import KEY, Server
from tests.limit import limited
from tests.trust.test_artefacts import processes

BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    made = Server(tmp_path / "state").start()
    yield made  # type: ignore[misc]
    made.kill()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "169.254.1.1"])
def test_a_page_whose_name_was_pointed_at_this_machine_is_refused_even_with_the_token(
    server: Server, host: str
) -> None:
    answer = httpx.get(f"{server.base_url}/files", headers={**BEARER, "host": host})
    assert answer.status_code in (400, 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:80"])
def test_this_machine_is_answered_by_each_of_its_names(server: Server, host: str) -> None:
    assert httpx.get(f"{server.base_url}/files", headers={**BEARER, "host": host}).status_code == 200


def test_a_body_without_end_is_refused_before_it_fills_the_memory(server: Server) -> None:
    def endless():  # type: ignore[no-untyped-def]
        for _ in range(64):
            yield b" " * (1 << 20)

    with suppress(httpx.TransportError):  # it may hang up before all is said
        answer = httpx.post(f"{server.base_url}/batches", headers=BEARER, content=endless())
        assert answer.status_code == 413
    assert httpx.get(f"{server.base_url}/files", headers=BEARER).status_code == 200, "it is still there"


def test_serve_makes_a_token_that_only_its_owner_reads_and_no_process_list_shows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "connector", "serve", "--engine", "instant", "--port", "0"]
    tokens = []
    for _ in range(2):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, umask=0, env=_environment()
        )
        assert process.stdout is not None
        with limited(process):
            line = process.stdout.readline()
        said = dict(part.split("=", 1) for part in line.removeprefix("export ").split())
        token = said["OPENAI_API_KEY"]
        listed = processes()
        answer = httpx.get(f"{said['OPENAI_BASE_URL']}/files", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        known = httpx.get(f"{said['OPENAI_BASE_URL']}/files", headers={"authorization": "Bearer local"})
        assert known.status_code == 401
        process.terminate()
        with limited(process):
            process.communicate()
        assert not [line for line in listed if token in line]
        tokens.append(token)
    assert len(tokens[0]) > 20
    assert tokens[0] == tokens[1], "the account is the same after a restart"
    folder = tmp_path / ".dbt_labels"
    assert (folder / ".gitignore").read_text() == "*\n"
    found = [folder, *folder.rglob("*")]
    assert [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root}
