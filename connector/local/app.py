"""The HTTP routes: OpenAI's Files, Batches, Models and chat completions under /v1, and control under /local."""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from connector.local.batches import Batches
from connector.local.chat import unknown_model
from connector.local.execution import Executor
from connector.local.faults import Faults, InvalidFault
from connector.local.problem import Problem, wrong_type
from connector.local.queue import Queue
from connector.local.runner import ORGANIZATION
from connector.local.settings import ServerSettings, account_of
from connector.local.store import Document, Store, new_id
from connector.local.transport import CutReply, DroppedReply
from connector.local.upload import check_length, store_upload
from connector.local.validation import parse_json

MAX_FILES_PER_PAGE = 10_000
# no request of a batch is larger than the whole file may be; a body of JSON is one request at most
MAX_JSON_BYTES = 32 << 20
THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
FAULTY_STATUSES = {"http_429": "rate_limit_exceeded", "http_500": None, "http_503": None}


@dataclass(frozen=True)
class Call:
    """Hold what a handler needs of a request: whose it is, its path and query, and its body."""

    account: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any


Handler = Callable[[Call], Response]


class Api:
    """Answer requests; handlers run in a thread pool, so they may wait for the disk and the engine."""

    def __init__(
        self,
        settings: ServerSettings,
        store: Store,
        faults: Faults,
        executor: Executor,
        batches: Batches,
        queue: Queue,
    ) -> None:
        self._tokens = {token: account_of(token) for token in settings.tokens}
        self._hosts = THIS_MACHINE if settings.host in THIS_MACHINE else None
        self._models = settings.known_models
        self._store = store
        self._faults = faults
        self._executor = executor
        self._batches = batches
        self._queue = queue
        self._served: Counter[str] = Counter()
        self._started_at = store.now()

    def app(self) -> Starlette:
        """Build the ASGI application."""
        routes = [
            self._route("upload", "POST", "/v1/files", self.upload),
            self._route("list_files", "GET", "/v1/files", self.list_files),
            self._route("retrieve_file", "GET", "/v1/files/{id}", self.retrieve_file),
            self._route("download", "GET", "/v1/files/{id}/content", self.download),
            self._route("delete_file", "DELETE", "/v1/files/{id}", self.delete_file),
            self._route("create_batch", "POST", "/v1/batches", self.create_batch),
            self._route("list", "GET", "/v1/batches", self.list_batches),
            self._route("retrieve", "GET", "/v1/batches/{id}", self.retrieve_batch),
            self._route("cancel", "POST", "/v1/batches/{id}/cancel", self.cancel_batch),
            self._route("chat", "POST", "/v1/chat/completions", self.chat),
            self._route("models", "GET", "/v1/models", self.list_models),
            self._route("models", "GET", "/v1/models/{id:path}", self.retrieve_model),
            self._route("local", "GET", "/local/executions", self.executions),
            self._route("local", "GET", "/local/stats", self.stats),
            self._route("local", "GET", "/local/faults", self.show_faults),
            self._route("local", "PUT", "/local/faults", self.set_faults),
            self._route("local", "POST", "/local/batches", self.make_batches),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._refuse})

    def _route(self, name: str, method: str, path: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            return await self._serve(name, handler, request)

        return Route(path, endpoint, methods=[method])

    async def _serve(self, name: str, handler: Handler, request: Request) -> Response:
        headers = {"openai-organization": ORGANIZATION, "x-request-id": new_id("req_"), "openai-version": "2020-10-01"}
        try:
            self._check_host(request)
            account = self._authenticate(request)
            headers["openai-project"] = await run_in_threadpool(self._store.project_of, account)
            self._served[name] += 1
            response = await self._answer(name, handler, account, request)
        except Problem as problem:
            response = JSONResponse(problem.body(), problem.status)
            if problem.retry_after is not None:
                headers["retry-after"] = f"{problem.retry_after:g}"
        response.headers.update(headers)
        return response

    async def _answer(self, name: str, handler: Handler, account: str, request: Request) -> Response:
        if self._faults.strike("refuse_before", route=name):
            return DroppedReply()
        self._strike_http(name)
        if name == "upload":
            check_length(request.headers.get("content-length"))
            async with request.form(max_files=1, max_fields=10) as form:
                call = Call(account, request.path_params, request.query_params, form)
                response = await run_in_threadpool(handler, call)
        else:
            body = await _json_body(request)
            call = Call(account, request.path_params, request.query_params, body)
            response = await run_in_threadpool(handler, call)
        return DroppedReply() if self._faults.strike("lost_reply", route=name) else response

    def _check_host(self, request: Request) -> None:
        """Refuse a page in a browser that had its own name point to this machine: its requests say that name."""
        host = re.sub(r":\d+$", "", request.headers.get("host", "")).strip("[]").lower()
        if self._hosts is not None and host not in self._hosts:
            raise Problem(421, "This server answers to the name of this machine only.", code="misdirected_request")

    def _authenticate(self, request: Request) -> str:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        for token, account in self._tokens.items():
            if scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), given.strip().encode()):
                return account
        raise Problem(401, "Incorrect API key provided, or none.", code="invalid_api_key")

    def _strike_http(self, name: str) -> None:
        if name == "create_batch" and self._faults.strike("quota"):
            message = "You exceeded your current quota, please check your plan and billing details."
            raise Problem(429, message, code="insufficient_quota", kind="insufficient_quota")
        for fault_name, code in FAULTY_STATUSES.items():
            fault = self._faults.strike(fault_name, route=name)
            if fault is not None:
                status = int(fault_name.removeprefix("http_"))
                kind = "requests" if status == 429 else "server_error"
                message = f"This server was told to answer {status}."
                raise Problem(status, message, code=code, kind=kind, retry_after=fault.retry_after)

    async def _refuse(self, request: Request, error: Exception) -> Response:
        """Answer what Starlette itself refuses: unknown routes and methods, and broken forms."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        known = f"Invalid URL or method ({request.method} {request.url.path})"
        return JSONResponse(Problem(status, known if status in (404, 405) else str(error)).body(), status)

    # Files

    def upload(self, call: Call) -> Response:
        """Take an uploaded file."""
        if not isinstance(call.body, FormData):
            raise Problem(400, "Expected multipart/form-data.")
        return JSONResponse(store_upload(self._store, call.account, call.body))

    def list_files(self, call: Call) -> Response:
        """List files by page, newest first unless asked otherwise."""
        documents = self._store.files(call.account)
        if call.query.get("order", "desc") == "asc":
            documents.reverse()
        purpose = call.query.get("purpose")
        documents = [d for d in documents if purpose in (None, d["purpose"])]
        after = call.query.get("after")
        if after is not None:
            ids = [d["id"] for d in documents]
            if after not in ids:
                raise _no_file(after)
            documents = documents[ids.index(after) + 1 :]
        limit = _limit(call.query, MAX_FILES_PER_PAGE, MAX_FILES_PER_PAGE)
        return JSONResponse(page(documents[:limit], has_more=len(documents) > limit))

    def retrieve_file(self, call: Call) -> Response:
        """Show a file."""
        return JSONResponse(self._file(call))

    def download(self, call: Call) -> Response:
        """Send a file's content."""
        file_id = self._file(call)["id"]
        if self._faults.strike("content_404_first", subject=file_id):
            raise _no_file(file_id)
        path = self._store.content_path(file_id)
        cut = self._faults.strike("cut_download")
        if cut is not None:
            return CutReply(path, promise_length=cut.variant == "length")
        return FileResponse(path, media_type="application/octet-stream")

    def delete_file(self, call: Call) -> Response:
        """Delete a file."""
        file_id = self._file(call)["id"]
        self._store.remove_file(call.account, file_id)
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    def _file(self, call: Call) -> Document:
        document = self._store.file(call.account, call.path["id"])
        if document is None:
            raise _no_file(call.path["id"])
        return document

    # Batches

    def create_batch(self, call: Call) -> Response:
        """Create a batch."""
        return JSONResponse(self._batches.create(call.account, call.body))

    def list_batches(self, call: Call) -> Response:
        """List batches by page, newest first."""
        limit = _limit(call.query, 20, 100)
        documents, has_more = self._batches.list(call.account, call.query.get("after"), limit)
        return JSONResponse(page(documents, has_more=has_more))

    def retrieve_batch(self, call: Call) -> Response:
        """Show a batch."""
        return JSONResponse(self._batches.retrieve(call.account, call.path["id"]))

    def cancel_batch(self, call: Call) -> Response:
        """Cancel a batch."""
        return JSONResponse(self._batches.cancel(call.account, call.path["id"]))

    # Models and chat

    def chat(self, call: Call) -> Response:
        """Answer one chat completion."""
        if not isinstance(call.body, dict):
            raise Problem(400, "We could not parse the JSON body of your request.")
        return JSONResponse(self._executor.chat(call.account, call.body))

    def list_models(self, call: Call) -> Response:
        """List the models."""
        return JSONResponse({"object": "list", "data": [self._model(name) for name in self._models]})

    def retrieve_model(self, call: Call) -> Response:
        """Show a model."""
        if call.path["id"] not in self._models:
            raise unknown_model(call.path["id"])
        return JSONResponse(self._model(call.path["id"]))

    def _model(self, name: str) -> Document:
        return {"id": name, "object": "model", "created": self._started_at, "owned_by": ORGANIZATION}

    # Control

    def executions(self, call: Call) -> Response:
        """List every execution of the account."""
        return JSONResponse(self._store.executions(call.account))

    def stats(self, call: Call) -> Response:
        """Count what the account has, how full its queues are, and what all accounts called since the start."""
        counts, queues = self._store.counts(call.account), self._queue.show(call.account)
        return JSONResponse({**counts, "queues": queues, "requests": dict(self._served)})

    def show_faults(self, call: Call) -> Response:
        """Show the active faults."""
        return JSONResponse(self._faults.show())

    def set_faults(self, call: Call) -> Response:
        """Make the body's faults the active ones, all others inactive, and count all strikes from zero."""
        if not isinstance(call.body, dict):
            raise Problem(400, "Expected an object of fault names and values.")
        try:
            self._faults.replace(call.body)
        except InvalidFault as error:
            raise Problem(400, str(error), code="invalid_value") from error
        self._store.forget_fault_hits()
        self._batches.look_again()
        return self.show_faults(call)

    def make_batches(self, call: Call) -> Response:
        """Create finished batches that have nothing to do with anyone."""
        count = call.body.get("count") if isinstance(call.body, dict) else None
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise wrong_type("count", "a positive integer", count)
        return JSONResponse({"created": self._batches.make_finished(call.account, count)})


def page(documents: list[Document], *, has_more: bool) -> Document:
    """Build a page of a list."""
    return {
        "object": "list",
        "data": documents,
        "first_id": documents[0]["id"] if documents else None,
        "last_id": documents[-1]["id"] if documents else None,
        "has_more": has_more,
    }


async def _json_body(request: Request) -> Any:
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_JSON_BYTES:
            raise Problem(413, f"The body has more than the {MAX_JSON_BYTES} bytes that are allowed.")
    try:
        return parse_json(bytes(raw)) if raw else None
    except ValueError as error:
        raise Problem(400, "We could not parse the JSON body of your request.") from error


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    given = query.get("limit", str(default))
    if not given.isdecimal() or not 1 <= int(given) <= most:
        message = f"Invalid 'limit': expected an integer from 1 to {most}, but got '{given}' instead."
        raise Problem(400, message, code="invalid_value", param="limit")
    return int(given)


def _no_file(file_id: str) -> Problem:
    return Problem(404, f"No such File object: {file_id}", param="id")
