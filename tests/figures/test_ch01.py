"""The figures of the chapter on latent variables show the arrays they are given; axes are labelled;
nothing warns or stays open.
"""

import numpy as np
import pytest

from tutorial_dssm.figures import ch01_latent_variables as drawings
from tutorial_dssm.figures import style

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("nothing_stays_open")]
RANDOM = np.random.default_rng(0)
Z, ANGLE, FRAMES = RANDOM.normal(size=(50, 2)), RANDOM.uniform(-3, 3, 50), RANDOM.random((4, 16))


@pytest.mark.parametrize(
    "figure",
    [
        lambda: drawings.frames_on_the_map(Z, ANGLE, Z[:4], FRAMES),
        lambda: drawings.bounds_and_gaps({"a": -3.0, "b": -1.5}, -1.0),
        lambda: drawings.curves([1, 10, 100], {"a": [1, 2, 3], "b": [3, 2, 1]}, "x", "y", ["b"]),
        lambda: drawings.marked_lines([1, 10, 100], {"a": [1, 2, 3]}, "x", "y"),
        lambda: drawings.posteriors(
            {"a": ([0, 0], np.eye(2)), "b": ([1, 0], np.diag([1.0, 2.0]))}, Z
        ),
        lambda: drawings.histograms({"a": Z[:, 0], "b": Z[:, 1]}, 0.0, "x"),
        lambda: drawings.by_label(Z, np.arange(50) % 10, RANDOM.random((3, 3, 16))),
        lambda: drawings.decoded_frame(Z, ANGLE, Z[0], FRAMES[0]),
    ],
)
def test_every_figure_draws_with_labels(figure):
    drawn = figure()
    drawn.canvas.draw()
    assert any(axis.get_xlabel() for axis in drawn.axes)


def test_values_are_shown():
    bars = drawings.bounds_and_gaps({"a": -3.0, "b": -1.5}, -1.0).axes[0].patches
    np.testing.assert_allclose([b.get_x() + b.get_width() for b in bars], [-3.0, -1.5, -1.0, -1.0])
    line = drawings.marked_lines([1, 2], {"a": [5, 6]}, "x", "y").axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [5, 6])
    rows = drawings.image_rows({"a": FRAMES, "b": FRAMES[:2]}, ["one"])
    assert sum(len(axis.images) for axis in rows.axes) == 6
    ellipse = drawings.posteriors({"a": ([1.0, 2.0], np.diag([4.0, 1.0]))}).axes[0].patches[0]
    assert (ellipse.width, ellipse.height) == (8.0, 4.0) and abs(ellipse.angle) in (0.0, 180.0)


def test_the_walk_moves():
    animation = drawings.walk_on_the_ring(Z, ANGLE, Z[:4], FRAMES)
    html = style.player(animation, alt="a point walks along the codes")
    assert html.count("data:image/png") == 4 and 'alt="a point walks' in html
