"""The figures of the chapter on balancing show the arrays they are given."""

import numpy as np
import pytest

from figures.helpers import drawn, labelled, legend, plays
from tutorial_dssm.figures import ch08_balancing_the_elbo as drawings
from tutorial_dssm.learning.training import METRICS

pytestmark = pytest.mark.filterwarnings("error")
CURVE = (np.geomspace(1e-4, 1e-1, 30), np.linspace(60, 1, 30))


def test_plane_draws_curve_points_and_lines_of_slope_minus_one():
    figure = drawings.rate_distortion_plane(
        ([0.0, 1.0, 2.0, 3.0], [9.0, 4.0, 2.0, 1.0]), {"A": (1.0, 4.0)}, [5.0]
    )
    drawn(figure)
    (axis,) = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    np.testing.assert_array_equal(lines["A"], [[1.0, 4.0]])
    np.testing.assert_allclose(lines["equal ELBO"].sum(1), 5.0)
    assert labelled(axis)


def test_water_splits_each_bar_at_the_level():
    variances, image = np.array([4.0, 1.0, 0.25]), np.zeros((4, 4))
    figure = drawings.water(variances, 0.5, CURVE, (1e-2, 5.0, 2), (image, image), shown=3)
    drawn(figure)
    bars, plane, *pictures = figure.axes
    heights = [patch.get_height() for patch in bars.patches]
    np.testing.assert_allclose(heights, [4.0, 1.0, 0.25, 3.5, 0.5])
    assert labelled(bars) and labelled(plane) and len(pictures) == 2
    assert any(np.array_equal(line.get_xydata(), [[1e-2, 5.0]]) for line in plane.lines)


def test_water_falls_to_the_level_of_its_picture():
    levels, image = [1.0, 0.1], np.random.default_rng(0).random((16, 16))
    places, back = [(1e-2, 5.0, 1), (1e-3, 9.0, 2)], [image, 1 - image]
    variances = np.array([2.0, 0.5])
    animation = drawings.water_falls(variances, levels, CURVE, places, image, back, shown=2)
    animation._func(1)
    bars, plane, _, given_back = animation._fig.axes
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], [2.0, 0.5, 1.9, 0.4])
    np.testing.assert_array_equal(plane.lines[1].get_xydata(), [[1e-3, 9.0]])
    np.testing.assert_array_equal(given_back.images[0].get_array(), 1 - image)
    assert plays(animation, 2)


def test_toy_paths_end_where_the_runs_end():
    path = np.column_stack(
        [np.geomspace(1e-1, 1e-3, 400), np.linspace(1, 30, 400), np.geomspace(1, 0.1, 400)]
    )
    path[-200:, :2] = [2e-3, 20.0]
    figure = drawings.objectives_on_the_toy(CURVE, {"a run": path}, 0.3)
    drawn(figure)
    left, right = figure.axes
    assert any(np.allclose(line.get_xydata(), [[2e-3, 20.0]]) for line in left.lines)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), path[:, 2])
    assert labelled(left) and labelled(right)


def test_training_curves_show_the_columns_asked_for(history):
    runs, columns = {"one": history, "two": 2 * history}, ("mse", "rate", "weight", "constraint")
    figure = drawn(drawings.training_curves(runs, columns, {"mse": 0.05}))
    assert len(figure.axes) == 4 and all(labelled(axis) for axis in figure.axes)
    for axis, column in zip(figure.axes, columns):
        expected = 2 * history[:, 1 + METRICS.index(column)]
        np.testing.assert_array_equal(axis.lines[1].get_ydata(), expected)
    assert set(figure.axes[0].lines[2].get_ydata()) == {0.05}
    assert legend(figure) == ["one", "two"]


def test_noise_is_compared_with_the_root_of_the_error(history):
    (axis,) = drawn(drawings.noise_against_error(history)).axes
    error, noise = (line.get_ydata() for line in axis.lines)
    np.testing.assert_allclose(error**2, history[:, 1 + METRICS.index("mse")])
    np.testing.assert_array_equal(noise, history[:, 1 + METRICS.index("sigma")])
    assert labelled(axis)


def test_multiplier_divides_the_error_by_its_target():
    left, right = drawn(drawings.multiplier([1.0, 2.0, 4.0], [0.2, 0.1, 0.1], 0.1, 3.0)).axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [1.0, 2.0, 4.0])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [2.0, 1.0, 1.0])
    assert labelled(left) and labelled(right)


def test_spectra_are_shares_of_the_total():
    spectra = {"a": np.array([3.0, 1.0]), "b": np.array([1.0, 1.0])}
    (axis,) = drawn(drawings.spectra(spectra, shown=2)).axes
    shares = [line.get_ydata() for line in axis.lines]
    np.testing.assert_allclose(shares, [[0.75, 0.25], [0.5, 0.5]])
    assert labelled(axis)
