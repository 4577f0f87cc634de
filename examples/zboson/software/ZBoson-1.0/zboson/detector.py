"""A parametrised ATLAS-like muon detector: pure functions of the event and of counted random numbers.

Numbers, for muons of Z decays:
- momentum: sigma(pT)/pT = a (+) b pT. a is chosen so that sigma is 2.3 % in the centre and 2.9 % at |eta| > 2.2 at
  pT = 45 GeV (ATLAS, Eur. Phys. J. C 76 (2016) 292); b = 10 % at 1 TeV, the muon spectrometer's design value (ATLAS
  TDR, CERN-LHCC-99-14). Between |eta| = 1.05 and 2.2 a runs linearly. Directions are taken as exact.
- reconstruction: 99 % for |eta| < 2.5 (same paper).
- single-muon trigger, for pT > 27 GeV: 68 % in the barrel, |eta| < 1.05, and 85 % in the end-caps (ATLAS,
  JINST 15 (2020) P09015). One muon that fires is enough.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint64]

MUON_MASS = 0.1056583755  # GeV
MAX_ETA = 2.5
BARREL_ETA, FORWARD_ETA = 1.05, 2.2
MIN_PT, MIN_TRIGGER_PT = 20.0, 27.0  # GeV
CONSTANT_CENTRE, CONSTANT_FORWARD, LINEAR = 0.02255, 0.02865, 1.0e-4  # a, a, b in 1/GeV
RECONSTRUCTION = 0.99
TRIGGER_BARREL, TRIGGER_ENDCAP = 0.68, 0.85

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Muons:
    """One muon of each event: transverse momentum (GeV), pseudorapidity, azimuth."""

    pt: Array
    eta: Array
    phi: Array


def uniform(seed: int, event: Numbers, draw: int) -> Array:
    """Give a random number in (0, 1) per event, a function of (seed, event number, draw) and nothing else.

    So an event is smeared alike in whatever file, job or attempt it is processed. A counter-based generator: the
    finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) over the three counters in turn.
    """
    word: Words = np.zeros(len(event), np.uint64)
    for counter in (np.uint64(seed), event.astype(np.uint64), np.uint64(draw)):
        word = _mix((word ^ counter) + _GOLDEN)
    return (np.asarray(word >> np.uint64(11), np.float64) + 0.5) * 2.0**-53


def _mix(word: Words) -> Words:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def gaussian(seed: int, event: Numbers, draw: int) -> Array:
    """Give a standard normal number per event (Box and Muller, of draws `draw` and `draw + 1`)."""
    radius = np.sqrt(-2.0 * np.log(uniform(seed, event, draw)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniform(seed, event, draw + 1)))


def from_cartesian(px: Array, py: Array, pz: Array) -> Muons:
    """Turn momenta (GeV) into pT, eta, phi."""
    pt = np.hypot(px, py)
    return Muons(pt, np.arcsinh(pz / np.maximum(pt, 1e-12)), np.arctan2(py, px))


def to_cartesian(muons: Muons) -> tuple[Array, Array, Array, Array]:
    """Turn pT, eta, phi into px, py, pz, E of muons (GeV)."""
    px, py, pz = muons.pt * np.cos(muons.phi), muons.pt * np.sin(muons.phi), muons.pt * np.sinh(muons.eta)
    return px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + MUON_MASS**2)


def resolution(muons: Muons) -> Array:
    """Give sigma(pT)/pT of each muon."""
    constant = np.interp(np.abs(muons.eta), (BARREL_ETA, FORWARD_ETA), (CONSTANT_CENTRE, CONSTANT_FORWARD))
    return np.asarray(np.hypot(constant, LINEAR * muons.pt))


def smear(muons: Muons, normal: Array) -> Muons:
    """Measure the muons: the error is Gaussian in the curvature 1/pT, as in a magnetic spectrometer."""
    return Muons(muons.pt / np.maximum(1.0 + resolution(muons) * normal, 0.1), muons.eta, muons.phi)


def accepted(muons: Muons) -> Flags:
    """Tell which muons lie in the detector and above the analysis' threshold."""
    return np.asarray((np.abs(muons.eta) < MAX_ETA) & (muons.pt > MIN_PT))


def reconstructed(draw: Array) -> Flags:
    """Tell which muons are found, from a uniform number each."""
    return np.asarray(draw < RECONSTRUCTION)


def triggers(muons: Muons, draw: Array) -> Flags:
    """Tell which muons fire the single-muon trigger, from a uniform number each."""
    efficiency = np.where(np.abs(muons.eta) < BARREL_ETA, TRIGGER_BARREL, TRIGGER_ENDCAP)
    return np.asarray((muons.pt > MIN_TRIGGER_PT) & (draw < efficiency))


def dimuon_mass(one: Muons, other: Muons) -> Array:
    """Give the invariant mass (GeV) of two muons per event."""
    pairs = zip(to_cartesian(one), to_cartesian(other), strict=True)
    px, py, pz, energy = (first + second for first, second in pairs)
    return np.asarray(np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0)))
