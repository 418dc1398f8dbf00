"""The local batch server as dbt-labels starts it: for one command (`--local`), or to stay (`serve`)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from connector.errors import LabelsError
from connector.files import state_folder, write_text
from connector.local import LocalServer, LocalServerError, MissingExtra, ServerSettings, serve
from connector.local.faults import parse_assignment
from connector.provider import Provider


@contextmanager
def local_provider(project_folder: Path, models: tuple[str, ...]) -> Iterator[Provider]:
    """Give a provider in front of the embedded model, for one command; what it has not done goes on at the next."""
    state_dir = state_folder(project_folder) / "local"
    state_dir.mkdir(mode=0o700, exist_ok=True)
    settings = ServerSettings(
        state_dir=state_dir, engine="embedded", tokens=(_kept_token(state_dir),), models=tuple(dict.fromkeys(models))
    )
    with _words(), LocalServer(settings) as server:
        provider = Provider(server.token, server.base_url)
        try:
            yield provider
        finally:
            provider.close()


def serve_forever(how: Mapping[str, Any], out: TextIO) -> None:
    """Serve until interrupted; once it takes requests, say how to reach it, in words for a shell."""

    def announce(server: LocalServer) -> None:
        out.write(f"export OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY={server.token}\n")
        out.flush()

    with _words():
        settings = {**how, "faults": dict(map(parse_assignment, how["faults"]))}
        if how["upstream_url"]:
            settings["engine"] = "upstream"
        serve(ServerSettings(**settings), announce)


def _kept_token(state_dir: Path) -> str:
    """Return the project's token for its own server, made once: another token would be another account."""
    path = state_dir / "token"
    if not path.exists():
        write_text(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii")


@contextmanager
def _words() -> Iterator[None]:
    try:
        yield
    except MissingExtra as error:
        raise LabelsError(
            f"the local batch server needs the package `{error.package}`", "pip install 'dbt-labels[local]'"
        ) from error
    except LocalServerError as error:
        raise LabelsError(str(error)) from error
