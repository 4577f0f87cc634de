"""merge: simreco files become one file with their events in order and the dimuon mass histogram `m_mumu`.

The result does not depend on the order of the inputs. With --plot also the picture and fit.json of `plot`.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from zboson import rootfile
from zboson.transformation import Arguments, Outcome, input_list, inputs_of, output_name, run

RECONSTRUCTED = [
    "run", "event", "mum_px", "mum_py", "mum_pz", "mum_e", "mup_px", "mup_py", "mup_pz", "mup_e", "mass",
    "mass_true", "weight",
]  # fmt: skip
LOW, HIGH, BINS = 60.0, 120.0, 120  # GeV, GeV, bins of 0.5 GeV


def main(arguments: Sequence[str]) -> int:
    """Run the transformation; return its exit code."""
    parser = Arguments("merge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=input_list, nargs="+", required=True, help="simreco files: a.root,b.root")
    parser.add_argument("--output", type=output_name, required=True, help="name of the ROOT file to write")
    parser.add_argument("--plot", type=output_name, help="also draw the mass peak: name of the PNG to write")
    parser.add_argument("--fit", type=output_name, default="fit.json", help="with --plot: the fit's result")
    return run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> Outcome:
    merged = rootfile.read_all(inputs_of(options.input), RECONSTRUCTED)
    outputs = {options.output: len(merged)}
    if options.plot:
        from zboson.plot import fit_and_draw

        outputs |= fit_and_draw(merged, options.plot, options.fit)
    histogram = np.histogram(merged.columns["mass"], bins=BINS, range=(LOW, HIGH))
    rootfile.write(options.output, merged, {"m_mumu": (histogram[0].astype(np.float64), histogram[1])})
    return Outcome(len(merged), outputs)
