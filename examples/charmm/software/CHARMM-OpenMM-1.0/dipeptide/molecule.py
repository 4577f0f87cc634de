"""The molecule: alanine dipeptide, the `ALAD` residue of CHARMM36, its atoms in order and a starting geometry.

Peptide chemistry's hydrogen atom: two torsion angles, phi and psi, say nearly all of its shape. The geometry is built
from textbook bond lengths (angstrom) and angles (degrees), and is minimised before it moves.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

START_PHI, START_PSI = -80.0, 80.0  # degrees: near C7eq, the minimum in vacuum


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an atom sits: `length` from `bond`, at `angle` to `hinge`, turned by `torsion` against `pivot`."""

    name: str
    element: str
    bond: str = ""
    length: float = 0.0
    hinge: str = ""
    angle: float = 0.0
    pivot: str = ""
    torsion: float = 0.0


def _methyl(carbon: str, hinge: str, pivot: str, hydrogens: str) -> list[Placement]:
    return [
        Placement(f"{hydrogens}{i + 1}", "H", carbon, 1.11, hinge, 109.5, pivot, 60.0 + 120.0 * i) for i in range(3)
    ]


# Left: acetyl (L); middle: alanine; right: N-methyl amide (R). CB is at phi - 120: an L amino acid.
ATOMS = (
    Placement("CL", "C"),
    Placement("CLP", "C", "CL", 1.52),
    Placement("NL", "N", "CLP", 1.335, "CL", 116.5),
    Placement("CA", "C", "NL", 1.45, "CLP", 122.0, "CL", 180.0),
    Placement("OL", "O", "CLP", 1.23, "NL", 123.0, "CA", 0.0),
    Placement("HL", "H", "NL", 1.0, "CLP", 119.0, "CL", 0.0),
    *_methyl("CL", "CLP", "NL", "HL"),
    Placement("CRP", "C", "CA", 1.52, "NL", 111.0, "CLP", START_PHI),
    Placement("CB", "C", "CA", 1.54, "NL", 110.0, "CLP", START_PHI - 120.0),
    Placement("HA", "H", "CA", 1.08, "NL", 108.0, "CLP", START_PHI + 120.0),
    *_methyl("CB", "CA", "NL", "HB"),
    Placement("NR", "N", "CRP", 1.335, "CA", 116.5, "NL", START_PSI),
    Placement("OR", "O", "CRP", 1.23, "CA", 121.0, "NL", START_PSI + 180.0),
    Placement("CR", "C", "NR", 1.45, "CRP", 122.0, "CA", 180.0),
    Placement("HR", "H", "NR", 1.0, "CRP", 119.0, "CA", 0.0),
    *_methyl("CR", "NR", "CRP", "HR"),
)
NAMES = tuple(atom.name for atom in ATOMS)
PHI = tuple(NAMES.index(name) for name in ("CLP", "NL", "CA", "CRP"))
PSI = tuple(NAMES.index(name) for name in ("NL", "CA", "CRP", "NR"))
HEAVY = tuple(index for index, atom in enumerate(ATOMS) if atom.element != "H")


def geometry() -> npt.NDArray[np.float64]:
    """Give the starting coordinates in angstrom, one row per atom of ATOMS."""
    placed: dict[str, npt.NDArray[np.float64]] = {}
    for atom in ATOMS:
        placed[atom.name] = _place(atom, placed)
    return np.array([placed[name] for name in NAMES])


def _place(atom: Placement, placed: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    if not atom.bond:
        return np.zeros(3)
    origin = placed[atom.bond]
    hinge = placed[atom.hinge] if atom.hinge else origin + np.array([1.0, 0.0, 0.0])
    pivot = placed[atom.pivot] if atom.pivot else hinge + np.array([0.0, 1.0, 0.0])
    along = _unit(origin - hinge)
    normal = _unit(np.cross(hinge - pivot, along))
    angle, torsion = np.radians(atom.angle), np.radians(atom.torsion)
    step = np.array([-np.cos(angle), np.sin(angle) * np.cos(torsion), np.sin(angle) * np.sin(torsion)])
    return origin + atom.length * (step @ np.array([along, np.cross(normal, along), normal]))


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def torsion(frames: npt.NDArray[np.float64], atoms: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Give the torsion angle (degrees, IUPAC sign) of four atoms in each frame; frames are (frame, atom, xyz)."""
    one, two, three, four = (frames[:, index] for index in atoms)
    axis = three - two
    axis = axis / np.linalg.norm(axis, axis=1)[:, None]
    before, after = one - two, four - three
    before = before - (before * axis).sum(axis=1)[:, None] * axis
    after = after - (after * axis).sum(axis=1)[:, None] * axis
    sine = (np.cross(axis, before) * after).sum(axis=1)
    return np.asarray(np.degrees(np.arctan2(sine, (before * after).sum(axis=1))))


def rmsd(frames: npt.NDArray[np.float64], atoms: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Give each frame's root mean square deviation from the first after the best rotation (Kabsch), in its own unit."""
    chosen = frames[:, atoms] - frames[:, atoms].mean(axis=1)[:, None]
    first = chosen[0]
    left, singular, right = np.linalg.svd(np.einsum("fai,aj->fij", chosen, first))
    singular[:, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))
    squares = (chosen**2).sum(axis=(1, 2)) + (first**2).sum() - 2.0 * singular.sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / len(atoms)))
