"""What is shown: nothing that others wrote moves a cursor, hides a line or shows the key."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.cli import main
from connector.console import Screen
from connector.errors import LabelsError
from connector.log import Log
from connector.plain import shown, shown_json
from connector.report.standing import labels_table
from connector.run import Progress
from tests.trust import KEY

HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m \r\x08\u202egnp.exe\u2028 \ud800 [/red][link=http://x]"
OBEYED = "\x1b\x07\x9b\r\x08\u202e\u2028\ud800"


@settings(deadline=None)
@given(st.text(st.characters()))
def test_what_is_shown_has_nothing_that_a_terminal_obeys(text: str) -> None:
    said = shown(text)
    assert not [character for character in said if character < " " and character not in "\n\t"]
    said.encode()
    assert json.loads(shown_json(text)) == text
    plain = "".join(character for character in text if character.isprintable())
    assert shown(plain) == plain


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("0E-12", "0"),
        ("0.005100", "0.0051"),
        ("1E-12", "0.000000000001"),
        ("1E+3", "1000"),
        ("100", "100"),
        ("12345678901234567890.123456789012", "12345678901234567890.123456789012"),
        ("NaN", "NaN"),
    ],
)
def test_money_in_json_is_a_string_of_digits(amount: str, said: str) -> None:
    assert json.loads(shown_json({"usd": Decimal(amount)})) == {"usd": said}


def test_a_screen_writes_what_others_said_without_its_orders(capfd: pytest.CaptureFixture[str]) -> None:
    screen = Screen(False, Log())
    screen.say(HOSTILE)
    screen.result({}, [HOSTILE, labels_table("mood", {HOSTILE: 1})])
    with pytest.raises(LabelsError):
        screen.ask([HOSTILE], agreed=False)
    Screen(True, Log()).result({"said": HOSTILE}, [])
    out, err = capfd.readouterr()
    assert not [character for character in OBEYED if character in out + err]
    assert "\\x1b[2J" in out
    assert "[/red][link=http://x]" in out
    assert "[/red][link=http://x]" in err


def test_a_status_that_is_markup_breaks_no_bar(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = Screen(False, Log())
    screen.show([Progress("0" * 20, "task", "[/red] \x1b[2J", 1, 0, 0, 1.0, None)])
    screen.close()
    assert "\x1b[2J" not in capfd.readouterr().err


def test_neither_an_error_nor_a_traceback_shows_the_key(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def fail(*_: Any, **__: Any) -> None:
        try:
            raise ValueError(f"the client said {KEY} \x1b[2J")
        except ValueError as error:
            raise LabelsError(f"could not go on with {KEY}") from error

    monkeypatch.setattr("connector.command.server.serve_forever", fail)
    with pytest.raises(SystemExit):
        main(["--debug", "serve"])
    _, err = capfd.readouterr()
    assert "Traceback" in err
    assert "the client said *** \\x1b[2J" in err
    assert "Error: could not go on with ***" in err
    assert KEY not in err
