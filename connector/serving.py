"""The local batch server as dbt-labels starts it: for one command (`--local`), or to stay (`serve`)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from connector.errors import LabelsError
from connector.files import state_folder
from connector.local import LocalServer, LocalServerError, MissingExtra, ServerSettings
from connector.local import serve as serve_settings
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
    """Serve until interrupted, saying first how to reach it."""
    with _words():
        settings = ServerSettings(
            **{key: value for key, value in how.items() if key != "faults"},
            faults=dict(_fault(text) for text in how["faults"]),
        )
        if settings.port:
            out.write(
                f"export OPENAI_BASE_URL=http://{settings.host}:{settings.port}/v1 OPENAI_API_KEY={settings.tokens[0]}\n"
            )
        serve_settings(settings)


def _kept_token(state_dir: Path) -> str:
    """Return the project's token for its own server, made once: another token would be another account."""
    path = state_dir / "token"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="ascii")
    return path.read_text(encoding="ascii")


def _fault(text: str) -> tuple[str, object]:
    name, given, value = text.partition("=")
    if not given:
        return name, True
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


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
