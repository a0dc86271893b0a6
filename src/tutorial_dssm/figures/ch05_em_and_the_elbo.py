"""The figures of the chapter on EM; information is in nats per sequence."""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .style import (
    BLACK,
    BLUE,
    ORANGE,
    RED,
    Array,
    Series,
    as_array,
    new_figure,
    plain,
    plain_axis,
    series_styles,
)

LIKELIHOOD = "log-likelihood (nats per sequence)"


def likelihood_plane(
    f: Array,
    r: Array,
    values: Array,
    paths: Mapping[str, Sequence[tuple[float, float]]],
    truth: tuple[float, float] | None = None,
) -> Figure:
    """Log-likelihood over the transition f [G] and the noise variance r [H] as contours, values
    [H, G]; paths {name: [(f, r), ...]} on it.
    """
    f, r, values = (as_array(v) for v in (f, r, values))
    levels = values.max() - np.array([40.0, 20, 10, 5, 2, 1, 0.5, 0.2, 0.05])
    figure, axis = plain_axis(6.4, 4.2)
    axis.contour(f, r, values, levels, colors="0.65", linewidths=0.9, linestyles="solid")
    for (name, path), style in zip(paths.items(), series_styles()):
        axis.plot(*np.transpose(path), ms=4, lw=1.3, label=name, **style.marked)
    if truth is not None:
        axis.plot(*truth, "*", color=BLACK, ms=11, label="made the data")
    axis.set(xlabel="transition f", ylabel="variance r of the observation noise", yscale="log")
    axis.set(xlim=(f.min(), f.max()), ylim=(r.min(), r.max()))
    axis.legend(fontsize=8, framealpha=0.9)
    return figure


def climb(paths: Mapping[str, Array], best: float) -> Figure:
    """What is missing to the best value, over iterations, on a logarithmic axis. paths {name:
    values [K]}, best: nats.
    """
    figure, axis = plain_axis(6.4, 3.3)
    for (name, values), style in zip(paths.items(), series_styles()):
        axis.plot(best - as_array(values), lw=1.8, label=name, **style.lined)
    axis.set(xlabel="iteration (one pass over the data)", yscale="log")
    axis.set(ylabel="below the best (nats per sequence)")
    axis.legend(fontsize=9)
    return figure


def rates(
    noise: Sequence[float],
    formula: Mapping[str, Sequence[float]],
    measured: Mapping[str, Sequence[float]],
) -> Figure:
    """Share of the error that one iteration leaves, against the observation noise: from curvatures
    (lines) and measured (markers).
    """
    figure, axis = plain_axis(6.4, 3.3)
    for (name, values), style in zip(formula.items(), series_styles()):
        axis.plot(noise, values, color=style.colour, lw=1.5)
        axis.plot(noise, measured[name], ms=6, label=name, **style.points)
    axis.set(xlabel="variance r of the observation noise", xscale="log")
    axis.set(ylabel="error left by one iteration", ylim=(0, 1.03))
    axis.legend(fontsize=9)
    return figure


def two_curves(grid: Array, exact: Array, bound: Array, label: str, truth: float) -> Figure:
    """The likelihood and the best bound under a restricted posterior over one parameter; the maxima
    are marked. All [G].
    """
    grid = as_array(grid)
    curves = {"log-likelihood": exact, "best bound, q independent over time": bound}
    figure, axis = plain_axis(6.4, 3.4)
    for (name, curve), style in zip(curves.items(), series_styles()):
        values = as_array(curve)
        top = values.argmax()
        axis.plot(grid, values, lw=1.8, label=name, **style.lined)
        axis.plot(grid[top], values[top], ms=8, **style.points)
    axis.axvline(truth, color=BLACK, lw=1, ls=":", label="made the data")
    axis.set(xlabel=label, ylabel="nats per sequence")
    axis.legend(fontsize=8)
    return figure


def eigenvalues(sets: Mapping[str, Array]) -> Figure:
    """Eigenvalues of transitions in the complex plane with the unit circle; the first set as black
    stars.
    """
    angle = np.linspace(0, 2 * np.pi, 200)
    figure, axis = plain_axis(4.4, 4.2)
    axis.plot(np.cos(angle), np.sin(angle), color="0.7", lw=1)
    styles = chain([Series(BLACK, "*", "-")], series_styles())
    for (name, values), style, size in zip(sets.items(), styles, chain((13, 8), repeat(5))):
        points = as_array(values)
        axis.plot(points.real, points.imag, ms=size, label=name, **style.points)
    axis.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    axis.legend(fontsize=8, loc="center")
    return figure


def lower_bounds(
    grid: Array, exact: Array, bounds: Sequence[Array], points: Sequence[float], label: str
) -> FuncAnimation:
    """Animation: each bound touches the likelihood at the current parameter; its maximum is the
    next one.

    grid [G], exact [G], bounds: K arrays [G], points: K + 1 parameters.
    """
    grid, exact = as_array(grid), as_array(exact)
    low, high = exact.min() - 0.1 * np.ptp(exact), exact.max() + 0.08 * np.ptp(exact)
    figure = new_figure(6, 3.8, dpi=80, layout=None)
    axis = figure.subplots()
    figure.subplots_adjust(left=0.14, right=0.98, top=0.9, bottom=0.14)

    def draw(frame: int) -> list:
        """One picture of the animation."""
        k, moved = divmod(frame, 2)
        now, after, bound = points[k], points[k + 1], as_array(bounds[k])
        axis.clear()
        plain(axis)
        axis.plot(grid, exact, color=BLUE, lw=2, label="log-likelihood")
        axis.plot(grid, bound, color=ORANGE, lw=1.8, label="bound")
        axis.plot(now, np.interp(now, grid, exact), "o", color=BLUE, ms=7)
        if moved:
            axis.plot(after, np.interp(after, grid, bound), "^", color=RED, ms=8)
        step = "M-step: go to the top of the bound" if moved else "E-step: the bound touches"
        axis.set(xlabel=label, ylabel=LIKELIHOOD, ylim=(low, high), xlim=(grid[0], grid[-1]))
        axis.set_title(f"iteration {k + 1}, {step}", fontsize=10)
        axis.legend(fontsize=8, loc="lower right")
        return []

    return FuncAnimation(figure, draw, frames=2 * len(bounds), interval=900, blit=False)
