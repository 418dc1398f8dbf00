"""How a local batch server starts on a state directory, and how it stops."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from connector.local.settings import AddressUnusable, MissingExtra, ServerSettings, StateInUse

if TYPE_CHECKING:
    from starlette.applications import Starlette

SERVER_PACKAGES = ("starlette", "uvicorn", "python_multipart")
EMBEDDED_PACKAGES = ("numpy", "onnxruntime", "tokenizers", "vaderSentiment")
GRACE_SECONDS = 5


class LocalServer:
    """Run a server in a daemon thread for as long as the `with` block lasts.

    Entering goes on with the unfinished batches of the state directory; leaving finishes the chunks in hand and
    leaves the rest to the next server on it. `base_url` takes requests as soon as the block begins.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.base_url = ""
        self._resources = ExitStack()

    @property
    def token(self) -> str:
        """Give the token of the first account."""
        return self.settings.tokens[0]

    def __enter__(self) -> LocalServer:
        """Start, or raise the LocalServerError that says why not."""
        require_packages(self.settings)
        with ExitStack() as resources:
            listener = resources.enter_context(_listen(self.settings))
            _lock_state(self.settings, resources)
            app = _open_app(self.settings, resources)
            _run_uvicorn(app, listener, resources)
            host, port = listener.getsockname()[:2]
            self.base_url = f"http://{host}:{port}/v1"
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop: first the doors, then the workers, then the store."""
        self._resources.close()


def serve(settings: ServerSettings, announce: Callable[[LocalServer], None] | None = None) -> None:
    """Run a server in the foreground until SIGTERM or SIGINT; call it from the main thread.

    `announce` is called once the server takes requests; by default it prints one JSON line with `base_url` and `pid`.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with LocalServer(settings) as server:
            (announce or _print_ready)(server)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def require_packages(settings: ServerSettings) -> None:
    """Raise MissingExtra for the first package that the settings need and that is not installed."""
    needed = list(SERVER_PACKAGES)
    if settings.engine == "embedded":
        needed += EMBEDDED_PACKAGES
    if settings.engine == "upstream":
        needed.append("openai")
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package)


def _print_ready(server: LocalServer) -> None:
    print(json.dumps({"base_url": server.base_url, "pid": os.getpid()}), flush=True)


def _listen(settings: ServerSettings) -> socket.socket:
    # Bound and listening before anyone is told the port, so a client never comes too early.
    try:
        return socket.create_server((settings.host, settings.port), backlog=128)
    except OSError as error:
        raise AddressUnusable(f"can not listen on {settings.host}:{settings.port}: {error.strerror}") from error


def _lock_state(settings: ServerSettings, resources: ExitStack) -> None:
    # Not there on Windows, where importing this package should still work.
    import fcntl

    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.state_dir.chmod(0o700)
    path = settings.state_dir / "lock"
    lock: TextIO = resources.enter_context(os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = lock.read().strip() or "unknown"
        raise StateInUse(
            f"another server (process {holder}) is running on {settings.state_dir}\n\n"
            "hint: stop it, or give this one another state directory"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _open_app(settings: ServerSettings, resources: ExitStack) -> Starlette:
    from connector.local.app import Api
    from connector.local.batches import Batches
    from connector.local.engine import open_engine
    from connector.local.execution import Executor
    from connector.local.faults import Faults
    from connector.local.queue import Queue
    from connector.local.rate import HourlyRate
    from connector.local.runner import Runner
    from connector.local.store import Store
    from connector.local.usage import load_encoding

    load_encoding()
    faults = Faults(settings.faults)
    engine = open_engine(settings)
    resources.callback(engine.close)
    store = Store(settings.state_dir)
    resources.callback(store.close)
    executor = Executor(store, engine, faults, frozenset(settings.known_models))
    queue = Queue(settings.enqueued_token_limit)
    runner = Runner(
        store,
        executor,
        faults,
        known_models=frozenset(settings.known_models),
        queue=queue,
        workers=settings.workers,
    )
    runner.start()
    resources.callback(runner.stop)
    batches = Batches(store, runner, faults, HourlyRate(settings.batches_an_hour))
    return Api(settings, store, faults, executor, batches, queue).app()


def _run_uvicorn(app: Starlette, listener: socket.socket, resources: ExitStack) -> None:
    import uvicorn

    from connector.local.transport import Connection

    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="local-server", daemon=True)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    thread.start()
    resources.callback(stop)
