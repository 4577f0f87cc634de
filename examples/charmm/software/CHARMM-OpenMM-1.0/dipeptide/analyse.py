"""analyse: what a trajectory of alanine dipeptide was like: temperature, energy, shape.

Writes a JSON summary: means with errors, the share of time in each basin of the (phi, psi) plane, the RMSD from the
first frame; with --plot also the plane itself.
"""

import argparse
import csv
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dipeptide import molecule, trajectory
from dipeptide.transformation import (
    BAD_DATA,
    Arguments,
    Outcome,
    TransformationError,
    input_list,
    inputs_of,
    output_name,
    replace_file,
    run,
)

_BLOCKS = 5
_COLUMNS = ["time_ps", "potential_kj_mol", "kinetic_kj_mol", "temperature_k"]


def main(arguments: Sequence[str]) -> int:
    """Run the transformation; return its exit code."""
    parser = Arguments("analyse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=input_list, nargs="+", required=True, help="trajectories: a.dcd,b.dcd")
    parser.add_argument("--energies", type=input_list, nargs="+", required=True, help="their tables, in the same order")
    parser.add_argument("--output", type=output_name, required=True, help="name of the JSON summary to write")
    parser.add_argument("--plot", type=output_name, help="also draw the (phi, psi) plane: name of the PNG")
    return run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> Outcome:
    frames = [trajectory.read(path, len(molecule.ATOMS)) for path in inputs_of(options.input)]
    tables = [_table(path) for path in inputs_of(options.energies)]
    lengths = [len(one) for one in frames], [len(one) for one in tables]
    if lengths[0] != lengths[1]:
        raise TransformationError(BAD_DATA, f"trajectories of {lengths[0]} frames, but tables of {lengths[1]} lines")
    summary = summarise(np.concatenate(frames), np.concatenate(tables))
    replace_file(options.output, (json.dumps(summary, indent=1) + "\n").encode())
    count = sum(lengths[0])
    outputs = {options.output: count}
    if options.plot:
        replace_file(options.plot, _draw(np.concatenate(frames)))
        outputs[options.plot] = count
    return Outcome(count, outputs)


def _table(path: Path) -> npt.NDArray[np.float64]:
    try:
        head, *lines = csv.reader(path.read_text().splitlines())
        table = np.array([[float(cell) for cell in line] for line in lines]).reshape(-1, len(_COLUMNS))
    except ValueError as failure:
        raise TransformationError(BAD_DATA, f"input {path} is not a readable energy table: {failure}") from failure
    if head != _COLUMNS or not np.isfinite(table).all():
        raise TransformationError(BAD_DATA, f"input {path} is not a table of the numbers {','.join(_COLUMNS)}")
    return table


def summarise(frames: npt.NDArray[np.float64], table: npt.NDArray[np.float64]) -> dict[str, object]:
    """Summarise frames (angstrom) and their energy table in the words of the JSON file."""
    phi, psi = molecule.torsion(frames, molecule.PHI), molecule.torsion(frames, molecule.PSI)
    return {
        "frames": len(frames),
        "temperature_k": _mean(table[:, 3]),
        "potential_kj_mol": _mean(table[:, 1]),
        "rmsd_angstrom": _mean(molecule.rmsd(frames, molecule.HEAVY)),
        "basins": {name: round(float(np.mean(inside)), 4) for name, inside in basins(phi, psi).items()},
    }


def _mean(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Give a mean and its error, from blocks of neighbours in time, which are alike; no error below 5 frames."""
    error = None
    if len(values) >= _BLOCKS:
        means = [float(block.mean()) for block in np.array_split(values, _BLOCKS)]
        error = round(float(np.std(means, ddof=1)) / _BLOCKS**0.5, 4)
    return {"mean": round(float(values.mean()), 4), "error": error}


def basins(phi: npt.NDArray[np.float64], psi: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.bool_]]:
    """Tell which frames lie where in the (phi, psi) plane (degrees): extended, right- and left-handed helix."""
    left = (phi > 0) & (phi < 120)
    helix = (psi > -100) & (psi < 45)
    return {"extended": ~left & ~helix, "helix_right": ~left & helix, "helix_left": left}


def _draw(frames: npt.NDArray[np.float64]) -> bytes:
    phi, psi = molecule.torsion(frames, molecule.PHI), molecule.torsion(frames, molecule.PSI)
    with tempfile.TemporaryDirectory(prefix=".matplotlib-", dir=Path.cwd()) as folder:
        os.environ["MPLCONFIGDIR"] = folder  # its caches belong to the job's folder, and go with it
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.4, 5.0), dpi=150, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        points = axes.scatter(phi, psi, c=np.arange(len(phi)), s=9, cmap="viridis", linewidths=0)
        figure.colorbar(points, ax=axes, label="frame")
        axes.set(xlim=(-180, 180), ylim=(-180, 180), xlabel=r"$\phi$ [degrees]", ylabel=r"$\psi$ [degrees]")
        axes.set(xticks=range(-180, 181, 90), yticks=range(-180, 181, 90), aspect="equal")
        axes.grid(color="#d9dee4", linewidth=0.6)
        axes.set_title("Alanine dipeptide, CHARMM36", fontsize=11)
        png = io.BytesIO()
        canvas.print_png(png, metadata={"Software": None})
    return png.getvalue()
