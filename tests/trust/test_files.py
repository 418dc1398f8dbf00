"""Files: nobody else reads what a run has on disk or puts something in its place, and it goes unless it is kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from connector.files import STATE_FOLDER, make_private, work_folder, write_text
from tests.command import QUICKLY, Said, run_command
from tests.lab import Lab, Server
from tests.trust import KEY


def open_to_others(folder: Path) -> list[str]:
    """Return what in a folder, itself included, others may read or write."""
    found = []
    for path in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):  # gone in the meantime
            if stat.S_IMODE(path.lstat().st_mode) & 0o077:
                found.append(str(path))
    return found


@pytest.fixture
def _no_mask() -> Iterator[None]:
    """Let every file be made with all rights that are asked for."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def command(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    return lambda *arguments: run_command(lab, capfd, *arguments)


@pytest.mark.usefixtures("_no_mask")
def test_every_file_of_a_kept_run_is_ours_alone_and_the_next_run_leaves_it(
    lab: Lab, command: Callable[..., Said]
) -> None:
    said = command("run", *QUICKLY, "--keep")
    assert said.code == 0
    [folder] = (lab.folder / STATE_FOLDER / "kept").iterdir()
    assert f"this run's texts and answers stay in {folder} until you remove them" in said.err
    kept = sorted(path.suffixes for path in folder.iterdir())
    assert kept == [[".arrow"], [".jsonl"], [".output", ".jsonl"]]
    texts = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"Loved it" in texts
    assert open_to_others(lab.folder / STATE_FOLDER) == []
    lab.add_comments(["One more"])
    assert command("run", *QUICKLY).code == 0
    assert [path.name for path in (lab.folder / STATE_FOLDER / "kept").iterdir()] == [folder.name]
    assert list((lab.folder / STATE_FOLDER / "work").iterdir()) == []
    assert b"One more" not in b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.usefixtures("_no_mask")
def test_a_folder_that_others_could_read_is_closed_before_it_is_used(tmp_path: Path) -> None:
    for name in ("", "work"):
        (tmp_path / STATE_FOLDER / name).mkdir(mode=0o777)
    with work_folder(tmp_path, "run") as folder:
        assert open_to_others(tmp_path / STATE_FOLDER) == []
        assert folder.is_dir()


def test_a_link_in_the_place_of_a_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / STATE_FOLDER).symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError, match="a link or belongs to another user"), work_folder(tmp_path, "run"):
        pass
    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_private_folder_of_another_user_is_refused_unless_all_of_the_project_is_theirs(tmp_path: Path) -> None:
    folder = tmp_path / STATE_FOLDER
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        make_private(folder)
    os.chown(tmp_path, 12345, 12345)
    assert make_private(folder) == folder


def test_what_lies_in_the_work_folder_and_is_none_of_ours_is_left_and_breaks_nothing(tmp_path: Path) -> None:
    with work_folder(tmp_path, "first") as first:
        work = first.parent
    for name in (".DS_Store", "notes", "1-x", "-", "a-b-c"):
        (work / name).mkdir()
    with work_folder(tmp_path, "second"):
        pass
    assert sorted(path.name for path in work.iterdir()) == ["-", ".DS_Store", "1-x", "a-b-c", "notes"]


def test_the_folder_of_another_machine_is_left_for_as_long_as_its_run_may_live(tmp_path: Path) -> None:
    with work_folder(tmp_path, "first") as first:
        _, started, _, key = first.name.split("-")
        elsewhere = first.with_name(f"999999999-{started}-{'0' * 12}-{key}")
        elsewhere.mkdir()
        with work_folder(tmp_path, "second"):
            assert elsewhere.exists(), "a process of that number may live there"
        long_ago = elsewhere.stat().st_mtime - 4 * 24 * 3600
        os.utime(elsewhere, (long_ago, long_ago))
        with work_folder(tmp_path, "third"):
            assert not elsewhere.exists()


def test_a_file_is_never_written_through_a_link_that_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / f".labels.yml.{os.getpid()}").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "labels.yml", "ours")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (tmp_path / "labels.yml").read_text() == "ours"
