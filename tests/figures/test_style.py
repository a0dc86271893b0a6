"""What all figures share: series that differ, plain numbers, frames, legends, the player."""

import re
from itertools import islice

import numpy as np
import pytest
import torch
from matplotlib.animation import FuncAnimation

from figures.helpers import drawn, legend
from tutorial_dssm.figures import style

pytestmark = pytest.mark.filterwarnings("error")


def test_fifteen_series_differ_whatever_of_them_is_drawn():
    series = list(islice(style.series_styles(), 15))
    for look in ("points", "marked", "lined"):
        assert len({tuple(getattr(s, look).items()) for s in series}) == 15
    first = series[: len(style.LINES)]
    for part in zip(*first):  # without looking at colours, too
        assert len(set(part)) == len(first)


@pytest.mark.parametrize(
    "value, text",
    [(0.002, "0.002"), (50, "50"), (2e-5, "$2·10^{-5}$"), (1e-6, "$10^{-6}$"), (1e4, "$10^{4}$")],
)
def test_numbers_on_logarithmic_axes(value, text):
    assert style.plain_number(value) == text


def test_log_axes_are_the_ones_asked_for():
    for which in ("", "x", "y", "xy"):
        _, axis = style.plain_axis(3, 2)
        axis.plot([1, 10], [1, 10])
        style.log_axes(axis, which)
        scales = {"x": axis.get_xscale(), "y": axis.get_yscale()}
        assert {side for side, scale in scales.items() if scale == "log"} == set(which)


def test_as_array_takes_tensors_with_gradients_and_lists():
    for given in (torch.tensor([1.0, 2.0], requires_grad=True), [1.0, 2.0]):
        np.testing.assert_array_equal(style.as_array(given), [1.0, 2.0])


def test_as_images_needs_a_square_number_of_pixels():
    assert style.as_images(torch.zeros(2, 3, 25)).shape == (2, 3, 5, 5)
    with pytest.raises(ValueError, match="square number"):
        style.as_images(np.zeros((2, 24)))


def test_as_images_leaves_square_frames_where_it_knows_the_batch():
    square = np.arange(2 * 4 * 4).reshape(2, 4, 4)
    np.testing.assert_array_equal(style.as_images(square, batch=1), square)
    np.testing.assert_array_equal(style.as_images(square.reshape(2, 16), batch=1), square)


def test_a_film_strip_shows_its_frames_in_order(rng):
    frames = rng.random((3, 4, 4))
    _, axis = style.plain_axis(3, 1)
    images = style.film_strip(axis, frames)
    np.testing.assert_array_equal([image.get_array() for image in images], frames)
    np.testing.assert_allclose([np.mean(image.get_extent()[:2]) for image in images], range(3))


@pytest.mark.parametrize("length", [3, 30])
@pytest.mark.parametrize("side", ["outside lower center", "outside upper center"])
def test_a_legend_outside_covers_nothing_and_fits_into_the_figure(length, side):
    figure, axis = style.plain_axis(7, 4)
    names = [f"{k}".ljust(length, "m") for k in range(6)]
    for name in names:
        axis.plot([0, 1], [0, 1], label=name)
    style.legend_outside(figure, axis, side)
    box = drawn(figure).legends[0].get_window_extent()
    assert legend(figure) == names
    assert not box.overlaps(axis.get_window_extent())
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_angle_colours_are_cyclic():
    ends = style.ANGLE_MAP(0.0), style.ANGLE_MAP(1.0)
    assert np.abs(np.subtract(*ends)).max() < 0.02


# --- the player -----------------------------------------------------------------------------------


@pytest.fixture
def film():
    figure = style.new_figure(1, 1, layout=None)
    label = figure.text(0.5, 0.5, "")

    def draw(k):
        label.set_text(str(k))
        return []

    return FuncAnimation(figure, draw, frames=3, blit=False)


@pytest.mark.parametrize("start, shown", [(0, 0), (1, 1), (-1, 2)])
def test_the_player_opens_on_the_picture_asked_for(film, start, shown):
    html = style.player(film, "numbers", start)
    assert 'alt="numbers"' in html and html.count("data:image/png") == 3
    (opens,) = re.findall(r"new Animation\([^)]*\); (anim\w+\.set_frame\(\d+\);)", html)
    assert opens.endswith(f".set_frame({shown});")


def test_the_player_starts_again_from_its_last_picture(film):
    html = style.player(film, "numbers", -1)
    (play,) = re.findall(r'onclick="([^"]*)\.play_animation\(\)"', html)
    name = play.split()[-1]
    assert (
        f"{name}.current_frame == {name}.frames.length - 1 &amp;&amp; {name}.first_frame();" in play
    )


def test_the_player_needs_nothing_from_another_host(film):
    html = style.player(film, "numbers")
    assert "<link" not in html and 'class="fa' not in html
    assert set(re.findall(r"https?://[\w.]+", html)) <= {"http://www.w3.org"}


@pytest.mark.parametrize("start", [3, -4])
def test_the_player_refuses_a_picture_it_does_not_have(film, start):
    with pytest.raises(ValueError, match="start must be one of 3 pictures"):
        style.player(film, "numbers", start)
