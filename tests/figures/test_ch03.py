"""The figures of the chapter on state-space models show the arrays they are given."""

import numpy as np
import pytest

from figures.helpers import curves, drawn, labelled, plays
from tutorial_dssm.figures import ch03_state_space_models as drawings

pytestmark = pytest.mark.filterwarnings("error")
TIME = 0.1 * np.arange(6)
STATES = np.random.default_rng(0).normal(size=(9, 6, 2))
FRAMES = np.random.default_rng(1).random((9, 6, 16))


def test_hidden_and_seen_has_a_row_for_each_part():
    figure = drawings.hidden_and_seen(TIME, STATES[0], np.arange(6.0), FRAMES[0])
    figure.canvas.draw()
    frames, angle, velocity, torque = figure.axes
    assert len(frames.images) == 6
    np.testing.assert_array_equal(angle.lines[0].get_ydata(), STATES[0, :, 0])
    np.testing.assert_array_equal(velocity.lines[0].get_ydata(), STATES[0, :, 1])
    # the last torque acts after the last frame
    np.testing.assert_array_equal(torque.patches[0].get_data().values, np.arange(5.0))
    assert all(axis.get_ylabel() for axis in figure.axes) and torque.get_xlabel()


def test_spread_shows_paths_and_mean():
    figure = drawings.spread(TIME, STATES, STATES.mean(0), STATES.std(0))
    figure.canvas.draw()
    for k, axis in enumerate(figure.axes):
        assert len(axis.lines) == 9 + 1 and axis.get_xlabel() and axis.get_ylabel()
        np.testing.assert_allclose(axis.lines[-1].get_ydata(), STATES[..., k].mean(0))


def test_lines_of_the_orders_have_their_slopes():
    h = np.array([0.1, 0.05, 0.025])
    figure = drawings.orders(h, {"A": h, "B": h**4}, {"A": 1, "B": 4})
    figure.canvas.draw()
    (axis,) = figure.axes
    for dashed, order in zip(axis.lines[::2], (1, 4)):
        np.testing.assert_allclose(np.diff(np.log(dashed.get_ydata())) / np.diff(np.log(h)), order)


def test_markers_show_what_was_measured_and_lines_the_formula():
    measured, formula = {"A": STATES[0, :, 0]}, {"A": STATES[1, :, 0]}
    figure = drawn(drawings.measured_and_formula(TIME, measured, formula, "variance"))
    (axis,) = figure.axes
    np.testing.assert_array_equal(curves(axis)["A"][:, 1], measured["A"])
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), formula["A"])
    assert labelled(axis)


@pytest.mark.parametrize("diagonal", [False, True])
def test_clouds_show_each_pair(diagonal):
    x, y = STATES[..., 0].ravel(), STATES[..., 1].ravel()
    figure = drawings.clouds({"one": (x, y), "two": (y, x)}, "true", "guess", diagonal)
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["one", "two"]
    np.testing.assert_array_equal(figure.axes[1].lines[-1].get_xydata(), np.column_stack([y, x]))


@pytest.mark.slow
def test_animation_wraps_angles_averages_frames_and_is_small():
    states = STATES + np.array([2 * np.pi, 0.0])
    animation = drawings.falling_apart(states, FRAMES, 0.1)
    animation._func(3)
    plane, one, average = animation._fig.axes
    np.testing.assert_allclose(
        plane.lines[0].get_xdata(), np.remainder(STATES[:, 3, 0] + np.pi, 2 * np.pi) - np.pi
    )
    np.testing.assert_array_equal(one.images[0].get_array(), FRAMES[1, 3].reshape(4, 4))
    np.testing.assert_allclose(average.images[0].get_array(), FRAMES[:, 3].mean(0).reshape(4, 4))
    assert plays(animation, 6)
