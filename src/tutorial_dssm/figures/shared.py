"""Figures of latent spaces, predictions and training runs: data in, matplotlib `Figure` out.

Angles are coloured with a cyclic map (upright from either side is the same colour), velocities with
a diverging one (zero is grey); lines with the colours of Okabe & Ito (2008). All three read with
any colour vision. Arrays may be torch tensors (on the CPU) or numpy. Times are in s, angles in rad,
velocities in rad/s, information in nats per sequence. No function trains, reads or saves anything,
and none leaves a figure open.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..learning.training import METRICS
from .style import (
    BLACK,
    CYCLE,
    DT,
    as_array,
    as_images,
    colour_bar,
    latent_axis,
    latent_view,
    new_figure,
    plain,
    plain_axes,
    plain_log,
    state_colours,
)


def frame_rows(frames: Mapping[str, np.ndarray], dt: float) -> Figure:
    """Rows of grey frames over time. frames {row name: [T, S, S] in [0, 1]}, dt in s."""
    rows, columns = len(frames), len(next(iter(frames.values())))
    figure, axes = plain_axes(rows, columns, 7, 7 * rows / columns + 0.5)
    for i, (name, images) in enumerate(frames.items()):
        for t, image in enumerate(np.asarray(images)):
            axis = axes[i, t]
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            if i == 0:
                axis.set_title(f"{t * dt:.1f} s", fontsize=9)
        axes[i, 0].set_ylabel(name, fontsize=9)
    return figure


MARKERS, STYLES = "osD^v", ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def scatter(groups: Mapping[str, tuple], xlabel: str, ylabel: str, log_y: bool = True) -> Figure:
    """Points of several groups in one plane, a colour and a marker each. groups {name: (x [N], y
    [N])}.
    """
    figure, axes = plain_axes(1, 1, 7, 3.4)
    axis = axes[0, 0]
    for (name, (x, y)), colour, marker in zip(groups.items(), CYCLE, MARKERS):
        axis.plot(
            as_array(x),
            as_array(y),
            marker,
            color=colour,
            ms=7,
            alpha=0.85,
            mec="white",
            mew=0.6,
            label=name,
        )
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if log_y:
        axis.set_yscale("log")
        plain_log(axis.yaxis)
    axis.grid(color="0.93")
    axis.set_axisbelow(True)
    axis.legend(
        fontsize=8,
        ncols=min(3, len(groups)),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        frameon=False,
    )
    return figure


def lines(
    x,
    curves: Mapping[str, np.ndarray],
    xlabel: str,
    ylabel: str,
    log: str = "",
    levels: Mapping[str, float] | None = None,
    mark: float | None = None,
) -> Figure:
    """Curves over a common axis, a colour and a line style each. x [K], curves {name:

    [K]}; log: "", "x", "y" or "xy".

    levels {name: value} are thin horizontal lines; `mark` is a vertical one.
    """
    figure, axes = plain_axes(1, 1, 7, 3.2)
    axis = axes[0, 0]
    for (name, y), colour, style in zip(curves.items(), CYCLE, STYLES):
        axis.plot(as_array(x), as_array(y), color=colour, ls=style, lw=1.8, label=name)
    for (name, value), style in zip((levels or {}).items(), ("--", ":", "-.")):
        axis.axhline(value, color="0.45", lw=1.1, ls=style, label=name)
    if mark is not None:
        axis.axvline(mark, color=BLACK, lw=1)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if "x" in log:
        axis.set_xscale("log")
        plain_log(axis.xaxis)
    if "y" in log:
        axis.set_yscale("log")
        plain_log(axis.yaxis)
    axis.grid(color="0.93")
    if len(curves) + len(levels or {}) > 1:
        axis.legend(
            fontsize=8,
            ncols=5,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            frameon=False,
            columnspacing=1.2,
        )
    return figure


def latent_space(z, state, title: str = "") -> Figure:
    """The latent space twice: coloured by the true angle, and by the true velocity.

    z [N, T, Z] (or [M, Z]) latent states, state [N, T, 2] (or [M, 2]) the true (φ, φ̇). Z = 3 is
    drawn in space, Z > 3 by three principal components.
    """
    z = as_array(z)
    points, names = latent_view(z.reshape(-1, z.shape[-1]))
    figure = new_figure(7, 3.4)
    grid = figure.add_gridspec(1, 2)
    for k, (values, cmap, norm, label) in enumerate(state_colours(state).values()):
        axis = latent_axis(figure, grid[k], names)
        points(axis, points, c=values, cmap=cmap, norm=norm)
        colour_bar(
            figure, axis, cmap, norm, label, location="bottom", shrink=0.75, aspect=25, pad=0.02
        )
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def latent_over_training(snapshots, steps, state, history, columns: int = 6) -> Figure:
    """The latent space at moments of training, coloured by angle (first row) and velocity (second
    row), and below them λ, D and R over the steps.

    snapshots [S, N, T, Z] latent means of the same sequences at `steps` [S], state [N, T, 2]
    theirs; history rows [step, *METRICS]. At most `columns` snapshots are drawn, evenly spaced,
    first and last included. D is drawn as the squared error per pixel, from which it differs by a
    factor and a constant that depend on the noise alone.
    """
    snapshots, steps, history = as_array(snapshots), as_array(steps), as_array(history)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(columns, len(steps))).round().astype(int))
    colours = state_colours(state)
    figure = new_figure(7, 4.7)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.8, 1.9])
    grid = top.add_gridspec(2, len(chosen))
    for row, (values, cmap, norm, _) in enumerate(colours.values()):
        axes = []
        for column, k in enumerate(chosen):
            points, names = latent_view(snapshots[k].reshape(-1, snapshots.shape[-1]))
            axis = latent_axis(top, grid[row, column], names)
            axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
            if len(names) == 3:
                axis.set(zticks=[], zlabel="")
                axis.set_box_aspect((1, 1, 0.9), zoom=1.45)
            points(axis, points, c=values, cmap=cmap, norm=norm, s=1.5, rasterized=True)
            if row == 0:
                axis.set_title(f"step {steps[k]}" if column == 0 else f"{steps[k]}", fontsize=9)
            axes.append(axis)
        colour_bar(
            top,
            axes,
            cmap,
            norm,
            ("angle φ (rad)", "velocity (rad/s)")[row],
            shrink=0.9,
            aspect=12,
            pad=0.01,
        )
    axes = bottom.subplots(1, 3, sharex=True)
    curves = {
        "weight": "multiplier λ",
        "mse": "D, as squared error / pixel",
        "rate": "R (nats / sequence)",
    }
    for axis, (name, label), colour in zip(axes, curves.items(), CYCLE):
        axis.plot(history[:, 0], history[:, 1 + METRICS.index(name)], color=colour, lw=1.4)
        axis.set_title(label, fontsize=9)
        axis.set_xlabel("step", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_yscale("log")
        plain_log(axis.yaxis)
        for k in chosen:
            axis.axvline(steps[k], color="0.88", lw=0.8, zorder=0)
        plain(axis)
    return figure


def prediction(
    observed,
    predicted: Mapping[str, np.ndarray],
    dt: float = DT,
    error: bool = False,
    first: float = 0.0,
    name: str = "observed",
) -> Figure:
    """Rows of frames over time: the observed ones above the predicted ones, and with `error` the
    squared error per pixel below.

    observed [T, S, S] (or [T, S²]) in [0, 1], in a row called `name`; predicted {row name: frames
    of the same shape}; `first` is the time of the first frame, in s.
    """
    truth = as_images(observed) if as_array(observed).ndim == 2 else as_array(observed)
    rows, steps = {name: truth}, len(truth)
    for key, frames in predicted.items():
        rows[key] = as_images(frames) if as_array(frames).ndim == 2 else as_array(frames)
        if rows[key].shape != truth.shape:
            raise ValueError(
                f"row {key!r} must have the shape of the observed, {list(truth.shape)}, got {list(rows[key].shape)}"
            )
    row_height = 6.3 / steps
    heights = [row_height + 0.06] * len(rows) + [1.1] * error
    figure = new_figure(7, sum(heights) + 0.45)
    axes = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axis, (key, frames) in zip(axes, rows.items()):
        for k, frame in enumerate(frames):
            axis.imshow(
                frame,
                cmap="gray",
                vmin=0,
                vmax=1,
                extent=(k - 0.47, k + 0.47, -0.47, 0.47),
                interpolation="nearest",
            )
        axis.set(
            xlim=(-0.5, steps - 0.5),
            ylim=(-0.5, 0.5),
            aspect="auto" if error else "equal",
            yticks=[],
        )
        axis.set_ylabel(key.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
        axis.tick_params(bottom=False)
        axis.spines[:].set_visible(False)
    if error:
        for colour, (key, frames) in zip(CYCLE, list(rows.items())[1:]):
            axes[-1].plot(
                ((frames - truth) ** 2).mean((1, 2)), "o-", color=colour, ms=3, lw=1.3, label=key
            )
        axes[-1].set(yscale="log")
        axes[-1].set_ylabel("squared error\nper pixel", fontsize=8)
        axes[-1].tick_params(labelsize=8)
        if len(predicted) > 1:
            axes[-1].legend(fontsize=8)
        plain_log(axes[-1].yaxis)
        plain(axes[-1])
    every = max(1, round(steps / 8))
    axes[-1].set_xticks(
        range(0, steps, every),
        [f"{first + k * dt:.1f}" for k in range(0, steps, every)],
        fontsize=9,
    )
    axes[-1].tick_params(bottom=True)
    axes[-1].set_xlabel("time (s)", fontsize=9)
    return figure


def error_curves(
    errors: Mapping[str, np.ndarray],
    dt: float = DT,
    first: float = 0.0,
    label: str = "squared error per pixel",
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Error over time on a logarithmic axis. errors {name: [T] or [seeds, T]}; of several seeds
    each is a thin line and their mean a thick one.

    `first` is the time of the first error, in s; references {name: value} are dashed levels, such
    as the error of the mean image.
    """
    figure = new_figure(7, 3.4)
    axis = figure.subplots()
    for (name, curves), colour, marker in zip(errors.items(), CYCLE * 2, "osD^v" * 2):
        curves = np.atleast_2d(as_array(curves))
        time = first + dt * np.arange(curves.shape[1])
        if len(curves) > 1:
            axis.plot(time, curves.T, color=colour, lw=0.7, alpha=0.5)
        axis.plot(
            time,
            curves.mean(0),
            color=colour,
            lw=2,
            marker=marker,
            ms=4,
            markevery=max(1, curves.shape[1] // 10),
            label=name,
        )
    for (name, value), style in zip((references or {}).items(), ("--", ":", "-.")):
        axis.axhline(value, color="0.45", lw=1.2, ls=style, label=name)
    axis.set(xlabel="time (s)", ylabel=label, yscale="log")
    axis.legend(fontsize=9)
    plain_log(axis.yaxis)
    axis.grid(axis="y", color="0.92")
    plain(axis)
    return figure


def rate_distortion_path(
    histories: Mapping[str, np.ndarray],
    distortion: str = "mse",
    marks: int = 14,
    target: float | None = None,
) -> Figure:
    """The way of each run through the plane of distortion and rate; marks are coloured by the
    observation noise in force (σ, or σ/√λ).

    histories {run: rows [step, *METRICS]}; distortion: the column of the x axis, "mse" or
    "distortion". First and last mark carry their step; marks are evenly spaced in the logarithm of
    the step. `target` draws the constraint on the x axis.
    """
    labels = {
        "mse": "squared error per pixel",
        "distortion": "D at the reference noise (nats per sequence)",
    }
    histories = {name: as_array(h) for name, h in histories.items()}
    noise = np.concatenate([h[:, 1 + METRICS.index("sigma")] for h in histories.values()])
    low, high = float(noise.min()), float(noise.max())
    norm = LogNorm(low, high if high > 1.01 * low else 1.1 * low)
    figure = new_figure(7, 4)
    axis = figure.subplots()
    for (name, history), colour, marker in zip(histories.items(), CYCLE, "osD^v"):
        x, y, sigma = (history[:, 1 + METRICS.index(k)] for k in (distortion, "rate", "sigma"))
        axis.plot(x, y, color=colour, lw=1.2, alpha=0.8, label=name, zorder=1)
        chosen = np.unique(
            np.searchsorted(history[:, 0], np.geomspace(history[0, 0], history[-1, 0], marks)).clip(
                0, len(x) - 1
            )
        )
        axis.scatter(
            x[chosen],
            y[chosen],
            c=sigma[chosen],
            cmap="viridis",
            norm=norm,
            marker=marker,
            s=46,
            ec=colour,
            lw=1.3,
            zorder=2,
        )
        for k in (chosen[0], chosen[-1]):
            axis.annotate(
                f"step {history[k, 0]:.0f}",
                (x[k], y[k]),
                xytext=(6, 5),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
    axis.set(
        xlabel=labels[distortion],
        ylabel="rate R (nats per sequence)",
        yscale="log",
        xscale="log" if distortion == "mse" else "linear",
    )
    if target is not None:
        axis.axvline(target, color="0.4", lw=1.2, ls="--", zorder=0, label="constraint")
    plain_log(axis.yaxis)
    axis.legend(fontsize=9)
    axis.margins(0.08)
    plain(axis)
    colour_bar(figure, axis, "viridis", norm, "noise in force, σ or σ/√λ")
    return figure
