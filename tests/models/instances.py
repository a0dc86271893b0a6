"""What the tests of models share: small models by name, draws from a seed, and linear-Gaussian
instances whose likelihood and posterior are known.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from oracles import DenseGaussian
from tutorial_dssm.models import MODELS
from tutorial_dssm.networks.priors import HierarchicalPrior

SMALL = {
    "x_dim": 5,
    "u_dim": 1,
    "hidden": 8,
    "bases": 3,
    "mix_hidden": 4,
    "deterministic": 4,
    "prior_hidden": 6,
    "vhp_dim": 2,
    "vhp_hidden": 6,
}
SIGMA = 0.7  # observation noise of the linear instances
# four sequences of six frames: gaps inside and at the end, at the start, none, and nothing else
MASK = torch.tensor(
    [[1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]],
    dtype=torch.bool,
)


def make(name, seed=0, **settings):
    """A registered model, small, in float64, with weights from a seed."""
    model, config = MODELS[name]
    sizes = {k: v for k, v in SMALL.items() if hasattr(config, k)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model(replace(config, **sizes | settings)).double()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def orthogonal(rows, columns, seed):
    return torch.linalg.qr(normal(rows, columns, seed=seed)).Q


def rotation(angle):
    return torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )


def bump(v, t):
    """v [B, T, ·] with 1 added at index t."""
    return torch.cat([v[:, :t], v[:, t : t + 1] + 1, v[:, t + 1 :]], 1)


def hide(x, mask, value=math.nan):
    """x [..., T, X] with the frames that mask [..., T] calls missing overwritten."""
    return x.masked_fill(~mask.unsqueeze(-1), value)


def within(draws, exact, sigmas=4.5, se_below=None):
    """The mean of independent draws is `exact`, up to so many of its standard errors (one test in
    10⁵ fails by chance).
    """
    se = draws.std() / len(draws) ** 0.5
    assert se_below is None or se < se_below, f"too few draws to tell: standard error {se:.3g}"
    assert abs(draws.mean() - exact) < sigmas * se, (
        f"{draws.mean():.5g} is not {exact:.5g} ± {se:.2g}"
    )


def elbo(model, x, u, sigma, draws, seed=0, mask=None):
    """One-draw estimates of the bound [draws] at observation noise σ for one sequence x [T, X], u
    [T, U], of the frames in mask [T].
    """
    n = x.numel() if mask is None else int(mask.sum()) * x.shape[-1]
    many = None if mask is None else mask.expand(draws, len(mask))
    x, u = x.expand(draws, *x.shape), u.expand(draws, *u.shape)
    with torch.no_grad():
        terms = model.terms(x, u, generator(seed), mask=many)
    distortion = terms.squared_error / (2 * sigma**2) + 0.5 * n * math.log(2 * math.pi * sigma**2)
    return -distortion - terms.rate


def kl_gaussian(m0, S0, m1, S1):
    """KL(N(m0, S0) ‖ N(m1, S1)) in nats."""
    ratio = np.linalg.solve(S1, S0)
    square = (m1 - m0) @ np.linalg.solve(S1, m1 - m0)
    return 0.5 * (np.trace(ratio) + square - len(m0) - np.linalg.slogdet(ratio)[1])


class LinearGaussian(nn.Module):
    """N(W v + b, var): stands in for an encoder, or for a network of a prior."""

    def __init__(self, W, b, var):
        super().__init__()
        self.W, self.b, self.var = W, b, var

    def forward(self, v):
        mean = v @ self.W.mT + self.b
        return mean, self.var.expand_as(mean)


def linear_layer(W, b):
    """A decoder: v -> W v + b."""
    layer = nn.Linear(W.shape[1], W.shape[0]).double()
    with torch.no_grad():
        layer.weight.copy_(W)
        layer.bias.copy_(b)
    return layer


def linear_decoder(X, seed):
    """(D with orthogonal columns [X, 2], offset d) of the instances' decoders."""
    scales = torch.tensor([2.0, 1.5], dtype=torch.float64)
    return orthogonal(X, 2, seed + 1) * scales, normal(X, seed=seed + 2)


def dense(model, u, H, R):
    """Dense Gaussian over z_{1:T} and H z + N(0, R) of a model with one base matrix of each kind,
    for one series of controls u [T, U].
    """
    t, T = model.transition, len(u)
    F, Q = t.F[0].detach().numpy(), torch.diag(t.log_q[0].exp() + t.floor).detach().numpy()
    b = (u[:-1] @ t.B[0].T).detach().numpy()
    H, R = (v.detach().numpy() for v in (H, R))
    n = len(F)
    return DenseGaussian(
        np.broadcast_to(F, (T - 1, n, n)),
        b,
        np.broadcast_to(Q, (T - 1, n, n)),
        np.broadcast_to(H, (T, *H.shape)),
        np.broadcast_to(R, (T, *R.shape)),
        np.zeros(n),
        np.eye(n),
    )


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


# --- models with auxiliary variables --------------------------------------------------------------


def linear_ekvae(sigma, X=4, F_scale=0.9, seed=0):
    """(EKVAE whose every map is linear, matrix D and offset d of its decoder); the encoder is the
    exact inverse for small σ if X = 2.
    """
    model = make("ekvae", seed, x_dim=X, bases=1)
    D, d = linear_decoder(X, seed)
    with torch.no_grad():
        model.transition.F.copy_(F_scale * orthogonal(3, 3, seed + 3))
        model.transition.B.copy_(normal(1, 3, 1, seed=seed + 4))
        model.transition.log_q.copy_(normal(1, 3, seed=seed + 5) - 1)
        model.log_r.copy_(normal(2, seed=seed + 6) - 1)
    model.decoder = linear_layer(D, d)
    W = D.T / (D**2).sum(0)[:, None]
    model.encoder = LinearGaussian(W, -W @ d, sigma**2 / (D**2).sum(0))
    return model, D, d


def linear_kvae(X=4, seed=0):
    """(KVAE with one base matrix and a linear decoder, D, d): the same model as `linear_ekvae`."""
    source, D, d = linear_ekvae(SIGMA, X, seed=seed)
    model = make("kvae", seed, x_dim=X, bases=1)
    with torch.no_grad():
        for name in ("F", "B", "log_q"):
            getattr(model.transition, name).copy_(getattr(source.transition, name))
        model.log_r.copy_(source.log_r)
    model.encoder, model.decoder = source.encoder, source.decoder
    return model, D, d


def log_evidence(model, D, d, sigma, x, u, mask=None):
    """Exact log p of the frames in mask [T] given u, of a linear instance, and the posterior mean
    and covariance of their a; x [T, X], u [T, U].
    """
    R, T = torch.diag(model.r), len(x)
    seen = np.ones(T, bool) if mask is None else mask.numpy()
    frames = np.repeat(seen[:, None], len(D), 1)
    of_x = dense(model, u, D @ model.H, D @ R @ D.T + sigma**2 * torch.eye(len(D), dtype=D.dtype))
    of_a = dense(model, u, model.H, R)
    i = np.flatnonzero(np.repeat(seen, 2))
    prior_mean, prior_cov = of_a.a_mean[i], of_a.a_cov[np.ix_(i, i)]
    big_D = np.kron(np.eye(int(seen.sum())), D.numpy())
    cov = np.linalg.inv(np.linalg.inv(prior_cov) + big_D.T @ big_D / sigma**2)
    residual = np.ravel((x - d).numpy()[seen]) - big_D @ prior_mean
    mean = prior_mean + cov @ big_D.T @ residual / sigma**2
    return of_x.log_likelihood((x - d).numpy(), frames), mean, cov


def lively_kvae(seed=0, **settings):
    """A KVAE whose matrices differ from base to base and whose weights move with a."""
    model = make("kvae", seed, **settings)
    t = model.transition
    with torch.no_grad():
        t.F.add_(0.4 * normal(3, 3, 3, seed=seed + 1))
        t.B.copy_(normal(3, 3, 1, seed=seed + 2))
        t.log_q.copy_(normal(3, 3, seed=seed + 3) - 1)
        t.from_last[-1].weight *= 10
        # it starts at zero
        t.from_memory.weight.copy_(10 * normal(*t.from_memory.weight.shape, seed=seed + 5))
        model.log_r.copy_(normal(2, seed=seed + 4) - 1)
    return model


# --- models with an ancestral posterior: decoupled dynamics, orthogonal decoder -------------------


def linear(kind, seed=0):
    """(a model with linear dynamics and decoder and all other weights zero, D, d, and of its two
    coordinates f, b, q and their information h in one frame).
    """
    model = make(kind, seed, x_dim=4, z_dim=2, seen=2, bases=1)
    D, d = linear_decoder(4, seed)
    t = model.transition
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        t.F.copy_(torch.diag(torch.tensor([0.9, -0.7])))
        t.B.copy_(normal(1, 2, 1, seed=seed + 4))
        t.log_q.copy_(normal(1, 2, seed=seed + 5) - 1)
    model.decoder = linear_layer(D, d)
    f, b = t.F[0].diagonal().detach(), t.B[0, :, 0].detach()
    q = (t.log_q[0].exp() + t.floor).detach()
    return model, D, d, f, b, q, (D**2).sum(0) / SIGMA**2


class Split(nn.Module):
    """Stands in for a head: the hidden layer holds mean and variance."""

    def forward(self, h):
        _, mean, var = h.chunk(3, -1)
        return mean, var


def with_conditionals(model, conditionals):
    """A DKS or DKF that has q(z_t | z_{t-1}, …) = N(gain_t z_{t-1} + offset_t, var_t), all three
    [B, T, Z], from conditionals(x, u, mask); gain_1 is not used.
    """

    def combine(z, u, g):
        gain, offset, var = g.chunk(3, -1)
        return torch.cat([gain, gain * z + offset, var], -1)

    model.summary = lambda x, u, mask=None: torch.cat(conditionals(x, u, mask), -1)
    model.combine = combine
    model.head = Split()
    return model


def linear_dks(scale=1.0, seed=0):
    """(DKS with the exact conditionals, their variances times `scale`; D, d): what x_{t:T} and u
    say about z_t is the information filter run backwards, coordinate by coordinate.
    """
    model, D, d, f, b, q, h = linear("dks", seed)

    def conditionals(x, u, mask):
        seen = torch.ones_like(x[..., :1]) if mask is None else mask.double().unsqueeze(-1)
        eta_x, push = (x - d) @ D / SIGMA**2 * seen, u * b  # [B, T, n] each
        J, eta, rows = h * seen[:, -1], eta_x[:, -1], []
        for t in reversed(range(x.shape[1])):
            prior_var = q if t else torch.ones_like(q)
            pushed = push[:, t - 1] if t else torch.zeros_like(eta)
            var = 1 / (1 / prior_var + J)
            row = var * f / prior_var, var * (pushed / prior_var + eta), scale * var
            rows.append([v.expand_as(eta) for v in row])
            if t:
                eta = eta_x[:, t - 1] + f * (eta - J * pushed) / (1 + q * J)
                J = h * seen[:, t - 1] + f**2 * J / (1 + q * J)
        return [torch.stack(v[::-1], 1) for v in zip(*rows)]

    return with_conditionals(model, conditionals), D, d
