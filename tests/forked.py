"""The local batch server in processes that are forked from one that has loaded all of it, which takes a second."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from connector.local.__main__ import parse_arguments
from connector.local.server import serve
from tests.limit import LONGEST_SECONDS

_FORKS = multiprocessing.get_context("forkserver")
# what is not installed is passed over; the server itself says what is missing
_FORKS.set_forkserver_preload([__name__, "bpe_openai", "connector.local.app", "uvicorn.protocols.http.h11_impl"])


def start_server(arguments: Sequence[str]) -> tuple[ForkServerProcess, str]:
    """Start a server with these arguments and this environment; return its process and its base URL."""
    reading, writing = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_serve, args=(arguments, dict(os.environ), writing), daemon=True)
    process.start()
    writing.close()
    with reading:
        if not reading.poll(LONGEST_SECONDS):
            process.kill()
            raise TimeoutError(f"a server did not start within {LONGEST_SECONDS:g} s")
        return process, reading.recv()


def _serve(arguments: Sequence[str], environment: Mapping[str, str], ready: Connection) -> None:
    os.environ.clear()
    os.environ.update(environment)
    serve(parse_arguments(arguments), lambda server: ready.send(server.base_url))
