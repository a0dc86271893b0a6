"""The figures of the chapter on state-space models: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008), which people with any colour vision can tell apart. Angles
are in rad, angular velocities in rad/s, torques in N·m, times in s, energies in J. No function
shows or saves anything, or touches matplotlib's global state.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .style import BLACK, BLUE, CYCLE, DPI, LABELS, RED, as_array, as_images, plain_axes, plain_log


def hidden_and_seen(time, state, torque, frames) -> Figure:
    """A state-space model in four rows: the frames that are seen, the hidden angle and velocity,
    the torque that is known.

    time [T]; state [T, 2]; torque [T], held constant over a step; frames [T, S²] or [T, S, S].
    """
    time, state, torque, frames = (as_array(v) for v in (time, state, torque, frames))
    frames = frames if frames.ndim == 3 else as_images(frames)
    step = time[1] - time[0]
    figure = Figure(figsize=(7, 5.2), dpi=DPI, layout="constrained")
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1.0, 2.0, 2.0, 1.3])
    for t, frame in zip(time, frames):
        side = 0.46 * step
        axes[0].imshow(
            frame,
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(t - side, t + side, 0, 1),
            aspect="auto",
            interpolation="nearest",
        )
    axes[0].set(ylim=(0, 1), yticks=[])
    axes[0].set_ylabel("frames\n(seen)", fontsize=9)
    for k, label in enumerate(("angle (rad)\nhidden", "velocity (rad/s)\nhidden")):
        axes[1 + k].plot(time, state[:, k], "o-", color=CYCLE[k], ms=4, lw=1.2)
        axes[1 + k].set_ylabel(label, fontsize=9)
    axes[3].stairs(torque[:-1], time, color=BLACK, lw=1.4, baseline=0)
    axes[3].axhline(0, color="0.7", lw=0.8)
    axes[3].set_ylabel("torque (N·m)\nknown", fontsize=9)
    axes[3].set_xlabel("time (s)")
    axes[3].set_xlim(time[0] - step / 2, time[-1] + step / 2)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].spines[:].set_visible(False)
    return figure


def spread(time, paths, mean, sd) -> Figure:
    """Angle and velocity of some simulated paths, and the band of ± 2 sd that the moments predict.

    time [T]; paths [N, T, 2]; mean, sd [T, 2].
    """
    time, paths, mean, sd = (as_array(v) for v in (time, paths, mean, sd))
    figure, axes = plain_axes(1, 2, 7, 3)
    for k, axis in enumerate(axes[0]):
        axis.fill_between(
            time,
            mean[:, k] - 2 * sd[:, k],
            mean[:, k] + 2 * sd[:, k],
            color=BLUE,
            alpha=0.22,
            lw=0,
            label="± 2 sd",
        )
        axis.plot(time, paths[..., k].T, color="0.35", lw=0.6, alpha=0.7)
        axis.plot(time, mean[:, k], color=BLUE, lw=2, label="mean")
        axis.set(xlabel="time (s)", ylabel=LABELS[k])
    axes[0, 0].legend(fontsize=8, loc="upper right")
    return figure


def orders(h, errors: Mapping[str, np.ndarray], order: Mapping[str, int]) -> Figure:
    """Error against step size on logarithmic axes, each method with a dashed line of the slope that
    it should have.

    h [K] in s; errors {method: [K]} in rad; order {method: slope}.
    """
    h = as_array(h)
    figure, axes = plain_axes(1, 1, 6, 3.8)
    axis = axes[0, 0]
    for (name, error), colour, marker in zip(errors.items(), CYCLE, "osD^v"):
        error = as_array(error)
        axis.plot(h, error[0] * (h / h[0]) ** order[name], color=colour, lw=1, ls="--")
        axis.plot(h, error, marker, color=colour, ms=6, label=f"{name} (slope {order[name]})")
    axis.set(xlabel="step h (s)", ylabel="error of the state after 1 s", xscale="log", yscale="log")
    for side in (axis.xaxis, axis.yaxis):
        plain_log(side)
    axis.legend(fontsize=8)
    return figure


def over_time(time, curves: Mapping[str, np.ndarray], label: str) -> Figure:
    """Curves over time, one colour and line style each. time [T] or {name:

    [T]}, curves {name: [T]}, label of the y axis.
    """
    figure, axes = plain_axes(1, 1, 7, 3.2)
    axis = axes[0, 0]
    for (name, values), colour, style in zip(curves.items(), CYCLE, ("-", "--", "-.", ":", "-")):
        axis.plot(
            as_array(time[name] if isinstance(time, Mapping) else time),
            as_array(values),
            color=colour,
            lw=1.7,
            ls=style,
            label=name,
        )
    axis.set(xlabel="time (s)", ylabel=label)
    axis.legend(fontsize=8)
    return figure


def measured_and_formula(
    time, measured: Mapping[str, np.ndarray], formula: Mapping[str, np.ndarray], label: str
) -> Figure:
    """Measured values as markers, and the formula for each as a line. time [T]; both {name:

    [T]}.
    """
    time = as_array(time)
    figure, axes = plain_axes(1, 1, 6, 3.2)
    axis = axes[0, 0]
    for (name, values), colour, marker in zip(measured.items(), CYCLE, "osD^v"):
        axis.plot(time, as_array(formula[name]), color=colour, lw=1.5)
        axis.plot(time, as_array(values), marker, color=colour, ms=5, label=name)
    axis.plot([], [], color="0.4", lw=1.5, label="formula")
    axis.set(xlabel="time (s)", ylabel=label)
    axis.legend(fontsize=8)
    return figure


def clouds(pairs: Mapping[str, tuple], xlabel: str, ylabel: str, diagonal: bool = False) -> Figure:
    """Scatter plots side by side. pairs {title: (x [N], y [N])}; `diagonal` adds the line y = x."""
    figure, axes = plain_axes(1, len(pairs), 7, 3.3, sharey=True)
    for axis, (title, (x, y)) in zip(axes[0], pairs.items()):
        x, y = as_array(x), as_array(y)
        if diagonal:
            ends = [min(x.min(), y.min()), max(x.max(), y.max())]
            axis.plot(ends, ends, color="0.5", lw=1, ls="--")
        axis.plot(x, y, ".", color=BLUE, ms=4, alpha=0.6)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel, fontsize=9)
    axes[0, 0].set_ylabel(ylabel, fontsize=9)
    return figure


def falling_apart(states, frames, dt: float, shown: int = 1) -> FuncAnimation:
    """Animation: pendulums that begin with the same frame and different velocities; their states,
    and the average of their frames.

    states [N, T, 2], frames [N, T, S²]; dt in s; the pendulum with index `shown` is marked and its
    own frame shown.
    """
    states, images = as_array(states), as_images(frames)
    angle = np.remainder(states[..., 0] + np.pi, 2 * np.pi) - np.pi
    limit = 1.05 * np.abs(states[..., 1]).max()
    figure = Figure(figsize=(7, 2.7), dpi=72)
    plane = figure.add_axes((0.095, 0.19, 0.42, 0.68))
    axes = [figure.add_axes((0.545, 0.14, 0.21, 0.68)), figure.add_axes((0.775, 0.14, 0.21, 0.68))]

    def draw(t: int):
        """One picture of the animation."""
        for axis in (plane, *axes):
            axis.clear()
        plane.plot(angle[:, t], states[:, t, 1], ".", color=BLUE, ms=4)
        plane.plot(angle[shown, t], states[shown, t, 1], "o", color=RED, mec=BLACK, ms=8)
        plane.set(xlim=(-np.pi, np.pi), ylim=(-limit, limit))
        plane.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        plane.set_xlabel(LABELS[0], fontsize=8)
        plane.set_ylabel(LABELS[1], fontsize=8)
        plane.tick_params(labelsize=8)
        plane.spines[["top", "right"]].set_visible(False)
        plane.set_title(f"{t * dt:.1f} s: hidden states", fontsize=9)
        for axis, image, title in zip(
            axes, (images[shown, t], images[:, t].mean(0)), ("one frame", "average of all")
        ):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(title, fontsize=9)
        return []

    return FuncAnimation(figure, draw, frames=states.shape[1], interval=400, blit=False)
