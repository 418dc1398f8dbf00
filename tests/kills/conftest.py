"""Fixtures: the forge, one for each file of tests, and what comes of a run there that nothing disturbs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.environment import kept_environment  # noqa: F401
from tests.forge import COMMENTS, Forge, Undisturbed
from tests.lab import Bench, Lab


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    folder = tmp_path_factory.mktemp("forge")
    lab = Lab(folder)
    lab.add_comments(COMMENTS)
    lab.build()
    made = Forge(folder, Bench(folder, lab))
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(forge: Forge) -> Undisturbed:
    return Undisturbed(forge)
