"""Owns an unpacked image for tests of containers: a shell and `cat`, their libraries, and a file that only it has."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MARK = "this is the image\n"
_LIBRARY = re.compile(r"(?:=> |^\s*)(/\S+)", re.MULTILINE)


def unpacked_image(folder: Path) -> Path:
    """Make the image; skips the test where bubblewrap is not there or may not run."""
    runtime = shutil.which("bwrap")
    if runtime is None:
        pytest.skip("bubblewrap is not installed here")
    tried = subprocess.run([runtime, "--ro-bind", "/", "/", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"bubblewrap may not run here: {tried.stderr.strip()}")
    for program in (Path("/bin/sh"), Path("/bin/cat")):
        linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        for one in (program, *map(Path, _LIBRARY.findall(linked))):
            copy = folder / one.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(one, copy)
    (folder / "etc").mkdir()
    (folder / "etc" / "mark").write_text(MARK, encoding="utf-8")
    return folder
