"""Latent spaces show the states they are given, in the colours of the true angle and velocity."""

import numpy as np
import pytest
import torch

from figures.helpers import bars, clouds, drawn, plots, points
from tutorial_dssm.figures import latent
from tutorial_dssm.learning.training import METRICS

pytestmark = pytest.mark.filterwarnings("error")
N, T = 6, 5


@pytest.mark.slow
@pytest.mark.parametrize("z_dim", [1, 2, 3, 5])
@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_latent_space_shows_every_state_with_its_angle_and_velocity(z_dim, convert, rng, state):
    z = rng.normal(size=(N, T, z_dim))
    figure = drawn(latent.latent_space(convert(z), convert(state), "a title"))
    panels = plots(figure)
    assert len(panels) == len(bars(figure)) == 2
    for panel in panels:
        shown, flat = points(clouds(panel)[0]), z.reshape(-1, z_dim)
        if z_dim <= 3:
            np.testing.assert_allclose(shown[:, :z_dim], flat)
        else:  # three principal components: no three directions hold more of the variance
            most = np.sort(np.linalg.eigvalsh(np.cov(flat.T, bias=True)))[-3:]
            assert np.isclose(shown.var(0).sum(), most.sum())
        assert panel.get_xlabel()
    angle, velocity = (clouds(panel)[0].get_array() for panel in panels)
    np.testing.assert_allclose(np.exp(1j * angle), np.exp(1j * state[..., 0].ravel()))
    assert np.abs(angle).max() <= np.pi
    np.testing.assert_allclose(velocity, state[..., 1].ravel())
    labels = [bar.get_xlabel() for bar in bars(figure)]
    assert "rad)" in labels[0] and "rad/s)" in labels[1]


def test_velocity_colours_are_symmetric(state):
    norm = latent.state_colours(state)["velocity"].norm
    assert norm.vmin == -norm.vmax


def test_latent_over_training_shows_first_and_last_snapshot_and_the_history(rng, state, history):
    snapshots, steps = rng.normal(size=(9, N, T, 3)), np.arange(9) * 25
    figure = drawn(latent.latent_over_training(snapshots, steps, state, history, columns=4))
    spaces = [axis for axis in plots(figure) if axis.name == "3d"]
    curves = [axis for axis in plots(figure) if axis.name != "3d"]
    assert len(spaces) == 8 and len(curves) == 3
    for row in (spaces[:4], spaces[4:]):
        for space, snapshot in ((row[0], snapshots[0]), (row[-1], snapshots[-1])):
            np.testing.assert_allclose(points(clouds(space)[0]), snapshot.reshape(-1, 3))
    assert (spaces[0].get_title(), spaces[3].get_title()) == ("step 0", "200")
    for axis, name in zip(curves, ("weight", "mse", "rate")):
        column = history[:, [0, 1 + METRICS.index(name)]]
        np.testing.assert_allclose(axis.lines[0].get_xydata(), column)
        assert axis.get_xlabel() == "step" and axis.get_title()


def test_latent_over_training_with_one_snapshot(rng, state, history):
    snapshot = rng.normal(size=(1, N, T, 2))
    figure = drawn(latent.latent_over_training(snapshot, np.zeros(1, int), state, history[:2]))
    assert len(plots(figure)) == 5
