"""Headless Chromium without a network: what a page shows, and what it asked for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.limit import LONGEST_SECONDS

NAMES = ("chromium", "chromium-browser", "google-chrome")
# nothing of the browser's own, so that what is asked for is the page's
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"),
    "--disable-dev-shm-usage",  # which is too small for it in many a container
)


@dataclass(frozen=True)
class Page:
    """A page as it was after its scripts ran, without them, and the addresses it asked for that are no files."""

    html: str
    asked: list[str]

    @property
    def texts(self) -> list[str]:
        """Return what can be read on it, in its order."""
        return [text.strip() for text in re.findall(r">([^<>]+)<", self.html) if text.strip()]


def find() -> str | None:
    """Return the browser's command where one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def open_page(browser: str, address: str, folder: Path, *options: str) -> Page:
    """Open an address with a profile and a log of the network of its own."""
    log = folder / "network.json"
    command = [browser, *QUIET, *options, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, timeout=LONGEST_SECONDS, check=True)
    html = re.sub(r"<(style|script)\b.*?</\1>", "", done.stdout.decode(), flags=re.DOTALL)
    return Page(html, _asked(log))


def _asked(log: Path) -> list[str]:
    requests = [event["params"] for event in json.loads(log.read_text())["events"] if "params" in event]
    # the browser has some of its own, whatever it is told; those have no origin
    urls = {it["url"] for it in requests if "url" in it and it.get("initiator", "not an origin") != "not an origin"}
    return sorted(url for url in urls if not url.startswith(("file:", "data:", "blob:")))
