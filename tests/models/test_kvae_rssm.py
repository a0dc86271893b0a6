"""Kalman VAE, missing frames, the hierarchical prior of z_1, the recurrent state-space model,
balanced KL and free nats: each against an oracle.
"""

import math

import numpy as np
import pytest
import torch
from test_models import (
    dense,
    elbo,
    generator,
    kl_gaussian,
    linear_ekvae,
    log_evidence,
    normal,
    orthogonal,
    within,
)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from oracles import DenseGaussian
from tutorial_dssm.learning.objectives import (
    BalancedConfig,
    ConstrainedConfig,
    LearnedNoiseConfig,
    make_objective,
)
from tutorial_dssm.learning.training import Run, TrainingConfig
from tutorial_dssm.models.base import StepTerms, Terms
from tutorial_dssm.models.ekvae import EKVAE, EKVAEConfig
from tutorial_dssm.models.kvae import KVAE, KVAEConfig
from tutorial_dssm.models.rssm import RSSM, RSSMConfig
from tutorial_dssm.networks.priors import HierarchicalPrior
from tutorial_dssm.probability import kalman
from tutorial_dssm.probability.gaussian import kl_diagonal, log_normal

SIGMA = 0.7  # observation noise of the linear instances


def make(kind, seed=0, **sizes):
    """A small float64 model with weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "rssm":
            model = RSSM(RSSMConfig(**(dict(x_dim=5, deterministic=4, hidden=8) | sizes)))
        else:
            sizes = dict(x_dim=5, hidden=8, bases=3, mix_hidden=4) | sizes
            model = (
                KVAE(KVAEConfig(**sizes))
                if kind == "kvae"
                else EKVAE(EKVAEConfig(vhp=True, vhp_dim=2, vhp_hidden=6, **sizes))
            )
    return model.double()


def lively_kvae(seed=0, **sizes):
    """A KVAE whose matrices differ from base to base and whose weights move with a."""
    model = make("kvae", seed, **sizes)
    with torch.no_grad():
        model.transition.F.add_(0.4 * normal(3, 3, 3, seed=seed + 1))
        model.transition.B.copy_(normal(3, 3, 1, seed=seed + 2))
        model.transition.log_q.copy_(normal(3, 3, seed=seed + 3) - 1)
        model.transition.from_last[-1].weight *= 10
        model.transition.from_memory.weight.copy_(
            10 * normal(*model.transition.from_memory.weight.shape, seed=seed + 5)
        )  # they start at zero
        model.log_r.copy_(normal(2, seed=seed + 4) - 1)
    return model


def linear_kvae(X=4, seed=0):
    """(KVAE with one base matrix and a linear decoder, matrix D and offset d of the decoder)."""
    source, D, d = linear_ekvae(SIGMA, X, seed=seed)
    model = make("kvae", seed, x_dim=X, bases=1)
    with torch.no_grad():
        for name in ("F", "B", "log_q"):
            getattr(model.transition, name).copy_(getattr(source.transition, name))
        model.log_r.copy_(source.log_r)
    model.encoder, model.decoder = source.encoder, source.decoder
    return model, D, d


def one_step(model, a, u, memory=None):
    """F, b, diagonal of Q and the new memory after (a [A], u [U]): perceptron, LSTM and mixture,
    written out.
    """
    t, H = model.transition, model.transition.rnn.hidden_size
    first, second, last = (layer for layer in t.from_last if hasattr(layer, "weight"))
    logits = last(torch.tanh(second(torch.tanh(first(torch.cat([a, u]))))))
    h, c = (a.new_zeros(H),) * 2 if memory is None else memory
    gates = (
        t.rnn.weight_ih_l0 @ torch.cat([a, u])
        + t.rnn.bias_ih_l0
        + t.rnn.weight_hh_l0 @ h
        + t.rnn.bias_hh_l0
    )
    i, f, g, o = gates.split(H)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    w = torch.softmax(logits + model.config.memory_gain * t.from_memory(h), 0)
    F, B, q = (sum(w[k] * v[k] for k in range(len(w))) for v in (t.F, t.B, t.log_q.exp() + t.floor))
    return F, B @ u, q, (h, c)


def dense_kvae(model, a, u, seen=None):
    """(dense Gaussian of one series with the weights that a [T, A] (zeros where missing) and u [T,
    U] give, a as the LSTM saw it).
    """
    T, memory, steps, imputed = len(a), None, [], []

    def gaussian():
        F, b, Q = (
            np.stack([s[i].numpy() for s in steps]) if steps else np.zeros((0, *shape))
            for i, shape in enumerate([(3, 3), (3,), (3, 3)])
        )
        n = len(steps) + 1
        return DenseGaussian(
            F,
            b,
            Q,
            np.stack([model.H.numpy()] * n),
            np.stack([np.diag(model.r.numpy())] * n),
            np.zeros(3),
            np.eye(3),
        )

    for t in range(T):
        here, mask = (
            gaussian(),
            None if seen is None else np.repeat(seen[: t + 1, None].numpy(), 2, 1),
        )
        if mask is None or seen[t]:
            imputed.append(a[t])
        else:
            imputed.append(
                model.H @ torch.as_tensor(here.posterior(a[: t + 1].numpy(), mask, t)[0][t])
            )
        if t < T - 1:
            F, b, q, memory = one_step(model, imputed[-1], u[t], memory)
            steps.append((F, b, torch.diag(q)))
    return here, imputed


# --- Kalman VAE -----------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 5])
def test_kvae_starts_without_memory(T):
    """At the start the mixture is that of the last a and u alone, whatever came before; later it is
    not.
    """
    a, u = normal(4, T, 2), normal(4, T, 1)
    other = torch.cat([a[:, :-2] + 1, a[:, -2:]], 1)
    for model, same in ((make("kvae"), True), (lively_kvae(), T <= 2)):
        (F, _, _), (G, _, _) = (
            model.transition(v[:, :-1].transpose(0, 1), u[:, :-1].transpose(0, 1))[0]
            for v in (a, other)
        )
        assert torch.equal(F[-1:], G[-1:]) == same


@pytest.mark.parametrize("T", [1, 5])
def test_kvae_identity_of_every_draw(T):
    """log p(a | z) + log p(z | a, u) - log q(z | a) = log p(a) for every z, by a dense Gaussian
    with weights written out; the rate contains it.
    """
    model, B = lively_kvae(), 12
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    with torch.no_grad():
        mean, var = model.encoder(x)
        a = mean + var.sqrt() * normal(B, T, 2, seed=3)  # what `terms` draws from this seed
        draw = kalman.sample_joint(model.filter(a, u), normal(B, T, 3, seed=4))
        joint = (
            log_normal(a, draw.z @ model.H.T, model.r).sum(-1)
            + model.log_prior(draw.z, u, a)
            - draw.log_density
        )
        exact = torch.tensor(
            [dense_kvae(model, a[i], u[i])[0].log_likelihood(a[i].numpy()) for i in range(B)]
        )
        assert torch.allclose(joint, exact, rtol=0, atol=1e-9)
        terms = model.terms(x, u, generator(3))
        assert torch.allclose(
            terms.rate, log_normal(a, mean, var).sum(-1) - exact, rtol=0, atol=1e-9
        )
        assert torch.allclose(terms.squared_error, ((x - model.decoder(a)) ** 2).sum((1, 2)))
        if T > 1:
            F = model.filter(a, u).F
            assert (F[:, 0] - F[:, -1]).abs().max() > 0.05 and F.std(0).max() > 0.05, (
                "the test needs weights that move"
            )


def test_kvae_rate_has_the_gradient_of_the_drawn_formula():
    """No z is drawn; the gradient is that of log p(a|z) + log p(z|a) - log q(z|a) with a
    reparametrised z all the same.
    """
    model, B, T = lively_kvae(), 3, 4
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    parameters = [p for name, p in model.named_parameters() if not name.startswith("decoder")]
    mean, var = model.encoder(x)
    a = mean + var.sqrt() * normal(B, T, 2, seed=3)
    draw = kalman.sample_joint(model.filter(a, u), normal(B, T, 3, seed=4))
    joint = (
        log_normal(a, draw.z @ model.H.T, model.r).sum(-1)
        + model.log_prior(draw.z, u, a)
        - draw.log_density
    )
    drawn = torch.autograd.grad((log_normal(a, mean, var).sum(-1) - joint).sum(), parameters)
    ours = torch.autograd.grad(model.terms(x, u, generator(3)).rate.sum(), parameters)
    assert all(torch.allclose(g, h, rtol=1e-8, atol=1e-10) for g, h in zip(ours, drawn))


@pytest.mark.parametrize("T", [1, 4])
def test_kvae_bound_misses_the_exact_likelihood_by_the_kl_of_its_encoder(T):
    model, D, d = linear_kvae()
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    with torch.no_grad():
        exact, mean, cov = log_evidence(model, D, d, SIGMA, x, u)
        q_mean, q_var = model.encoder(x)
        gap = kl_gaussian(q_mean.flatten().numpy(), np.diag(q_var.flatten().numpy()), mean, cov)
    draws = elbo(model, x, u, SIGMA, 4000)
    assert gap > 0.1 and draws.mean() < exact
    within(draws, exact - gap, se_below=0.07)


def test_kvae_weights_know_the_past_only():
    model, T = lively_kvae(), 5
    a, u = normal(1, T, 2), normal(1, T, 1, seed=1)
    with torch.no_grad():
        reference = model.filter(a, u).F
        for s in range(T):
            later = [v.index_add(1, torch.tensor([s]), torch.ones_like(v[:, :1])) for v in (a, u)]
            for changed in ((later[0], u), (a, later[1])):
                moved = (
                    ((model.filter(*changed).F - reference).abs() > 1e-9)
                    .flatten(2)
                    .any(-1)[0]
                    .tolist()
                )
                assert moved == [t >= s for t in range(T - 1)], (
                    f"time {s + 1} must reach the transitions from {s + 1} on and no other"
                )


def test_kvae_without_memory_mixes_by_the_last_a_and_u():
    model = make("kvae", 0, memory=False)
    a, u = normal(2, 5, 2, seed=1), normal(2, 5, 1, seed=2)
    with torch.no_grad():
        F = model._model(a, u)[0]
        for s in range(4):
            bumped = model._model(torch.cat([a[:, :s], a[:, s : s + 1] + 1, a[:, s + 1 :]], 1), u)[
                0
            ]
            assert [(bumped[:, t] != F[:, t]).any().item() for t in range(4)] == [
                t == s for t in range(4)
            ]
        z = model.predict(normal(2, 3, seed=3), u)
        assert torch.allclose(model.predict(z[:, 2], u[:, 2:]), z[:, 2:]), (
            "its state is Markov: a path goes on from any of its states"
        )


def test_kvae_starts_at_the_principal_components():
    model, x = make("kvae", 0, var0=0.1), normal(30, 4, 5) @ normal(5, 5, seed=1)
    with torch.no_grad():
        model.encoder.head.linear.weight.zero_()
        model.initialise(x)
        a = model.encoder(x)[0].flatten(0, 1)
    assert torch.allclose(a.mean(0), torch.zeros(2, dtype=a.dtype), atol=1e-12) and torch.allclose(
        torch.cov(a.T), torch.eye(2, dtype=a.dtype)
    )


@pytest.mark.parametrize("sample", [False, True])
def test_kvae_prediction_feeds_its_own_path_to_the_lstm(sample):
    model, T = lively_kvae(), 6
    z1, u, noise = normal(2, 3, seed=5), normal(2, T, 1, seed=6), normal(T, 2, 5, seed=7)
    rows = iter(noise)
    model.noise = lambda like, *shape, generator: next(rows)
    with torch.no_grad():
        path = model.predict(z1, u, sample)
        for i in range(2):
            z, memory = z1[i], None
            for t in range(T):
                assert torch.allclose(path[i, t], z, atol=1e-12)
                e = noise[t, i] * sample
                F, b, q, memory = one_step(model, z[:2] + model.r.sqrt() * e[:2], u[i, t], memory)
                z = F @ z + b + q.sqrt() * e[2:]


def test_kvae_predictions_are_draws_of_its_own_model():
    """Importance weights of draws: paths drawn by `predict` have, under log_prior of the very a
    they were fed, the density of their noise.
    """
    model, T = lively_kvae(), 4
    z1, u, noise = normal(2, 3, seed=5), normal(2, T, 1, seed=6), normal(T - 1, 2, 5, seed=7)
    rows = iter(noise)
    model.noise = lambda like, *shape, generator: next(rows)
    with torch.no_grad():
        z = model.predict(z1, u, sample=True)
        a = z @ model.H.T + model.r.sqrt() * torch.cat(
            [noise[..., :2], noise[:1, :, :2]]
        ).transpose(0, 1)
        Q = model.filter(a, u).Q.diagonal(dim1=-2, dim2=-1)
        density = log_normal(noise[..., 2:], torch.zeros(3), torch.ones(3)).sum(
            0
        ) - 0.5 * torch.log(Q).sum((1, 2))
        assert torch.allclose(
            model.log_prior(z, u, a) - log_normal(z1, torch.zeros(3), torch.ones(3)),
            density,
            atol=1e-10,
        )


# --- missing frames -------------------------------------------------------------------------------

MASK = torch.tensor(
    [[1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]],
    dtype=torch.bool,
)


@pytest.mark.parametrize("kind", ["kvae", "ekvae"])
@pytest.mark.parametrize("T", [1, 6])
def test_missing_frames_of_a_linear_instance_are_imputed_as_the_dense_gaussian_says(kind, T):
    model = linear_kvae()[0] if kind == "kvae" else linear_ekvae(SIGMA)[0]
    x, u, mask = normal(4, T, 4, seed=11), normal(4, T, 1, seed=12), MASK[:, :T]
    with torch.no_grad():
        posterior = model.infer(x.masked_fill(~mask[..., None], math.nan), u, generator(), mask)
        for i in range(4):
            a = model.encoder(x[i])[0].numpy()
            mean, cov = dense(model, u[i], model.H, torch.diag(model.r)).posterior(
                a, np.repeat(mask[i, :, None].numpy(), 2, 1)
            )
            assert np.allclose(posterior.mean[i], mean, atol=1e-9) and np.allclose(
                posterior.var[i], np.einsum("tntn->tn", cov), atol=1e-9
            )


def test_kvae_imputes_what_its_lstm_does_not_see():
    """Nonlinear weights: against a loop over dense Gaussians, each a step longer than the one
    before.
    """
    model, T = lively_kvae(), 6
    x, u = normal(4, T, 5, seed=11), normal(4, T, 1, seed=12)
    with torch.no_grad():
        posterior = model.infer(x, u, generator(), MASK)
        plain = model.infer(x, u, generator())
        for i in range(4):
            a = model.encoder(x[i])[0] * MASK[i, :, None]
            oracle, imputed = dense_kvae(model, a, u[i], MASK[i])
            mean, cov = oracle.posterior(a.numpy(), np.repeat(MASK[i, :, None].numpy(), 2, 1))
            assert np.allclose(posterior.mean[i], mean, atol=1e-9) and np.allclose(
                posterior.var[i], np.einsum("tntn->tn", cov), atol=1e-9
            )
    same = [torch.allclose(a[2], b[2], atol=1e-12) for a, b in zip(posterior, plain)]
    assert all(same), "where all frames are seen, the step-by-step pass is the batched one"
    assert (posterior.mean[0] - plain.mean[0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["kvae", "ekvae"])
@pytest.mark.parametrize(
    "mask",
    [torch.ones(4, 3, dtype=torch.bool), torch.ones(4, 6), torch.ones(4, 6, 5, dtype=torch.bool)],
)
def test_the_door_for_masks(kind, mask):
    with pytest.raises(ValueError, match="mask must be"):
        make(kind).infer(normal(4, 6, 5), normal(4, 6, 1), generator(), mask)


@pytest.mark.parametrize("kind", ["kvae", "ekvae"])
def test_a_mask_excuses_missing_frames_only(kind):
    x, u, mask = normal(2, 4, 5), normal(2, 4, 1), torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="finite"):
        make(kind).infer(x.masked_fill(x == x[0, 1, 2], math.nan), u, generator(), mask)


# --- the hierarchical prior -----------------------------------------------------------------------


class LinearGaussian(nn.Module):
    """Stands in for a network: N(W v + c, var)."""

    def __init__(self, W, c, var):
        super().__init__()
        self.W, self.c, self.var = W, c, var

    def forward(self, v):
        mean = v @ self.W.mT + self.c
        return mean, self.var.expand_as(mean)


def linear_prior(scale, var, c):
    """(prior with p(z | ζ) = N(scale ζ + c, var) and the exact q(ζ | z), coordinate by coordinate;
    variance of z).
    """
    prior = HierarchicalPrior(3, 3, 4).double()
    total = scale**2 + var
    gain = scale / total
    prior.p, prior.q = (
        LinearGaussian(torch.diag(scale), c, var),
        LinearGaussian(torch.diag(gain), -gain * c, var / total),
    )
    return prior, total


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


def test_ekvae_with_the_hierarchical_prior_changes_p_of_z1_and_nothing_else():
    """Same weights, same draws: the rate moves by log N(z_1; 0, I) - log p(z_1), here for a prior
    whose p(z_1) is a known Gaussian.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = EKVAE(EKVAEConfig(x_dim=5, hidden=8, bases=3, mix_hidden=4)).double()
    model, B, T = make("ekvae", 0), 20, 4
    own = plain.state_dict()
    assert all(
        torch.equal(v, own[k]) for k, v in model.state_dict().items() if not k.startswith("vhp.")
    ) and not any("vhp" in k for k in own)
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    a_noise, z_noise = normal(B, T, 2, seed=3), normal(B, T, 3, seed=4)
    for scale, var in ((0.6, 0.64), (1.3, 0.2)):
        model.vhp, total = linear_prior(
            *(torch.full((3,), v, dtype=torch.float64) for v in (scale, var, scale - 0.6))
        )
        rates = []
        for m in (plain, model):
            rows = iter([a_noise, z_noise, normal(B, 1, 3, seed=5)])
            m.noise = lambda like, *shape, generator, rows=rows: next(rows)
            rates.append(m.terms(x, u).rate)
        mean, v = plain.encoder(x)
        z1 = kalman.sample_joint(plain.filter(mean + v.sqrt() * a_noise, u), z_noise).z[:, 0]
        by = torch.distributions.Normal(0, 1).log_prob(z1) - torch.distributions.Normal(
            scale - 0.6, total.sqrt()
        ).log_prob(z1)
        assert torch.allclose(rates[1] - rates[0], by.sum(-1), rtol=0, atol=1e-10)
        assert (by.sum(-1).abs().max() < 1e-9) == (scale == 0.6), (
            "0.6² + 0.64 = 1 is N(0, I), the other is not"
        )


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


# --- recurrent state-space model: a linear-Gaussian instance --------------------------------------


class LinearCell(nn.Module):
    """Stands in for the GRU: h' = F s + b u."""

    def __init__(self, F, b):
        super().__init__()
        self.F, self.b = F, b

    def forward(self, s_u, h):
        return s_u[..., :2] @ self.F.mT + s_u[..., 2:] * self.b


class Spread(nn.Module):
    """Stands in for a head: N(features, var)."""

    def __init__(self, var):
        super().__init__()
        self.var = var

    def forward(self, features):
        return features, self.var.expand_as(features)


def linear_rssm(scale=1.0, seed=0):
    """(RSSM that is s_{t+1} = F s_t + b u_t + w_t with the exact p(s_t | s_{t-1}, x_t) as
    posterior, its variance times `scale`; its numbers).
    """
    model = make("rssm", seed, x_dim=4, deterministic=2, stochastic=2, frame_path=False)
    D, d = (
        orthogonal(4, 2, seed + 1) * torch.tensor([2.0, 1.5], dtype=torch.float64),
        normal(4, seed=seed + 2),
    )
    F, b, q = (
        0.9 * orthogonal(2, 2, seed + 3),
        normal(2, seed=seed + 4),
        (normal(2, seed=seed + 5) - 1).exp(),
    )
    V = 1 / (1 / q + (D**2).sum(0) / SIGMA**2)
    model.gru, model.prior, model.posterior_head = LinearCell(F, b), Spread(q), Spread(scale * V)
    with torch.no_grad():
        model.encoder, model.decoder, model.from_h = (
            nn.Linear(4, 2).double(),
            nn.Linear(4, 4).double(),
            nn.Linear(2, 2, bias=False).double(),
        )
        (
            model.encoder.weight.copy_(V[:, None] * D.T / SIGMA**2),
            model.encoder.bias.copy_(-(V[:, None] * D.T / SIGMA**2) @ d),
        )
        model.from_h.weight.copy_(torch.diag(V / q))
        (
            model.decoder.weight.copy_(torch.cat([torch.zeros_like(D), D], 1)),
            model.decoder.bias.copy_(d),
        )
    return model, (F, b, q, D, d, V)


def rssm_expected_bound(numbers, x, u, scale):
    """E of the bound in closed form: moments of s_t under q, a linear-Gaussian chain; then E log
    p(x_t | s_{t-1}) and the price of `scale`.
    """
    F, b, q, D, d, V = (v.numpy() for v in numbers)
    S = D @ np.diag(q) @ D.T + SIGMA**2 * np.eye(4)  # of x_t given s_{t-1}
    mean, cov, total = np.zeros(2), np.zeros((2, 2)), 0.0  # of F s_{t-1} + b u_{t-1}
    for t in range(len(x)):
        e = x[t].numpy() - d - D @ mean
        total += -0.5 * (
            e @ np.linalg.solve(S, e)
            + np.trace(np.linalg.solve(S, D @ cov @ D.T))
            + np.linalg.slogdet(2 * np.pi * S)[1]
        )
        total -= 0.5 * 2 * (scale - 1 - math.log(scale))
        mean = V / q * mean + V * (D.T @ (x[t].numpy() - d)) / SIGMA**2
        cov = np.diag(V / q) @ cov @ np.diag(V / q) + scale * np.diag(V)
        mean, cov = F @ mean + b * u[t].numpy(), F @ cov @ F.T
    return total


@pytest.mark.parametrize("scale", [1.0, 1.6])
@pytest.mark.parametrize("T", [1, 4])
def test_rssm_bound_of_the_linear_instance(T, scale):
    """Its mean is the closed form, below the exact likelihood: a filter's posterior is exact only
    for one frame.
    """
    model, numbers = linear_rssm(scale)
    F, b, q, D, d, _ = (v.numpy() for v in numbers)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    drift = [F] * (T - 1), u[:-1].numpy() * b, [np.diag(q)] * (T - 1)
    oracle = DenseGaussian(
        *drift, np.stack([D] * T), np.stack([SIGMA**2 * np.eye(4)] * T), np.zeros(2), np.diag(q)
    )
    exact = oracle.log_likelihood((x - numbers[4]).numpy())
    expected = rssm_expected_bound(numbers, x, u, scale)
    draws = elbo(model, x, u, SIGMA, 8000)
    if T == 1 and scale == 1:
        assert expected == pytest.approx(exact, abs=1e-9)
    else:
        assert expected < exact - 0.05
    within(draws, expected, se_below=0.07)


def test_rssm_path_is_the_recurrence_written_out():
    """Deterministic path, posterior at [h_t, x_t], KL to the prior at h_t (torch.distributions),
    squared error from all of z.
    """
    model, B, T = make("rssm"), 6, 5
    x, u, noise = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12), normal(B, T, 3, seed=9)
    with torch.no_grad():
        model.frame_path.areas.weight.fill_(0.7)
        terms, h, kl, frames = (
            model.terms(x, u, generator(9)),
            torch.zeros(B, 4, dtype=torch.float64),
            [],
            [],
        )
        a = model.frame_path.linear(x)
        for t in range(T):
            mean, var = model.posterior_head(model.encoder(x[:, t]) + h @ model.from_h.weight.T)
            area = (
                0.7 * (a[:, t - 1, 0] * a[:, t, 1] - a[:, t - 1, 1] * a[:, t, 0])
                if t
                else torch.zeros(B, dtype=torch.float64)
            )
            of_q = torch.distributions.Normal(
                mean + torch.cat([a[:, t], area[:, None]], 1), var.sqrt()
            )
            p_mean, p_var = model.prior(h)
            kl.append(
                torch.distributions.kl_divergence(
                    of_q, torch.distributions.Normal(p_mean, p_var.sqrt())
                ).sum(-1)
            )
            s = of_q.mean + of_q.stddev * noise[:, t]
            frames.append(model.decoder(torch.cat([h, s], -1)))
            h = model.gru(torch.cat([s, u[:, t]], -1), h)
    kl = torch.stack(kl, 1)
    assert (
        torch.allclose(terms.rate, kl.sum(1))
        and torch.allclose(terms.kl_prior, kl)
        and torch.allclose(terms.kl_posterior, kl)
    )
    assert torch.allclose(terms.squared_error, ((x - torch.stack(frames, 1)) ** 2).sum((1, 2)))


def test_rssm_rate_is_the_mean_log_ratio_of_its_draws():
    """`log_prior` at the draws against the closed-form KL: the two have the same mean."""
    model, B, T = make("rssm", 1), 20000, 3
    x, u = normal(T, 5, seed=11).expand(B, T, 5), normal(T, 1, seed=12).expand(B, T, 1)
    with torch.no_grad():
        rate = model.terms(x, u, generator(9)).rate
        h, mean, var, s = model._posterior(
            x, u, torch.randn(B, T, 3, generator=generator(9), dtype=torch.float64)
        )
        ratio = log_normal(s, mean, var).sum(-1) - model.log_prior(torch.cat([h, s], -1), u)
    within(rate - ratio, 0.0, se_below=0.05)


def test_rssm_infers_at_the_mean_and_predicts_from_the_prior():
    model, B, T, N = make("rssm"), 3, 4, 20000
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    with torch.no_grad():
        posterior = model.infer(x, u, generator(2))
        h, s = posterior.mean.split([4, 3], -1)
        assert (h[:, 0] == 0).all() and (posterior.var[..., :4] == 0).all()
        for t in range(T):
            assert torch.allclose(
                model.infer(x[:, : t + 1], u[:, : t + 1], generator()).mean,
                posterior.mean[:, : t + 1],
            ), "a filter"
            if t:
                assert torch.allclose(
                    h[:, t], model.gru(torch.cat([s[:, t - 1], u[:, t - 1]], -1), h[:, t - 1])
                )
        path, z = model.predict(posterior.mean[:, 1], u), posterior.mean[:, 1]
        for t in range(T):
            assert torch.allclose(path[:, t], z, atol=1e-12)
            h = model.gru(torch.cat([z[:, 4:], u[:, t]], -1), z[:, :4])
            z = torch.cat([h, model.prior(h)[0]], -1)
        drawn = model.predict(
            posterior.mean[:1, 1].expand(N, 7),
            u[:1].expand(N, T, 1),
            sample=True,
            generator=generator(),
        )
        mean, var = model.prior(path[0, 1, :4])
        assert torch.allclose(drawn[:, 1, :4], path[0, 1, :4].expand(N, 4)), "h is certain"
        h = model.gru(torch.cat([drawn[:, 1, 4:], u[:1, 1].expand(N, 1)], -1), drawn[:, 1, :4])
        assert torch.allclose(drawn[:, 2, :4], h), "and follows from what was drawn"
    for i in range(3):
        within(drawn[:, 1, 4 + i], mean[i])
        within((drawn[:, 1, 4 + i] - mean[i]) ** 2, var[i])
    draw = posterior.sample
    assert torch.allclose(
        draw[:, 0, 4:], s[:, 0] + posterior.var[:, 0, 4:].sqrt() * normal(B, T, 3, seed=2)[:, 0]
    )


def test_rssm_balances_the_networks_it_should():
    """One frame: no gradient of the one KL reaches the posterior, none of the other the prior."""
    model, x, u = make("rssm"), normal(4, 1, 5), normal(4, 1, 1)
    prior = list(model.prior.parameters())
    posterior = [
        *model.encoder.parameters(),
        *model.posterior_head.parameters(),
        *model.frame_path.linear.parameters(),
    ]
    for name, reached, spared in (
        ("kl_prior", prior, posterior),
        ("kl_posterior", posterior, prior),
    ):
        kl = getattr(model.terms(x, u, generator()), name).sum()
        grads = torch.autograd.grad(
            kl, [*reached, *spared], allow_unused=True, materialize_grads=True
        )
        assert all((g == 0).all() for g in grads[len(reached) :]) and any(
            (g != 0).any() for g in grads[: len(reached)]
        )


# --- balanced KL and free nats --------------------------------------------------------------------

N = 60  # values in a sequence


def leaves(seed=0):
    """Mean and variance of q and of p, [B, T, Z] = [3, 4, 2]; rows of T with a small and a large
    KL.
    """
    mean, p_mean = normal(3, 4, 2, seed=seed), normal(3, 4, 2, seed=seed + 1)
    mean = torch.where(torch.tensor([True, False, True, False])[:, None], mean, p_mean + 0.01)
    var = (0.3 * normal(3, 4, 2, seed=seed + 2)).exp()
    p_var = torch.where(
        torch.tensor([True, False, True, False])[:, None],
        (0.3 * normal(3, 4, 2, seed=seed + 3)).exp(),
        1.02 * var,
    )
    return [v.clone().requires_grad_() for v in (mean, var, p_mean, p_var)]


def by_hand(mean, var, p_mean, p_var):
    """KL [B, T] by torch.distributions, and its gradient by mean, var, p_mean, p_var, worked out on
    paper.
    """
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, var.sqrt()),
        torch.distributions.Normal(p_mean, p_var.sqrt()),
    ).sum(-1)
    e = mean - p_mean
    return kl.detach(), [
        e / p_var,
        0.5 * (1 / p_var - 1 / var),
        -e / p_var,
        0.5 * (1 / p_var - (var + e**2) / p_var**2),
    ]


@pytest.mark.parametrize("balance", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("free", [0.0, 0.4])
def test_balanced_value_and_gradient(balance, free):
    """Balancing leaves the value alone; the prior gets α, the posterior 1 - α of the KL's gradient;
    below the free nats there is none.
    """
    error, inputs = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), leaves()
    terms = StepTerms.of_gaussians(error, tuple(inputs[:2]), tuple(inputs[2:]))
    kl, gradient = by_hand(*inputs)
    assert (kl < 0.4).any() and (kl > 0.4).any()
    report = make_objective(BalancedConfig(sigma0=0.2, balance=balance, free_nats=free)).double()(
        terms, N
    )
    reference = make_objective(LearnedNoiseConfig(sigma0=0.2)).double()(Terms(error, kl.sum(1)), N)
    price = (torch.maximum(kl, torch.tensor(free)).sum(1) - kl.sum(1)).mean()
    assert torch.allclose(report.loss, reference.loss + price, rtol=0, atol=1e-6) and (
        price > 0
    ) == (free > 0)
    assert all(torch.allclose(a, b) for a, b in zip(report[1:], reference[1:])), (
        "what is reported is the true rate"
    )
    grads = torch.autograd.grad(report.loss, inputs, materialize_grads=True)
    counts = (kl > free).double().unsqueeze(-1) / 3  # a mean over three sequences
    for got, full, share in zip(grads, gradient, (1 - balance, 1 - balance, balance, balance)):
        assert torch.allclose(got, share * counts * full, rtol=1e-9, atol=1e-12)


def test_terms_remain_a_pair():
    terms = StepTerms.of_gaussians(
        torch.ones(3), *((torch.zeros(3, 4, 2), torch.ones(3, 4, 2)),) * 2
    )
    squared_error, rate = terms
    assert (
        isinstance(terms, Terms)
        and len(terms) == 2
        and rate is terms.rate
        and squared_error is terms.squared_error
    )
    assert terms.kl_prior.shape == (3, 4) and Terms(squared_error, rate).kl_prior is None


def test_kl_diagonal():
    """Equations: vae-kl-one, vae-kl"""
    q, p = (
        torch.distributions.Normal(normal(3, 2, seed=s), normal(3, 2, seed=s + 1).exp())
        for s in (0, 2)
    )
    assert torch.allclose(
        kl_diagonal(q.mean, q.variance, p.mean, p.variance),
        torch.distributions.kl_divergence(q, p).sum(-1),
    )


def test_balanced_learns_its_noise():
    objective = make_objective(BalancedConfig(sigma0=0.3)).double()
    terms = StepTerms.of_gaussians(
        torch.full((3,), 0.02 * N, dtype=torch.float64),
        *(tuple(leaves()[i : i + 2]) for i in (0, 2)),
    )
    objective(terms, N).loss.backward()
    assert objective.log_sigma.grad.item() == pytest.approx(N - 0.02 * N / 0.3**2, rel=1e-6)
    assert float(objective.noise().detach()) == pytest.approx(0.3)


def test_balanced_says_which_models_it_takes():
    with pytest.raises(ValueError, match="KL of every step"):
        make_objective(BalancedConfig())(Terms(torch.ones(3), torch.ones(3)), N)


@pytest.mark.parametrize(
    "field, value",
    [
        ("sigma0", 0.0),
        ("balance", 1.1),
        ("balance", -0.1),
        ("free_nats", -1.0),
        ("free_nats", math.nan),
    ],
)
def test_balanced_refuses_settings_without_meaning(field, value):
    with pytest.raises(ValueError, match=field):
        BalancedConfig(**{field: value})


# --- what all promise -----------------------------------------------------------------------------

EACH = pytest.mark.parametrize(
    "kind", ["kvae", "ekvae", "rssm"]
)  # "ekvae" with the hierarchical prior


@EACH
@pytest.mark.parametrize("T", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_types_and_gradients(kind, T, dtype):
    model = (lively_kvae() if kind == "kvae" else make(kind)).to(
        dtype
    )  # at the start nothing of the memory gets through
    Z = model.z_dim
    x, u = normal(6, T, 5).to(dtype), normal(6, T, 1).to(dtype)
    posterior, terms = model.infer(x, u, generator()), model.terms(x, u, generator())
    assert (
        all(v.shape == (6, T, Z) and v.dtype == dtype for v in posterior)
        and (posterior.var[..., -3:] > 0).all()
    )
    assert (
        all(v.shape == (6,) and v.dtype == dtype and torch.isfinite(v).all() for v in terms)
        and (terms.squared_error > 0).all()
    )
    path = model.predict(posterior.mean[:, 0], u)
    assert (
        path.shape == (6, T, Z)
        and path.dtype == dtype
        and torch.equal(path[:, 0], posterior.mean[:, 0])
    )
    assert torch.equal(
        path, model.predict(posterior.mean[:, 0], torch.cat([u[:, :-1], u[:, -1:] + 1], 1))
    ), "u_T acts after the last state"
    assert model.decode(path).shape == (6, T, 5) and torch.allclose(
        model.decode(path)[2, -1], model.decode(path[2, -1]), atol=1e-6
    )
    (terms.squared_error.sum() + terms.rate.sum()).backward()
    late = (
        "transition.",
        "gru.",
        "from_h",
        "frame_path.areas",
        "prior.0.0.weight",
    )  # what acts after the first step
    for name, p in model.named_parameters():
        unused = (T == 1 and name.startswith(late)) or (
            T <= 2 and name.endswith(("rnn.weight_hh_l0", "gru.weight_hh"))
        )
        assert unused or (
            p.grad is not None and torch.isfinite(p.grad).all() and (p.grad != 0).any()
        ), f"no gradient reaches {name}"


def test_rssm_starts_from_the_principal_components():
    """The frame path's map whitens the training frames."""
    model, frames = (
        make("rssm"),
        normal(50, 4, 5, seed=3)
        @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)),
    )
    model.initialise(frames)
    a = model.frame_path.linear(frames.flatten(0, 1)).detach()
    assert (
        torch.allclose(torch.cov(a.T), torch.eye(2, dtype=torch.float64), atol=1e-9)
        and (a.mean(0).abs() < 1e-9).all()
    )


class OnTheDevice(TorchDispatchMode):
    """Refuses results that are not on `meta`."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        for value in tree_leaves(out):
            assert not isinstance(value, torch.Tensor) or value.device.type == "meta", (
                f"{function} gives a tensor on {value.device}"
            )
        return out


@EACH
@pytest.mark.parametrize("T", [1, 5])
def test_a_training_step_on_the_meta_device(kind, T):
    """No tensor has values there: what is left on the CPU, and every `.item()`, raises."""
    objectives = (
        [ConstrainedConfig(), BalancedConfig(free_nats=0.1)]
        if kind == "rssm"
        else [ConstrainedConfig()]
    )
    for objective in objectives:
        run = Run(
            make(kind).float(), make_objective(objective), TrainingConfig(), 0, torch.device("meta")
        )
        x, u = torch.empty(8, T, 5, device="meta"), torch.empty(8, T, 1, device="meta")
        run.optimizer.step = lambda: None  # Adam counts its steps on the host, by design of PyTorch
        with OnTheDevice():
            report = run.train_step(x, u, None)
            posterior = run.model.infer(x, u)
            run.model.decode(run.model.predict(posterior.mean[:, 0], u, sample=True))
            if kind != "rssm":
                run.model.infer(x, u, mask=torch.ones(8, T, dtype=torch.bool, device="meta"))
        assert all(v.device.type == "meta" and v.shape == () for v in report)
