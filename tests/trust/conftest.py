"""Fixtures: a local server that knows a key as long as real ones, and what stands before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.provider import Provider
from tests.http import serving
from tests.lab import Server
from tests.trust import KEY


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """Give a local server that lets the long key in."""
    return start_server("--token", KEY)


Answer = Callable[[Request], Response]


@pytest.fixture
def serve_answer() -> Iterator[Callable[[Answer], str]]:
    """Give what answers every request with a function, and its base URL."""
    with ExitStack() as servers:

        def serve(answer: Answer) -> str:
            async def endpoint(asked: Request) -> Response:
                await asked.body()
                return answer(asked)

            route = Route("/{path:path}", endpoint, methods=["GET", "POST", "DELETE"])
            return servers.enter_context(serving(Starlette(routes=[route]))) + "/v1"

        yield serve


@pytest.fixture
def connect(serve_answer: Callable[[Answer], str]) -> Iterator[Callable[[Answer], Provider]]:
    """Give what makes a provider whose every request is answered by a function."""
    with ExitStack() as providers:

        def make(answer: Answer) -> Provider:
            provider = Provider(KEY, serve_answer(answer))
            providers.callback(provider.close)
            return provider

        yield make
