"""plot: the dimuon mass of merged files, its fit, and the picture of both.

Writes the picture (PNG) and fit.json: mass_gev, mass_error_gev, sigma_gev, n_events, chi2, ndf and more.
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np

from zboson import fit, picture, rootfile
from zboson.transformation import Arguments, Outcome, input_list, inputs_of, output_name, replace_file, run


def main(arguments: Sequence[str]) -> int:
    """Run the transformation; return its exit code."""
    parser = Arguments("plot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=input_list, nargs="+", required=True, help="merged files: a.root,b.root")
    parser.add_argument("--output", type=output_name, required=True, help="name of the PNG to write")
    parser.add_argument("--fit", type=output_name, default="fit.json", help="the fit's result (default fit.json)")
    return run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> Outcome:
    merged = rootfile.read_all(inputs_of(options.input), ["run", "event", "mass"])
    return Outcome(len(merged), fit_and_draw(merged, options.output, options.fit))


def fit_and_draw(merged: rootfile.Sample, png: str, result: str) -> dict[str, int]:
    """Fit the mass of `merged`, write picture and result; return the events in each file written."""
    masses = np.asarray(merged.columns["mass"], np.float64)
    peak = fit.fit_peak(masses)
    replace_file(png, picture.draw(masses, peak, origin(merged.counts)))
    replace_file(result, (json.dumps(as_json(peak), indent=1) + "\n").encode())
    return {png: len(merged), result: peak.n_events}


def origin(counts: dict[str, float]) -> str:
    """Say where events come from, with the means over their generated events of energy and cross section."""
    generated = counts.get("generated", 0.0)
    if not generated:
        return "data"
    tev = counts["generated_x_energy_gev"] / generated / 1000.0
    nb = counts["generated_x_sigma_pb"] / generated / 1000.0
    return rf"$\sqrt{{s}}$ = {tev:g} TeV, Pythia 8, $\sigma_{{tot}}$ = {nb:.2f} nb"


def as_json(peak: fit.Peak) -> dict[str, object]:
    """Say a fitted peak in the words of fit.json."""
    return {
        "mass_gev": round(peak.mass, 5),
        "mass_error_gev": round(peak.mass_error, 5),
        "sigma_gev": round(peak.sigma, 5),
        "sigma_error_gev": round(peak.sigma_error, 5),
        "width_gev": fit.Z_WIDTH,
        "n_events": peak.n_events,
        "n_signal": round(peak.signal, 1),
        "chi2": round(peak.chi2, 3),
        "ndf": peak.ndf,
        "window_gev": [peak.low, peak.high],
    }
