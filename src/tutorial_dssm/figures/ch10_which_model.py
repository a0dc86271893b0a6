"""The figures of the chapter on comparisons over seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .style import (
    BLACK,
    BLUE,
    RED,
    Array,
    as_array,
    grid_behind,
    legend_outside,
    log_axes,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)


def ranks(values: Mapping[str, Array], seeds: Sequence[int], label: str) -> Figure:
    """Who is first on each seed: a line for each name over seeds, its rank (1 is the smallest
    value) upwards. values {name: [seeds]}.
    """
    numbers = np.array([as_array(v) for v in values.values()], float)
    place = 1 + numbers.argsort(0, kind="stable").argsort(0, kind="stable")
    at = np.arange(len(seeds))
    right = at[-1] + 0.12
    figure, axis = plain_axis(7, 0.42 * len(numbers) + 1.1)
    for line, name, style in zip(place, values, series_styles()):
        axis.plot(at, line, ms=8, lw=1.8, **style.marked)
        axis.text(right, line[-1], name, color=style.colour, va="center", fontsize=9)
    axis.set(xlim=(-0.3, right + 0.3 * max(1, at[-1])), ylim=(len(numbers) + 0.5, 0.5))
    axis.set_ylabel(label)
    axis.set_xticks(at, [f"seed {seed}" for seed in seeds])
    axis.set_yticks(range(1, len(numbers) + 1))
    return figure


def paired(
    first: Array,
    second: Array,
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
    difference, n = a / b if log else a - b, len(a)
    figure, ((left, right),) = plain_axes(1, 2, 7, 3.2, width_ratios=(1.15, 1))
    for k, (seed, style) in enumerate(zip(seeds, series_styles())):
        left.plot([0, 1], [a[k], b[k]], ms=6, lw=1.4, label=f"seed {seed}", **style.marked)
        right.plot(difference[k], k, ms=7, **style.points)
    left.set_xticks([0, 1], names, fontsize=8)
    left.set(xlim=(-0.35, 1.35), ylabel=label)
    mean, low, high = (float(v) for v in interval)
    right.plot([low, high], [n, n], color=BLACK, lw=2.2)
    right.plot(mean, n, "|", color=BLACK, ms=13, mew=2.2)
    right.axvline(1 if log else 0, color="0.5", lw=1, ls="--")
    right.set_yticks(range(n + 1), [*(f"seed {seed}" for seed in seeds), "mean"], fontsize=8)
    right.set(ylim=(n + 0.6, -0.6))
    right.set_xlabel("ratio, first to second" if log else "difference, first to second")
    if log:
        log_axes(left, "y")
        log_axes(right, "x")
    else:
        right.locator_params(axis="x", nbins=5)
    for axis in (left, right):
        axis.tick_params(labelsize=8)
        grid_behind(axis)
    return figure


def forest(panels: Mapping[str, Mapping[str, Sequence[float]]], log: Sequence[str] = ()) -> Figure:
    """Intervals in rows, a panel for each measure: blue circles where the reference lies outside,
    grey squares where it lies inside.

    Args:
        panels: {label: {row: (mean, low, high)}}, the same rows in each.
        log: labels of the panels that hold ratios: their reference is 1 and their axis logarithmic;
            it is 0 in the others.
    """
    rows = list(next(iter(panels.values())))
    figure, axes = plain_axes(1, len(panels), 7, 0.34 * len(rows) + 1.3, sharey=True)
    for axis, (label, entries) in zip(axes[0], panels.items()):
        reference = 1 if label in log else 0
        for y, row in enumerate(rows):
            mean, low, high = (float(v) for v in entries[row])
            colour, marker = ("0.5", "s") if low <= reference <= high else (BLUE, "o")
            axis.plot([low, high], [y, y], color=colour, lw=1.8)
            axis.plot(mean, y, marker, color=colour, ms=6)
        axis.axvline(reference, color=BLACK, lw=1, ls="--")
        if label in log:
            log_axes(axis, "x")
        else:
            axis.locator_params(axis="x", nbins=4)
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        grid_behind(axis, "x")
    first = axes[0, 0]
    first.set_yticks(range(len(rows)), rows, fontsize=9)
    first.set_ylim(len(rows) - 0.5, -0.5)
    for look, colour, name in (("o-", BLUE, "decided"), ("s-", "0.5", "undecided")):
        first.plot([], [], look, color=colour, ms=6, label=f"{name} at 95 %, each by itself")
    legend_outside(figure, first)
    return figure


def repeated_studies(
    intervals: Mapping[str, Array],
    truth: float = 0.0,
    at_a_time: int = 4,
    xlabel: str = "study",
) -> FuncAnimation:
    """Animation: repeated studies, the interval of each, and how many hold the truth so far.

    intervals {name: [K, 2]}, a panel for each name: low and high of K studies.
    """
    ends = {name: as_array(v) for name, v in intervals.items()}
    K = len(next(iter(ends.values())))
    limits = np.quantile(np.concatenate(list(ends.values())), [0.01, 0.99]) * 1.15
    figure = new_figure(7, 1.75 * len(ends) + 0.6, dpi=80, layout=None)
    axes = figure.subplots(len(ends), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.14, hspace=0.32)
    axes[-1].set_xlabel(xlabel, fontsize=9)
    panels = []
    for axis, (name, pairs) in zip(axes, ends.items()):
        axis.axhline(truth, color=BLACK, lw=1, ls="--")
        axis.set(xlim=(0, K + 1), ylim=limits)
        plain(axis, ticks=8)
        hold = (pairs[:, 0] <= truth) & (truth <= pairs[:, 1])
        bars = []
        for k, (pair, inside) in enumerate(zip(pairs, hold)):
            look = (
                {"color": BLUE, "lw": 1.6}
                if inside
                else {"color": RED, "lw": 2.6, "ls": (0, (2, 1))}
            )
            bars.append(axis.vlines(k + 1, *pair, visible=False, **look))
        panels.append((axis, name, hold, bars))

    def draw(k: int) -> list:
        """One picture of the animation."""
        last = min(K, at_a_time * (k + 1))
        for axis, name, hold, bars in panels:
            for i, bar in enumerate(bars):
                bar.set_visible(i < last)
            words = f"{name}: {hold[:last].sum()} of {last} intervals hold the truth"
            axis.set_title(words, fontsize=9, loc="left")
        return []

    return FuncAnimation(figure, draw, frames=-(-K // at_a_time), interval=350, blit=False)
