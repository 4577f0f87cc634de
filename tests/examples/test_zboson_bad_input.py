"""What bad arguments and damaged files get: a code, one sentence, the same in the job report, and no output."""

import io
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import uproot
from zboson import merge, rootfile
from zboson.transformation import BAD_DATA, TransformationError

from tests.examples.releases import ZBOSON, call, run


@pytest.mark.parametrize(
    ("transformation", "parameters", "code", "words"),
    [
        ("evgen", "--events -5 --seed 1 --output x.root", 64, "'-5' is not a whole number from 1"),
        ("evgen", "--events 0 --seed 1 --output x.root", 64, "'0' is not a whole number from 1"),
        ("evgen", "--events ten --seed 1 --output x.root", 64, "'ten' is not a whole number"),
        ("evgen", "--events 5 --seed 900000001 --output x.root", 64, "from 1 to 900000000"),
        ("evgen", "--events 5 --output x.root", 64, "--seed"),
        ("evgen", "--events 5 --seed 1 --output ../x.root", 64, "no folder"),
        ("evgen", "--events 5 --seed 1 --energy 7 --output x.root", 64, "1000 to 200000"),
        ("evgen", "--events 5 --seed 1 --energy nan --output x.root", 64, "1000 to 200000"),
        ("evgen", "--events 5 --seed 1 --colour red --output x.root", 64, "--colour"),
        ("simreco", "--input none.root --seed 1 --output x.root", 66, "none.root does not exist"),
        ("simreco", "--input text.root --seed 1 --output x.root", 65, "text.root is not a readable events file"),
        ("simreco", "--input cut.root --seed 1 --output x.root", 65, "cut.root is not a readable events file"),
        ("simreco", "--input empty.root --seed 1 --output x.root", 65, "empty.root is not a readable"),
        ("simreco", "--input a.root,a.root --seed 1 --output x.root", 64, "named twice"),
        ("simreco", "--input , --seed 1 --output x.root", 64, "no input file named"),
        (
            "merge",
            "--input a.root --output x.root",
            65,
            "a.root is not a readable events file",
        ),  # evgen's, not simreco's
        ("merge", "--input ra.root --output x.root --plot x.png", 65, "too few to fit"),
        ("plot", "--input ra.root --output x.png", 65, "too few to fit"),
    ],
)
def test_refused_with_a_sentence(
    transformation: str, parameters: str, code: int, words: str, generated: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in ("a.root", "ra.root"):
        shutil.copy(generated / name, tmp_path)
    (tmp_path / "text.root").write_text("not a ROOT file\n" * 100)
    (tmp_path / "cut.root").write_bytes((generated / "a.root").read_bytes()[:-5000])
    (tmp_path / "empty.root").touch()
    monkeypatch.chdir(tmp_path)
    ended = call("zboson", transformation, parameters)
    told = capsys.readouterr().err
    assert ended.code == ended.report["exeErrorCode"] == code
    assert words in told
    assert len(told.splitlines()) == 1
    assert words in str(ended.report["exeErrorDiag"])
    assert ended.report["outputs"] == {}
    assert not [path.name for path in tmp_path.iterdir() if re.fullmatch(r"x\.(root|png)(\.part)?", path.name)]


def test_a_damaged_file_is_refused_or_read_right(generated: Path, tmp_path: Path) -> None:
    """Whatever bytes are lost or turned, no other failure and no other event comes out."""
    whole = (generated / "ra.root").read_bytes()
    right = rootfile.read(generated / "ra.root", merge.RECONSTRUCTED)
    chance, codes = random.Random(20090323), list[int]()
    for turn in range(150):
        damaged = bytearray(whole[: chance.randrange(len(whole))] if turn % 2 else whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        (tmp_path / "damaged.root").write_bytes(damaged)
        try:
            read = rootfile.read(tmp_path / "damaged.root", merge.RECONSTRUCTED)
        except TransformationError as failure:
            codes.append(failure.code)
            continue
        for key in merge.RECONSTRUCTED:
            np.testing.assert_array_equal(read.columns[key], right.columns[key])
    assert set(codes) == {BAD_DATA}
    assert len(codes) >= 75  # every file that was cut, and more


def test_an_output_that_cannot_be_written_is_told(generated: Path, tmp_path: Path) -> None:
    """Here its name is taken by a folder; a full disk goes the same way."""
    shutil.copy(generated / "a.root", tmp_path)
    (tmp_path / "x.root").mkdir()
    ended = run(ZBOSON, "simreco", "--input a.root --seed 1 --output x.root", tmp_path)
    assert ended.code == 74
    assert ended.report["exeErrorCode"] == 74
    assert "cannot read or write" in ended.stderr


def test_dates_leave_no_trace_in_a_file() -> None:
    """Two images of the same file that differ in every date become the same bytes."""
    memory = io.BytesIO()
    with uproot.recreate(memory, uuid_function=lambda: rootfile._UUID) as file:
        file["histogram"] = np.histogram([1.0, 2.0], bins=4)
        file.mktree("events", {"event": np.dtype(np.int64)}).extend({"event": np.arange(5)})
        file["counts"] = "{}"
        image = memory.getvalue()
    date = image[110:114]  # of the first key
    later = (int.from_bytes(date, "big") + 7).to_bytes(4, "big")
    assert image.count(date) > 10
    assert rootfile.timeless(image) == rootfile.timeless(image.replace(date, later))
    assert date not in rootfile.timeless(image)
