"""The style of a dbt project's files: how it indents, quotes, names and ends lines, by what most of them do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from connector.adoption.entry import line_ending

_Choice = TypeVar("_Choice")
_REF = re.compile(r"\{\{\s*(?:ref|source)\(\s*(['\"])")
_KEYWORD = re.compile(r"\b(select|from|with|SELECT|FROM|WITH)\b")
_DASH = re.compile(r"^(?:models|sources|seeds):[ \t]*(?:#.*)?\r?\n( *)- ", re.MULTILINE)
_NESTED = re.compile(r"^( *)(?:config|meta|arguments|freshness):[ \t]*(?:#.*)?\r?\n( *)\w", re.MULTILINE)
_DECLARES_MODELS = re.compile(r"^models:", re.MULTILINE)
_DECLARES_SOURCES = re.compile(r"^sources:", re.MULTILINE)
_TESTS = re.compile(r"^\s*(?:- )?(tests|data_tests):", re.MULTILINE)
_VERSION = re.compile(r"^version: 2\b", re.MULTILINE)
_OURS = "# Written by `dbt-labels"


@dataclass(frozen=True)
class Style:
    """How files of the project are written.

    `dash` is how far a list is indented below its key, `indent` how far a mapping is. `models_file` is the name of the
    YAML file that several models of a folder share (`{folder}` stands for the folder's), None where each has its own;
    `sources_file` that of sources (`{source}` stands for the source's).
    """

    newline: str = "\n"
    extension: str = "yml"
    has_version: bool = False
    dash: int = 2
    indent: int = 2
    quote: str = '"'
    is_upper: bool = False
    tests: str = "data_tests"
    models_file: str | None = None
    sources_file: str = "{source}"


def read_style(project_file: str, files: Mapping[PurePosixPath, str]) -> Style:
    """Return the style of a project from its dbt_project.yml and its SQL and YAML files; ours where it has none."""
    usual = Style()
    yamls = {path: text for path, text in files.items() if path.suffix in (".yml", ".yaml") and _OURS not in text}
    sqls = [text for path, text in files.items() if path.suffix == ".sql"]
    words = Counter(word for text in sqls for word in _KEYWORD.findall(text))
    with_models = {path: text for path, text in yamls.items() if _DECLARES_MODELS.search(text)}
    return Style(
        newline=line_ending(project_file),
        extension=_most((path.suffix[1:] for path in yamls), usual.extension),
        has_version=_most((bool(_VERSION.search(text)) for text in yamls.values()), usual.has_version),
        dash=_most((len(dash) for text in yamls.values() for dash in _DASH.findall(text)), usual.dash),
        indent=_most(
            (len(below) - len(key) for text in yamls.values() for key, below in _NESTED.findall(text) if below > key),
            usual.indent,
        ),
        quote=_most((quote for text in sqls for quote in _REF.findall(text)), usual.quote),
        is_upper=sum(number for word, number in words.items() if word.isupper()) * 2 > words.total(),
        tests=_most((found for text in yamls.values() for found in _TESTS.findall(text)), usual.tests),
        models_file=_models_file(with_models, {path for path in files if path.suffix == ".sql"}),
        sources_file=_sources_file(path for path, text in yamls.items() if _DECLARES_SOURCES.search(text)),
    )


def read_files(folder: Path, model_paths: Iterable[str]) -> dict[PurePosixPath, str]:
    """Return the texts of the SQL and YAML files under the project's model paths, by their path in the project."""
    found = {}
    for path in sorted(path for part in model_paths for path in (folder / part).rglob("*")):
        if path.suffix in (".sql", ".yml", ".yaml") and path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            found[PurePosixPath(path.relative_to(folder).as_posix())] = text
    return found


def _models_file(with_models: Mapping[PurePosixPath, str], sqls: set[PurePosixPath]) -> str | None:
    """Return the pattern of YAML files that models share, None where most have the name of one model."""
    own = sum(path.with_suffix(".sql") in sqls for path in with_models)
    if own * 2 >= len(with_models):
        return None
    shared = [path for path in with_models if path.with_suffix(".sql") not in sqls]
    return _most((path.stem.replace(path.parent.name, "{folder}") for path in shared), "{folder}")


def _sources_file(paths: Iterable[PurePosixPath]) -> str:
    """Return the pattern of the names of YAML files with sources."""
    names = []
    for path in paths:
        plain = path.stem.strip("_") == "sources"
        marks = None if plain else re.fullmatch(r"(_{1,2}|src_|)(.+?)(_{1,2}sources|)", path.stem)
        names.append(path.stem if marks is None else f"{marks[1]}{{source}}{marks[3]}")
    return _most(names, Style.sources_file)


def _most(found: Iterable[_Choice], usual: _Choice) -> _Choice:
    """Return what is found most often, the usual one where that is as often or nothing is found."""
    counted = Counter(found)
    if not counted:
        return usual
    best = max(counted.values())
    return usual if counted.get(usual) == best else next(choice for choice, times in counted.items() if times == best)
