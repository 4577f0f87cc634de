"""The picture of a dimuon mass peak: data with errors, fitted curve, pulls. Draws, and decides nothing."""

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from zboson.fit import BIN_WIDTH, Z_WIDTH, Peak, curves, deviations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array: TypeAlias = npt.NDArray[np.float64]

LOW, HIGH = 60.0, 120.0  # GeV
_INK, _QUIET, _CURVE, _FILL, _RULE = "#1b1f24", "#6b7480", "#c8442f", "#f3b5a5", "#d9dee4"
_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 11, "text.color": _INK, "axes.labelcolor": _INK,
    "axes.edgecolor": _QUIET, "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.color": _QUIET, "ytick.color": _QUIET, "xtick.labelcolor": _INK, "ytick.labelcolor": _INK,
    "mathtext.fontset": "dejavusans", "savefig.facecolor": "white",
}  # fmt: skip
_MARGINS = {"hspace": 0.06, "left": 0.095, "right": 0.965, "top": 0.965, "bottom": 0.085}


def draw(masses: Array, peak: Peak, origin: str) -> bytes:
    """Draw the picture and return it as PNG; `origin` says in a line where the events come from.

    The same arguments give the same bytes.
    """
    with tempfile.TemporaryDirectory(prefix=".matplotlib-", dir=Path.cwd()) as folder:
        os.environ["MPLCONFIGDIR"] = folder  # its caches belong to the job's folder, and go with it
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with rc_context(_STYLE):
            figure = Figure(figsize=(8.0, 6.4), dpi=150)
            canvas = FigureCanvasAgg(figure)
            upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1], **_MARGINS})
            edges = np.linspace(LOW, HIGH, round((HIGH - LOW) / BIN_WIDTH) + 1)
            counts = np.histogram(masses, edges)[0].astype(np.float64)
            _draw_spectrum(upper, edges, counts, peak)
            _draw_words(upper, peak, origin)
            _draw_pulls(lower, edges, counts, peak)
            png = io.BytesIO()
            canvas.print_png(png, metadata={"Software": None})
    return png.getvalue()


def _draw_spectrum(axes: "Axes", edges: Array, counts: Array, peak: Peak) -> None:
    centres = (edges[1:] + edges[:-1]) / 2.0
    fine = np.linspace(peak.low, peak.high, 641)
    middle, per_bin = (fine[1:] + fine[:-1]) / 2.0, BIN_WIDTH / (fine[1] - fine[0])
    total, background = (per_bin * curve for curve in curves(peak, fine))
    axes.fill_between(middle, background, total, color=_FILL, alpha=0.45, linewidth=0)
    axes.plot(middle, total, color=_CURVE, linewidth=2.0, label="Breit-Wigner ⊗ Gauss\n+ exponential")
    axes.plot(middle, background, color=_QUIET, linewidth=1.2, linestyle=(0, (4, 3)), label="exponential")
    axes.errorbar(
        centres, counts, np.sqrt(counts), fmt="o", color=_INK, markersize=3.2, linewidth=0.9, label="events", zorder=3
    )
    axes.set_ylim(0, 1.12 * float((counts + np.sqrt(counts)).max()))
    axes.set_ylabel(f"Events / {BIN_WIDTH:g} GeV")
    axes.grid(axis="y", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper right", frameon=False, labelspacing=0.7, borderaxespad=0.1)


def _draw_words(axes: "Axes", peak: Peak, origin: str) -> None:
    process = r"$pp \rightarrow Z/\gamma^{*} \rightarrow \mu^{+}\mu^{-}$"
    axes.text(0.025, 0.975, process, transform=axes.transAxes, va="top", fontsize=15)
    axes.text(0.025, 0.895, origin, transform=axes.transAxes, va="top", color=_QUIET)
    numbers = (
        f"$m$ = {peak.mass:.3f} ± {peak.mass_error:.3f} GeV\n"
        f"$\\sigma$ = {peak.sigma:.2f} ± {peak.sigma_error:.2f} GeV   ($\\Gamma$ = {Z_WIDTH:.3f})\n"
        f"$\\chi^2$ / ndf = {peak.chi2:.1f} / {peak.ndf}\n"
        f"{peak.n_events:,} events in {peak.low:g} to {peak.high:g} GeV"
    )
    axes.text(0.025, 0.82, numbers, transform=axes.transAxes, va="top", linespacing=1.6)


def _draw_pulls(axes: "Axes", edges: Array, counts: Array, peak: Peak) -> None:
    inside: Array = (edges[:-1] >= peak.low - 1e-9) & (edges[1:] <= peak.high + 1e-9)
    centres = ((edges[1:] + edges[:-1]) / 2.0)[inside]
    window: Array = np.append(edges[:-1][inside], peak.high)
    pulls = deviations(counts[inside], curves(peak, window)[0])
    axes.axhspan(-1, 1, color=_RULE, alpha=0.5, linewidth=0)
    axes.bar(centres, pulls, width=0.8 * BIN_WIDTH, color=_CURVE, alpha=0.75, linewidth=0)
    axes.axhline(0, color=_QUIET, linewidth=0.8)
    axes.set_ylim(-4, 4)
    axes.set_yticks([-3, 0, 3])
    axes.set_ylabel("Pull")
    axes.set_xlim(LOW, HIGH)
    axes.set_xlabel(r"$m_{\mu\mu}$  [GeV]")
