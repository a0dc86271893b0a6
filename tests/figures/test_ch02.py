"""The figures of the chapter on rate and distortion show the arrays they are given."""

import numpy as np
import pytest

from figures.helpers import bars, clouds, curves, drawn, labelled, plays, plots, points
from tutorial_dssm.figures import ch02_rate_and_distortion as drawings

pytestmark = pytest.mark.filterwarnings("error")
CURVE = (np.linspace(-400, -300, 30), np.geomspace(60, 1, 30))
FRAMES = np.random.default_rng(0).random((3, 16))
ROWS = [
    {"run": run, "seed": seed, "information": 5.0 + seed, "mismatch": 2.0, "rate": 7.0 + seed}
    | {"mse": 1e-3 / (1 + seed)}
    for run in ("vae-a", "vhp-a")
    for seed in (0, 1)
]


def test_frame_table_shows_every_frame():
    figure = drawn(drawings.frame_table({"observed": FRAMES, "given back": FRAMES[::-1]}))
    shown = [axis.images[0].get_array().flatten() for axis in figure.axes]
    np.testing.assert_array_equal(shown, [*FRAMES, *FRAMES[::-1]])


def test_equal_elbo_draws_a_line_of_slope_minus_one_through_its_points():
    figure = drawings.equal_elbo(-330.0, {"A": (-330.0, 0.0), "B": (-350.0, 20.0)}, CURVE)
    (axis,) = drawn(figure).axes
    lines = curves(axis)
    np.testing.assert_array_equal(lines["B"], [[-350.0, 20.0]])
    (line,) = (v for name, v in lines.items() if name.startswith("D + R"))
    np.testing.assert_allclose(line.sum(1), -330.0)
    assert labelled(axis)


def test_point_on_the_curve_has_the_slope_it_is_given():
    point = (-350.0, 12.0)
    figure = drawings.point_on_the_curve(CURVE, point, 0.5, "noise 0.1", FRAMES, FRAMES[::-1])
    plane, *pictures = drawn(figure).axes
    (tangent,) = (v for name, v in curves(plane).items() if name.startswith("slope"))
    slope = (tangent[:, 1] - point[1]) / (tangent[:, 0] - point[0])
    np.testing.assert_allclose(slope, -0.5)
    shown = [axis.images[0].get_array().flatten() for axis in pictures]
    np.testing.assert_array_equal(shown, [*FRAMES, *FRAMES[::-1]])
    assert labelled(plane)


def test_the_walk_moves():
    places, back = [(-350, 12.0), (-320, 3.0)], np.stack([FRAMES, 1 - FRAMES])
    walk = drawings.walk_on_the_curve(CURVE, places, [0.5, 0.1], ["a", "b"], FRAMES, back)
    walk._func(1)
    plane, *pictures = walk._fig.axes
    assert plane.get_title() == "b"
    np.testing.assert_array_equal(plane.lines[-1].get_xydata(), places[1:])
    shown = [axis.images[0].get_array().flatten() for axis in pictures[3:]]
    np.testing.assert_array_equal(shown, 1 - FRAMES)
    assert plays(walk, 2)


def test_multipliers_draw_paths_and_levels():
    paths, levels = {"plain": [1.0, 0.5], "REWO": [1.0, 1.0]}, {"λ*": 0.2}
    (axis,) = drawn(drawings.multipliers({"one": paths}, {"one": levels})).axes
    lines = {name: v[:, 1] for name, v in curves(axis).items()}
    np.testing.assert_array_equal(lines["plain"], paths["plain"])
    np.testing.assert_array_equal(lines["REWO"], paths["REWO"])
    assert set(lines["λ*"]) == {0.2} and labelled(axis)


def test_codes_stand_over_a_density(rng):
    z, angle = rng.normal(size=(20, 2)), np.linspace(0, 6, 20)
    density = rng.normal(size=(5, 5))
    figure = drawn(drawings.codes({"VAE": (z, angle, density, 3.0), "VHP": (z, angle, density, 4)}))
    for axis in plots(figure):
        np.testing.assert_array_equal(points(clouds(axis)[0]), z)
        np.testing.assert_allclose(axis.images[0].get_array(), density - density.max())
        assert labelled(axis)
    assert len(bars(figure)) == 1


def test_split_bars_stack_to_the_rate():
    (axis,) = drawn(drawings.split_bars(ROWS)).axes
    tops = sorted(patch.get_y() + patch.get_height() for patch in axis.patches)
    assert tops == sorted([row["rate"] for row in ROWS] + [row["information"] for row in ROWS])
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert len(names) == 2
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["vae-a", "vhp-a"]


def test_runs_beside_the_curve():
    curve = (np.geomspace(1e-4, 1e-1, 30), np.linspace(60, 1, 30))
    (axis,) = drawn(drawings.runs_beside_the_curve(curve, ROWS)).axes
    np.testing.assert_allclose(curves(axis)["vae-a"], [(1e-3, 7.0), (5e-4, 8.0)])
    np.testing.assert_array_equal(axis.lines[0].get_xydata(), np.column_stack(curve))
    assert labelled(axis)
