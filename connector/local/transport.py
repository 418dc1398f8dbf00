"""Replies that break off: connections closed without a response, and bodies that end too early."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

PIECE_BYTES = 1 << 16


class Connection(H11Protocol):
    """Speak HTTP/1.1 and hand each request its connection, so that a fault can close it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection where every request of it finds it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def _transport(scope: Scope) -> asyncio.Transport:
    return cast(asyncio.Transport, scope["state"]["transport"])


async def _wait_until_closed(receive: Receive) -> None:
    # uvicorn answers 500 for an application that returns before the connection is known to be gone.
    while (await receive())["type"] != "http.disconnect":
        pass


class DroppedReply(Response):
    """Close the connection and send nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection at once."""
        _transport(scope).abort()
        await _wait_until_closed(receive)


class CutReply(Response):
    """Send the first half of a file: with its full length promised, or as a body that looks complete."""

    def __init__(self, path: Path, *, promise_length: bool) -> None:
        super().__init__(media_type="application/octet-stream")
        self._path = path
        self._promise_length = promise_length
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of the body; then end it, or close the connection."""
        size = self._path.stat().st_size
        if self._promise_length:
            self.headers["content-length"] = str(size)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        left = size // 2
        with self._path.open("rb") as handle:
            while left:
                piece = handle.read(min(left, PIECE_BYTES))
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self._promise_length:
            _transport(scope).close()
            await _wait_until_closed(receive)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
