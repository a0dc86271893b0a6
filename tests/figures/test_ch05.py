"""The figures of the EM chapter are labelled and show what they get."""

import numpy as np
import pytest
import torch

from tutorial_dssm.figures import ch05_em_and_the_elbo


@pytest.mark.filterwarnings("error")
def test_figures_are_labelled_and_show_what_they_get():
    grid = np.linspace(0.1, 1, 9)
    values = -((grid[None] - 0.5) ** 2) - (grid[:, None] - 0.4) ** 2
    drawn = [
        ch05_em_and_the_elbo.likelihood_plane(
            grid, grid, 50 * values, {"EM": [(0.2, 0.9), (0.5, 0.4)]}, (0.5, 0.4)
        ),
        ch05_em_and_the_elbo.climb({"EM": [-3.0, -2.0]}, -1.0),
        ch05_em_and_the_elbo.rates(grid, {"f": grid}, {"f": grid}),
        ch05_em_and_the_elbo.two_curves(grid, values[0], values[1], "f", 0.5),
        ch05_em_and_the_elbo.eigenvalues({"truth": torch.tensor([0.5 + 0.5j]), "EM": [0.4 + 0.5j]}),
    ]
    for figure in drawn:
        figure.canvas.draw()
        assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    np.testing.assert_allclose(drawn[1].axes[0].lines[0].get_ydata(), [2.0, 1.0])
    animation = ch05_em_and_the_elbo.lower_bounds(
        grid, values[0], [values[0], values[1]], [0.2, 0.4, 0.5], "f"
    )
    assert animation.to_jshtml().count("data:image/png") == 4
