"""What a pilot shows of its job when the server asks."""

import os
from pathlib import Path

import pytest

from pilot.look import SIZE, seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder in the midst of work, beside what is none of its."""
    (tmp_path / "secret").write_text("mine")
    folder = tmp_path / "job"
    (folder / "work").mkdir(parents=True)
    (folder / "payload.stdout").write_text("x" * SIZE + "printed")
    (folder / "work" / "a.log").write_text("first")
    (folder / "work" / "out").symlink_to(tmp_path / "secret")
    return folder


def test_the_end_of_what_the_payload_prints_or_of_a_file(folder: Path) -> None:
    assert seen("debug", folder) == "x" * (SIZE - 7) + "printed"
    assert seen("gdb --pid % -ex 'bt'", folder).endswith("printed")
    assert seen("tail work/a.log", folder) == seen("tail -n 3 work/*.log", folder) == "first"
    assert seen("tail nothing", folder) == ""


@pytest.mark.parametrize("path", ["/etc/hostname", "../secret", "work/out"])
def test_files_elsewhere_are_not_read(folder: Path, path: str) -> None:
    assert seen(f"tail {path}", folder) == ""


def test_programs_run_in_the_folder_without_a_shell(folder: Path) -> None:
    assert seen("ls work", folder).split() == ["a.log", "out"]
    assert seen("ls work/*.log", folder) == "work/a.log\n"
    assert "nothing" in seen("ls nothing", folder)
    assert "$(id)" in seen("ls $(id)", folder)
    assert seen("ls 'x", folder).endswith("printed")
    assert seen(f"ps -o pid= -p {os.getpid()}", folder).split() == [str(os.getpid())]
