"""The figures of the chapter on the sequential ELBO show the arrays they are given."""

import numpy as np
import pytest

from figures.helpers import curves, drawn, labelled, legend, plays
from tutorial_dssm.figures import ch06_sequential_elbo as drawings

pytestmark = pytest.mark.filterwarnings("error")
RANDOM = np.random.default_rng(0)


def test_weight_maps_are_scaled_to_their_largest():
    values = RANDOM.random((4, 4))
    figure = drawings.weight_maps({"a": values, "b": 0 * values})
    figure.canvas.draw()
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), values / values.max())
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), 0)
    assert figure.axes[0].get_ylabel() and all(axis.get_xlabel() for axis in figure.axes[:2])


def test_look_ahead_shows_curves_and_levels():
    gaps = {"a": [9.0, 2.0, 0.0], "b": [12.0, 3.0, 0.0]}
    (axis,) = drawn(drawings.look_ahead(range(3), gaps, {"level": 40.0})).axes
    lines = {name: v[:, 1] for name, v in curves(axis).items()}
    for name, values in gaps.items():
        np.testing.assert_array_equal(lines[name], values)
    assert set(lines["level"]) == {40.0} and axis.get_ylim()[1] > 40
    assert labelled(axis)


@pytest.mark.parametrize("log", [False, True])
def test_per_step_has_a_panel_for_each_title(log):
    values = 1 + RANDOM.random(5)
    panels = {"one": {"a": values}, "two": {"a": 2 * values}}
    figure = drawn(drawings.per_step(np.arange(5.0), panels, log))
    assert [axis.get_title() for axis in figure.axes] == ["one", "two"]
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), 2 * values)
    assert {axis.get_yscale() for axis in figure.axes} == {"log" if log else "linear"}
    assert legend(figure) == ["a"]


@pytest.mark.slow
def test_walk_shows_the_draw_its_price_and_is_small():
    T, z, kl = 5, RANDOM.normal(size=(5, 2)), RANDOM.random(5)
    q, p = ((RANDOM.normal(size=(T, 2)), RANDOM.random((T, 2))) for _ in range(2))
    frames = RANDOM.random((2, T, 16))
    animation = drawings.ancestral_walk(
        RANDOM.normal(size=(30, 2)), RANDOM.normal(size=30), z, q, p, *frames, kl, dt=0.5
    )
    animation._func(3)
    plane, seen, said, bars = animation._fig.axes
    prior, posterior = plane.patches
    np.testing.assert_allclose([prior.center, posterior.center], [p[0][3], q[0][3]])
    np.testing.assert_allclose(
        [prior.width, posterior.height], [4 * p[1][3, 0] ** 0.5, 4 * q[1][3, 1] ** 0.5]
    )
    np.testing.assert_array_equal(plane.lines[2].get_xydata(), z[:4])
    np.testing.assert_array_equal(
        [axis.images[0].get_array() for axis in (seen, said)], frames[:, 3].reshape(2, 4, 4)
    )
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], kl[:4])
    assert plane.get_title() == "step 4 of 5, 1.5 s" and labelled(plane) and labelled(bars)
    assert plays(animation, T)
