"""Fixtures: the demo labelled by a local server, with rejections, and a browser."""

from __future__ import annotations

import pytest

from tests.demo import NO_PROOFS, dbt, demo_lab
from tests.environment import kept_environment  # noqa: F401
from tests.lab import Lab, Server
from tests.looking import chromium


@pytest.fixture(scope="package")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Give the demo with labels and a few rejections, built, with dbt's docs."""
    folder = tmp_path_factory.mktemp("labelled")
    lab = demo_lab(folder)
    first = dbt(lab, "build", *NO_PROOFS, "--select", "+comments_to_label", "+comment_label_overrides", "+gold_labels")
    assert first.success, first.message
    (folder / "server").mkdir()
    server = Server(folder / "server").start()
    try:
        server.faults(row_refusal={"share": 0.3, "by": "content"})
        assert lab.run(server.provider()).rejected > 10
    finally:
        server.kill()
    for command in (("build", *NO_PROOFS), ("docs", "generate", "--static")):
        outcome = dbt(lab, *command)
        assert outcome.success, outcome.message
    return lab


@pytest.fixture(scope="package")
def browser() -> str:
    """Give Chromium's command, or skip."""
    found = chromium.find()
    if found is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return found
