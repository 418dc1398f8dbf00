"""A PostgreSQL server of the tests' own: in a private directory, on a free port of this machine only."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.limit import LONGEST_SECONDS, limited

_START_SECONDS = LONGEST_SECONDS
_STARTS = 3


def why_not() -> str | None:
    """Tell what is missing for tests with PostgreSQL, or None."""
    if importlib.util.find_spec("dbt.adapters.postgres") is None:
        return "PostgreSQL: the extra is not installed (pip install 'dbt-labels[postgres]')"
    if _programs() is None:
        return "PostgreSQL: no server is installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and (_account() is None or shutil.which("setpriv") is None):
        return "PostgreSQL: a server does not run as root, and there is no account `postgres` with `setpriv` to it"
    return None


class PostgresServer:
    """A server that lasts as long as the tests. `start` makes and starts it, `end` ends it and removes its files."""

    def __init__(self) -> None:
        self.port = 0
        # of this server alone: another one may have got the port, and must not pass for it
        self.password = secrets.token_hex()
        self._folder = Path(tempfile.mkdtemp(prefix="dbt_labels_postgres_"))
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()

    def start(self) -> PostgresServer:
        programs, account = _programs(), _account()
        assert programs is not None
        if os.geteuid() == 0:
            assert account is not None
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        secret = self._folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        data = str(self._folder / "data")
        init = [str(programs / "initdb"), "--pgdata", data, "--username", "tester", "--pwfile", str(secret)]
        init += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        subprocess.run(_as_account(init), check=True, stdout=subprocess.DEVNULL, cwd=self._folder)
        for _ in range(_STARTS):  # the port may be taken between finding and using it
            self.port = free_port()
            options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""}
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": 60}
            serve = [str(programs / "postgres"), "-D", data]
            serve += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(_as_account(serve), stdout=log, stderr=log, cwd=self._folder)
            if self._is_up():
                return self
        said = (self._folder / "log").read_text()
        self.end()
        raise AssertionError(f"PostgreSQL does not start: {said}")

    def end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            with limited(self._process):
                self._process.wait()
        shutil.rmtree(self._folder)

    def sql(self, database: str, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own; parameters are psycopg2's."""
        import psycopg2

        connection = psycopg2.connect(**self.arguments(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, list(parameters) or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def arguments(self, database: str) -> dict[str, Any]:
        """Return what psycopg2 connects with."""
        where = {"host": "127.0.0.1", "port": self.port, "dbname": database}
        return {**where, "user": "tester", "password": self.password}

    def new_database(self, encoding: str = "") -> str:
        """Make an empty database, of UTF8 unless another encoding is named, and return its name."""
        name = f"lab_{next(self._names)}"
        encoded = f" encoding '{encoding}' locale 'C'" if encoding else ""
        self.sql("postgres", f"create database {name} template template0{encoded}")
        return name

    def set_aside(self, name: str) -> str:
        """Give a database another name, which is returned."""
        self.sql("postgres", f"alter database {name} rename to {name}_kept")
        return f"{name}_kept"

    def copy_database(self, template: str, name: str) -> None:
        """Make a database as a copy of another, in the place of one that may be there, whoever is connected to it."""
        self.sql("postgres", f"drop database if exists {name} with (force)")
        self.sql("postgres", f"create database {name} template {template}")

    def _is_up(self) -> bool:
        import psycopg2

        assert self._process is not None
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.sql("postgres", "select 1")
                return True
            except psycopg2.OperationalError:
                time.sleep(0.05)
        return False


def _programs() -> Path | None:
    """Return the folder of the newest server's programs: Debian's, or where the PATH has them."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    debian = sorted(installed, key=lambda path: float(path.parent.parent.name))
    on_path = shutil.which("initdb")
    if debian:
        return debian[-1].parent
    return Path(on_path).resolve().parent if on_path else None


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _as_account(command: list[str]) -> list[str]:
    """Return a command as a user that a server runs as: never root."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", *command]


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
