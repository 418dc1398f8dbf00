"""Promises 1 and 2 under every fault of the provider that the local server can have."""

from __future__ import annotations

import pytest

from tests.forge import Forge, Undisturbed
from tests.kills import FINAL_FAULTS, FREE_FAULTS, PAID_FAULTS, check_books, run_until_done


@pytest.mark.parametrize("name", [*FREE_FAULTS, *PAID_FAULTS, *FINAL_FAULTS])
def test_a_fault_of_the_provider_costs_no_text_and_no_second_payment(
    forge: Forge, undisturbed: Undisturbed, name: str
) -> None:
    faults = {**FREE_FAULTS, **PAID_FAULTS, **FINAL_FAULTS}[name]
    key = forge.fresh(**faults)
    run_until_done(forge, key)
    check_books(forge, key, name)
    if name not in FINAL_FAULTS:
        assert forge.lab.labels() == undisturbed.labels
    else:
        assert set(forge.lab.labels().items()) < set(undisturbed.labels.items())
    if name in FREE_FAULTS:
        assert forge.executed(key) == undisturbed.executed
