"""The figures of the chapter on filtering and smoothing show the arrays they are given."""

import numpy as np
import pytest
import torch

from figures.helpers import curves, drawn, labelled, plays
from tutorial_dssm.figures import ch04_filtering_and_smoothing as drawings

pytestmark = pytest.mark.filterwarnings("error")
TIME = 0.1 * np.arange(6)
RANDOM = np.random.default_rng(0)
TRUTH, MEAN, SD = RANDOM.normal(size=(6, 2)), RANDOM.normal(size=(6, 2)), RANDOM.random((6, 2))


def ends(band) -> tuple[float, float]:
    """Smallest and largest height of a band."""
    heights = band.get_paths()[0].vertices[:, 1]
    return heights.min(), heights.max()


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_state_panels_show_truth_estimates_and_what_was_measured(convert):
    observed = np.arange(6) != 2
    given = [convert(v) for v in (TIME, TRUTH, TRUTH[:, 0])]
    estimate = {"filter": (convert(MEAN), convert(SD))}
    figure = drawings.state_panels(*given, estimate, convert(observed), differences=True)
    panels = drawn(figure).axes
    for k, axis in enumerate(panels):
        lines = curves(axis)
        np.testing.assert_array_equal(lines["truth"][:, 1], TRUTH[:, k])
        np.testing.assert_array_equal(lines["filter (± 2 sd)"][:, 1], MEAN[:, k])
        low, high = MEAN[:, k] - 2 * SD[:, k], MEAN[:, k] + 2 * SD[:, k]
        np.testing.assert_allclose(ends(axis.collections[0]), (low.min(), high.max()))
        (gap,) = axis.patches
        assert gap.get_x() == pytest.approx(0.15) and gap.get_width() == pytest.approx(0.1)
    dots = curves(panels[0])["measured angle"]
    np.testing.assert_array_equal(dots, np.column_stack([TIME, TRUTH[:, 0]])[observed])
    slopes = curves(panels[1])["finite differences"]
    np.testing.assert_allclose(slopes[:, 1], np.diff(TRUTH[:, 0]) / 0.1)
    assert panels[1].get_xlabel() == "time (s)" and all(axis.get_ylabel() for axis in panels)


def test_covariances_are_shown_as_correlations():
    cov = np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 9.0]])
    axis = drawn(drawings.covariance_map(cov, [2], ["z", "a"])).axes[0]
    expected = [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(axis.images[0].get_array(), expected)
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["z", "a"]
    np.testing.assert_allclose(axis.get_xticks(), [0.5, 2.0])


def test_paths_stand_beside_each_other():
    joint, independent = RANDOM.normal(size=(2, 3, 6))
    figure = drawn(drawings.paths(TIME, joint, independent))
    for axis, draws in zip(figure.axes, (joint, independent)):
        np.testing.assert_array_equal([line.get_ydata() for line in axis.lines], draws)
    assert labelled(figure.axes[0])


def test_gap_bars_are_as_long_as_the_gaps():
    (axis,) = drawn(drawings.gap_bars({"marginals": 20.0, "exact": 0.0})).axes
    assert [bar.get_width() for bar in axis.patches] == [20.0, 0.0]
    assert [text.get_text() for text in axis.texts] == ["20.0", "0.0"]
    assert axis.get_xlabel()


def test_an_error_without_first_steps_stands_at_the_last_ones():
    error, claim = RANDOM.random(6), RANDOM.random(6)
    given = {"filter": error, "differences": error[1:]}
    (axis,) = drawn(drawings.error_per_step(TIME, given, {"filter": claim}, "error")).axes
    lines = curves(axis)
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), claim)
    np.testing.assert_array_equal(lines["filter"], np.column_stack([TIME, error]))
    np.testing.assert_array_equal(lines["differences"], np.column_stack([TIME, error])[1:])
    assert labelled(axis)


def test_information_arrives_step_by_step():
    frames = [(MEAN, SD), (MEAN + 1, SD / 2)]
    animation = drawings.information_arrives(TIME, TRUTH, TRUTH[:, 0], frames, [0, 3])
    animation._func(1)
    angle, velocity = animation._fig.axes
    assert angle.get_title() == "after 4 measurements"
    np.testing.assert_array_equal(curves(angle)["measured"][:, 1], TRUTH[:4, 0])
    np.testing.assert_array_equal(curves(velocity)["mean ± 2 sd"][:, 1], MEAN[:, 1] + 1)
    animation._func(0)
    assert angle.get_title() == "after 1 measurement"
    assert plays(animation, 2)
