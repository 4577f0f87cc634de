"""simreco: what a detector would see of generated events. Its numbers and their sources: zboson/detector.py.

Both muons must lie in |eta| < 2.5 with pT > 20 GeV and be found, and one with pT > 27 GeV must fire the trigger. The
random numbers depend on the seed and the event number only: events are the same however files are split over jobs.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from zboson import detector, rootfile
from zboson.transformation import Arguments, Outcome, input_list, inputs_of, output_name, run, seed

_GENERATED = [
    "run", "event", "mum_px", "mum_py", "mum_pz", "mup_px", "mup_py", "mup_pz", "mass_true", "weight",
]  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run the transformation; return its exit code."""
    parser = Arguments("simreco", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=input_list, nargs="+", required=True, help="evgen files: a.root,b.root")
    parser.add_argument("--seed", type=seed, required=True, help="random seed of the detector")
    parser.add_argument("--output", type=output_name, required=True, help="name of the ROOT file to write")
    return run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> Outcome:
    generated = rootfile.read_all(inputs_of(options.input), _GENERATED)
    seen = observe(generated, options.seed)
    rootfile.write(options.output, seen, {})
    return Outcome(len(generated), {options.output: len(seen)})


def observe(generated: rootfile.Sample, random_seed: int) -> rootfile.Sample:
    """Smear and select events; the counts of the sample say what each cut left over."""
    columns = {key: np.asarray(column, np.float64) for key, column in generated.columns.items() if "_p" in key}
    event = np.asarray(generated.columns["event"], np.int64)
    pair = []
    inside: detector.Flags = np.ones(len(event), bool)
    found: detector.Flags = inside
    fired: detector.Flags = ~inside
    for draw, muon in ((0, "mum"), (10, "mup")):  # ten draws are set aside for each muon
        true = detector.from_cartesian(*(columns[f"{muon}_{part}"] for part in ("px", "py", "pz")))
        seen = detector.smear(true, detector.gaussian(random_seed, event, draw))
        inside = inside & detector.accepted(seen)
        found = found & detector.reconstructed(detector.uniform(random_seed, event, draw + 2))
        fired = fired | detector.triggers(seen, detector.uniform(random_seed, event, draw + 3))
        pair.append(seen)
    cuts = {"accepted": inside, "reconstructed": inside & found, "triggered": inside & found & fired}
    counts = generated.counts | {name: float(np.count_nonzero(passed)) for name, passed in cuts.items()}
    return rootfile.Sample(_columns(generated, pair, cuts["triggered"]), counts)


def _columns(generated: rootfile.Sample, pair: Sequence[detector.Muons], kept: detector.Flags) -> rootfile.Columns:
    columns = {key: generated.columns[key] for key in ("run", "event")}
    for muon, seen in zip(("mum", "mup"), pair, strict=True):
        for part, values in zip(("px", "py", "pz", "e"), detector.to_cartesian(seen), strict=True):
            columns[f"{muon}_{part}"] = values.astype(np.float32)
    columns["mass"] = detector.dimuon_mass(*pair).astype(np.float32)
    columns |= {key: generated.columns[key] for key in ("mass_true", "weight")}
    return {key: column[kept] for key, column in columns.items()}
