"""CHARMM's release: molecule, trajectory file, and the dynamics themselves."""

import filecmp
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from dipeptide import analyse, molecule, trajectory
from dipeptide.transformation import TransformationError

from panda.domain.templates import JobNumbers, fill
from tests.examples.releases import CHARMM, ROOT, ZBOSON, call, run, succeed


def test_the_two_releases_stand_alone_on_the_same_frame() -> None:
    """Each release is whole by itself, so both hold the frame of a transformation; it must not drift apart."""
    assert filecmp.cmp(ZBOSON / "zboson/transformation.py", CHARMM / "dipeptide/transformation.py", shallow=False)


def test_the_molecule_is_built_with_its_bonds_and_shape() -> None:
    placed = molecule.geometry()
    assert len(placed) == 22
    frame = placed[None]
    assert molecule.torsion(frame, molecule.PHI)[0] == pytest.approx(molecule.START_PHI)
    assert molecule.torsion(frame, molecule.PSI)[0] == pytest.approx(molecule.START_PSI)
    for atom in molecule.ATOMS:
        if atom.bond:
            ends = placed[molecule.NAMES.index(atom.name)], placed[molecule.NAMES.index(atom.bond)]
            assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(atom.length)
    apart = np.linalg.norm(placed[:, None] - placed[None], axis=2) + 9 * np.eye(22)
    assert apart.min() > 0.95
    # An L amino acid: from the hydrogen's side CO, R, N read clockwise.
    at = {name: placed[molecule.NAMES.index(name)] for name in ("CA", "HA", "CRP", "CB", "NL")}
    volume = np.dot(np.cross(at["CRP"] - at["CA"], at["CB"] - at["CA"]), at["NL"] - at["CA"])
    assert volume > 0


def test_torsion_has_the_sign_of_the_convention() -> None:
    four = np.array([[0.0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1]])
    # Looking along the middle bond, the far end lies clockwise of the near one: positive.
    assert molecule.torsion(four[None], (0, 1, 2, 3))[0] == pytest.approx(90.0)


def test_rmsd_does_not_see_a_rotation_and_sees_a_move() -> None:
    first = molecule.geometry()
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = first.copy()
    moved[molecule.NAMES.index("CB")] += 1.0
    result = molecule.rmsd(np.array([first, first @ turn + 3.0, first * [1, 1, -1], moved]), molecule.HEAVY)
    assert result[:2] == pytest.approx([0, 0], abs=1e-6)
    assert result[2] > 0.3  # its mirror image is another molecule
    assert 0.2 < result[3] < 0.6


def test_a_trajectory_comes_back_and_damage_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames = molecule.geometry() + np.arange(3.0)[:, None, None]
    trajectory.write("t.dcd", frames, 10, 0.002)
    np.testing.assert_allclose(trajectory.read(Path("t.dcd"), 22), frames, atol=1e-5)
    whole = Path("t.dcd").read_bytes()
    for damaged in (whole[:-1], whole[:200], b"", whole[:4] + b"XXXX" + whole[8:], b"\xff" * 100, whole + whole[:92]):
        Path("bad.dcd").write_bytes(damaged)
        with pytest.raises(TransformationError, match=r"bad\.dcd"):
            trajectory.read(Path("bad.dcd"), 22)
    with pytest.raises(TransformationError, match="no trajectory of 21 atoms"):
        trajectory.read(Path("t.dcd"), 21)


def test_basins_part_the_plane() -> None:
    degrees = np.arange(-180.0, 180)
    phi: np.ndarray[tuple[int], np.dtype[np.float64]] = np.repeat(degrees, 360)
    psi = np.tile(degrees, 360)
    inside = analyse.basins(phi, psi)
    assert (sum(flags.astype(int) for flags in inside.values()) == 1).all()
    at = {name: [bool(flags[0]) for flags in analyse.basins(np.array([p]), np.array([s])).values()] for name, p, s in
          (("beta", -120.0, 130.0), ("alpha", -60.0, -45.0), ("left", 57.0, 47.0))}  # fmt: skip
    assert at == {"beta": [True, False, False], "alpha": [False, True, False], "left": [False, False, True]}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("--steps -1 --seed 1 --output t.dcd --energies e.csv", "'-1' is not a whole number"),
        ("--steps 100 --seed 1 --temperature -300 --output t.dcd --energies e.csv", "1 to 1000"),
        ("--steps 10 --interval 50 --seed 1 --output t.dcd --energies e.csv", "no frame"),
        ("--steps 100 --seed 1 --output t.dcd --energies t.dcd", "both t.dcd"),
        ("--steps 100 --seed 1 --solvent beer --output t.dcd --energies e.csv", "obc2"),
    ],
)
def test_dynamics_refuses_bad_arguments(
    parameters: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call("dipeptide", "dynamics", parameters)
    assert ended.code == ended.report["exeErrorCode"] == 64
    assert words in str(ended.report["exeErrorDiag"])


@pytest.mark.slow
def test_dynamics_and_analysis_by_the_campaigns_parameters(tmp_path: Path) -> None:
    campaign = yaml.safe_load((ROOT / "examples/charmm/campaign.yaml").read_text())
    assert campaign["defaults"] | {"vo": "charmm", "ddm_mode": "none"} == campaign["defaults"]
    parameters = campaign["tasks"]["dynamics"]["parameters"]
    for attempt in (1, 2):
        numbers = JobNumbers(
            task_id=7, job_id=70, ordinal=0, attempt=attempt, first_event=1, n_events=1, skip_events=0, seed=36,
            inputs={}, outputs=(f"t{attempt}.dcd", f"e{attempt}.csv"),
        )  # fmt: skip
        succeed(CHARMM, "dynamics", fill(parameters, numbers), tmp_path)
    assert (tmp_path / "t1.dcd").read_bytes() == (tmp_path / "t2.dcd").read_bytes()
    assert (tmp_path / "e1.csv").read_bytes() == (tmp_path / "e2.csv").read_bytes()
    succeed(CHARMM, "analyse", "--input t1.dcd --energies e1.csv --output s.json --plot p.png", tmp_path)
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["frames"] == 100
    assert abs(summary["temperature_k"]["mean"] - 300) < 40  # 22 atoms for 10 ps
    assert 0 < summary["rmsd_angstrom"]["mean"] < 3
    assert sum(summary["basins"].values()) == pytest.approx(1.0, abs=0.001)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    ended = run(CHARMM, "analyse", "--input t1.dcd --energies s.json --output x.json", tmp_path)
    assert ended.code == 65
