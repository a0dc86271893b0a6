"""The figures of the chapter on rate and distortion show the arrays they are given; axes are
labelled; nothing warns or stays open.
"""

import numpy as np
import pytest

from tutorial_dssm.figures import ch02_rate_and_distortion as drawings
from tutorial_dssm.figures.style import player

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("nothing_stays_open")]
CURVE = (np.linspace(-400, -300, 30), np.geomspace(60, 1, 30))
FRAMES = np.random.default_rng(0).random((3, 16))
ROWS = [
    {
        "run": run,
        "seed": seed,
        "information": 5.0 + seed,
        "mismatch": 2.0,
        "rate": 7.0 + seed,
        "mse": 1e-3 / (1 + seed),
    }
    for run in ("vae-a", "vhp-a")
    for seed in (0, 1)
]


def labelled(axis) -> bool:
    return bool(axis.get_xlabel() and (axis.get_ylabel() or axis.get_title()))


def test_frame_table_shows_every_frame():
    figure = drawings.frame_table({"observed": FRAMES, "given back": FRAMES[::-1]})
    figure.canvas.draw()
    shown = [axis.images[0].get_array().flatten() for axis in figure.axes]
    np.testing.assert_array_equal(shown, np.concatenate([FRAMES, FRAMES[::-1]]))


def test_equal_elbo_draws_a_line_of_slope_minus_one_through_its_points():
    figure = drawings.equal_elbo(-330.0, {"A": (-330.0, 0.0), "B": (-350.0, 20.0)}, CURVE)
    figure.canvas.draw()
    (axis,) = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    np.testing.assert_array_equal(lines["B"], [[-350.0, 20.0]])
    np.testing.assert_allclose(
        next(v for k, v in lines.items() if k.startswith("D + R")).sum(1), -330.0
    )
    assert labelled(axis)


def test_point_on_the_curve_has_the_slope_it_is_given():
    figure = drawings.point_on_the_curve(CURVE, (-350.0, 12.0), 0.5, "noise 0.1", FRAMES, FRAMES)
    figure.canvas.draw()
    plane, *pictures = figure.axes
    tangent = next(
        line for line in plane.lines if line.get_label().startswith("slope")
    ).get_xydata()
    assert np.diff(tangent[:, 1]) / np.diff(tangent[:, 0]) == pytest.approx(-0.5)
    assert labelled(plane) and len(pictures) == 6


def test_walk_plays_without_a_kernel_in_few_bytes():
    back = np.stack([FRAMES, FRAMES])
    html = player(
        drawings.walk_on_the_curve(
            CURVE, [(-350, 12.0), (-320, 3.0)], [0.5, 0.1], ["a", "b"], FRAMES, back
        ),
        alt="A walk",
    )
    assert (
        'alt="A walk"' in html and "http" not in html.split("<script")[0] and len(html) / 2 < 60_000
    )


def test_multipliers_draw_paths_and_levels():
    figure = drawings.multipliers(
        {"one": {"plain": [1.0, 0.5], "REWO": [1.0, 1.0]}}, {"one": {"λ*": 0.2}}
    )
    figure.canvas.draw()
    (axis,) = figure.axes
    assert len(axis.lines) == 3 and labelled(axis)


def test_codes_draws_codes_over_a_density():
    z, angle = np.random.default_rng(1).normal(size=(20, 2)), np.linspace(0, 6, 20)
    figure = drawings.codes(
        {"VAE": (z, angle, np.zeros((5, 5)), 3.0), "VHP": (z, angle, -np.ones((5, 5)), 4.0)}
    )
    figure.canvas.draw()
    for axis in figure.axes[:2]:
        np.testing.assert_array_equal(axis.collections[0].get_offsets(), z)
        assert labelled(axis)


def test_split_bars_stack_to_the_rate():
    figure = drawings.split_bars(ROWS)
    figure.canvas.draw()
    (axis,) = figure.axes
    tops = [p.get_y() + p.get_height() for p in axis.patches]
    np.testing.assert_allclose(tops[1::2], [row["rate"] for row in ROWS])


def test_runs_beside_the_curve():
    figure = drawings.runs_beside_the_curve(
        (np.geomspace(1e-4, 1e-1, 30), np.linspace(60, 1, 30)), ROWS
    )
    figure.canvas.draw()
    (axis,) = figure.axes
    np.testing.assert_allclose(axis.lines[1].get_xydata(), [(1e-3, 7.0), (5e-4, 8.0)])
    assert labelled(axis)
