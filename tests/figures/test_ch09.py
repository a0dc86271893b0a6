"""The figures of the chapter on the extended Kalman VAE show the arrays they are given."""

import numpy as np
import pytest

from figures.helpers import clouds, drawn, plays, plots, points
from tutorial_dssm.figures import ch09_extended_kalman_vae as drawings

pytestmark = pytest.mark.filterwarnings("error")
N, T = 6, 5


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True])
def test_inference_process(background, rng, state):
    frames, a, z = rng.uniform(size=(T, 16)), rng.normal(size=(N, T, 2)), rng.normal(size=(N, T, 3))
    a_var, z_var = rng.uniform(0.01, 0.1, (T, 2)), rng.uniform(0.01, 0.1, (T, 3))
    many = (a, z, state) if background else ()
    one = (frames, a[0], a_var, z[0], z_var, state[0])
    figure = drawn(drawings.inference_process(*one, *many, dt=0.5))
    strip, plane, space, a_time, z_time = plots(figure)
    shown = [image.get_array().flatten() for image in strip.images]
    np.testing.assert_array_equal(shown, frames)
    np.testing.assert_allclose(points(clouds(plane)[-1]), a[0])
    np.testing.assert_allclose(points(clouds(space)[-1]), z[0])
    if background:
        np.testing.assert_allclose(points(clouds(plane)[0]), a.reshape(-1, 2))
        np.testing.assert_allclose(points(clouds(space)[0]), z.reshape(-1, 3))
    sizes = [patch.get_width() for patch in plane.patches]
    np.testing.assert_allclose(sizes, 4 * np.sqrt(a_var[:, 0]))
    np.testing.assert_allclose([patch.get_center() for patch in plane.patches], a[0])
    for axis, mean, var in ((a_time, a[0], a_var), (z_time, z[0], z_var)):
        np.testing.assert_allclose([line.get_ydata() for line in axis.lines], mean.T)
        np.testing.assert_allclose(axis.lines[0].get_xdata(), 0.5 * np.arange(T))
        for band, m, v in zip(axis.collections, mean.T, var.T):
            top = band.get_paths()[0].vertices[:, 1].max()
            assert np.isclose(top, (m + 2 * np.sqrt(v)).max())
        assert axis.get_xlabel() == "time (s)" and axis.get_ylabel()


def test_colours_of_one_film_are_those_of_all(rng, state):
    a, z = rng.normal(size=(N, T, 2)), rng.normal(size=(N, T, 3))
    one = (rng.random((T, 16)), a[0], np.ones((T, 2)), z[0], np.ones((T, 3)), state[0])
    figure = drawn(drawings.inference_process(*one, a, z, 3 * state, dt=0.1))
    own, many = clouds(plots(figure)[2])[::-1]
    assert (own.norm.vmin, own.norm.vmax) == (many.norm.vmin, many.norm.vmax)
    np.testing.assert_allclose(own.get_array(), state[0, :, 1])


def test_frames_seen_shows_what_the_model_says_after_each_frame(rng):
    observed, predicted = rng.uniform(size=(T, 16)), rng.uniform(size=(3, T, 16))
    animation = drawings.frames_seen(observed, predicted, [1, 2, 4], dt=0.5)
    animation._func(2)
    upper, lower, errors = animation._fig.axes
    for axis, frames in ((upper, observed), (lower, predicted[2])):
        shown = [image.get_array().flatten() for image in axis.images]
        np.testing.assert_array_equal(shown, frames)
    expected = ((predicted[2] - observed) ** 2).mean(1)
    line = errors.lines[0].get_xydata()
    np.testing.assert_allclose(line, np.column_stack([0.5 * np.arange(T), expected]))
    assert errors.get_xlabel() == "time (s)"
    words = animation._fig.texts[0]
    assert "seen: 4 frames" in words.get_text()
    animation._func(0)
    assert "seen: 1 frame (" in words.get_text()
    assert plays(animation, 3)
