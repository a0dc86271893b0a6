"""The networks that models share: mixtures, heads, the frame path, recurrent networks, the
hierarchical prior.
"""

import numpy as np
import pytest
import torch
from torch import nn

from instances import generator, linear_prior, normal, within
from tutorial_dssm.networks.frames import FramePath, GaussianEncoder
from tutorial_dssm.networks.layers import GaussianHead, Tanh, mlp, tanh
from tutorial_dssm.networks.priors import HierarchicalPrior
from tutorial_dssm.networks.recurrent import read_backwards, read_forwards
from tutorial_dssm.networks.transitions import LocallyLinearTransition
from tutorial_dssm.probability.gaussian import log_normal


def test_locally_linear_transition_is_a_mixture_of_linear_maps():
    """Equations: ek-mixture"""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transition = LocallyLinearTransition(3, 2, bases=4, hidden=5).double()
    z, u = normal(6, 3), normal(6, 2, seed=1)
    with torch.no_grad():
        transition.log_q.copy_(normal(4, 3, seed=2))
        mean, var = transition(z, u)
        F, b, Q = transition.linearise(z, (u, transition.from_u(u), transition.bases_full()))
        for i in range(6):
            logits = transition.mix(transition.from_z(z[i]) + transition.from_u(u[i]))
            w = torch.softmax(logits, -1)
            F_i = sum(w[k] * transition.F[k] for k in range(4))
            b_i = sum(w[k] * transition.B[k] for k in range(4)) @ u[i]
            q_i = sum(w[k] * (transition.log_q[k].exp() + transition.floor) for k in range(4))
            assert (
                torch.allclose(F[i], F_i)
                and torch.allclose(b[i], b_i)
                and torch.allclose(Q[i], torch.diag(q_i))
            )
            assert torch.allclose(mean[i], F_i @ z[i] + b_i) and torch.allclose(var[i], q_i)


def test_heads_start_where_they_are_told():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head, encoder = GaussianHead(16, 3, var0=0.2), GaussianEncoder(10, 16, 2, var0=0.05)
    _, var = head(torch.randn(500, 16, generator=generator()))
    assert torch.allclose(var.log().mean(0).exp(), torch.tensor(0.2), rtol=0.1)
    mean, var = encoder(torch.randn(500, 10, generator=generator()))
    assert mean.shape == var.shape == (500, 2) and torch.allclose(
        var.log().mean(0).exp(), torch.tensor(0.05), rtol=0.1
    )


def frame_path(x_dim, seen, z_dim, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FramePath(x_dim, seen, z_dim, gain=0.3, **options).double()


def test_frame_path_starts_at_the_principal_components():
    x = normal(40, 5, 6) @ normal(6, 6, seed=1) + normal(6, seed=2)
    path = frame_path(6, 2, 3)
    path.initialise(x)
    frames = x.flatten(0, 1).numpy()
    U, _, _ = np.linalg.svd(frames - frames.mean(0), full_matrices=False)
    a = path(x)[..., :2].detach().flatten(0, 1).numpy()
    assert np.allclose(a.mean(0), 0, atol=1e-12) and np.allclose(np.cov(a.T), np.eye(2))
    assert np.allclose(
        np.abs(a.T @ U[:, 1::-1]), np.sqrt(199) * np.eye(2), atol=1e-9
    )  # up to sign the first two, the larger one last


def test_areas_are_odd_in_time_and_vanish_where_nothing_moves():
    """Equations: ssm-reverse, ssm-area, bal-area"""
    path, x = frame_path(6, 3, 5), normal(4, 5, 6)
    with torch.no_grad():
        z, back, still = path(x), path(x.flip(1)), path(x[:, :1].expand(4, 5, 6))
        a = path.linear(x)
        product = a[:, :-1, :, None] * a[:, 1:, None, :]
        wedge = (product - product.mT)[..., [0, 0, 1], [1, 2, 2]]
    assert (
        torch.allclose(z[..., :3], a)
        and torch.allclose(z[:, :-1, 3:], path.areas(wedge))
        and (z[:, -1, 3:] == 0).all()
    )
    assert torch.allclose(back[:, :-1, 3:].flip(1), -z[:, :-1, 3:]) and (still[..., 3:] == 0).all()
    assert torch.allclose(
        path.areas.weight @ path.areas.weight.T, 0.09 * torch.eye(2, dtype=x.dtype)
    )
    path.past = True
    assert torch.equal(path(x)[:, 1:, 3:], z[:, :-1, 3:]) and (path(x)[:, 0, 3:] == 0).all()


@pytest.mark.parametrize("seen, z_dim", [(1, 3), (3, 3)])
def test_frame_path_without_areas(seen, z_dim):
    path, x = frame_path(6, seen, z_dim), normal(4, 5, 6)
    assert path(x).shape == (4, 5, z_dim) and (path(x)[..., seen:] == 0).all()


def test_tanh():
    for dtype, tolerance in ((torch.float32, 3e-7), (torch.float64, 1e-15)):
        x = torch.linspace(-30, 30, 2001, dtype=dtype)
        assert torch.allclose(tanh(x), torch.tanh(x), rtol=0, atol=tolerance)
        assert torch.allclose(Tanh()(x), tanh(x))


def test_mlp_refuses_an_unknown_activation():
    with pytest.raises(ValueError, match="relu"):
        mlp([2, 3, 1], "rely")


def test_a_missing_frame_says_nothing():
    path, x = frame_path(6, 3, 5), normal(4, 5, 6)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[:, 2] = False
    with torch.no_grad():
        whole, gappy = path(x), path(x, mask)
    assert (gappy[:, 2] == 0).all()
    assert (gappy[:, 1, 3:] == 0).all(), "its area ends at the missing frame"
    assert torch.equal(gappy[:, [0, 3, 4]], whole[:, [0, 3, 4]])
    assert torch.equal(gappy[:, 1, :3], whole[:, 1, :3])


# --- recurrent networks ---------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 6])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_sequence_is_read_from_its_start_or_from_its_end(T, backwards):
    """Against the equations of the gated recurrent unit, step by step."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gru = nn.GRU(3, 4, batch_first=True).double()
    features, u = normal(2, T, 2, seed=1), normal(2, T, 1, seed=2)
    h, expected = torch.zeros(2, 4, dtype=torch.float64), [None] * T
    for t in reversed(range(T)) if backwards else range(T):
        W, V = gru.weight_ih_l0.chunk(3), gru.weight_hh_l0.chunk(3)
        b, c = gru.bias_ih_l0.chunk(3), gru.bias_hh_l0.chunk(3)
        v = torch.cat([features[:, t], u[:, t]], -1)
        reset = torch.sigmoid(v @ W[0].T + b[0] + h @ V[0].T + c[0])
        keep = torch.sigmoid(v @ W[1].T + b[1] + h @ V[1].T + c[1])
        new = torch.tanh(v @ W[2].T + b[2] + reset * (h @ V[2].T + c[2]))
        h = keep * h + (1 - keep) * new
        expected[t] = h
    read = read_backwards if backwards else read_forwards
    assert torch.allclose(read(gru, features, u), torch.stack(expected, 1), rtol=0, atol=1e-12)


# --- the hierarchical prior -----------------------------------------------------------------------


def test_hierarchical_prior_is_exact_for_every_draw_with_the_exact_posterior():
    scale, var, c = normal(3, seed=1), normal(3, seed=2).exp(), normal(3, seed=3)
    prior, total = linear_prior(scale, var, c)
    z = 2 * normal(50, 3, seed=4)
    exact = torch.distributions.Normal(c, total.sqrt()).log_prob(z).sum(-1)
    assert torch.allclose(prior(z, normal(50, 1, 3, seed=5)), exact, rtol=0, atol=1e-12)


def test_hierarchical_prior_is_unbiased_and_below_the_density():
    """E over ζ ~ q of p(z, ζ) / q(ζ | z) must be p(z), here by quadrature; the mean of the
    logarithm must be lower.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = HierarchicalPrior(2, 1, 8).double()
    with torch.no_grad():
        for network in (prior.p, prior.q):
            network[-1].linear.weight *= 4
            network[-1].linear.bias.add_(0.3 * normal(*network[-1].linear.bias.shape))
        zeta = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
        z = torch.tensor([0.7, -0.4], dtype=torch.float64)
        log_joint = log_normal(z, *prior.p(zeta)) + log_normal(zeta, torch.zeros(1), torch.ones(1))
        exact = torch.logsumexp(log_joint, 0) + torch.log(zeta[1, 0] - zeta[0, 0])
        draws = prior(z.expand(20000, 2), normal(20000, 1, 1, seed=6))
    within((draws - exact).exp(), 1.0, se_below=0.02)
    assert draws.mean() < exact - 0.005, "the test needs a posterior that is not exact"


def test_hierarchical_prior_starts_near_the_standard_normal():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = HierarchicalPrior(3, 3, 64)
    z = normal(500, 3).float()
    with torch.no_grad():
        difference = prior(z, normal(500, 1, 3, seed=1).float()) - log_normal(
            z, torch.zeros(3), torch.ones(3)
        )
    assert difference.abs().mean() < 0.2
