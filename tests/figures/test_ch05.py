"""The figures of the chapter on EM show the arrays they are given."""

import numpy as np
import pytest
import torch

from figures.helpers import curves, drawn, labelled, plays
from tutorial_dssm.figures import ch05_em_and_the_elbo as drawings

pytestmark = pytest.mark.filterwarnings("error")
GRID = np.linspace(0.1, 1, 10)
HILL = -((GRID - 0.5) ** 2)


def test_likelihood_plane_shows_paths_and_truth():
    values = 50 * (HILL[None] + HILL[:, None])
    path = [(0.2, 0.9), (0.5, 0.4)]
    (axis,) = drawn(drawings.likelihood_plane(GRID, GRID, values, {"EM": path}, (0.5, 0.5))).axes
    np.testing.assert_array_equal(curves(axis)["EM"], path)
    np.testing.assert_array_equal(curves(axis)["made the data"], [(0.5, 0.5)])
    contours = axis.collections[0]
    inner = contours.get_paths()[-1].vertices  # 0.05 nats below the top
    np.testing.assert_allclose(inner.mean(0), [0.5, 0.5], atol=0.05)
    assert labelled(axis)


def test_climb_shows_what_is_missing():
    (axis,) = drawn(drawings.climb({"EM": torch.tensor([-3.0, -2.0])}, -1.0)).axes
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [2.0, 1.0])
    assert labelled(axis) and axis.get_yscale() == "log"


def test_rates_draw_the_formula_under_the_measured_ones():
    formula, measured = {"f": GRID}, {"f": GRID**2}
    (axis,) = drawn(drawings.rates(GRID, formula, measured)).axes
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), GRID)
    np.testing.assert_array_equal(curves(axis)["f"][:, 1], GRID**2)
    assert labelled(axis)


def test_two_curves_mark_their_maxima():
    (axis,) = drawn(drawings.two_curves(GRID, HILL, HILL[::-1] - 1, "f", 0.5)).axes
    tops = [line.get_xydata()[0] for line in axis.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose(tops, [[0.5, 0.0], [0.6, -1.0]], atol=1e-12)
    assert labelled(axis)


def test_eigenvalues_of_any_number_of_models():
    sets = {f"model {k}": torch.tensor([0.1 * k + 0.5j]) for k in range(6)}
    (axis,) = drawn(drawings.eigenvalues(sets)).axes
    shown = curves(axis)
    for k, name in enumerate(sets):
        np.testing.assert_allclose(shown[name], [[0.1 * k, 0.5]])
    np.testing.assert_allclose(np.linalg.norm(axis.lines[0].get_xydata(), axis=1), 1)
    assert labelled(axis)


def test_bounds_touch_and_then_their_tops_are_marked():
    points = [0.2, 0.4, 0.5]
    animation = drawings.lower_bounds(GRID, HILL, [HILL - 0.1, HILL - 0.2], points, "f")
    animation._func(3)  # second iteration, after the M-step
    (axis,) = animation._fig.axes
    np.testing.assert_array_equal(curves(axis)["bound"][:, 1], HILL - 0.2)
    now, after = axis.lines[2:]
    np.testing.assert_allclose(now.get_xydata(), [[0.4, -0.01]])
    np.testing.assert_allclose(after.get_xydata(), [[0.5, -0.2]], atol=1e-12)
    assert labelled(axis) and plays(animation, 4)
