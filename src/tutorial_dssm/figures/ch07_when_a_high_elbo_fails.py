"""The figures of the chapter on models that fail in spite of a high bound."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .latent import latent_axis
from .style import (
    ANGLE_MAP,
    ANGLE_NORM,
    BLACK,
    ERROR,
    Array,
    as_array,
    as_images,
    grey_image,
    grid_behind,
    log_axes,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)


def step_bars(values: Mapping[str, Array], ylabel: str) -> Figure:
    """One number for each step of a sequence, a group of bars for each name. values {name: [T]}."""
    figure, axis = plain_axis(7, 3.0)
    width = 0.8 / len(values)
    for k, ((name, value), style) in enumerate(zip(values.items(), series_styles())):
        steps = np.arange(1, len(value) + 1)
        beside = (k - (len(values) - 1) / 2) * width
        axis.bar(steps + beside, as_array(value), width, color=style.colour, label=name)
    axis.set(xlabel="step t", ylabel=ylabel, xticks=steps)
    axis.legend(fontsize=8)
    return figure


def curve_in_space(z: Array, phi: Array, titles: Sequence[str] = ("",)) -> Figure:
    """Closed curves in space, coloured by the angle that runs along them. z [K, M, 3], phi [M] in
    rad.
    """
    z, phi = as_array(z), as_array(phi)
    figure = new_figure(7, 3.2)
    grid = figure.add_gridspec(1, len(z))
    for k, (curve, title) in enumerate(zip(z, titles)):
        axis = latent_axis(figure, grid[k], ["$z_1$", "$z_2$", "$z_3$"], zoom=0.9)
        look = {"cmap": ANGLE_MAP, "norm": ANGLE_NORM, "s": 10, "lw": 0, "depthshade": False}
        axis.scatter(*curve.T, c=phi, **look)
        axis.set_title(title, fontsize=10)
    return figure


def three_films(
    observed: Array, reconstructed: Array, predicted: Array, *, dt: float
) -> FuncAnimation:
    """Animation over time: an observed frame, its reconstruction, its prediction, and the error of
    both so far.

    Each film is [T, S²] or [T, S, S]; dt between two frames, in s.
    """
    given = {"observed": observed, "reconstructed": reconstructed, "predicted": predicted}
    films = {name: as_images(film, batch=1) for name, film in given.items()}
    truth, *copies = films.values()
    errors = [((copy - truth) ** 2).mean((1, 2)) for copy in copies]
    time = dt * np.arange(len(truth))
    figure = new_figure(7, 2.5, dpi=80, layout=None)
    pictures = []
    for k, (name, film) in enumerate(films.items()):
        axis = figure.add_axes((0.015 + 0.155 * k, 0.26, 0.145, 0.5))
        pictures.append(grey_image(axis, film[0]))
        axis.set_title(name, fontsize=9)
    axis = figure.add_axes((0.6, 0.2, 0.385, 0.66))
    curves = [
        axis.plot([], [], ms=4, lw=1.4, label=name, **style.marked)[0]
        for name, style in zip(list(films)[1:], series_styles())
    ]
    axis.set(xlim=(time[0] - 0.5 * dt, time[-1] + 0.5 * dt), yscale="log")
    axis.set_ylim(0.5 * np.min(errors), 2 * np.max(errors))
    log_axes(axis, "y")
    axis.set_xlabel("time (s)", fontsize=9)
    axis.set_ylabel(ERROR, fontsize=9)
    axis.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    plain(axis, ticks=8)
    label = figure.text(0.24, 0.12, "", fontsize=9, ha="center")

    def draw(k: int) -> list:
        """One picture of the animation."""
        for picture, film in zip(pictures, films.values()):
            picture.set_data(film[k])
        for curve, error in zip(curves, errors):
            curve.set_data(time[: k + 1], error[: k + 1])
        label.set_text(f"{time[k]:.1f} s after the start")
        return []

    return FuncAnimation(figure, draw, frames=len(time), interval=500, blit=False)


def training_outcome(steps: Array, elbo: Array, outcome: Mapping[str, Array], at: Array) -> Figure:
    """A bound over training above, and below what the model knew at some moments. steps, elbo [L];
    outcome {name: [S]} at the steps `at` [S].
    """
    figure, axes = plain_axes(2, 1, 7, 4.2, sharex=True)
    bound, known = axes[:, 0]
    bound.plot(as_array(steps), as_array(elbo), color=BLACK, lw=1.4)
    bound.set_ylabel("ELBO (nats per sequence)", fontsize=9)
    for (name, values), style in zip(outcome.items(), series_styles()):
        known.plot(as_array(at), as_array(values), ms=4, lw=1.3, label=name, **style.marked)
    known.set_ylabel("$R^2$", fontsize=9)
    known.set(xlabel="training step", ylim=(-0.03, 1.03))
    known.legend(fontsize=8)
    for axis in (bound, known):
        grid_behind(axis)
    return figure
