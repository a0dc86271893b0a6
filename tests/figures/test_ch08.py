"""The figures of the chapter on balancing show the arrays they are given; axes are labelled;
nothing warns or stays open.
"""

import numpy as np
import pytest

from tutorial_dssm.figures import ch08_balancing_the_elbo as drawings
from tutorial_dssm.figures.style import player
from tutorial_dssm.learning.training import METRICS

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("nothing_stays_open")]
CURVE = (np.geomspace(1e-4, 1e-1, 30), np.linspace(60, 1, 30))


def history(level: float) -> np.ndarray:
    steps = np.arange(10, 210, 10.0)
    rows = np.full((len(steps), 1 + len(METRICS)), level)
    rows[:, 0], rows[:, 1 + METRICS.index("mse")] = steps, level / steps
    return rows


def labelled(axis) -> bool:
    return bool(axis.get_xlabel() and (axis.get_ylabel() or axis.get_title()))


def test_plane_draws_curve_points_and_lines_of_slope_minus_one():
    figure = drawings.rate_distortion_plane(
        ([0.0, 1.0, 2.0, 3.0], [9.0, 4.0, 2.0, 1.0]), {"A": (1.0, 4.0)}, [5.0]
    )
    figure.canvas.draw()
    (axis,) = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    np.testing.assert_array_equal(lines["A"], [[1.0, 4.0]])
    np.testing.assert_allclose(lines["equal ELBO"].sum(1), 5.0)
    assert labelled(axis)


def test_water_splits_each_bar_at_the_level():
    variances, image = np.array([4.0, 1.0, 0.25]), np.zeros((4, 4))
    figure = drawings.water(variances, 0.5, CURVE, (1e-2, 5.0, 2), (image, image), shown=3)
    figure.canvas.draw()
    bars, plane, *pictures = figure.axes
    heights = [patch.get_height() for patch in bars.patches]
    np.testing.assert_allclose(heights, [4.0, 1.0, 0.25, 3.5, 0.5])
    assert labelled(bars) and labelled(plane) and len(pictures) == 2
    assert any(np.array_equal(line.get_xydata(), [[1e-2, 5.0]]) for line in plane.lines)


def test_water_falls_plays_without_a_kernel_in_few_bytes():
    levels, image = [1.0, 0.1], np.random.default_rng(0).random((16, 16))
    animation = drawings.water_falls(
        np.array([2.0, 0.5]),
        levels,
        CURVE,
        [(1e-2, 5.0, 1), (1e-3, 9.0, 2)],
        image,
        [image, image],
        shown=2,
    )
    html = player(animation, alt="Water falls")
    assert 'alt="Water falls"' in html and "http" not in html.split("<script")[0]
    assert len(html) / len(levels) < 60_000


def test_toy_paths_end_where_the_runs_end():
    path = np.column_stack(
        [np.geomspace(1e-1, 1e-3, 400), np.linspace(1, 30, 400), np.geomspace(1, 0.1, 400)]
    )
    path[-200:, :2] = [2e-3, 20.0]
    figure = drawings.objectives_on_the_toy(CURVE, {"a run": path}, 0.3)
    figure.canvas.draw()
    left, right = figure.axes
    assert any(np.allclose(line.get_xydata(), [[2e-3, 20.0]]) for line in left.lines)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), path[:, 2])
    assert labelled(left) and labelled(right)


def test_training_curves_show_the_columns_asked_for():
    runs = {"one": history(2.0), "two": history(3.0)}
    figure = drawings.training_curves(runs, ("mse", "rate", "weight", "constraint"), {"mse": 0.05})
    figure.canvas.draw()
    assert len(figure.axes) == 4 and all(labelled(axis) for axis in figure.axes)
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), 3.0 / np.arange(10, 210, 10))


def test_noise_and_multiplier_figures_show_their_data():
    rows = history(2.0)
    figure = drawings.noise_against_error(rows)
    figure.canvas.draw()
    np.testing.assert_allclose(
        figure.axes[0].lines[0].get_ydata() ** 2, rows[:, 1 + METRICS.index("mse")]
    )
    figure = drawings.multiplier([1.0, 2.0, 4.0], [0.2, 0.1, 0.1], 0.1, 3.0)
    figure.canvas.draw()
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [2.0, 1.0, 1.0])
    figure = drawings.spectra({"a": np.array([3.0, 1.0]), "b": np.array([1.0, 1.0])}, shown=2)
    figure.canvas.draw()
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [0.75, 0.25])
