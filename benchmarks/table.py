"""The table of ratios, in Markdown: a line for each thing measured, a column for each number of comments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Figures = dict[str, Any]

# what each part of a run is called in `connector_run`
_SHARDS = ("spool", "shards")
_LOAD = ("claims_of", "read", "judge", "load")
_MINE = ("connector", "dbt")


def print_table(measured: Mapping[int, Figures]) -> None:
    """Print a table of these sizes."""
    print(f"| | {' | '.join(f'{rows:,}' for rows in measured)} | to reach |")
    print(f"|---|{'---|' * len(measured)}---|")
    for name, figure, wanted in _LINES:
        cells = [_cell(figure, figures, measured.get(rows // 10)) for rows, figures in measured.items()]
        print(f"| {name} | {' | '.join(cells)} | {wanted} |")


def _cell(figure: Callable[[Figures, Figures | None], str], figures: Figures, smaller: Figures | None) -> str:
    try:
        return figure(figures, smaller)
    except KeyError:
        return ""


def shards_each(figures: Figures) -> float:
    """Return the seconds that a text takes from the pending model to its line on disk."""
    return _seconds(figures["send"], _SHARDS) / int(figures["made"]["pending"])


def claimed_each(figures: Figures) -> float:
    """Return the same with the claim in the ledger."""
    return _seconds(figures["send"], (*_SHARDS, "claim")) / int(figures["made"]["pending"])


def load_each(figures: Figures) -> float:
    """Return the seconds that a text takes from its output line to its label."""
    return _seconds(figures["collect"], _LOAD) / int(figures["collect"]["labelled"])


def _script_each(figures: Figures) -> float:
    return _seconds(figures["script"]) / int(figures["script"]["requests"])


def _loop_each(figures: Figures) -> float:
    return _seconds(figures["loop"]) / int(figures["loop"]["rows"])


def _typed_each(figures: Figures) -> float:
    return _seconds(figures["typed"]) / int(figures["typed"]["rows"])


def _seconds(found: Figures, parts: tuple[str, ...] | None = None) -> float:
    return float(sum(took for part, took in found["seconds"].items() if parts is None or part in parts))


def _microseconds(each: Callable[[Figures], float]) -> Callable[[Figures, Figures | None], str]:
    return lambda figures, _: f"{1e6 * each(figures):.1f}"


def _times(slow: Callable[[Figures], float], quick: Callable[[Figures], float]) -> Any:
    return lambda figures, _: f"{slow(figures) / quick(figures):.1f}"


def _growth(whole: Callable[[Figures], float]) -> Callable[[Figures, Figures | None], str]:
    return lambda figures, smaller: "" if smaller is None else f"{whole(figures) / whole(smaller):.1f}"


def _peak(name: str) -> Callable[[Figures, Figures | None], str]:
    return lambda figures, _: str(figures[name]["peak_mb"])


def _share(name: str) -> Callable[[Figures, Figures | None], str]:
    def share(figures: Figures, _: Figures | None) -> str:
        found = figures[name]
        return f"{_seconds(found, _MINE) / _seconds(found):.0%} of {_seconds(found):.0f} s"

    return share


def _idle(figures: Figures, _: Figures | None) -> str:
    found = figures["idle"]
    return f"{found['wall']:.1f}, of it {found['seconds']['dbt']:.1f} dbt, {found['seconds']['sql']:.1f} SQL"


_LINES: list[tuple[str, Callable[[Figures, Figures | None], str], str]] = [
    ("**pending texts to shards**, microseconds a text", _microseconds(shards_each), ""),
    ("times faster than `iterrows` and `json.dumps`", _times(_script_each, shards_each), "15"),
    ("the same with claims in the ledger", _times(_script_each, claimed_each), ""),
    (
        "times what the disk takes for the same bytes",
        _times(lambda f: _seconds(f["send"], _SHARDS), lambda f: _seconds(f["disk"])),
        "at most 4",
    ),
    ("times the time for ten times the rows", _growth(lambda f: _seconds(f["send"], _SHARDS)), "at most 11"),
    ("peak memory, MB", _peak("send"), "below 600"),
    ("**output files to labels**, microseconds a text", _microseconds(load_each), ""),
    ("times faster than `json.loads` and `executemany`", _times(_loop_each, load_each), "10"),
    ("times what DuckDB takes to read the files typed", _times(load_each, _typed_each), ""),
    ("times the time for ten times the rows", _growth(lambda f: _seconds(f["collect"], _LOAD)), "at most 11"),
    ("peak memory, MB", _peak("collect"), "below 600"),
    (
        "**pending anti-join** with as many labels, seconds",
        lambda f, _: f"{f['pending']['seconds']['view']:.2f}",
        "",
    ),
    ("all that `plan` counts, seconds", lambda f, _: f"{f['pending']['seconds']['standing']:.2f}", ""),
    ("times the time for ten times the rows", _growth(lambda f: _seconds(f["pending"])), "at most 11"),
    ("peak memory, MB", _peak("pending"), "below 600"),
    ("**a run with nothing to do**, seconds", _idle, "below 5"),
    ("peak memory, MB", _peak("idle"), "below 600"),
    ("**a whole run**, a text a request: ours", _share("whole_1"), ""),
    ("peak memory, MB", _peak("whole_1"), "below 600"),
    ("**a whole run**, 20 texts a request: ours", _share("whole_20"), ""),
    ("peak memory, MB", _peak("whole_20"), "below 600"),
]
