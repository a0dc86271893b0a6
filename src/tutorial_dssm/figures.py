"""Figures of latent spaces, predictions and training runs: data in, matplotlib `Figure` out (floor 4).

Angles are coloured with a cyclic map (upright from either side is the same colour), velocities with a diverging one (zero is
grey); lines with the colours of Okabe & Ito (2008). All three read with any colour vision. Arrays may be torch tensors (on the
CPU) or numpy. Times are in s, angles in rad, velocities in rad/s, information in nats per sequence. No function trains, reads or
saves anything, and none leaves a figure open.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .figures_filtering import BLACK, CYCLE, DPI
from .figures_filtering import player as player  # notebooks use it from here
from .training import METRICS

# Perceptually uniform maps, a little darker than matplotlib's own so that their light part stands out from a light background.
ANGLE_MAP, VELOCITY_MAP = (
    ListedColormap(np.column_stack([plt.get_cmap(name)(np.linspace(0, 1, 510))[:, :3] * share]), name)
    for name, share in (("twilight_shifted", 0.84), ("coolwarm", 0.9))
)
ANGLE_TICKS = ([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
ANGLE_LABEL, VELOCITY_LABEL = "angle φ (rad), 0 = upright", "angular velocity (rad/s)"
DT = 0.1  # s between two frames of the book's pendulum
VIEW = {"elev": 22, "azim": -60}  # from where the 3-D axes are seen


def _array(x) -> np.ndarray:
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def as_images(x) -> np.ndarray:
    """Flat frames [..., S²] -> square ones [..., S, S]; ValueError when the last axis is not a square number."""
    x = _array(x)
    side = round(x.shape[-1] ** 0.5)
    if side * side != x.shape[-1]:
        raise ValueError(f"the last axis must be a square number of pixels, got {list(x.shape)}")
    return x.reshape(*x.shape[:-1], side, side)


def _figure(width: float, height: float, dpi: int = DPI, layout: str | None = "constrained") -> Figure:
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def _plain(axis) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def _plain_number(value: float, _=None) -> str:
    """0.002, 50, but $2·10^{-5}$."""
    if 1e-4 <= value < 1e4 or value <= 0:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    factor = "" if mantissa == "1.0" else f"{float(mantissa):g}·"
    return f"${factor}10^{{{int(exponent)}}}$"


def _plain_log(axis) -> None:
    """Ticks of a logarithmic axis as 0.02, 0.05, 0.1 …; fewer where it spans more."""
    low, high = axis.get_view_interval()
    span = high / low if low > 0 else np.inf
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span < 30 else (1.0, 3.0) if span < 1000 else (1.0,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_plain_number))


def _colours(state) -> dict[str, tuple]:
    """name -> (values [N·T], colour map, norm, label) of angle (wrapped to ±π) and velocity; state [..., 2]."""
    state = _array(state).reshape(-1, 2)
    angle = np.remainder(state[:, 0] + np.pi, 2 * np.pi) - np.pi
    limit = float(np.ceil(np.quantile(np.abs(state[:, 1]), 0.99))) or 1.0
    return {
        "angle": (angle, ANGLE_MAP, Normalize(-np.pi, np.pi), ANGLE_LABEL),
        "velocity": (state[:, 1], VELOCITY_MAP, Normalize(-limit, limit), VELOCITY_LABEL),
    }


def _colour_bar(figure, axes, cmap, norm, label: str, **kwargs) -> None:
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=axes, label=label, **kwargs)
    if cmap is ANGLE_MAP:
        bar.set_ticks(ANGLE_TICKS[0], labels=ANGLE_TICKS[1])
    elif isinstance(norm, LogNorm):
        _plain_log(bar.long_axis)
    bar.outline.set_visible(False)


def _view(z: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What of the latent space [M, Z] is drawn, [M, 2 or 3], with the names of its axes: the coordinates, or for Z > 3 three
    principal components.
    """
    if z.shape[1] > 3:
        centred = z - z.mean(0)
        return centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T, [f"component {k + 1}" for k in range(3)]
    return z, [f"$z_{{{k + 1}}}$" for k in range(z.shape[1])]


def _latent_axis(figure, position, names: Sequence[str], zoom: float = 0.94):
    """An empty axis for 2 or 3 latent coordinates."""
    if len(names) < 3:
        axis = figure.add_subplot(position)
        axis.set(xlabel=names[0], ylabel=names[1] if len(names) > 1 else "")
        _plain(axis)
        return axis
    axis = figure.add_subplot(position, projection="3d", computed_zorder=False)
    axis.view_init(**VIEW)
    axis.set_box_aspect((1, 1, 0.9), zoom=zoom)
    axis.set(xlabel=names[0], ylabel=names[1], zlabel=names[2])
    axis.xaxis.labelpad = axis.yaxis.labelpad = axis.zaxis.labelpad = -6
    axis.tick_params(labelsize=7, pad=-3)
    axis.tick_params(axis="z", pad=0)
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.set_pane_color((0.95, 0.95, 0.95, 1.0))
        side.set_major_locator(MaxNLocator(4))
        side._axinfo["grid"].update(color="white", linewidth=0.8)
    return axis


def _points(axis, z: np.ndarray, **kwargs):
    """Scatter [M, 1, 2 or 3] on an axis of `_latent_axis`."""
    if z.shape[1] == 1:
        z = np.column_stack([z, np.zeros(len(z))])
    extra = {"depthshade": False} if z.shape[1] == 3 else {}
    return axis.scatter(*z.T, **{"s": 4, "lw": 0, **extra, **kwargs})


def latent_space(z, state, title: str = "") -> Figure:
    """The latent space twice: coloured by the true angle, and by the true velocity.

    z [N, T, Z] (or [M, Z]) latent states, state [N, T, 2] (or [M, 2]) the true (φ, φ̇). Z = 3 is drawn in space, Z > 3 by three
    principal components.
    """
    z = _array(z)
    points, names = _view(z.reshape(-1, z.shape[-1]))
    figure = _figure(7, 3.4)
    grid = figure.add_gridspec(1, 2)
    for k, (values, cmap, norm, label) in enumerate(_colours(state).values()):
        axis = _latent_axis(figure, grid[k], names)
        _points(axis, points, c=values, cmap=cmap, norm=norm)
        _colour_bar(figure, axis, cmap, norm, label, location="bottom", shrink=0.75, aspect=25, pad=0.02)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def latent_over_training(snapshots, steps, state, history, columns: int = 6) -> Figure:
    """The latent space at moments of training, coloured by angle (first row) and velocity (second row), and below them λ, D and R
    over the steps.

    snapshots [S, N, T, Z] latent means of the same sequences at `steps` [S], state [N, T, 2] theirs; history rows [step,
    *METRICS]. At most `columns` snapshots are drawn, evenly spaced, first and last included. D is drawn as the squared error per
    pixel, from which it differs by a factor and a constant that depend on the noise alone.
    """
    snapshots, steps, history = _array(snapshots), _array(steps), _array(history)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(columns, len(steps))).round().astype(int))
    colours = _colours(state)
    figure = _figure(7, 4.7)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.8, 1.9])
    grid = top.add_gridspec(2, len(chosen))
    for row, (values, cmap, norm, _) in enumerate(colours.values()):
        axes = []
        for column, k in enumerate(chosen):
            points, names = _view(snapshots[k].reshape(-1, snapshots.shape[-1]))
            axis = _latent_axis(top, grid[row, column], names)
            axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
            if len(names) == 3:
                axis.set(zticks=[], zlabel="")
                axis.set_box_aspect((1, 1, 0.9), zoom=1.45)
            _points(axis, points, c=values, cmap=cmap, norm=norm, s=1.5, rasterized=True)
            if row == 0:
                axis.set_title(f"step {steps[k]}" if column == 0 else f"{steps[k]}", fontsize=9)
            axes.append(axis)
        _colour_bar(top, axes, cmap, norm, ("angle φ (rad)", "velocity (rad/s)")[row], shrink=0.9, aspect=12, pad=0.01)
    axes = bottom.subplots(1, 3, sharex=True)
    curves = {"weight": "multiplier λ", "mse": "D, as squared error / pixel", "rate": "R (nats / sequence)"}
    for axis, (name, label), colour in zip(axes, curves.items(), CYCLE):
        axis.plot(history[:, 0], history[:, 1 + METRICS.index(name)], color=colour, lw=1.4)
        axis.set_title(label, fontsize=9)
        axis.set_xlabel("step", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_yscale("log")
        _plain_log(axis.yaxis)
        for k in chosen:
            axis.axvline(steps[k], color="0.88", lw=0.8, zorder=0)
        _plain(axis)
    return figure


def prediction(
    observed, predicted: Mapping[str, np.ndarray], dt: float = DT, error: bool = False, first: float = 0.0, name: str = "observed"
) -> Figure:
    """Rows of frames over time: the observed ones above the predicted ones, and with `error` the squared error per pixel below.

    observed [T, S, S] (or [T, S²]) in [0, 1], in a row called `name`; predicted {row name: frames of the same shape}; `first` is
    the time of the first frame, in s.
    """
    truth = as_images(observed) if _array(observed).ndim == 2 else _array(observed)
    rows, steps = {name: truth}, len(truth)
    for key, frames in predicted.items():
        rows[key] = as_images(frames) if _array(frames).ndim == 2 else _array(frames)
        if rows[key].shape != truth.shape:
            raise ValueError(f"row {key!r} must have the shape of the observed, {list(truth.shape)}, got {list(rows[key].shape)}")
    row_height = 6.3 / steps
    heights = [row_height + 0.06] * len(rows) + [1.1] * error
    figure = _figure(7, sum(heights) + 0.45)
    axes = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axis, (key, frames) in zip(axes, rows.items()):
        for k, frame in enumerate(frames):
            axis.imshow(frame, cmap="gray", vmin=0, vmax=1, extent=(k - 0.47, k + 0.47, -0.47, 0.47), interpolation="nearest")
        axis.set(xlim=(-0.5, steps - 0.5), ylim=(-0.5, 0.5), aspect="auto" if error else "equal", yticks=[])
        axis.set_ylabel(key.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
        axis.tick_params(bottom=False)
        axis.spines[:].set_visible(False)
    if error:
        for colour, (key, frames) in zip(CYCLE, list(rows.items())[1:]):
            axes[-1].plot(((frames - truth) ** 2).mean((1, 2)), "o-", color=colour, ms=3, lw=1.3, label=key)
        axes[-1].set(yscale="log")
        axes[-1].set_ylabel("squared error\nper pixel", fontsize=8)
        axes[-1].tick_params(labelsize=8)
        if len(predicted) > 1:
            axes[-1].legend(fontsize=8)
        _plain_log(axes[-1].yaxis)
        _plain(axes[-1])
    every = max(1, round(steps / 8))
    axes[-1].set_xticks(range(0, steps, every), [f"{first + k * dt:.1f}" for k in range(0, steps, every)], fontsize=9)
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
    """Error over time on a logarithmic axis. errors {name: [T] or [seeds, T]}; of several seeds each is a thin line and their
    mean a thick one.

    `first` is the time of the first error, in s; references {name: value} are dashed levels, such as the error of the mean image.
    """
    figure = _figure(7, 3.4)
    axis = figure.subplots()
    for (name, curves), colour, marker in zip(errors.items(), CYCLE * 2, "osD^v" * 2):
        curves = np.atleast_2d(_array(curves))
        time = first + dt * np.arange(curves.shape[1])
        if len(curves) > 1:
            axis.plot(time, curves.T, color=colour, lw=0.7, alpha=0.5)
        axis.plot(
            time, curves.mean(0), color=colour, lw=2, marker=marker, ms=4, markevery=max(1, curves.shape[1] // 10), label=name
        )
    for (name, value), style in zip((references or {}).items(), ("--", ":", "-.")):
        axis.axhline(value, color="0.45", lw=1.2, ls=style, label=name)
    axis.set(xlabel="time (s)", ylabel=label, yscale="log")
    axis.legend(fontsize=9)
    _plain_log(axis.yaxis)
    axis.grid(axis="y", color="0.92")
    _plain(axis)
    return figure


def rate_distortion_path(
    histories: Mapping[str, np.ndarray], distortion: str = "mse", marks: int = 14, target: float | None = None
) -> Figure:
    """The way of each run through the plane of distortion and rate; marks are coloured by the observation noise in force (σ, or
    σ/√λ).

    histories {run: rows [step, *METRICS]}; distortion: the column of the x axis, "mse" or "distortion". First and last mark carry
    their step; marks are evenly spaced in the logarithm of the step. `target` draws the constraint on the x axis.
    """
    labels = {"mse": "squared error per pixel", "distortion": "D at the reference noise (nats per sequence)"}
    histories = {name: _array(h) for name, h in histories.items()}
    noise = np.concatenate([h[:, 1 + METRICS.index("sigma")] for h in histories.values()])
    low, high = float(noise.min()), float(noise.max())
    norm = LogNorm(low, high if high > 1.01 * low else 1.1 * low)
    figure = _figure(7, 4)
    axis = figure.subplots()
    for (name, history), colour, marker in zip(histories.items(), CYCLE, "osD^v"):
        x, y, sigma = (history[:, 1 + METRICS.index(k)] for k in (distortion, "rate", "sigma"))
        axis.plot(x, y, color=colour, lw=1.2, alpha=0.8, label=name, zorder=1)
        chosen = np.unique(np.searchsorted(history[:, 0], np.geomspace(history[0, 0], history[-1, 0], marks)).clip(0, len(x) - 1))
        axis.scatter(
            x[chosen], y[chosen], c=sigma[chosen], cmap="viridis", norm=norm, marker=marker, s=46, ec=colour, lw=1.3, zorder=2
        )
        for k in (chosen[0], chosen[-1]):
            axis.annotate(
                f"step {history[k, 0]:.0f}", (x[k], y[k]), xytext=(6, 5), textcoords="offset points", fontsize=8, color=colour
            )
    axis.set(
        xlabel=labels[distortion],
        ylabel="rate R (nats per sequence)",
        yscale="log",
        xscale="log" if distortion == "mse" else "linear",
    )
    if target is not None:
        axis.axvline(target, color="0.4", lw=1.2, ls="--", zorder=0, label="constraint")
    _plain_log(axis.yaxis)
    axis.legend(fontsize=9)
    axis.margins(0.08)
    _plain(axis)
    _colour_bar(figure, axis, "viridis", norm, "noise in force, σ or σ/√λ")
    return figure


def _ellipses(axis, mean: np.ndarray, var: np.ndarray, colours) -> None:
    for m, v, colour in zip(mean, var, colours):
        axis.add_patch(Ellipse(m, *(4 * np.sqrt(v)), fc=colour, ec=BLACK, lw=0.5, alpha=0.55, zorder=3))


def _film_strip(axis, images: np.ndarray, time: np.ndarray) -> None:
    """Frames [T, S, S] side by side, with some of their times [T] below."""
    for k, frame in enumerate(images):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=1, extent=(k - 0.47, k + 0.47, -0.47, 0.47), interpolation="nearest")
    axis.set(xlim=(-0.5, len(images) - 0.5), ylim=(-0.5, 0.5), yticks=[])
    every = max(1, round(len(images) / 8))
    axis.set_xticks(range(0, len(images), every), [f"{t:.1f} s" for t in time[::every]], fontsize=8)
    axis.set_title("1. frames $x_t$", fontsize=10, loc="left")
    axis.spines[:].set_visible(False)


def _bands(axis, time: np.ndarray, mean: np.ndarray, var: np.ndarray, letter: str) -> None:
    """Every coordinate over time [T] with a band of ± 2 standard deviations; mean, var [T, n]."""
    for j, colour in zip(range(mean.shape[1]), CYCLE):
        sd = np.sqrt(var[:, j])
        axis.fill_between(time, mean[:, j] - 2 * sd, mean[:, j] + 2 * sd, color=colour, alpha=0.25, lw=0)
        axis.plot(time, mean[:, j], color=colour, lw=1.6, label=f"${letter}_{{t,{j + 1}}}$")
    axis.set_xlabel("time (s)", fontsize=9)
    axis.set_ylabel(f"coordinates of ${letter}_t$, ± 2 sd", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 0.97), frameon=False)
    _plain(axis)


def inference_process(
    frames, a_mean, a_var, z_mean, z_var, state, a_all=None, z_all=None, state_all=None, dt: float = DT
) -> Figure:
    """How the extended Kalman VAE infers: frames x_t, auxiliary variables a_t with what each frame tells of them, smoothed states
    z_t.

    One sequence: frames [T, S, S] or [T, S²]; a_mean, a_var [T, A] of q(a_t | x_t); z_mean, z_var [T, Z] smoothed moments; state
    [T, 2]. Many sequences, as a background: a_all [N, T, A], z_all [N, T, Z], state_all [N, T, 2]. Ellipses and bands are ± 2
    standard deviations.
    """
    frames, a_mean, a_var, z_mean, z_var = (_array(v) for v in (frames, a_mean, a_var, z_mean, z_var))
    images = frames if frames.ndim == 3 else as_images(frames)
    time = dt * np.arange(len(images))
    state = _array(state)
    colours = _colours(state if state_all is None else state_all)
    figure = _figure(7, 7.4)
    grid = figure.add_gridspec(3, 2, height_ratios=[0.62, 3.6, 1.9])

    _film_strip(figure.add_subplot(grid[0, :]), images, time)
    for k, (name, mean, cloud, title) in enumerate(
        [
            ("angle", a_mean, a_all, "2. each frame alone: $q(a_t\\,|\\,x_t)$"),
            ("velocity", z_mean, z_all, "3. smoothing: $q(z_t\\,|\\,a_{1:T}, u_{1:T})$"),
        ]
    ):
        everything = mean if cloud is None else np.concatenate([mean, _array(cloud).reshape(-1, mean.shape[1])])
        points, names = _view(everything)
        own = points[: len(mean)]
        names = [n.replace("z", "a") for n in names] if k == 0 else names
        values, cmap, norm, label = colours[name]
        axis = _latent_axis(figure, grid[1, k], names, zoom=0.86)
        if cloud is not None:
            _points(axis, points[len(mean) :], c=values if state_all is not None else "0.8", cmap=cmap, norm=norm, s=3, alpha=0.5)
        own_values = _colours(state)[name][0]
        if k == 0 and mean.shape[1] == 2:
            _ellipses(axis, mean, a_var, cmap(norm(own_values)))
            axis.set_aspect("equal", "datalim")
        axis.plot(*own.T, color=BLACK, lw=1.0, zorder=4)
        _points(axis, own, c=own_values, cmap=cmap, norm=norm, s=26, ec=BLACK, lw=0.7, zorder=5)
        axis.set_title(title, fontsize=10, loc="left")
        _colour_bar(figure, axis, cmap, norm, label, location="bottom", shrink=0.8, aspect=25, pad=0.02)

    for k, (mean, var, letter) in enumerate([(a_mean, a_var, "a"), (z_mean, z_var, "z")]):
        _bands(figure.add_subplot(grid[2, k]), time, mean, var, letter)
    return figure


def results_table_figure(rows: Sequence[Mapping], measures: Sequence[str] = ("r2_velocity", "mse_open_loop")) -> Figure:
    """Every run and seed as a dot, the mean over seeds as a bar, one panel per measure.

    rows: dicts with "run", "seed" and the measures (`experiments.load_results()`). Errors get a logarithmic axis.
    """
    labels = {
        "r2_sin": "$R^2$ of sin φ",
        "r2_cos": "$R^2$ of cos φ",
        "r2_velocity": "$R^2$ of the velocity",
        "r2_velocity_knn": "$R^2$ of the velocity\n(nearest neighbours)",
        "mse_open_loop": "open-loop error\n(squared, per pixel)",
        "mse_forecast": "forecast error\n(squared, per pixel)",
        "mse_smoothed": "reconstruction error\n(squared, per pixel)",
        "rate": "rate\n(nats per sequence)",
    }
    runs = list(dict.fromkeys(row["run"] for row in rows))
    figure = _figure(7, 0.42 * len(runs) + 1.1)
    axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for axis, measure in zip(axes, measures):
        for y, (run, colour) in enumerate(zip(runs, CYCLE * 3)):
            values = np.array([row[measure] for row in rows if row["run"] == run], float)
            axis.plot(
                values,
                np.full(len(values), y) + np.linspace(-0.14, 0.14, len(values)) * (len(values) > 1),
                "o",
                color=colour,
                ms=5,
                alpha=0.75,
            )
            axis.plot([values.mean()] * 2, [y - 0.32, y + 0.32], color=BLACK, lw=2)
        if measure.startswith("r2"):
            axis.set_xlim(min(-0.03, axis.get_xlim()[0]), 1.03)
        else:
            axis.set_xscale("log")
            _plain_log(axis.xaxis)
        axis.set_xlabel(labels.get(measure, measure), fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        _plain(axis)
    axes[0].set_yticks(range(len(runs)), runs, fontsize=9)
    figure.get_layout_engine().set(wspace=0.06)
    axes[0].set_ylim(len(runs) - 0.5, -0.5)
    return figure


def frames_seen(observed, predicted, seen: Sequence[int], dt: float = DT) -> FuncAnimation:
    """Animation: what a model says of all frames of a sequence after it has seen the first k of them, and its error per frame.

    observed [T, S, S] or [T, S²]; predicted [K, T, S, S] or [K, T, S²], one row of frames for each k in `seen` [K]. The frames seen are underlined.
    """
    observed, predicted = _array(observed), _array(predicted)
    observed = observed if observed.ndim == 3 else as_images(observed)
    predicted = predicted if predicted.ndim == 4 else as_images(predicted)
    steps, time = len(observed), dt * np.arange(len(observed))
    error = ((predicted - observed) ** 2).mean((2, 3))
    figure = _figure(7, 2.9, dpi=80, layout=None)
    rows = []
    for top, name, frames in ((0.80, "observed", observed), (0.62, "model", predicted[0])):
        axis = figure.add_axes((0.13, top, 0.85, 0.13))
        rows.append(
            [
                axis.imshow(f, cmap="gray", vmin=0, vmax=1, extent=(k - 0.47, k + 0.47, -0.47, 0.47), interpolation="nearest")
                for k, f in enumerate(frames)
            ]
        )
        axis.set(xlim=(-0.5, steps - 0.5), ylim=(-0.5, 0.5), aspect="auto", xticks=[], yticks=[])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.spines[:].set_visible(False)
    (underline,) = axis.plot([], [], color=CYCLE[1], lw=4, clip_on=False, solid_capstyle="butt")
    axis = figure.add_axes((0.13, 0.17, 0.85, 0.4))
    axis.set(xlim=(-0.5 * dt, (steps - 0.5) * dt), ylim=(0.5 * error.min(), 2 * error.max()), yscale="log", xlabel="time (s)")
    axis.set_ylabel("squared error\nper pixel", fontsize=8)
    axis.tick_params(labelsize=8)
    _plain_log(axis.yaxis)
    _plain(axis)
    (curve,) = axis.plot(time, error[0], "o-", color=CYCLE[0], ms=3, lw=1.3)
    label = figure.text(0.13, 0.95, "", fontsize=9)

    def draw(k: int):
        """One picture of the animation."""
        for image, frame in zip(rows[1], predicted[k]):
            image.set_data(frame)
        underline.set_data([-0.47, seen[k] - 0.53], [-0.56, -0.56])
        curve.set_ydata(error[k])
        label.set_text(f"seen: {seen[k]} frame{'s' if seen[k] > 1 else ''} (underlined), the rest predicted")
        return []

    return FuncAnimation(figure, draw, frames=len(predicted), interval=900, blit=False)


def scaling(rows: Sequence[Mapping]) -> Figure:
    """Time of a training step against each size that was varied, on logarithmic axes.

    rows: dicts with model, varied (the name of a size), that size, and step_ms, as `benchmarks/scaling.py` makes them.
    """
    names = {"T": "sequence length T", "B": "batch B (sequences)", "nz": "state size (dim z)"}
    varied = list(dict.fromkeys(row["varied"] for row in rows))
    figure = _figure(7.5, 3.0)
    for axis, size in zip(figure.subplots(1, len(varied), sharey=True, squeeze=False)[0], varied):
        for model, colour, marker in zip(dict.fromkeys(row["model"] for row in rows), CYCLE, "osD^v"):
            points = [(row[size], row["step_ms"]) for row in rows if row["varied"] == size and row["model"] == model]
            axis.plot(*zip(*points), color=colour, marker=marker, ms=5, label=model)
        axis.set(xlabel=names.get(size, size), xscale="log", yscale="log")
        ticks = sorted({row[size] for row in rows if row["varied"] == size})
        axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axis.xaxis.minorticks_off()
        axis.grid(color="0.92")
        _plain(axis)
    figure.axes[0].set_ylabel("time of a training step (ms)")
    figure.axes[0].legend(fontsize=9)
    return figure
