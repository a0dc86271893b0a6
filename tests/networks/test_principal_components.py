"""Principal components of frames: small ones by the whole covariance, large ones by iteration."""

from dataclasses import replace

import pytest
import torch

from tutorial_dssm import evaluation
from tutorial_dssm.data import pendulum
from tutorial_dssm.data.pendulum import FULL_IMAGE
from tutorial_dssm.networks import frames
from tutorial_dssm.networks.frames import principal_components


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_principal_components_of_large_frames_are_the_exact_ones(n, monkeypatch):
    """Beside the eigenvectors of the whole covariance matrix; the global random state is left
    alone.
    """
    x = pendulum.make_sequences(
        60, 5, seeded(1), replace(FULL_IMAGE, image_size=33), torch.float64
    ).x  # 1089 pixels
    state = torch.get_rng_state()
    W, b = principal_components(x, n)
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(
        W, principal_components(x, n)[0]
    )
    monkeypatch.setattr(frames, "leading_eigenvectors", None)
    monkeypatch.setattr(frames, "EXACT", 1089)
    exact_W, exact_b = principal_components(x, n)
    sign = (W * exact_W).sum(1).sign()
    assert torch.allclose(W * sign[:, None], exact_W, atol=1e-5 * exact_W.abs().max())
    assert torch.allclose(b * sign, exact_b, atol=1e-5)


@pytest.mark.slow
def test_components_of_large_frames_have_unit_variance_and_show_the_angle():
    """In float32, at the full size and length: the first two components of the rod are a ring, if a
    bent one.
    """
    data = pendulum.make_sequences(40, 50, seeded(1), FULL_IMAGE)
    W, b = principal_components(data.x, 2)
    a = data.x @ W.t() + b
    assert W.dtype == torch.float32 and torch.allclose(
        torch.cov(a.flatten(0, 1).t()), torch.eye(2), atol=1e-3
    )
    r2 = evaluation.knn_r2(a, data.targets)
    assert min(r2["sin"], r2["cos"]) > 0.99 and a.norm(dim=-1).min() > 0.3


def test_fewer_frames_than_vectors():
    x = pendulum.make_sequences(1, 5, seeded(1), FULL_IMAGE).x
    W, b = principal_components(x, 2)
    assert torch.allclose(torch.cov((x[0] @ W.t() + b).t()), torch.eye(2), atol=1e-3)
