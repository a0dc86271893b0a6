"""Figures that several chapters draw: films and predictions, curves, points, errors over time, and
the path of a run between rate and distortion.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..learning.training import METRICS
from .style import (
    BLACK,
    ERROR,
    LEVELS,
    Array,
    Look,
    as_array,
    as_images,
    colour_bar,
    film_strip,
    grey_image,
    grid_behind,
    legend_outside,
    log_axes,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)

# ---------------------------------------------------------------- frames


def frame_rows(frames: Mapping[str, Array], dt: float) -> Figure:
    """Rows of frames over time. frames {row name: [T, S, S]}, dt in s."""
    rows, columns = len(frames), len(next(iter(frames.values())))
    figure, axes = plain_axes(rows, columns, 7, 7 * rows / columns + 0.5)
    for row, (name, images) in zip(axes, frames.items()):
        for axis, image in zip(row, as_array(images)):
            grey_image(axis, image)
        row[0].set_ylabel(name, fontsize=9)
    for t, axis in enumerate(axes[0]):
        axis.set_title(f"{t * dt:.1f} s", fontsize=9)
    return figure


def prediction(
    observed: Array,
    predicted: Mapping[str, Array],
    *,
    dt: float,
    error: bool = False,
    first: float = 0.0,
    name: str = "observed",
) -> Figure:
    """Rows of frames over time: the observed ones above the predicted ones, and with `error` the
    squared error per pixel below.

    Args:
        observed: [T, S, S] or [T, S²], in a row called `name`.
        predicted: {row name: frames of the same shape}.
        dt: between two frames, and `first` the time of the first one, both in s.
    Raises:
        ValueError: predicted frames of another shape.
    """
    truth = as_images(observed, batch=1)
    copies = {key: as_images(frames, batch=1) for key, frames in predicted.items()}
    for key, frames in copies.items():
        if frames.shape != truth.shape:
            raise ValueError(
                f"row {key!r} must have the shape of the observed, {list(truth.shape)}, "
                f"got {list(frames.shape)}"
            )
    steps, rows = len(truth), {name: truth} | copies
    heights = [6.3 / steps + 0.06] * len(rows) + [1.1] * error
    figure = new_figure(7, sum(heights) + 0.45)
    axes = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axis, (key, frames) in zip(axes, rows.items()):
        film_strip(axis, frames, aspect="auto" if error else "equal")
        axis.set_ylabel(key.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
        axis.tick_params(bottom=False)
    last = axes[-1]
    if error:
        _error_panel(last, {key: ((v - truth) ** 2).mean((1, 2)) for key, v in copies.items()})
    ticks = range(0, steps, max(1, round(steps / 8)))
    last.set_xticks(ticks, [f"{first + k * dt:.1f}" for k in ticks], fontsize=9)
    last.tick_params(bottom=True)
    last.set_xlabel("time (s)", fontsize=9)
    return figure


def _error_panel(axis: Axes, errors: Mapping[str, np.ndarray]) -> None:
    """Errors {name: [T]} over the steps."""
    for (name, values), style in zip(errors.items(), series_styles()):
        axis.plot(values, ms=3, lw=1.3, label=name, **style.marked)
    log_axes(axis, "y")
    axis.set_ylabel("squared error\nper pixel", fontsize=8)
    if len(errors) > 1:
        axis.legend(fontsize=8)
    plain(axis, ticks=8)


# ---------------------------------------------------------------- points and curves


def scatter(
    groups: Mapping[str, tuple[Array, Array]], xlabel: str, ylabel: str, log_y: bool = True
) -> Figure:
    """Points of several groups in one plane, a colour and a marker each. groups {name: (x [N], y
    [N])}.
    """
    figure, axis = plain_axis(7, 3.4)
    for (name, pair), style in zip(groups.items(), series_styles()):
        x, y = (as_array(v) for v in pair)
        axis.plot(x, y, ms=7, alpha=0.85, mec="white", mew=0.6, label=name, **style.points)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    log_axes(axis, "y" if log_y else "")
    grid_behind(axis)
    legend_outside(figure, axis, "outside upper center")
    return figure


def lines(
    x: Array | Sequence[float],
    curves: Mapping[str, Array | Sequence[float]],
    xlabel: str,
    ylabel: str,
    log: str = "",
    levels: Mapping[str, float] | None = None,
    mark: float | None = None,
    markers: bool = False,
    dashed: Sequence[str] = (),
) -> Figure:
    """Curves over a common axis, a colour and a line style each.

    Args:
        x: [K].
        curves: {name: [K]}.
        log: the logarithmic axes, "", "x", "y" or "xy".
        levels: {name: value}, thin horizontal lines.
        mark: a vertical line.
        markers: of a kind for each curve, at every point, on solid lines.
        dashed: names of curves that are drawn in black and dashed, such as a formula.
    """
    figure, axis = plain_axis(7, 3.2)
    for (name, y), style in zip(curves.items(), series_styles()):
        look: Look = style.marked if markers else style.lined
        if name in dashed:
            look = {"color": BLACK, "ls": "--"}
        axis.plot(as_array(x), as_array(y), lw=1.6, ms=5, label=name, **look)
    for (name, value), dashes in zip((levels or {}).items(), LEVELS):
        axis.axhline(value, color="0.45", lw=1.1, ls=dashes, label=name)
    if mark is not None:
        axis.axvline(mark, color=BLACK, lw=1)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    log_axes(axis, log)
    grid_behind(axis)
    if len(curves) + len(levels or {}) > 1:
        legend_outside(figure, axis, "outside upper center")
    return figure


def error_curves(
    errors: Mapping[str, Array],
    *,
    dt: float,
    first: float = 0.0,
    label: str = ERROR,
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Error over time on a logarithmic axis.

    Args:
        errors: {name: [T] or [seeds, T]}; of several seeds each is a thin line and their mean a
            thick one.
        dt: between two errors, and `first` the time of the first one, both in s.
        references: {name: value}, grey levels, such as the error of the mean image.
    """
    figure, axis = plain_axis(7, 3.6)
    for (name, values), style in zip(errors.items(), series_styles()):
        seeds = np.atleast_2d(as_array(values))
        time = first + dt * np.arange(seeds.shape[1])
        if len(seeds) > 1:
            axis.plot(time, seeds.T, color=style.colour, lw=0.7, alpha=0.5)
        every = max(1, len(time) // 10)
        axis.plot(time, seeds.mean(0), lw=2, ms=4, markevery=every, label=name, **style.marked)
    for (name, value), dashes in zip((references or {}).items(), LEVELS):
        axis.axhline(value, color="0.45", lw=1.2, ls=dashes, label=name)
    axis.set(xlabel="time (s)", ylabel=label)
    log_axes(axis, "y")
    grid_behind(axis, "y")
    legend_outside(figure, axis)
    return figure


# ---------------------------------------------------------------- rate and distortion

Label = tuple[float, float, str, str]  # x, y, text, colour


def rate_distortion_path(
    histories: Mapping[str, Array],
    distortion: str = "mse",
    marks: int = 14,
    target: float | None = None,
) -> Figure:
    """The way of each run through the plane of distortion and rate; marks are coloured by the
    observation noise in force (σ, or σ/√λ).

    Args:
        histories: {run: rows [step, *METRICS]}.
        distortion: the column of the x axis, "mse" or "distortion".
        marks: how many, evenly spaced in the logarithm of the step; the first and the last one
            carry their step.
        target: draws the constraint on the x axis.
    """
    titles = {"mse": ERROR, "distortion": "D at the reference noise (nats per sequence)"}
    ways = {name: as_array(history) for name, history in histories.items()}
    noise = np.concatenate([way[:, 1 + METRICS.index("sigma")] for way in ways.values()])
    low, high = float(noise.min()), float(noise.max())
    norm = LogNorm(low, high if high > 1.01 * low else 1.1 * low)
    figure, axis = plain_axis(7, 4.3)
    starts: list[Label] = []
    ends: list[Label] = []
    for (name, way), style in zip(ways.items(), series_styles()):
        x, y, sigma = (way[:, 1 + METRICS.index(k)] for k in (distortion, "rate", "sigma"))
        axis.plot(x, y, lw=1.2, alpha=0.8, markevery=[], label=name, zorder=1, **style.marked)
        even = np.geomspace(way[0, 0], way[-1, 0], marks)
        chosen = np.unique(np.searchsorted(way[:, 0], even).clip(0, len(x) - 1))
        look: Look = {"c": sigma[chosen], "cmap": "viridis", "norm": norm, "ec": style.colour}
        axis.scatter(x[chosen], y[chosen], 46, marker=style.marker, lw=1.3, zorder=2, **look)
        for k, labels in ((chosen[0], starts), (chosen[-1], ends)):
            labels.append((x[k], y[k], f"step {way[k, 0]:.0f}", style.colour))
    axis.set(xlabel=titles[distortion], ylabel="rate R (nats per sequence)")
    axis.set(yscale="log", xscale="log" if distortion == "mse" else "linear")
    if target is not None:
        axis.axvline(target, color="0.4", lw=1.2, ls="--", zorder=0, label="constraint")
    log_axes(axis, "y")
    axis.margins(x=0.18, y=0.08)
    colour_bar(figure, axis, "viridis", norm, "noise in force, σ or σ/√λ")
    legend_outside(figure, axis)
    _label_apart(figure, axis, starts, "right")
    _label_apart(figure, axis, ends, "left")
    return figure


def _label_apart(figure: Figure, axis: Axes, points: Sequence[Label], side: str) -> None:
    """Write a text at one side, "left" or "right", of each point; higher where it would cover
    another of them.
    """
    figure.draw_without_rendering()  # the layout decides where the points are
    taken: list[np.ndarray] = []
    for x, y, text, colour in points:
        place = anchor = axis.transData.transform((x, y)) / figure.dpi  # inches
        while any((np.abs(anchor - other) < (0.8, 0.14)).all() for other in taken):
            anchor = anchor + (0, 0.02)
        taken.append(anchor)
        offset = (8 if side == "right" else -8, 72 * (anchor - place)[1])
        note = axis.annotate(text, (x, y), xytext=offset, textcoords="offset points")
        ha = "left" if side == "right" else "right"
        note.set(ha=ha, va="center", fontsize=8, color=colour)
