"""The figures of the chapter on failing models show the arrays they are given."""

import numpy as np
import pytest

from figures.helpers import clouds, drawn, labelled, plays, points
from tutorial_dssm.figures import ch07_when_a_high_elbo_fails as drawings

pytestmark = pytest.mark.filterwarnings("error")


def test_step_bars_are_as_high_as_the_values():
    figure = drawings.step_bars({"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]}, "nats")
    figure.canvas.draw()
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == [1, 2, 3, 3, 2, 1] and labelled(axis)


@pytest.mark.slow
def test_curve_in_space_has_a_panel_for_each_curve():
    phi = np.linspace(-np.pi, np.pi, 20)
    ring = np.stack([np.cos(phi), np.sin(phi), 0 * phi], -1)
    figure = drawn(drawings.curve_in_space(np.stack([ring, 2 * ring]), phi, ("a", "b")))
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    for size, axis in enumerate(figure.axes, 1):
        np.testing.assert_allclose(points(clouds(axis)[0]), size * ring)


def test_three_films_show_the_frames_and_the_errors_so_far(rng):
    films = rng.random((3, 4, 16))
    animation = drawings.three_films(*films, dt=0.5)
    animation._func(2)
    *pictures, errors = animation._fig.axes
    shown = [axis.images[0].get_array().flatten() for axis in pictures]
    np.testing.assert_array_equal(shown, films[:, 2])
    for line, copy in zip(errors.lines, films[1:]):
        expected = ((copy - films[0]) ** 2).mean(1)[:3]
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([[0, 0.5, 1], expected]))
    assert labelled(errors) and plays(animation, 4)


def test_training_outcome_shares_its_axis():
    figure = drawings.training_outcome(
        [1, 2, 3], [10.0, 20.0, 30.0], {"velocity": [0.1, 0.2]}, [1, 3]
    )
    figure.canvas.draw()
    top, bottom = figure.axes
    np.testing.assert_array_equal(top.lines[0].get_ydata(), [10.0, 20.0, 30.0])
    np.testing.assert_array_equal(bottom.lines[0].get_xydata(), [[1, 0.1], [3, 0.2]])
    assert top.get_ylabel() and labelled(bottom)
