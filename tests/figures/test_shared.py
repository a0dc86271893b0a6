"""Figures of several chapters show the data they are given; axes are labelled."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from figures.helpers import bars, clouds, curves, drawn, labelled, legend, plots, points
from tutorial_dssm.figures import shared
from tutorial_dssm.learning.training import METRICS

pytestmark = pytest.mark.filterwarnings("error")
T = 5


def test_frame_rows_show_every_frame_under_its_time(rng):
    frames = rng.random((2, 3, 4, 4))
    figure = drawn(shared.frame_rows({"a": frames[0], "b": frames[1]}, 0.5))
    shown = [axis.images[0].get_array() for axis in figure.axes]
    np.testing.assert_array_equal(shown, frames.reshape(6, 4, 4))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["0.0 s", "0.5 s", "1.0 s"]
    assert [axis.get_ylabel() for axis in figure.axes[::3]] == ["a", "b"]


@pytest.mark.parametrize("error", [False, True])
def test_prediction_shows_the_frames_in_order(error, rng):
    observed, one, two = rng.uniform(size=(3, T, 4, 4))
    rows = {"one": one.reshape(T, 16), "two": two}
    axes = plots(drawn(shared.prediction(observed, rows, dt=0.5, error=error, first=1.0)))
    assert len(axes) == 3 + error
    assert [axis.get_ylabel() for axis in axes[:3]] == ["observed", "one", "two"]
    for axis, frames in zip(axes, (observed, one, two)):
        np.testing.assert_array_equal([image.get_array() for image in axis.images], frames)
    assert axes[-1].get_xlabel() == "time (s)"
    ticks = [label.get_text() for label in axes[-1].get_xticklabels()]
    assert ticks == ["1.0", "1.5", "2.0", "2.5", "3.0"]
    if error:
        expected = ((two - observed) ** 2).mean((1, 2))
        np.testing.assert_allclose(axes[-1].lines[1].get_ydata(), expected)


def test_prediction_refuses_frames_of_another_shape(rng):
    frames = rng.uniform(size=(T, 4, 4))
    with pytest.raises(ValueError, match="'short' must have the shape"):
        shared.prediction(frames, {"short": frames[1:]}, dt=0.1)


def test_scatter_shows_the_points_of_every_group():
    groups = {"one": ([1.0, 2.0], [0.1, 0.2]), "two": ([3.0], [0.01])}
    figure = drawn(shared.scatter(groups, "x", "y"))
    (axis,) = figure.axes
    np.testing.assert_array_equal(curves(axis)["one"], [[1.0, 0.1], [2.0, 0.2]])
    np.testing.assert_array_equal(curves(axis)["two"], [[3.0, 0.01]])
    assert labelled(axis) and axis.get_yscale() == "log" and legend(figure) == ["one", "two"]


@pytest.mark.parametrize("markers", [False, True])
def test_lines_draws_curves_levels_and_mark(markers):
    x = np.geomspace(1e-3, 1, 9)
    look = {"log": "xy", "levels": {"limit": 0.5}, "mark": 0.1, "markers": markers}
    figure = drawn(shared.lines(x, {"a": x, "b": x**2, "c": x**3}, "x", "y", dashed=["b"], **look))
    (axis,) = figure.axes
    for power, line in enumerate(axis.lines[:3], 1):
        np.testing.assert_allclose(line.get_ydata(), x**power)
    first, second, third = axis.lines[:3]
    assert (first.get_marker() != "None") == (third.get_marker() != "None") == markers
    assert (second.get_marker(), second.get_linestyle()) == ("None", "--")
    assert len(axis.lines) == 5 and labelled(axis)
    assert axis.get_xscale() == axis.get_yscale() == "log"
    assert legend(figure) == ["a", "b", "c", "limit"]


def test_one_line_needs_no_legend():
    assert drawn(shared.lines([0, 1], {"a": [0, 1]}, "x", "y")).legends == []


def test_error_curves_show_seeds_and_their_mean(rng):
    seeds, single = rng.uniform(0.1, 1, (4, T)), rng.uniform(0.1, 1, T)
    given = {"a": seeds, "b": single}
    figure = drawn(shared.error_curves(given, dt=0.2, first=0.4, references={"mean image": 0.5}))
    (axis,) = plots(figure)
    lines = [line.get_ydata() for line in axis.lines]
    assert len(lines) == 4 + 1 + 1 + 1
    np.testing.assert_allclose(lines[:6], [*seeds, seeds.mean(0), single])
    np.testing.assert_allclose(axis.lines[0].get_xdata(), 0.4 + 0.2 * np.arange(T))
    assert set(lines[6]) == {0.5}
    assert axis.get_yscale() == "log" and axis.get_xlabel() == "time (s)" and axis.get_ylabel()
    assert legend(figure) == ["a", "b", "mean image"]


def test_the_legend_of_many_error_curves_covers_none_of_them(rng):
    names = [f"dvbf-smoothing-elbo-learned-noise-{k}" for k in range(6)]
    figure = drawn(shared.error_curves({name: rng.random(T) for name in names}, dt=0.1))
    (axis,) = plots(figure)
    assert not figure.legends[0].get_window_extent().overlaps(axis.get_window_extent())
    looks = {(to_hex(line.get_color()), line.get_marker()) for line in axis.lines}
    assert len(looks) == 6


# --- the path of a run ----------------------------------------------------------------------------


@pytest.mark.parametrize("distortion", ["mse", "distortion"])
def test_rate_distortion_path_shows_the_history(distortion, history):
    constant = history.copy()
    constant[:, 1 + METRICS.index("sigma")] = 0.1
    runs = {"run": history, "other": constant}
    figure = drawn(shared.rate_distortion_path(runs, distortion, target=0.02))
    axis = plots(figure)[0]
    expected = history[:, [1 + METRICS.index(k) for k in (distortion, "rate")]]
    np.testing.assert_allclose(curves(axis)["run"], expected)
    np.testing.assert_allclose(points(clouds(axis)[0])[[0, -1]], expected[[0, -1]])
    assert labelled(axis) and "σ/√λ" in bars(figure)[0].get_ylabel()
    assert legend(figure) == ["run", "other", "constraint"]


@pytest.mark.slow
def test_one_noise_throughout_is_no_reason_to_warn(history):
    history[:, 1 + METRICS.index("sigma")] = 0.1
    drawn(shared.rate_distortion_path({"run": history}))


def test_runs_that_begin_at_one_place_have_labels_apart(history):
    runs = {name: history.copy() for name in ("a", "b", "c")}
    axis = plots(drawn(shared.rate_distortion_path(runs)))[0]
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == 6
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
