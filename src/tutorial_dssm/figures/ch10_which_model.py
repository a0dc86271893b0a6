"""The figures of the chapter on comparisons over seeds: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008), and every colour comes with a marker or a line style. No
function shows or saves anything, or touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .style import BLACK, BLUE, DPI, GREEN, ORANGE, PURPLE, RED, SKY, as_array, plain, plain_log

COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)


SEED_MARKERS = "osD^vPX"


def ranks(values: Mapping[str, Sequence[float]], seeds: Sequence[int], label: str) -> Figure:
    """Who is first on each seed: a line for each name over seeds, its rank (1 is the smallest
    value) upwards. values {name: [seeds]}.
    """
    numbers = np.array([as_array(v) for v in values.values()], float)
    place = 1 + numbers.argsort(0, kind="stable").argsort(0, kind="stable")
    figure = Figure(figsize=(7, 0.42 * len(numbers) + 1.1), dpi=DPI, layout="constrained")
    axis, at = figure.subplots(), np.arange(len(seeds))
    for line, name, colour, marker in zip(place, values, COLOURS * 3, SEED_MARKERS * 3):
        axis.plot(at, line, marker + "-", color=colour, ms=8, lw=1.8)
        axis.text(at[-1] + 0.12, line[-1], name, color=colour, va="center", fontsize=9)
    axis.set(
        xlim=(-0.3, at[-1] + 0.12 + 0.3 * max(1, at[-1])),
        ylim=(len(numbers) + 0.5, 0.5),
        ylabel=label,
    )
    axis.set_xticks(at, [f"seed {seed}" for seed in seeds])
    axis.set_yticks(range(1, len(numbers) + 1))
    plain(axis)
    return figure


def paired(
    first,
    second,
    interval: Sequence[float],
    names: Sequence[str],
    label: str,
    seeds: Sequence[int],
    log: bool = False,
) -> Figure:
    """Two runs seed by seed, and what is left of the difference.

    Args:
        first, second: [n] numbers of both runs by seed, joined by a line on the left.
        interval: (mean, low, high) of the difference, or of the ratio when `log`, drawn on the
            right beside those of the seeds.
        names: of both runs.
        label: of the measure.
    """
    a, b = as_array(first).astype(float), as_array(second).astype(float)
    figure = Figure(figsize=(7, 3.2), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for x, y, seed, colour, marker in zip(a, b, seeds, COLOURS * 3, SEED_MARKERS * 3):
        left.plot([0, 1], [x, y], marker + "-", color=colour, ms=6, lw=1.4, label=f"seed {seed}")
    left.set_xticks([0, 1], names, fontsize=8)
    left.set(xlim=(-0.35, 1.35), ylabel=label)
    difference = a / b if log else a - b
    for k, (value, colour, marker) in enumerate(zip(difference, COLOURS * 3, SEED_MARKERS * 3)):
        right.plot(value, k, marker, color=colour, ms=7)
    mean, low, high = (float(v) for v in interval)
    right.plot([low, high], [len(a)] * 2, color=BLACK, lw=2.2)
    right.plot(mean, len(a), "|", color=BLACK, ms=13, mew=2.2)
    right.axvline(1 if log else 0, color="0.5", lw=1, ls="--")
    right.set_yticks(range(len(a) + 1), [*(f"seed {seed}" for seed in seeds), "mean"], fontsize=8)
    right.set(
        ylim=(len(a) + 0.6, -0.6), xlabel=("ratio" if log else "difference") + ", first to second"
    )
    if log:
        left.set_yscale("log")
        right.set_xscale("log")
        plain_log(left.yaxis)
        plain_log(right.xaxis)
    right.locator_params(axis="x", nbins=5) if not log else None
    for axis in (left, right):
        axis.tick_params(labelsize=8)
        axis.grid(color="0.94")
        axis.set_axisbelow(True)
        plain(axis)
    return figure


def forest(panels: Mapping[str, Mapping[str, tuple]], log: Sequence[str] = ()) -> Figure:
    """Intervals in rows, a panel for each measure: blue circles where the reference lies outside,
    grey squares where it lies inside.

    Args:
        panels: {label: {row: (mean, low, high)}}, the same rows in each.
        log: labels of the panels that hold ratios: their reference is 1 and their axis logarithmic;
            it is 0 in the others.
    """
    rows = list(next(iter(panels.values())))
    figure = Figure(figsize=(7, 0.34 * len(rows) + 1.3), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (label, entries) in zip(axes, panels.items()):
        reference = 1 if label in log else 0
        for y, row in enumerate(rows):
            mean, low, high = (float(v) for v in entries[row])
            decided = not low <= reference <= high
            axis.plot([low, high], [y, y], color=BLUE if decided else "0.5", lw=1.8)
            axis.plot(mean, y, "o" if decided else "s", color=BLUE if decided else "0.5", ms=6)
        axis.axvline(reference, color=BLACK, lw=1, ls="--")
        if label in log:
            axis.set_xscale("log")
            plain_log(axis.xaxis)
        else:
            axis.locator_params(axis="x", nbins=4)
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", color="0.94")
        axis.set_axisbelow(True)
        plain(axis)
    axes[0].set_yticks(range(len(rows)), rows, fontsize=9)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for style, colour, name in (("o-", BLUE, "decided"), ("s-", "0.5", "undecided")):
        axes[0].plot([], [], style, color=colour, ms=6, label=f"{name} at 95 %, each by itself")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        fontsize=8,
        ncols=2,
        loc="outside lower center",
        frameon=False,
    )
    return figure


def repeated_studies(
    intervals: Mapping[str, np.ndarray],
    truth: float = 0.0,
    at_a_time: int = 4,
    xlabel: str = "study",
) -> FuncAnimation:
    """Animation: repeated studies, the interval of each, and how many hold the truth so far.

    intervals {name: [K, 2]}, a panel for each name: low and high of K studies.
    """
    intervals = {name: as_array(v) for name, v in intervals.items()}
    K = len(next(iter(intervals.values())))
    figure = Figure(
        figsize=(7, 1.75 * len(intervals) + 0.6), dpi=80
    )  # no constrained layout: every picture has the same axes
    axes = figure.subplots(len(intervals), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.14, hspace=0.32)
    for axis in axes:
        axis.axhline(truth, color=BLACK, lw=1, ls="--")
        axis.set(
            xlim=(0, K + 1),
            ylim=np.quantile(np.concatenate(list(intervals.values())), [0.01, 0.99]) * 1.15,
        )
        axis.tick_params(labelsize=8)
        plain(axis)
    axes[-1].set_xlabel(xlabel, fontsize=9)
    shown = [0]

    def draw(k: int):
        """One picture of the animation."""
        last = min(K, at_a_time * (k + 1))
        if last < shown[0]:  # from the start again
            shown[0] = 0
            for axis in axes:
                for artist in axis.collections[:]:
                    artist.remove()
        for axis, (name, ends) in zip(axes, intervals.items()):
            hold = (ends[:last, 0] <= truth) & (truth <= ends[:last, 1])
            for i in range(shown[0], last):
                axis.vlines(
                    i + 1,
                    *ends[i],
                    color=BLUE if hold[i] else RED,
                    lw=1.6 if hold[i] else 2.6,
                    ls="-" if hold[i] else (0, (2, 1)),
                )
            axis.set_title(
                f"{name}: {hold.sum()} of {last} intervals hold the truth", fontsize=9, loc="left"
            )
        shown[0] = last
        return []

    return FuncAnimation(figure, draw, frames=-(-K // at_a_time), interval=350, blit=False)
