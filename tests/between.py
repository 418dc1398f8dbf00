"""What stands between the openai client and the local server, and can change what is answered."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from connector.provider import Provider
from tests.lab import KEY, Server
from tests.limit import LONGEST_SECONDS

LOOK = "GET /v1/batches/[^/]+"
CREATE = "POST /v1/batches"
UPLOAD = "POST /v1/files"
CANCEL = "POST /v1/batches/[^/]+/cancel"
DESCRIBE = "GET /v1/files/[^/]+"
DOWNLOAD = "GET /v1/files/[^/]+/content"
# the client's own retries would only make the tests slow; what it gives up is what is tested
AT_ONCE = {"x-should-retry": "false"}
# far more than any run here asks: one that would never end meets a refused key
MOST_REQUESTS = 1_000


class Between:
    """Forwards every request to a local server and may change its answer.

    `asked` are the requests with their times; `listen` hears of each before it is answered.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.base_url = ""
        self.asked: list[tuple[str, float]] = []
        self.listen: Callable[[str], None] = lambda asked: None
        self._changes: dict[str, Callable[[httpx.Response], Response | None]] = {}
        self._dropped: dict[str, Response] = {}

    def drop(self, asked: str, answer: Response) -> None:
        """Answer what matches with this, and let the server know nothing of it."""
        self._dropped[asked] = answer

    def change(self, asked: str, change: Callable[[httpx.Response], Response | None]) -> None:
        """Answer what matches with what the function makes of the server's answer, where it makes something of it."""
        self._changes[asked] = change

    def keep_running(self, until: Callable[[int], bool]) -> None:
        """Answer each look at a batch that it runs and nothing is done, until this is true of the looks so far.

        After that it is seen as it is once it has ended: so what a run is shown does not depend on time.
        """
        looks = 0

        def running(answer: httpx.Response) -> Response | None:
            nonlocal looks
            looks += 1
            if until(looks) and answer.json()["status"] == "completed":
                return None
            counts = {**answer.json()["request_counts"], "completed": 0, "failed": 0}
            return edited(status="in_progress", output_file_id=None, request_counts=counts)(answer)

        self.change(LOOK, running)

    def heal(self) -> None:
        """Change nothing any more."""
        self._changes, self._dropped = {}, {}

    def provider(self) -> Provider:
        return Provider(KEY, self.base_url)

    def times(self, asked: str) -> list[float]:
        return [at for request, at in self.asked if re.fullmatch(asked, request)]

    async def answer(self, request: Request) -> Response:
        asked = f"{request.method} {request.url.path}"
        self.asked.append((asked, time.monotonic()))
        self.listen(asked)
        if len(self.asked) > MOST_REQUESTS:
            return JSONResponse({"error": {"message": "this run does not end", "code": None}}, 401)
        for wanted, dropped in self._dropped.items():
            if re.fullmatch(wanted, asked):
                return dropped
        ours = ("host", "connection", "content-length", "transfer-encoding")
        async with httpx.AsyncClient(verify=False, trust_env=False, timeout=LONGEST_SECONDS) as client:
            answer = await client.request(
                request.method,
                self.server.base_url.removesuffix("/v1") + request.url.path,
                params=list(request.query_params.multi_items()),
                headers={name: value for name, value in request.headers.items() if name not in ours},
                content=await request.body(),
            )
        for wanted, change in self._changes.items():
            if re.fullmatch(wanted, asked) and (changed := change(answer)) is not None:
                return changed
        headers = {name: value for name, value in answer.headers.items() if name not in (*ours, "date", "server")}
        return Response(answer.content, answer.status_code, headers)


def edited(**changes: Any) -> Callable[[httpx.Response], Response]:
    """Return what gives a JSON answer with other values."""
    return lambda answer: JSONResponse({**answer.json(), **changes})


def refusal(status: int, **headers: str) -> Callable[[httpx.Response], Response]:
    """Return what gives a refusal in place of an answer."""
    body = {"error": {"message": "not now", "code": None}}
    return lambda _: JSONResponse(body, status, headers={**AT_ONCE, **headers})
