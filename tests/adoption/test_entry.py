"""An entry added to somebody's YAML: the rest stays byte for byte, or nothing is done."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connector.adoption.entry import Unfit, add_entry, read_list


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "packages:\n  - local: x\n"),
        ("# nothing yet", "# nothing yet\npackages:\n  - local: x\n"),
        ("packages:\n- package: a/b\n  version: 1.0.0\n", "packages:\n- package: a/b\n  version: 1.0.0\n- local: x\n"),
        ("packages:\n    - git: g  # why\n\n# end", "packages:\n    - git: g  # why\n    - local: x\n\n# end"),
        ("packages:\n  - git: g", "packages:\n  - git: g\n  - local: x\n"),
        ("packages:\r\n  - git: g\r\n", "packages:\r\n  - git: g\r\n  - local: x\r\n"),
        ("packages:\n  # - git: g\n", "packages:\n  - local: x\n  # - git: g\n"),
        ("packages: []\n", "packages: [{local: x}]\n"),
        ("packages: [{git: g}] # why\n", "packages: [{git: g}, {local: x}] # why\n"),
        (
            "packages:\n  - git: g\n    revision: [1,\n      2]\nprojects:\n  - name: p\n",
            "packages:\n  - git: g\n    revision: [1,\n      2]\n  - local: x\nprojects:\n  - name: p\n",
        ),
        (
            "packages:\n  - git: g\n    why: |\n      so\n      so\nother: 1\n",
            "packages:\n  - git: g\n    why: |\n      so\n      so\n  - local: x\nother: 1\n",
        ),
        ("\ufeffpackages:\n  - git: g\n", "\ufeffpackages:\n  - git: g\n  - local: x\n"),
    ],
)
def test_an_entry_is_put_where_a_person_would_and_nothing_else_changes(before: str, after: str) -> None:
    assert add_entry(before, ["packages"], "local", "x")[0] == after


@pytest.mark.parametrize(
    "text", ["packages: [", "packages: nothing\n", "packages: ~\n", "- a\n", "packages:\n  {a: b}\n"]
)
def test_what_can_not_be_added_to_is_left(text: str) -> None:
    with pytest.raises(Unfit):
        add_entry(text, ["packages"], "local", "x")


_values = st.one_of(st.none(), st.integers(), st.text("ab #:'\"\n{é", max_size=8))
_entries = st.dictionaries(st.sampled_from(["package", "version", "git"]), _values, min_size=1)


@given(
    entries=st.lists(_entries, max_size=3),
    others=st.dictionaries(st.sampled_from(["projects", "zeal"]), _values),
    flow=st.sampled_from([None, True, False]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_any_list_gets_the_entry_at_its_end_and_keeps_every_line(
    entries: list[dict[str, object]], others: dict[str, object], flow: bool | None, newline: str
) -> None:
    document = {"packages": entries, **others}
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=flow).replace("\n", newline)
    after, put = add_entry(text, ["packages"], "local", "x")
    assert yaml.safe_load(after) == {**yaml.safe_load(text), "packages": [*entries, {"local": "x"}]}
    assert read_list(after, ["packages"])[-1] == {"local": "x"}
    in_a_line = put.startswith(("{", ", {"))
    kept, _, rest = after.partition(put if in_a_line else put + newline)
    assert kept + rest == text
    assert in_a_line or kept.endswith(newline) or not kept, "lines of its own"
