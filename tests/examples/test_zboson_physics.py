"""The detector's numbers and the fit: pure functions, and real collisions."""

import numpy as np
import pytest
import uproot
from zboson import detector, fit
from zboson.transformation import TransformationError

from tests.examples.releases import ROOT

REAL_EVENTS = ROOT.parent / "shared/data/uproot-Zmumu.root"


def muons(pt: float, eta: float, count: int = 1) -> detector.Muons:
    return detector.Muons(np.full(count, pt), np.full(count, eta), np.zeros(count))


def test_random_numbers_belong_to_the_event_and_not_to_its_place() -> None:
    numbers = np.arange(1, 100_001)
    drawn = detector.uniform(9, numbers, 0)
    np.testing.assert_array_equal(detector.uniform(9, numbers[::-1], 0)[::-1], drawn)
    for other in (detector.uniform(10, numbers, 0), detector.uniform(9, numbers, 1), np.roll(drawn, 1)):
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.015  # 5 sigma of independent numbers
    assert 0 < drawn.min() < drawn.max() < 1
    expected = len(numbers) / 50
    assert (((np.histogram(drawn, 50, (0, 1))[0] - expected) ** 2) / expected).sum() < 100  # chi2 of 49
    normal = detector.gaussian(9, numbers, 0)
    assert abs(normal.mean()) < 0.016
    assert abs(normal.std() - 1) < 0.012


@pytest.mark.parametrize(("eta", "percent"), [(0.0, 2.3), (-1.0, 2.3), (2.3, 2.9), (-2.4, 2.9)])
def test_resolution_is_what_was_measured_at_the_z(eta: float, percent: float) -> None:
    """ATLAS, Eur. Phys. J. C 76 (2016) 292."""
    assert detector.resolution(muons(45.0, eta))[0] * 100 == pytest.approx(percent, abs=0.02)


def test_smearing_has_that_width_and_keeps_directions() -> None:
    true = muons(45.0, 0.5, 50_000)
    seen = detector.smear(true, detector.gaussian(1, np.arange(50_000), 0))
    assert (45.0 / seen.pt).std() == pytest.approx(0.023, rel=0.03)
    np.testing.assert_array_equal(seen.eta, true.eta)


@pytest.mark.parametrize(
    ("pt", "eta", "inside"),
    [(20.1, 0, True), (19.9, 0, False), (50, 2.49, True), (50, -2.49, True), (50, 2.51, False), (50, -2.51, False)],
)
def test_acceptance(pt: float, eta: float, inside: bool) -> None:
    assert detector.accepted(muons(pt, eta))[0] == inside


@pytest.mark.parametrize(("pt", "eta", "share"), [(26.9, 0.0, 0.0), (27.1, 0.0, 0.68), (27.1, 2.0, 0.85)])
def test_trigger(pt: float, eta: float, share: float) -> None:
    fired = detector.triggers(muons(pt, eta, 20_000), detector.uniform(1, np.arange(20_000), 3))
    assert fired.mean() == pytest.approx(share, abs=0.02)


def test_mass_of_two_muons_back_to_back() -> None:
    other = detector.Muons(np.array([45.6]), np.array([0.0]), np.array([np.pi]))
    assert detector.dimuon_mass(muons(45.6, 0.0), other)[0] == pytest.approx(91.2, abs=0.001)
    px, py, pz, _ = detector.to_cartesian(muons(45.6, 1.3))
    back = detector.from_cartesian(px, py, pz)
    assert (back.pt[0], back.eta[0]) == pytest.approx((45.6, 1.3))


def peak_of(seed: int, events: int, mass: float, sigma: float) -> fit.Peak:
    chance = np.random.default_rng(seed)
    z = mass + fit.Z_WIDTH / 2 * chance.standard_cauchy(events) + sigma * chance.standard_normal(events)
    below = 75.0 + chance.exponential(25.0, events // 10)
    return fit.fit_peak(np.concatenate([z, below]))


def test_fit_finds_what_was_put_in_with_honest_errors() -> None:
    peaks = [peak_of(seed, 5000, 91.19, 1.6) for seed in range(40)]
    pulls = np.array([(peak.mass - 91.19) / peak.mass_error for peak in peaks])
    widths = np.array([(peak.sigma - 1.6) / peak.sigma_error for peak in peaks])
    for values in (pulls, widths):
        assert abs(values.mean()) < 0.6
        assert 0.65 < values.std() < 1.4
    assert 0.85 < np.mean([peak.chi2 / peak.ndf for peak in peaks]) < 1.15


def test_a_fitted_curve_holds_the_events_of_its_window() -> None:
    peak = peak_of(1, 5000, 91.19, 1.6)
    total, background = fit.curves(peak, np.linspace(peak.low, peak.high, 65))
    assert total.sum() == pytest.approx(peak.n_events, rel=0.01)
    assert (background < total).all()


def test_too_few_events_are_not_fitted() -> None:
    with pytest.raises(TransformationError, match="too few to fit"):
        fit.fit_peak(np.full(99, 91.0))
    with pytest.raises(TransformationError, match="0 events"):
        fit.fit_peak(np.array([]))


@pytest.mark.skipif(not REAL_EVENTS.exists(), reason="the folder with real collision events is not beside this tree")
def test_fit_finds_the_z_in_real_collisions() -> None:
    with uproot.open(REAL_EVENTS) as file:
        columns = file["events"].arrays(["Run", "Event", "M"], library="np")
    _, first = np.unique(np.stack([columns["Run"], columns["Event"]]), axis=1, return_index=True)
    peak = fit.fit_peak(np.asarray(columns["M"][first], float))  # the sample holds an event once per kind of muon
    assert abs(peak.mass - 91.2) < 1.0
    assert 0.5 < peak.sigma < 3.0
    assert peak.signal > 5 * peak.background
