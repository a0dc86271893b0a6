"""The figures of the chapter on EM: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008). Information is in nats per sequence. No function trains,
shows or saves anything, and none touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .style import BLACK, BLUE, CYCLE, ORANGE, RED, as_array, plain_axes

LIKELIHOOD = "log-likelihood (nats per sequence)"


def likelihood_plane(
    f,
    r,
    values,
    paths: Mapping[str, Sequence[tuple[float, float]]],
    truth: tuple[float, float] | None = None,
) -> Figure:
    """Log-likelihood over the transition f [G] and the noise variance r [H] as contours, values [H,
    G]; paths {name: [(f, r), ...]} on it.
    """
    values = as_array(values)
    figure, axes = plain_axes(1, 1, 6.4, 4.2)
    axis, top = axes[0, 0], values.max()
    levels = top - np.array([40.0, 20, 10, 5, 2, 1, 0.5, 0.2, 0.05])
    axis.contour(
        as_array(f),
        as_array(r),
        values,
        levels=levels,
        colors="0.65",
        linewidths=0.9,
        linestyles="solid",
    )
    for (name, path), colour, marker in zip(paths.items(), CYCLE, "os^"):
        axis.plot(*np.transpose(path), marker + "-", color=colour, ms=4, lw=1.3, label=name)
    if truth is not None:
        axis.plot(*truth, "*", color=BLACK, ms=11, label="made the data")
    axis.set(xlabel="transition f", ylabel="variance r of the observation noise", yscale="log")
    axis.set_xlim(as_array(f).min(), as_array(f).max())
    axis.set_ylim(as_array(r).min(), as_array(r).max())
    axis.legend(fontsize=8, framealpha=0.9)
    return figure


def climb(paths: Mapping[str, Sequence[float]], best: float) -> Figure:
    """What is missing to the best value, over iterations, on a logarithmic axis. paths {name:
    values [K]}, best: nats.
    """
    figure, axes = plain_axes(1, 1, 6.4, 3.3)
    for (name, values), colour in zip(paths.items(), CYCLE):
        axes[0, 0].plot(best - as_array(values), color=colour, lw=1.8, label=name)
    axes[0, 0].set(
        xlabel="iteration (one pass over the data)",
        ylabel="below the best (nats per sequence)",
        yscale="log",
    )
    axes[0, 0].legend(fontsize=9)
    return figure


def rates(
    noise, formula: Mapping[str, Sequence[float]], measured: Mapping[str, Sequence[float]]
) -> Figure:
    """Share of the error that one iteration leaves, against the observation noise: from curvatures
    (lines) and measured (markers).
    """
    figure, axes = plain_axes(1, 1, 6.4, 3.3)
    for (name, values), colour, marker in zip(formula.items(), CYCLE, "osD^"):
        axes[0, 0].plot(noise, values, color=colour, lw=1.5)
        axes[0, 0].plot(noise, measured[name], marker, color=colour, ms=6, label=name)
    axes[0, 0].set(
        xlabel="variance r of the observation noise",
        ylabel="error left by one iteration",
        xscale="log",
        ylim=(0, 1.03),
    )
    axes[0, 0].legend(fontsize=9)
    return figure


def two_curves(grid, exact, bound, label: str, truth: float) -> Figure:
    """The likelihood and the best bound under a restricted posterior over one parameter; the maxima
    are marked. All [G].
    """
    grid, curves = (
        as_array(grid),
        {"log-likelihood": as_array(exact), "best bound, q independent over time": as_array(bound)},
    )
    figure, axes = plain_axes(1, 1, 6.4, 3.4)
    axis = axes[0, 0]
    for (name, values), colour in zip(curves.items(), (BLUE, RED)):
        k = values.argmax()
        axis.plot(grid, values, color=colour, lw=1.8, label=name)
        axis.plot(grid[k], values[k], "o", color=colour, ms=8)
    axis.axvline(truth, color=BLACK, lw=1, ls="--", label="made the data")
    axis.set(xlabel=label, ylabel="nats per sequence")
    axis.legend(fontsize=8)
    return figure


def eigenvalues(sets: Mapping[str, Sequence[complex]]) -> Figure:
    """Eigenvalues of transitions in the complex plane with the unit circle."""
    figure, axes = plain_axes(1, 1, 4.4, 4.2)
    axis, angle = axes[0, 0], np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(angle), np.sin(angle), color="0.7", lw=1)
    for (name, values), colour, marker, size in zip(
        sets.items(), (BLACK, *CYCLE), "*os^", (13, 8, 5, 5)
    ):
        values = as_array(values)
        axis.plot(values.real, values.imag, marker, color=colour, ms=size, label=name)
    axis.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    axis.legend(fontsize=8, loc="center")
    return figure


def lower_bounds(
    grid, exact, bounds: Sequence, points: Sequence[float], label: str
) -> FuncAnimation:
    """Animation: each bound touches the likelihood at the current parameter; its maximum is the
    next one.

    grid [G], exact [G], bounds: K arrays [G], points: K + 1 parameters.
    """
    grid, exact = as_array(grid), as_array(exact)
    figure = Figure(figsize=(6, 3.8), dpi=80)
    axis = figure.subplots()
    figure.subplots_adjust(left=0.14, right=0.98, top=0.9, bottom=0.14)
    low, high = exact.min() - 0.1 * np.ptp(exact), exact.max() + 0.08 * np.ptp(exact)

    def draw(frame: int):
        """One picture of the animation."""
        k, moved = divmod(frame, 2)
        axis.clear()
        axis.spines[["top", "right"]].set_visible(False)
        axis.plot(grid, exact, color=BLUE, lw=2, label="log-likelihood")
        axis.plot(grid, as_array(bounds[k]), color=ORANGE, lw=1.8, label="bound")
        now = points[k]
        axis.plot(now, np.interp(now, grid, exact), "o", color=BLUE, ms=7)
        if moved:
            axis.plot(
                points[k + 1],
                np.interp(points[k + 1], grid, as_array(bounds[k])),
                "^",
                color=RED,
                ms=8,
            )
        step = "M-step: go to the top of the bound" if moved else "E-step: the bound touches"
        axis.set(xlabel=label, ylabel=LIKELIHOOD, ylim=(low, high), xlim=(grid[0], grid[-1]))
        axis.set_title(f"iteration {k + 1}, {step}", fontsize=10)
        axis.legend(fontsize=8, loc="lower right")
        return []

    return FuncAnimation(figure, draw, frames=2 * len(bounds), interval=900, blit=False)
