"""The figures of the chapter on state-space models."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from ..evaluation.calibration import wrap
from .style import (
    BLACK,
    BLUE,
    LABELS,
    RED,
    Array,
    as_array,
    as_images,
    grey_image,
    log_axes,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)


def hidden_and_seen(time: Array, state: Array, torque: Array, frames: Array) -> Figure:
    """A state-space model in four rows: the frames that are seen, the hidden angle and velocity,
    the torque that is known.

    time [T]; state [T, 2]; torque [T], held constant over a step; frames [T, S²] or [T, S, S].
    """
    time, state, torque = (as_array(v) for v in (time, state, torque))
    step = time[1] - time[0]
    figure, axes = plain_axes(4, 1, 7, 5.2, sharex=True, height_ratios=[1.0, 2.0, 2.0, 1.3])
    film, *panels, known = axes[:, 0]
    for t, frame in zip(time, as_images(frames, batch=1)):
        side = 0.46 * step
        extent = (t - side, t + side, 0, 1)
        film.imshow(frame, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    film.set(ylim=(0, 1), yticks=[], aspect="auto")
    film.set_ylabel("frames\n(seen)", fontsize=9)
    film.spines[:].set_visible(False)
    labels = ("angle (rad)\nhidden", "velocity (rad/s)\nhidden")
    for axis, values, label, style in zip(panels, state.T, labels, series_styles()):
        axis.plot(time, values, "o-", color=style.colour, ms=4, lw=1.2)
        axis.set_ylabel(label, fontsize=9)
    known.stairs(torque[:-1], time, color=BLACK, lw=1.4, baseline=0)
    known.axhline(0, color="0.7", lw=0.8)
    known.set_ylabel("torque (N·m)\nknown", fontsize=9)
    known.set_xlabel("time (s)")
    known.set_xlim(time[0] - step / 2, time[-1] + step / 2)
    return figure


def spread(time: Array, paths: Array, mean: Array, sd: Array) -> Figure:
    """Angle and velocity of some simulated paths, and the band of ± 2 sd that the moments predict.

    time [T]; paths [N, T, 2]; mean, sd [T, 2].
    """
    time, paths, mean, sd = (as_array(v) for v in (time, paths, mean, sd))
    low, high = mean - 2 * sd, mean + 2 * sd
    figure, axes = plain_axes(1, 2, 7, 3)
    for k, axis in enumerate(axes[0]):
        axis.fill_between(time, low[:, k], high[:, k], color=BLUE, alpha=0.22, lw=0, label="± 2 sd")
        axis.plot(time, paths[..., k].T, color="0.35", lw=0.6, alpha=0.7)
        axis.plot(time, mean[:, k], color=BLUE, lw=2, label="mean")
        axis.set(xlabel="time (s)", ylabel=LABELS[k])
    axes[0, 0].legend(fontsize=8, loc="upper right")
    return figure


def orders(
    h: Array | Sequence[float], errors: Mapping[str, Array], order: Mapping[str, int]
) -> Figure:
    """Error against step size on logarithmic axes, each method with a dashed line of the slope that
    it should have.

    h [K] in s; errors {method: [K]} in rad; order {method: slope}.
    """
    h = as_array(h)
    figure, axis = plain_axis(6, 3.8)
    for (name, values), style in zip(errors.items(), series_styles()):
        error, slope = as_array(values), order[name]
        axis.plot(h, error[0] * (h / h[0]) ** slope, color=style.colour, lw=1, ls="--")
        axis.plot(h, error, ms=6, label=f"{name} (slope {slope})", **style.points)
    axis.set(xlabel="step h (s)", ylabel="error of the state after 1 s")
    log_axes(axis, "xy")
    axis.legend(fontsize=8)
    return figure


def measured_and_formula(
    time: Array, measured: Mapping[str, Array], formula: Mapping[str, Array], label: str
) -> Figure:
    """Measured values as markers, and the formula for each as a line. time [T]; both {name:
    [T]}.
    """
    time = as_array(time)
    figure, axis = plain_axis(6, 3.2)
    for (name, values), style in zip(measured.items(), series_styles()):
        axis.plot(time, as_array(formula[name]), color=style.colour, lw=1.5)
        axis.plot(time, as_array(values), ms=5, label=name, **style.points)
    axis.plot([], [], color="0.4", lw=1.5, label="formula")
    axis.set(xlabel="time (s)", ylabel=label)
    axis.legend(fontsize=8)
    return figure


def clouds(
    pairs: Mapping[str, tuple[Array, Array]], xlabel: str, ylabel: str, diagonal: bool = False
) -> Figure:
    """Scatter plots side by side. pairs {title: (x [N], y [N])}; `diagonal` adds the line y = x."""
    figure, axes = plain_axes(1, len(pairs), 7, 3.3, sharey=True)
    for axis, (title, pair) in zip(axes[0], pairs.items()):
        x, y = (as_array(v) for v in pair)
        if diagonal:
            ends = [min(x.min(), y.min()), max(x.max(), y.max())]
            axis.plot(ends, ends, color="0.5", lw=1, ls="--")
        axis.plot(x, y, ".", color=BLUE, ms=4, alpha=0.6)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel, fontsize=9)
    axes[0, 0].set_ylabel(ylabel, fontsize=9)
    return figure


def falling_apart(states: Array, frames: Array, dt: float, shown: int = 1) -> FuncAnimation:
    """Animation: pendulums that begin with the same frame and different velocities; their states,
    and the average of their frames.

    states [N, T, 2], frames [N, T, S²]; dt in s; the pendulum with index `shown` is marked and its
    own frame shown.
    """
    states, images = as_array(states), as_images(frames)
    angle, velocity = wrap(states[..., 0]), states[..., 1]
    limit = 1.05 * np.abs(velocity).max()
    figure = new_figure(7, 2.7, dpi=72, layout=None)
    plane = figure.add_axes((0.095, 0.19, 0.42, 0.68))
    one = figure.add_axes((0.545, 0.14, 0.21, 0.68))
    average = figure.add_axes((0.775, 0.14, 0.21, 0.68))

    def draw(t: int) -> list:
        """One picture of the animation."""
        for axis in (plane, one, average):
            axis.clear()
        plane.plot(angle[:, t], velocity[:, t], ".", color=BLUE, ms=4)
        plane.plot(angle[shown, t], velocity[shown, t], "o", color=RED, mec=BLACK, ms=8)
        plane.set(xlim=(-np.pi, np.pi), ylim=(-limit, limit))
        plane.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        plane.set_xlabel(LABELS[0], fontsize=8)
        plane.set_ylabel(LABELS[1], fontsize=8)
        plane.set_title(f"{t * dt:.1f} s: hidden states", fontsize=9)
        plain(plane, ticks=8)
        grey_image(one, images[shown, t])
        grey_image(average, images[:, t].mean(0))
        one.set_title("one frame", fontsize=9)
        average.set_title("average of all", fontsize=9)
        return []

    return FuncAnimation(figure, draw, frames=states.shape[1], interval=400, blit=False)
