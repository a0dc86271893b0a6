"""The figures of the chapter on the extended Kalman VAE: data in, matplotlib `Figure` out."""

from collections.abc import Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

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
    plain_log,
    state_colours,
)


def _ellipses(axis, mean: np.ndarray, var: np.ndarray, colours) -> None:
    for m, v, colour in zip(mean, var, colours):
        axis.add_patch(
            Ellipse(m, *(4 * np.sqrt(v)), fc=colour, ec=BLACK, lw=0.5, alpha=0.55, zorder=3)
        )


def _film_strip(axis, images: np.ndarray, time: np.ndarray) -> None:
    """Frames [T, S, S] side by side, with some of their times [T] below."""
    for k, frame in enumerate(images):
        axis.imshow(
            frame,
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(k - 0.47, k + 0.47, -0.47, 0.47),
            interpolation="nearest",
        )
    axis.set(xlim=(-0.5, len(images) - 0.5), ylim=(-0.5, 0.5), yticks=[])
    every = max(1, round(len(images) / 8))
    axis.set_xticks(range(0, len(images), every), [f"{t:.1f} s" for t in time[::every]], fontsize=8)
    axis.set_title("1. frames $x_t$", fontsize=10, loc="left")
    axis.spines[:].set_visible(False)


def _bands(axis, time: np.ndarray, mean: np.ndarray, var: np.ndarray, letter: str) -> None:
    """Every coordinate over time [T] with a band of ± 2 standard deviations; mean, var [T, n]."""
    for j, colour in zip(range(mean.shape[1]), CYCLE):
        sd = np.sqrt(var[:, j])
        axis.fill_between(
            time, mean[:, j] - 2 * sd, mean[:, j] + 2 * sd, color=colour, alpha=0.25, lw=0
        )
        axis.plot(time, mean[:, j], color=colour, lw=1.6, label=f"${letter}_{{t,{j + 1}}}$")
    axis.set_xlabel("time (s)", fontsize=9)
    axis.set_ylabel(f"coordinates of ${letter}_t$, ± 2 sd", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 0.97), frameon=False)
    plain(axis)


def inference_process(
    frames,
    a_mean,
    a_var,
    z_mean,
    z_var,
    state,
    a_all=None,
    z_all=None,
    state_all=None,
    dt: float = DT,
) -> Figure:
    """How the extended Kalman VAE infers: frames x_t, auxiliary variables a_t with what each frame
    tells of them, smoothed states z_t.

    One sequence: frames [T, S, S] or [T, S²]; a_mean, a_var [T, A] of q(a_t | x_t); z_mean, z_var
    [T, Z] smoothed moments; state [T, 2]. Many sequences, as a background: a_all [N, T, A], z_all
    [N, T, Z], state_all [N, T, 2]. Ellipses and bands are ± 2 standard deviations.
    """
    frames, a_mean, a_var, z_mean, z_var = (
        as_array(v) for v in (frames, a_mean, a_var, z_mean, z_var)
    )
    images = frames if frames.ndim == 3 else as_images(frames)
    time = dt * np.arange(len(images))
    state = as_array(state)
    colours = state_colours(state if state_all is None else state_all)
    figure = new_figure(7, 7.4)
    grid = figure.add_gridspec(3, 2, height_ratios=[0.62, 3.6, 1.9])

    _film_strip(figure.add_subplot(grid[0, :]), images, time)
    for k, (name, mean, cloud, title) in enumerate(
        [
            ("angle", a_mean, a_all, "2. each frame alone: $q(a_t\\,|\\,x_t)$"),
            ("velocity", z_mean, z_all, "3. smoothing: $q(z_t\\,|\\,a_{1:T}, u_{1:T})$"),
        ]
    ):
        everything = (
            mean
            if cloud is None
            else np.concatenate([mean, as_array(cloud).reshape(-1, mean.shape[1])])
        )
        points, names = latent_view(everything)
        own = points[: len(mean)]
        names = [n.replace("z", "a") for n in names] if k == 0 else names
        values, cmap, norm, label = colours[name]
        axis = latent_axis(figure, grid[1, k], names, zoom=0.86)
        if cloud is not None:
            points(
                axis,
                points[len(mean) :],
                c=values if state_all is not None else "0.8",
                cmap=cmap,
                norm=norm,
                s=3,
                alpha=0.5,
            )
        own_values = state_colours(state)[name][0]
        if k == 0 and mean.shape[1] == 2:
            _ellipses(axis, mean, a_var, cmap(norm(own_values)))
            axis.set_aspect("equal", "datalim")
        axis.plot(*own.T, color=BLACK, lw=1.0, zorder=4)
        points(axis, own, c=own_values, cmap=cmap, norm=norm, s=26, ec=BLACK, lw=0.7, zorder=5)
        axis.set_title(title, fontsize=10, loc="left")
        colour_bar(
            figure, axis, cmap, norm, label, location="bottom", shrink=0.8, aspect=25, pad=0.02
        )

    for k, (mean, var, letter) in enumerate([(a_mean, a_var, "a"), (z_mean, z_var, "z")]):
        _bands(figure.add_subplot(grid[2, k]), time, mean, var, letter)
    return figure


def frames_seen(observed, predicted, seen: Sequence[int], dt: float = DT) -> FuncAnimation:
    """Animation: what a model says of all frames of a sequence after it has seen the first k of
    them, and its error per frame.

    observed [T, S, S] or [T, S²]; predicted [K, T, S, S] or [K, T, S²], one row of frames for each
    k in `seen` [K]. The frames seen are underlined.
    """
    observed, predicted = as_array(observed), as_array(predicted)
    observed = observed if observed.ndim == 3 else as_images(observed)
    predicted = predicted if predicted.ndim == 4 else as_images(predicted)
    steps, time = len(observed), dt * np.arange(len(observed))
    error = ((predicted - observed) ** 2).mean((2, 3))
    figure = new_figure(7, 2.9, dpi=80, layout=None)
    rows = []
    for top, name, frames in ((0.80, "observed", observed), (0.62, "model", predicted[0])):
        axis = figure.add_axes((0.13, top, 0.85, 0.13))
        rows.append(
            [
                axis.imshow(
                    f,
                    cmap="gray",
                    vmin=0,
                    vmax=1,
                    extent=(k - 0.47, k + 0.47, -0.47, 0.47),
                    interpolation="nearest",
                )
                for k, f in enumerate(frames)
            ]
        )
        axis.set(xlim=(-0.5, steps - 0.5), ylim=(-0.5, 0.5), aspect="auto", xticks=[], yticks=[])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.spines[:].set_visible(False)
    (underline,) = axis.plot([], [], color=CYCLE[1], lw=4, clip_on=False, solid_capstyle="butt")
    axis = figure.add_axes((0.13, 0.17, 0.85, 0.4))
    axis.set(
        xlim=(-0.5 * dt, (steps - 0.5) * dt),
        ylim=(0.5 * error.min(), 2 * error.max()),
        yscale="log",
        xlabel="time (s)",
    )
    axis.set_ylabel("squared error\nper pixel", fontsize=8)
    axis.tick_params(labelsize=8)
    plain_log(axis.yaxis)
    plain(axis)
    (curve,) = axis.plot(time, error[0], "o-", color=CYCLE[0], ms=3, lw=1.3)
    label = figure.text(0.13, 0.95, "", fontsize=9)

    def draw(k: int):
        """One picture of the animation."""
        for image, frame in zip(rows[1], predicted[k]):
            image.set_data(frame)
        underline.set_data([-0.47, seen[k] - 0.53], [-0.56, -0.56])
        curve.set_ydata(error[k])
        label.set_text(
            f"seen: {seen[k]} frame{'s' if seen[k] > 1 else ''} (underlined), the rest predicted"
        )
        return []

    return FuncAnimation(figure, draw, frames=len(predicted), interval=900, blit=False)
