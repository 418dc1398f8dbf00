"""A change to somebody's folder is made as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.adoption.change import Change, make


def _tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else "" for path in folder.rglob("*")
    }


def _change(folder: Path) -> Change:
    return Change(
        folders={folder / "packages" / "p": {"a.sql": b"new", "macros/b.sql": b"new"}},
        files={folder / "packages.yml": "new", folder / "models" / "deep" / "m.sql": "new"},
    )


def _project(folder: Path) -> dict[str, str]:
    (folder / "packages" / "p").mkdir(parents=True)
    (folder / "packages" / "p" / "a.sql").write_text("old")
    (folder / "packages" / "p" / "gone.sql").write_text("old")
    (folder / "packages.yml").write_text("old")
    (folder / "packages.yml").chmod(0o640)
    return _tree(folder)


def test_all_is_put_in_place_and_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    _project(tmp_path)
    make(_change(tmp_path), tmp_path)
    files = {name: text for name, text in _tree(tmp_path).items() if text}
    assert files == dict.fromkeys(
        ["packages/p/a.sql", "packages/p/macros/b.sql", "packages.yml", "models/deep/m.sql"], "new"
    )
    assert (tmp_path / "packages.yml").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize("step", range(5))
def test_what_fails_at_any_step_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException
) -> None:
    before = _project(tmp_path)
    replace, steps = Path.replace, iter(range(100))

    def fail(self: Path, target: Path) -> Path:
        if next(steps) == step:
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    if step < 4:
        with pytest.raises(type(error)):
            make(_change(tmp_path), tmp_path)
        assert _tree(tmp_path) == before
    else:
        make(_change(tmp_path), tmp_path)
        assert _tree(tmp_path) != before
