"""The fit of a dimuon mass peak: a Breit-Wigner as the detector widens it (Voigt), on a falling exponential.

The natural width is fixed to the world average, so that the Gaussian part measures the detector's resolution. The
exponential takes what the Voigt does not know: the virtual photon, the interference, radiated photons, background.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import voigt_profile, xlogy

from zboson.transformation import BAD_DATA, TransformationError

Array: TypeAlias = npt.NDArray[np.float64]

Z_WIDTH = 2.4955  # GeV (Particle Data Group 2024)
MINIMUM_EVENTS = 100
WINDOW = (75.0, 107.0)  # GeV
BIN_WIDTH = 0.5  # GeV


@dataclass(frozen=True, slots=True)
class Peak:
    """A fitted peak: position and detector resolution in GeV, events above and in the exponential, goodness of fit.

    `slope` is the exponential's, in 1/GeV; `chi2` is that of Baker and Cousins (Nucl. Instrum. Meth. 221 (1984) 437).
    """

    mass: float
    mass_error: float
    sigma: float
    sigma_error: float
    signal: float
    background: float
    slope: float
    n_events: int
    chi2: float
    ndf: int
    low: float
    high: float


def fit_peak(masses: Array, window: tuple[float, float] = WINDOW, bin_width: float = BIN_WIDTH) -> Peak:
    """Fit the peak of `masses` (GeV) inside `window` by binned Poisson likelihood.

    Raises TransformationError (BAD_DATA) for fewer than MINIMUM_EVENTS events there, or when the fit does not converge.
    """
    low, high = window
    edges = np.linspace(low, high, round((high - low) / bin_width) + 1)
    counts = np.histogram(masses, edges)[0].astype(np.float64)
    total = float(counts.sum())
    if total < MINIMUM_EVENTS:
        raise TransformationError(
            BAD_DATA, f"{total:.0f} events from {low:g} to {high:g} GeV are too few to fit; give {MINIMUM_EVENTS}"
        )
    top = float(np.clip(edges[np.argmax(counts)], low + 5, high - 5))
    start = np.array([top, 1.6, np.log(0.9 * total), np.log(0.1 * total), -0.03])
    bounds = ([low, 0.05, 0.0, -20.0, -0.5], [high, 10.0, 30.0, 30.0, 0.5])
    result = least_squares(_deviations, start, bounds=bounds, x_scale=[1, 1, 0.1, 1, 0.1], args=(edges, counts))
    if not result.success:
        raise TransformationError(BAD_DATA, f"the fit of the mass peak does not converge: {result.message}")
    # The deviations' squares add up to twice the log likelihood ratio, whose curvature is the inverse covariance.
    error = np.sqrt(np.diag(np.linalg.pinv(result.jac.T @ result.jac)))
    mass, sigma, signal, background, slope = (float(value) for value in result.x)
    return Peak(
        mass=mass, mass_error=float(error[0]), sigma=sigma, sigma_error=float(error[1]),
        signal=float(np.exp(signal)), background=float(np.exp(background)), slope=slope,
        n_events=int(total), chi2=float(2.0 * result.cost), ndf=len(counts) - len(start), low=low, high=high,
    )  # fmt: skip


def curves(peak: Peak, edges: Array) -> tuple[Array, Array]:
    """Give the expected events in each bin of `edges`: in all, and in the exponential alone."""
    background = peak.background * _exponential(peak.slope, edges, peak.low, peak.high)
    return peak.signal * _voigt(peak.mass, peak.sigma, edges, peak.low, peak.high) + background, background


def deviations(counts: Array, expected: Array) -> Array:
    """Give each bin's pull: the signed root of twice its Poisson log likelihood ratio to a perfect model."""
    expected = np.maximum(expected, 1e-9)
    terms = expected - counts + xlogy(counts, counts / expected)
    return np.asarray(np.sign(counts - expected) * np.sqrt(2.0 * np.maximum(terms, 0.0)))


def _deviations(parameters: Array, edges: Array, counts: Array) -> Array:
    mass, sigma, signal, background, slope = parameters
    shape = np.exp(signal) * _voigt(mass, sigma, edges, edges[0], edges[-1])
    return deviations(counts, shape + np.exp(background) * _exponential(slope, edges, edges[0], edges[-1]))


def _voigt(mass: float, sigma: float, edges: Array, low: float, high: float) -> Array:
    """Integrate the Voigt profile over bins (Simpson), normalised to one in the window."""
    return _simpson(edges, mass, sigma) / _simpson(np.linspace(low, high, 201), mass, sigma).sum()


def _simpson(edges: Array, mass: float, sigma: float) -> Array:
    at_edges = voigt_profile(edges - mass, sigma, Z_WIDTH / 2.0)
    at_centres = voigt_profile((edges[1:] + edges[:-1]) / 2.0 - mass, sigma, Z_WIDTH / 2.0)
    return np.asarray(np.diff(edges) * (at_edges[1:] + at_edges[:-1] + 4.0 * at_centres) / 6.0)


def _exponential(slope: float, edges: Array, low: float, high: float) -> Array:
    """Integrate exp(slope m) over bins, normalised to one in the window."""
    if abs(slope) < 1e-9:
        return np.asarray(np.diff(edges) / (high - low))
    # expm1 keeps small slopes exact; measured from the middle so that nothing overflows.
    middle = (low + high) / 2.0
    integral = np.expm1(slope * (edges - middle))
    ends = np.expm1(slope * (np.array([low, high]) - middle))
    return np.asarray(np.diff(integral) / (ends[1] - ends[0]))
