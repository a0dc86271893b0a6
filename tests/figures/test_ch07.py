"""The figures of the chapter on failing models show the arrays they are given; axes are labelled;
nothing warns or stays open.
"""

import numpy as np
import pytest

from tutorial_dssm.figures import ch07_when_a_high_elbo_fails as drawings
from tutorial_dssm.figures import shared, style

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("nothing_stays_open")]


def labelled(axis) -> bool:
    return bool(axis.get_xlabel() and axis.get_ylabel())


def test_scatter_shows_the_points_of_every_group():
    figure = shared.scatter({"one": ([1.0, 2.0], [0.1, 0.2]), "two": ([3.0], [0.01])}, "x", "y")
    figure.canvas.draw()
    (axis,) = figure.axes
    np.testing.assert_array_equal(axis.lines[0].get_xydata(), [[1.0, 0.1], [2.0, 0.2]])
    assert len(axis.lines) == 2 and labelled(axis) and axis.get_yscale() == "log"


def test_lines_draws_curves_levels_and_mark():
    x = np.geomspace(1e-3, 1, 9)
    figure = shared.lines(
        x, {"a": x, "b": x**2}, "x", "y", log="xy", levels={"limit": 0.5}, mark=0.1
    )
    figure.canvas.draw()
    (axis,) = figure.axes
    np.testing.assert_array_equal(axis.lines[1].get_ydata(), x**2)
    assert len(axis.lines) == 4 and labelled(axis) and axis.get_xscale() == "log"


def test_step_bars_are_as_high_as_the_values():
    figure = drawings.step_bars({"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]}, "nats")
    figure.canvas.draw()
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == [1, 2, 3, 3, 2, 1] and labelled(axis)


def test_curve_in_space_has_a_panel_for_each_curve():
    phi = np.linspace(-np.pi, np.pi, 20)
    ring = np.stack([np.cos(phi), np.sin(phi), 0 * phi], -1)
    figure = drawings.curve_in_space(np.stack([ring, 2 * ring]), phi, ("a", "b"))
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]


def test_three_films_plays_without_a_kernel_in_few_bytes():
    film = np.random.default_rng(0).random((3, 4, 16))
    animation = drawings.three_films(*film)
    html = style.player(animation, alt="Three films")
    assert 'alt="Three films"' in html and "http" not in html.split("<script")[0]
    assert len(html) < 4 * 60_000


def test_training_outcome_shares_its_axis():
    figure = drawings.training_outcome(
        [1, 2, 3], [10.0, 20.0, 30.0], {"velocity": [0.1, 0.2]}, [1, 3]
    )
    figure.canvas.draw()
    top, bottom = figure.axes
    np.testing.assert_array_equal(top.lines[0].get_ydata(), [10.0, 20.0, 30.0])
    np.testing.assert_array_equal(bottom.lines[0].get_xydata(), [[1, 0.1], [3, 0.2]])
    assert top.get_ylabel() and labelled(bottom)
