"""Who answers a command: the environment's provider, or the local batch server, for it alone or to stay (`serve`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from connector.errors import LabelsError
from connector.files import STATE_FOLDER, make_private, state_folder, write_text
from connector.local import LocalServer, LocalServerError, ServerSettings, serve
from connector.local.faults import parse_assignment

if TYPE_CHECKING:
    from connector.provider import Provider


@contextmanager
def connecting(project_folder: Path, models: Sequence[str], is_local: bool) -> Iterator[Callable[[], Provider]]:
    """Give what connects to the provider when it is needed: the local server, or who the environment names."""
    with ExitStack() as stack:

        def connected() -> Provider:
            # the openai client takes half a second to import: not for a run that finds nothing to do
            from connector.provider import connect

            if is_local:
                return stack.enter_context(_local_provider(project_folder, models))
            provider = connect(os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL"))
            stack.callback(provider.close)
            return provider

        yield connected


@contextmanager
def _local_provider(project_folder: Path, models: Sequence[str]) -> Iterator[Provider]:
    """Give a provider in front of the embedded model, for one command; what it has not done goes on at the next."""
    from connector.provider import Provider

    state_dir = make_private(state_folder(project_folder) / "local")
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
        if not how["tokens"]:
            settings["tokens"] = (_kept_token(_made(how["state_dir"])),)
        serve(ServerSettings(**settings), announce)


def _made(state_dir: Path) -> Path:
    if state_dir.parent.name == STATE_FOLDER:
        state_folder(state_dir.parent.parent)  # so that git does not see it
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state_dir


def _kept_token(state_dir: Path) -> str:
    """Return the token of a server's folder, made once: another token would be another account."""
    path = state_dir / "token"
    if not path.exists():
        write_text(path, secrets.token_urlsafe(24), private=True)
    return path.read_text(encoding="ascii")


@contextmanager
def _words() -> Iterator[None]:
    try:
        yield
    except LocalServerError as error:
        message, _, hint = str(error).partition("\n\nhint: ")
        raise LabelsError(message, hint or None) from error
