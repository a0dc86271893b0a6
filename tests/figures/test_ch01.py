"""The figures of the chapter on latent variables show the arrays they are given."""

import numpy as np
import pytest

from figures.helpers import bars, clouds, drawn, plays, plots, points
from tutorial_dssm.figures import ch01_latent_variables as drawings

pytestmark = pytest.mark.filterwarnings("error")
RANDOM = np.random.default_rng(0)
Z, ANGLE, FRAMES = RANDOM.normal(size=(50, 2)), RANDOM.uniform(-6, 6, 50), RANDOM.random((4, 16))


def test_frames_stand_around_the_codes():
    figure = drawn(drawings.frames_on_the_map(Z, ANGLE, Z[:4], FRAMES))
    (axis,) = plots(figure)
    (codes,) = clouds(axis)
    np.testing.assert_array_equal(points(codes), Z)
    np.testing.assert_allclose(np.exp(1j * codes.get_array()), np.exp(1j * ANGLE))
    insets = axis.child_axes
    shown = [inset.images[0].get_array() for inset in insets]
    np.testing.assert_array_equal(shown, FRAMES.reshape(4, 4, 4))
    ends = np.array([line.get_xydata() for line in axis.lines])
    np.testing.assert_array_equal(ends[:, 0], Z[:4])
    radius = np.linalg.norm(ends[:, 1] - (Z.max(0) + Z.min(0)) / 2, axis=1)
    np.testing.assert_allclose(radius, radius[0])
    assert axis.get_xlabel() and len(bars(figure)) == 1


def test_bars_and_gaps_end_at_the_evidence():
    figure = drawn(drawings.bounds_and_gaps({"a": -3.0, "b": -1.5}, -1.0))
    (axis,) = figure.axes
    right = [bar.get_x() + bar.get_width() for bar in axis.patches]
    np.testing.assert_allclose(right, [-3.0, -1.5, -1.0, -1.0])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == 3 and axis.get_xlabel() == "nats"


def test_posteriors_are_ellipses_of_two_standard_deviations():
    gaussians = {"a": ([1.0, 2.0], np.diag([4.0, 1.0])), "b": ([0.0, 0.0], np.eye(2))}
    (axis,) = drawn(drawings.posteriors(gaussians, Z)).axes
    ellipse, other = axis.patches
    assert tuple(ellipse.center) == (1.0, 2.0)
    assert (ellipse.width, ellipse.height) == (8.0, 4.0)
    assert abs(ellipse.angle) in (0.0, 180.0)
    assert ellipse.get_fill() and not other.get_fill()
    np.testing.assert_array_equal(axis.lines[0].get_xydata(), Z)


def test_histograms_hold_the_samples():
    figure = drawn(drawings.histograms({"a": Z[:, 0], "b": Z[:, 1]}, 0.1, "x", clip=1.0))
    for axis, column in zip(figure.axes, Z.T):
        counts = [bar.get_height() for bar in axis.patches]
        width = axis.patches[0].get_width()
        edges = np.append([bar.get_x() for bar in axis.patches], axis.patches[-1].get_x() + width)
        expected, _ = np.histogram(column, edges, density=True)
        np.testing.assert_allclose(counts, expected)
        assert set(axis.lines[0].get_xdata()) == {0.1}
    assert figure.axes[-1].get_xlabel() == "x"


def test_image_rows_show_every_image():
    rows = drawn(drawings.image_rows({"a": FRAMES, "b": FRAMES[:2]}, ["one"]))
    assert [len(axis.images) for axis in rows.axes] == [1, 1, 1, 1, 1, 1, 0, 0]
    assert rows.axes[0].get_title() == "one" and rows.axes[4].get_ylabel() == "b"


def test_by_label_shows_codes_and_a_grid_of_images_with_the_last_row_above():
    images = RANDOM.random((3, 3, 16))
    left, right = drawn(drawings.by_label(Z, np.arange(50) % 10, images)).axes
    np.testing.assert_array_equal(points(clouds(left)[4]), Z[4::10])
    sheet = right.images[0].get_array()
    corner = sheet[3 : 3 + 32 : 8, 3 : 3 + 32 : 8]
    np.testing.assert_array_equal(corner, images[2, 0].reshape(4, 4))
    assert left.get_xlabel() and right.get_xlabel()


def test_decoded_frame_marks_its_place():
    plane, screen = drawn(drawings.decoded_frame(Z, ANGLE, Z[7], FRAMES[1])).axes
    np.testing.assert_array_equal(plane.lines[-1].get_xydata(), Z[7:8])
    np.testing.assert_array_equal(screen.images[0].get_array(), FRAMES[1].reshape(4, 4))
    assert plane.get_xlabel()


def test_the_walk_moves():
    animation = drawings.walk_on_the_ring(Z, ANGLE, Z[:4], FRAMES)
    animation._func(2)
    plane, screen = animation._fig.axes
    trace, point = plane.lines
    np.testing.assert_array_equal(trace.get_xydata(), Z[:3])
    np.testing.assert_array_equal(point.get_xydata(), Z[2:3])
    np.testing.assert_array_equal(screen.images[0].get_array(), FRAMES[2].reshape(4, 4))
    assert plays(animation, 4)
