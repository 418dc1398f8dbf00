"""A Spark Connect server of the tests' own: in a private directory, on a free port of this machine only."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.warehouse.server import free_port

_START_SECONDS = 180
QUIET = "-Dderby.stream.error.file=/dev/null"
_MAIN = "org.apache.spark.sql.connect.service.SparkConnectServer"


def why_not() -> str | None:
    """Tell what is missing for tests with Spark, or None."""
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("dbt.adapters.spark") is None:
        return "Spark: the extra is not installed (pip install 'dbt-labels[spark]')"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "Spark: there is no Java (Debian: apt-get install openjdk-17-jre-headless)"
    return None


def settings(folder: Path) -> dict[str, str]:
    """Return the settings of a session or a server whose tables are in a folder."""
    return {
        "spark.master": "local[2]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
        "spark.sql.shuffle.partitions": "1",
        # each of many small queries would be planned again between its stages, and compiled twice
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:memory:metastore;create=true",
        "spark.driver.extraJavaOptions": f"{QUIET} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        # no zone but that of the session decides what a time is
        "spark.sql.session.timeZone": "America/New_York",
    }


class SparkServer:
    """A server that lasts as long as the tests. `start` starts it, `end` ends it and removes its files."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="dbt_labels_spark_"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def remote(self) -> str:
        """Return what SPARK_REMOTE is to be."""
        return f"sc://127.0.0.1:{self.port}"

    @property
    def warehouse(self) -> Path:
        """Return the folder with a folder per schema."""
        return self._folder / "warehouse"

    def start(self) -> SparkServer:
        import pyspark

        home = Path(pyspark.__file__).parent
        told = settings(self._folder) | {"spark.sql.catalogImplementation": "hive"}
        told |= {"spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": str(self.port)}
        command = [str(home / "bin" / "spark-submit"), "--driver-memory", "1g", "--class", _MAIN]
        command += [part for name, value in told.items() for part in ("--conf", f"{name}={value}")]
        environment = {name: value for name, value in os.environ.items() if name != "SPARK_REMOTE"}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, env={**environment, "SPARK_HOME": str(home)}
            )
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        said = (self._folder / "log").read_text()[-3_000:]
        self.end()
        raise AssertionError(f"Spark Connect does not start: {said}")

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder)
