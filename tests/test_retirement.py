"""A model that retires: said in time, by the provider's word before ours, and not for other providers."""

from __future__ import annotations

from datetime import date

import pytest

from connector.check import Check, check_setup
from connector.retirement import announced_retirement, told_retirement
from tests.between import Between, edited
from tests.command import run_command
from tests.lab import KEY, Lab, Server

MODELS = "GET /v1/models/.+"


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:me::1"])
def test_a_model_its_snapshots_and_what_was_tuned_from_it_retire_together(model: str) -> None:
    assert str(announced_retirement(model)) == "it is shut down on 2027-01-14; gpt-6-luna is named to follow it"


def test_a_snapshot_with_a_date_of_its_own_and_a_model_that_stays_are_told_apart() -> None:
    assert str(announced_retirement("gpt-4o-2024-05-13")) == "it is shut down on 2026-10-23"
    assert announced_retirement("gpt-6-luna") is None
    assert announced_retirement("gpt-4o-mini-next") is None


def test_what_the_provider_tells_comes_before_what_was_announced() -> None:
    told = told_retirement("gpt-4o-mini", date(2027, 2, 1))
    assert str(told) == "it is shut down on 2027-02-01; gpt-6-luna is named to follow it"
    assert str(told_retirement("somebody-elses", date(2027, 2, 1))) == "it is shut down on 2027-02-01"


def _model(lab: Lab, base_url: str, today: date) -> Check:
    checks = check_setup(lab.options(), (), KEY, base_url, today)
    return next(check for check in checks if check.name == "model")


def test_debug_says_until_when_a_model_is_there_and_fails_from_that_day(lab: Lab, between: Between) -> None:
    assert _model(lab, between.base_url, date(2026, 12, 23)) == Check("model", True, "gpt-6-luna")
    between.change(MODELS, edited(shutdown_date="2026-12-24"))
    before = _model(lab, between.base_url, date(2026, 12, 23))
    assert (before.ok, before.found) == (True, "gpt-6-luna: it is shut down on 2026-12-24")
    assert "docs/day-two.md" in (before.hint or "")
    assert not _model(lab, between.base_url, date(2026, 12, 24)).ok
    between.change(MODELS, edited(shutdown_date="soon"))
    assert _model(lab, between.base_url, date(2026, 12, 24)).hint is None


def test_plan_says_without_a_key_what_was_announced(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    lab.edit_task(model="gpt-4o-mini")
    said = run_command(lab, capfd, "plan").out
    assert "note: gpt-4o-mini retires: it is shut down on 2027-01-14; gpt-6-luna is named to follow it" in said
    monkeypatch.setenv("OPENAI_BASE_URL", "https://mine.openai.azure.com/openai/v1/")
    assert "retires" not in run_command(lab, capfd, "plan").out, "other providers have other dates"
