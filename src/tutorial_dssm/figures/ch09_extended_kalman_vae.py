"""The figures of the chapter on the extended Kalman VAE."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from .latent import StateColour, bar_below, latent_axis, latent_points, latent_view, state_colours
from .style import (
    BLACK,
    BLUE,
    RED,
    Array,
    Look,
    as_array,
    as_images,
    film_strip,
    log_axes,
    new_figure,
    plain,
    series_styles,
)

# ---------------------------------------------------------------- inference in one film


def _film(axis: Axes, images: np.ndarray, time: np.ndarray) -> None:
    """Frames [T, S, S] side by side, with some of their times [T] below."""
    film_strip(axis, images)
    every = max(1, round(len(images) / 8))
    axis.set_xticks(range(0, len(images), every), [f"{t:.1f} s" for t in time[::every]], fontsize=8)
    axis.set_title("1. frames $x_t$", fontsize=10, loc="left")


def _path_in_cloud(
    axis: Any,
    path: np.ndarray,
    cloud: np.ndarray,
    colour: StateColour,
    cloud_colour: StateColour | str,
) -> None:
    """Marked states [T, 2 or 3] that a line joins, in front of small ones [M, 2 or 3]."""
    if len(cloud):
        latent_points(axis, cloud, cloud_colour, s=3, alpha=0.5)
    axis.plot(*path.T, color=BLACK, lw=1.0, zorder=4)
    latent_points(axis, path, colour, s=26, ec=BLACK, lw=0.7, zorder=5)


def _ellipses(axis: Axes, mean: np.ndarray, var: np.ndarray, colour: StateColour) -> None:
    """± 2 standard deviations around each mean; mean, var [T, 2]."""
    tones = colour.cmap(colour.norm(colour.values))
    for centre, v, tone in zip(mean, var, tones):
        look: Look = {"fc": tone, "ec": BLACK, "lw": 0.5, "alpha": 0.55, "zorder": 3}
        axis.add_patch(Ellipse(centre, *(4 * np.sqrt(v)), **look))
    axis.set_aspect("equal", "datalim")


def _bands(axis: Axes, time: np.ndarray, mean: np.ndarray, var: np.ndarray, letter: str) -> None:
    """Every coordinate over time [T] with a band of ± 2 standard deviations; mean, var [T, n]."""
    half = 2 * np.sqrt(var)
    for j, style in zip(range(mean.shape[1]), series_styles()):
        low, high = mean[:, j] - half[:, j], mean[:, j] + half[:, j]
        axis.fill_between(time, low, high, color=style.colour, alpha=0.25, lw=0)
        label = f"${letter}_{{t,{j + 1}}}$"
        axis.plot(time, mean[:, j], color=style.colour, lw=1.6, label=label)
    axis.set_xlabel("time (s)", fontsize=9)
    axis.set_ylabel(f"coordinates of ${letter}_t$, ± 2 sd", fontsize=9)
    axis.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 0.97), frameon=False)
    plain(axis, ticks=8)


def inference_process(
    frames: Array,
    a_mean: Array,
    a_var: Array,
    z_mean: Array,
    z_var: Array,
    state: Array,
    a_all: Array | None = None,
    z_all: Array | None = None,
    state_all: Array | None = None,
    *,
    dt: float,
) -> Figure:
    """How the extended Kalman VAE infers: frames x_t, auxiliary variables a_t with what each frame
    tells of them, smoothed states z_t. Ellipses and bands are ± 2 standard deviations.

    Args:
        frames: [T, S, S] or [T, S²], those of one sequence.
        a_mean, a_var: [T, A], of q(a_t | x_t).
        z_mean, z_var: [T, Z], smoothed moments.
        state: [T, 2].
        a_all, z_all, state_all: [N, T, A], [N, T, Z] and [N, T, 2] of many sequences, a background.
        dt: between two frames, in s.
    """
    images = as_images(frames, batch=1)
    a_mean, a_var, z_mean, z_var = (as_array(v) for v in (a_mean, a_var, z_mean, z_var))
    time = dt * np.arange(len(images))
    own, all_states = state_colours(state), state_colours(state if state_all is None else state_all)
    figure = new_figure(7, 7.4)
    grid = figure.add_gridspec(3, 2, height_ratios=[0.62, 3.6, 1.9])
    _film(figure.add_subplot(grid[0, :]), images, time)
    panels = [
        ("a", "angle", a_mean, a_all, "2. each frame alone: $q(a_t\\,|\\,x_t)$"),
        ("z", "velocity", z_mean, z_all, "3. smoothing: $q(z_t\\,|\\,a_{1:T}, u_{1:T})$"),
    ]
    for k, (letter, name, mean, cloud, title) in enumerate(panels):
        many = mean[:0] if cloud is None else as_array(cloud).reshape(-1, mean.shape[1])
        shown, names = latent_view(np.concatenate([mean, many]))
        path, background = shown[: len(mean)], shown[len(mean) :]
        axis = latent_axis(figure, grid[1, k], [n.replace("z", letter) for n in names], zoom=0.86)
        colour = all_states[name]._replace(values=own[name].values)  # on the scale of all
        if letter == "a" and mean.shape[1] == 2:
            _ellipses(axis, mean, a_var, colour)
        grey = "0.8" if state_all is None else all_states[name]
        _path_in_cloud(axis, path, background, colour, grey)
        axis.set_title(title, fontsize=10, loc="left")
        bar_below(figure, axis, colour)
    _bands(figure.add_subplot(grid[2, 0]), time, a_mean, a_var, "a")
    _bands(figure.add_subplot(grid[2, 1]), time, z_mean, z_var, "z")
    return figure


# ---------------------------------------------------------------- what k frames tell


def frames_seen(
    observed: Array, predicted: Array, seen: Sequence[int], *, dt: float
) -> FuncAnimation:
    """Animation: what a model says of all frames of a sequence after it has seen the first k of
    them, and its error per frame. The frames seen are underlined.

    Args:
        observed: [T, S, S] or [T, S²].
        predicted: [K, T, S, S] or [K, T, S²], one row of frames for each k in `seen` [K].
        dt: between two frames, in s.
    """
    truth, said = as_images(observed, batch=1), as_images(predicted, batch=2)
    time = dt * np.arange(len(truth))
    error = ((said - truth) ** 2).mean((2, 3))
    figure = new_figure(7, 2.9, dpi=80, layout=None)
    upper = figure.add_axes((0.13, 0.80, 0.85, 0.13))
    lower = figure.add_axes((0.13, 0.62, 0.85, 0.13))
    film_strip(upper, truth)
    images = film_strip(lower, said[0])
    for axis, name in ((upper, "observed"), (lower, "model")):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    look: Look = {"lw": 4, "clip_on": False, "solid_capstyle": "butt"}
    (underline,) = lower.plot([], [], color=RED, **look)
    below = figure.add_axes((0.13, 0.17, 0.85, 0.4))
    (curve,) = below.plot(time, error[0], "o-", color=BLUE, ms=3, lw=1.3)
    below.set(xlim=(time[0] - 0.5 * dt, time[-1] + 0.5 * dt), xlabel="time (s)", yscale="log")
    below.set_ylim(0.5 * error.min(), 2 * error.max())
    log_axes(below, "y")
    below.set_ylabel("squared error\nper pixel", fontsize=8)
    plain(below, ticks=8)
    label = figure.text(0.13, 0.95, "", fontsize=9)

    def draw(k: int) -> list:
        """One picture of the animation."""
        for image, frame in zip(images, said[k]):
            image.set_data(frame)
        underline.set_data([-0.47, seen[k] - 0.53], [-0.56, -0.56])
        curve.set_ydata(error[k])
        frames = "frame" if seen[k] == 1 else "frames"
        label.set_text(f"seen: {seen[k]} {frames} (underlined), the rest predicted")
        return []

    return FuncAnimation(figure, draw, frames=len(said), interval=900, blit=False)
