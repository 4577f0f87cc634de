"""evgen: Z/gamma* -> mu mu events of proton-proton collisions from Pythia 8.

Switched on: q qbar -> Z/gamma* with full interference (`WeakSingleBoson:ffbar2gmZ`), decay to muons only, initial- and
final-state radiation (photons from muons too: the low-mass tail of the peak). Switched off: multiple parton
interactions and hadronisation, which make 95 % of an event's CPU time (12 ms against 0.4 ms) and nothing that this
analysis looks at.
Cut: m(mu mu) > 60 GeV at the hard process, which keeps the photon pole away and is below everything the fit uses.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pythia8mc

from zboson import rootfile
from zboson.transformation import (
    BAD_ARGUMENT,
    SOFTWARE,
    Arguments,
    Outcome,
    TransformationError,
    first_event,
    output_name,
    positive,
    run,
    seed,
    stdout_into,
)

MINIMUM_MASS = 60.0  # GeV
RUN_NUMBER = 601190  # ATLAS numbers the runs of simulated events by their dataset
_MAX_FAILURES = 100
_MUON = 13
_Z = 23
_MB_IN_PB = 1e9

_SETTINGS = (
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfMatch = 13 -13",
    f"PhaseSpace:mHatMin = {MINIMUM_MASS}",
    "PartonLevel:MPI = off",
    "HadronLevel:all = off",
    "Random:setSeed = on",
    "Next:numberCount = 0",
    "Next:numberShowEvent = 0",
)


def main(arguments: Sequence[str]) -> int:
    """Run the transformation; return its exit code."""
    parser = Arguments("evgen", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=positive, required=True, help="how many events to make")
    parser.add_argument("--seed", type=seed, required=True, help="random seed; the same seed makes the same events")
    parser.add_argument("--first-event", type=first_event, default=1, help="number of the first event (default 1)")
    parser.add_argument("--energy", type=float, default=13600.0, help="centre-of-mass energy in GeV (default 13600)")
    parser.add_argument("--output", type=output_name, required=True, help="name of the ROOT file to write")
    return run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> Outcome:
    if not 1000 <= options.energy <= 200_000:
        raise TransformationError(BAD_ARGUMENT, f"--energy {options.energy} GeV: give 1000 to 200000")
    with stdout_into(Path("pythia.log")):
        sample = generate(options.events, options.seed, options.first_event, options.energy)
    rootfile.write(options.output, sample, {})
    return Outcome(options.events, {options.output: options.events})


def generate(events: int, random_seed: int, first: int, energy: float) -> rootfile.Sample:
    """Make `events` events at `energy` (GeV), numbered from `first`.

    The counts are sums, so that they stay right when files are merged; divided by `generated` they are means.
    Raises TransformationError when Pythia does not start or gives up.
    """
    pythia = pythia8mc.Pythia()
    for setting in (*_SETTINGS, f"Beams:eCM = {energy}", f"Random:seed = {random_seed}"):
        if not pythia.readString(setting):
            raise TransformationError(SOFTWARE, f"this Pythia does not know {setting!r}")
    if not pythia.init():
        raise TransformationError(SOFTWARE, "Pythia did not start; its reasons are in pythia.log")
    rows = np.empty((events, 9))
    made = failed = 0
    while made < events:
        if pythia.next():
            rows[made] = _muons(pythia.event)
            made += 1
        elif (failed := failed + 1) > _MAX_FAILURES:
            raise TransformationError(SOFTWARE, f"Pythia gave up after {failed} bad events; see pythia.log")
    pythia.stat()
    sigma_pb = pythia.infoPython().sigmaGen() * _MB_IN_PB
    counts = {
        "generated": events,
        "generated_x_sigma_pb": events * sigma_pb,
        "generated_x_energy_gev": events * energy,
    }
    return rootfile.Sample(_columns(rows, first), counts)


def _muons(event: "pythia8mc.Event") -> list[float]:
    """Pick one event's numbers: px py pz E of mu- and of mu+ after radiation, and the mass of the Z/gamma*."""
    final = {particle.id(): particle for particle in event if abs(particle.id()) == _MUON and particle.isFinal()}
    mass = next(particle.m() for particle in event if particle.id() == _Z)
    numbers = [getattr(final[charge], part)() for charge in (_MUON, -_MUON) for part in ("px", "py", "pz", "e")]
    return [*numbers, mass]


def _columns(rows: npt.NDArray[np.float64], first: int) -> rootfile.Columns:
    events = len(rows)
    names = [f"{muon}_{part}" for muon in ("mum", "mup") for part in ("px", "py", "pz", "e")]
    return {
        "run": np.full(events, RUN_NUMBER, np.int32),
        "event": np.arange(first, first + events, dtype=np.int64),
        **{name: rows[:, i].astype(np.float32) for i, name in enumerate([*names, "mass_true"])},
        "weight": np.ones(events, np.float32),
    }
