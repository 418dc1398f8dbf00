"""Every message has one form: what is wrong, an empty line, `hint:` with what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector import errors
from connector.cli import main
from tests.lab import ROOT

_OURS = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)}
_FORM = re.compile(r"Error: \S[^\n]*[^\s.!](\n[^\n]+)*\n\nhint: [^\n]*[^\s.!]\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["label"],
        ["run", "--limit", "0"],
        ["run", "--frobnicate"],
        ["status", "--watch", "--json"],
        ["status", "--every", "5"],
        ["plan"],
        ["init"],
    ],
    ids=" ".join,
)
def test_what_ends_a_command_says_what_and_then_a_hint(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capfd.readouterr()
    assert (ended.value.code in (1, 2), out) == (True, "")
    assert _FORM.fullmatch(err), err
    assert err.count("hint: ") == 1


def test_no_message_or_hint_in_the_code_has_another_form() -> None:
    wrong = []
    for where, message, hint in _raised():
        if re.match(r"error|hint|[A-Z][a-z]+ ", message) and not message.startswith("YAML "):
            wrong.append(f"{where}: begins like a sentence: {message}")
        for words in filter(None, (message, hint)):
            if words.rstrip() != words or (words.endswith((".", "!")) and not words.endswith("...")):
                wrong.append(f"{where}: ends like a sentence: {words}")
        if hint is not None and hint.lower().startswith("hint"):
            wrong.append(f"{where}: says hint twice: {hint}")
    assert not wrong, "\n".join(wrong)


def _raised() -> Iterator[tuple[str, str, str | None]]:
    """Give each message and hint that is written where one of our errors is made; `{}` stands for what is filled in."""
    found = 0
    for path in sorted((ROOT / "connector").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _OURS and node.args:
                message, *hints = (_words(argument) for argument in node.args[:2])
                if message:
                    found += 1
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", message, hints[0] if hints else None
    assert found > 50, "the errors are not found any more"


def _words(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None
