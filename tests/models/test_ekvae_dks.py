"""Models: bounds against exact likelihoods of linear-Gaussian instances, identities of every draw,
causality, the door.
"""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from oracles import DenseGaussian
from tutorial_dssm.models.dks import DKS, DKSConfig
from tutorial_dssm.models.ekvae import EKVAE, EKVAEConfig
from tutorial_dssm.networks.frames import FramePath, GaussianEncoder
from tutorial_dssm.networks.layers import GaussianHead, Tanh, mlp, tanh
from tutorial_dssm.networks.transitions import LocallyLinearTransition
from tutorial_dssm.probability import kalman
from tutorial_dssm.probability.gaussian import log_normal

CLASSIC = dict(seen=3, frame_path=False, gain=1.0)  # the deep Kalman smoother as it was published
KINDS = {
    "ekvae": (EKVAE, EKVAEConfig),
    "dks": (DKS, DKSConfig),
    "dks-classic": (DKS, functools.partial(DKSConfig, **CLASSIC)),
}
EACH = pytest.mark.parametrize("kind", list(KINDS))


def make(kind, seed=0, **sizes):
    """A small float64 model with weights from a seed."""
    model, config = KINDS[kind]
    sizes = dict(x_dim=5, u_dim=1, z_dim=3, hidden=8, bases=3, mix_hidden=4) | sizes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model(config(**sizes)).double()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def within(draws, exact, sigmas=4.5, se_below=None):
    """The mean of independent draws is `exact`, up to so many of its standard errors (one test in
    10⁵ fails by chance).
    """
    se = draws.std() / len(draws) ** 0.5
    assert se_below is None or se < se_below, f"too few draws to tell: standard error {se:.3g}"
    assert abs(draws.mean() - exact) < sigmas * se, (
        f"{draws.mean():.5g} is not {exact:.5g} ± {se:.2g}"
    )


# --- EKVAE: a linear-Gaussian instance ------------------------------------------------------------


class LinearEncoder(nn.Module):
    """q(a | x) = N(W (x - d), v): stands in for the encoder network."""

    def __init__(self, W, d, v):
        super().__init__()
        self.W, self.d, self.v = W, d, v

    def forward(self, x):
        mean = (x - self.d) @ self.W.mT
        return mean, self.v.expand_as(mean)


def orthogonal(rows, columns, seed):
    return torch.linalg.qr(normal(rows, columns, seed=seed)).Q


def linear_ekvae(sigma, X=4, F_scale=0.9, seed=0):
    """(EKVAE whose every map is linear, matrix D and offset d of its decoder); the encoder is the
    exact inverse for small σ if X = 2.
    """
    model = make("ekvae", seed, x_dim=X, bases=1)
    D, d = (
        orthogonal(X, 2, seed + 1) * torch.tensor([2.0, 1.5], dtype=torch.float64),
        normal(X, seed=seed + 2),
    )
    with torch.no_grad():
        model.transition.F.copy_(F_scale * orthogonal(3, 3, seed + 3))
        model.transition.B.copy_(normal(1, 3, 1, seed=seed + 4))
        model.transition.log_q.copy_(normal(1, 3, seed=seed + 5) - 1)
        model.log_r.copy_(normal(2, seed=seed + 6) - 1)
        model.decoder = nn.Linear(2, X).double()
        model.decoder.weight.copy_(D), model.decoder.bias.copy_(d)
    v = sigma**2 / (D**2).sum(0)
    model.encoder = LinearEncoder(D.T / (D**2).sum(0)[:, None], d, v)
    return model, D, d


def dense(model, u, H, R):
    """Dense Gaussian over z_{1:T} and H z + N(0, R), for one series of controls u [T, U]."""
    t, T = model.transition, len(u)
    F, Q = t.F[0].detach().numpy(), torch.diag(t.log_q[0].exp() + t.floor).detach().numpy()
    b = (u[:-1] @ t.B[0].T).detach().numpy()
    H, R = (v.detach().numpy() for v in (H, R))
    n = len(F)
    return DenseGaussian(
        *(np.stack([v] * (T - 1)) if T > 1 else np.zeros((0, n, n)) for v in (F,)),
        b,
        np.stack([Q] * (T - 1)) if T > 1 else np.zeros((0, n, n)),
        np.stack([H] * T),
        np.stack([R] * T),
        np.zeros(n),
        np.eye(n),
    )


def log_evidence(model, D, d, sigma, x, u):
    """Exact log p(x_{1:T} | u) of the linear instance, and the posterior mean and covariance of
    a_{1:T}; x [T, X], u [T, U].
    """
    R, T = torch.diag(model.r), len(x)
    of_x = dense(model, u, D @ model.H, D @ R @ D.T + sigma**2 * torch.eye(len(D), dtype=D.dtype))
    of_a = dense(model, u, model.H, R)
    big_D = np.kron(np.eye(T), D.numpy())
    cov = np.linalg.inv(np.linalg.inv(of_a.a_cov) + big_D.T @ big_D / sigma**2)
    mean = (
        of_a.a_mean + cov @ big_D.T @ (np.ravel((x - d).numpy()) - big_D @ of_a.a_mean) / sigma**2
    )
    return of_x.log_likelihood((x - d).numpy()), mean, cov


def elbo(model, x, u, sigma, draws, seed=0):
    """One-draw estimates of the bound [draws] at observation noise σ for one sequence x [T, X], u
    [T, U].
    """
    n = x.numel()
    with torch.no_grad():
        terms = model.terms(x.expand(draws, *x.shape), u.expand(draws, *u.shape), generator(seed))
    return (
        -terms.squared_error / (2 * sigma**2)
        - 0.5 * n * math.log(2 * math.pi * sigma**2)
        - terms.rate
    )


def kl_gaussian(m0, S0, m1, S1):
    """KL(N(m0, S0) ‖ N(m1, S1)) in nats."""
    ratio = np.linalg.solve(S1, S0)
    return 0.5 * (
        np.trace(ratio)
        + (m1 - m0) @ np.linalg.solve(S1, m1 - m0)
        - len(m0)
        - np.linalg.slogdet(ratio)[1]
    )


@pytest.mark.parametrize("T", [1, 4])
def test_ekvae_bound_misses_the_exact_likelihood_by_the_kl_of_its_encoder(T):
    """Equations: ek-bound, ek-gap"""
    sigma = 0.7
    model, D, d = linear_ekvae(sigma)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    exact, mean, cov = log_evidence(model, D, d, sigma, x, u)
    q_mean, q_var = model.encoder(x)
    gap = kl_gaussian(q_mean.flatten().numpy(), np.diag(q_var.flatten().numpy()), mean, cov)
    draws = elbo(model, x, u, sigma, 4000)
    assert gap > 0.1 and draws.mean() < exact
    within(draws, exact - gap, se_below=0.07)


@pytest.mark.parametrize("T", [1, 5])
def test_ekvae_bound_is_tight_for_every_draw_with_the_exact_posterior(T):
    """No dynamics (F = B = 0, Q = I): the posterior factorises over frames, and a diagonal encoder
    can be exact.
    """
    sigma = 0.7
    model, D, d = linear_ekvae(sigma, F_scale=0.0)
    with torch.no_grad():
        model.transition.B.zero_()
        model.transition.log_q.fill_(math.log(1 - model.transition.floor))
    v = 1 / (1 / (1 + model.r.detach()) + (D**2).sum(0) / sigma**2)
    model.encoder = LinearEncoder(v[:, None] * D.T / sigma**2, d, v)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    exact, *_ = log_evidence(model, D, d, sigma, x, u)
    assert torch.allclose(
        elbo(model, x, u, sigma, 50), torch.tensor(exact).expand(50), rtol=0, atol=1e-9
    )
    model.encoder.v = 2 * v
    within(elbo(model, x, u, sigma, 8000), exact - T * 2 * 0.5 * (1 - math.log(2)), se_below=0.05)


def test_ekvae_bound_is_tight_with_dynamics_when_frames_tell_a_exactly():
    """An invertible decoder and noise -> 0: q(a | x) contains the posterior, and only z remains to
    be inferred.
    """
    model, D, d = linear_ekvae(1e-5, X=2)
    x, u = normal(6, 2, seed=11), normal(6, 1, seed=12)
    exact, *_ = log_evidence(model, D, d, 1e-5, x, u)
    assert (elbo(model, x, u, 1e-5, 50) - exact).abs().max() < 2e-3
    model.H[0, 0] = 0.9  # a model that is not the one of the oracle
    assert (elbo(model, x, u, 1e-5, 50) - exact).abs().min() > 2e-3


def test_ekvae_identity_of_every_draw():
    """log p(a | z) + log p(z) - log q(z | a) = log p(a) for every z of the joint posterior; and the
    rate contains exactly that.

    Equations: ek-every-draw, ek-prior, ek-rate
    """
    model, D, d = linear_ekvae(0.7)
    B, T = 20, 5
    x, u = normal(B, T, 4, seed=11), normal(B, T, 1, seed=12)
    with torch.no_grad():
        mean, var = model.encoder(x)
        a = mean + var.sqrt() * normal(
            B, T, 2, seed=3
        )  # the first numbers that `terms` draws from this seed
        draw = kalman.sample_joint(model.filter(a, u), normal(B, T, 3, seed=4))
        joint = (
            log_normal(a, draw.z @ model.H.T, model.r).sum(-1)
            + model.log_prior(draw.z, u)
            - draw.log_density
        )
        exact = torch.tensor(
            [
                dense(model, u[i], model.H, torch.diag(model.r)).log_likelihood(a[i].numpy())
                for i in range(B)
            ]
        )
        assert torch.allclose(joint, exact, rtol=0, atol=1e-9)
        rate = model.terms(x, u, generator(3)).rate
        assert torch.allclose(rate, log_normal(a, mean, var).sum(-1) - exact, rtol=0, atol=1e-9)


def test_ekvae_infers_the_exact_smoothed_state_of_the_linear_instance():
    """Equations: ek-chain"""
    model, *_ = linear_ekvae(0.7)
    x, u = normal(3, 5, 4, seed=11), normal(3, 5, 1, seed=12)
    with torch.no_grad():
        posterior = model.infer(x, u, generator())
    for i in range(3):
        mean, cov = dense(model, u[i], model.H, torch.diag(model.r)).posterior(
            model.encoder(x[i])[0].numpy()
        )
        assert np.allclose(posterior.mean[i], mean, atol=1e-9)
        assert np.allclose(posterior.var[i], np.einsum("tntn->tn", cov), atol=1e-9)


def test_ekvae_weights_are_unbiased_whatever_the_linearisation():
    """Nonlinear dynamics:

    E over z ~ q(z | a) of p(a, z) / q(z | a) must be p(a), here by quadrature on a grid.

    Equations: ek-bound
    """
    T, draws = 4, 20000
    model = make("ekvae", 3, a_dim=1, z_dim=1, bases=4)
    with torch.no_grad():
        model.transition.F.copy_(1.5 * normal(4, 1, 1, seed=5))
        model.transition.from_z.weight *= 5
        model.transition.mix[3].weight *= 5
        model.transition.log_q.fill_(-1.5)
        model.log_r.fill_(-1.0)
        a, u, v = (
            normal(T, 1, seed=6),
            normal(T, 1, seed=7),
            torch.tensor([1e-12], dtype=torch.float64),
        )
        model.encoder = LinearEncoder(
            torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), v
        )
        model.decoder = nn.Linear(1, 1).double()
        model.x_dim = 1  # the frame is a itself

        z = torch.linspace(-12, 12, 1201, dtype=torch.float64)[:, None]
        dz = float(z[1] - z[0])
        alpha = log_normal(z, torch.zeros_like(z), torch.ones_like(z)).exp()  # p(z_t, a_{1:t-1})
        for t in range(T):
            alpha = alpha * log_normal(a[t], z, model.r).exp()
            if t < T - 1:
                mean, var = model.transition(z, u[t].expand(len(z), 1))
                alpha = (log_normal(z[:, None], mean[None], var[None]).exp() * alpha[None]).sum(
                    1
                ) * dz
        exact = torch.log(alpha.sum() * dz)

        slopes = (mean[2:] - mean[:-2]) / (2 * dz)
        assert slopes.max() - slopes.min() > 1, "the test needs dynamics that are not linear"
        rate = model.terms(a.expand(draws, T, 1), u.expand(draws, T, 1), generator(8)).rate
        noise = torch.randn(draws, T, 1, generator=generator(8), dtype=torch.float64)
        log_q = (-0.5 * noise**2 - 0.5 * math.log(2 * math.pi * 1e-12)).sum((1, 2))
        log_weight = log_q - rate
    weight = (log_weight - exact).exp()
    within(weight, 1.0, se_below=0.02)
    assert log_weight.mean() < exact - 0.01, "the bound is not tight here"


# --- DKS: a linear-Gaussian instance --------------------------------------------------------------


class BackwardInformation:
    """Stands in for the GRU and the head: what x_{t:T} and u say about z_t, by the information
    filter run backwards, coordinate by coordinate.
    """

    def __init__(self, f, b, q, D, d, sigma, scale):
        self.__dict__.update(
            f=f, b=b, q=q, D=D, d=d, h=(D**2).sum(0) / sigma**2, sigma=sigma, scale=scale
        )

    def outputs(self, x, u):
        eta_x, push = (x - self.d) @ self.D / self.sigma**2, u * self.b  # [B, T, n] each
        J, eta, rows = self.h, eta_x[:, -1], []
        for t in reversed(range(x.shape[1])):
            q, f, pushed = (
                (self.q, self.f, push[:, t - 1])
                if t
                else (torch.ones_like(self.q), 0 * self.f, 0 * eta)
            )
            var = 1 / (1 / q + J)
            parts = [
                (var * f / q).expand_as(eta),
                var * (pushed / q + eta),
                (self.scale * var).expand_as(eta).log(),
            ]
            rows.append(torch.cat(parts if t else parts[1:], -1).T)
            if t:
                J, eta = (
                    self.h + f**2 * J / (1 + q * J),
                    eta_x[:, t - 1] + f * (eta - J * pushed) / (1 + q * J),
                )
        return rows[::-1]


def recall(output, memory, weights):
    """Stands in for the combiner: the gain of the exact conditional meets z_{t-1}."""
    gain, offset, log_var = output.chunk(3)
    return torch.cat([gain * memory[: len(gain)] + offset, log_var])


def linear_dks(sigma, scale=1.0, seed=0):
    """(DKS with a linear decoder and decoupled linear dynamics, and the exact conditionals with
    variances times `scale`; D, d).
    """
    model = make("dks", seed, x_dim=4, z_dim=2, bases=1)
    D, d = (
        orthogonal(4, 2, seed + 1) * torch.tensor([2.0, 1.5], dtype=torch.float64),
        normal(4, seed=seed + 2),
    )
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.transition.F.copy_(torch.diag(torch.tensor([0.9, -0.7])))
        model.transition.B.copy_(normal(1, 2, 1, seed=seed + 4))
        model.transition.log_q.copy_(normal(1, 2, seed=seed + 5) - 1)
        model.decoder = nn.Linear(2, 4).double()
        model.decoder.weight.copy_(D), model.decoder.bias.copy_(d)
    t = model.transition
    q = (t.log_q[0].exp() + t.floor).detach()
    information = BackwardInformation(
        t.F[0].diagonal().detach(), t.B[0, :, 0].detach(), q, D, d, sigma, scale
    )
    model._outputs, model._recall, model.head.floor = information.outputs, recall, 0.0
    return model, D, d


@pytest.mark.parametrize("T", [1, 6])
def test_dks_summary_is_its_gru_run_backwards(T):
    """Values and gradients: the loop is written out for speed only."""
    model, x, u = make("dks", 0), normal(3, T, 5, seed=1), normal(3, T, 1, seed=2)
    outputs = [
        model._summary(x, u).transpose(0, 1),
        model.gru(torch.cat([model.encoder(x), u], -1).flip(1))[0].flip(1),
    ]
    parameters = [*model.encoder.parameters(), *model.gru.parameters()]
    ours, reference = (
        [
            out,
            *torch.autograd.grad(
                (out * normal(*out.shape, seed=3)).sum(), parameters, materialize_grads=True
            ),
        ]
        for out in outputs
    )
    for mine, theirs in zip(ours, reference):
        assert torch.allclose(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["dks", "dks-classic"])
def test_dks_posterior_is_the_combiner_step_by_step(kind):
    """Krishnan et al. (2017), eq. (6), written down plainly: what `_outputs` and `_recall` share
    out between them.
    """
    model, T = make(kind, 0), 4
    x, u, noise = normal(3, T, 5, seed=1), normal(3, T, 1, seed=2), normal(3, T, 3, seed=3)
    with torch.no_grad():
        means, variances, path = model._posterior(x, u, noise)
        g, z = model._summary(x, u), None
        direct = model.frame_path(x) if model.frame_path else torch.zeros(3, T, 3, dtype=x.dtype)
        for t in range(T):
            h = (
                g[t]
                if t == 0
                else 0.5 * (torch.tanh(model.from_z(z) + model.from_u(u[:, t - 1])) + g[t])
            )
            mean, var = model.head(h)
            z = mean + direct[:, t] + var.sqrt() * noise[:, t]
            for mine, plain in ((means, mean + direct[:, t]), (variances, var), (path, z)):
                assert torch.allclose(mine[:, t], plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1.6])
@pytest.mark.parametrize("T", [1, 5])
def test_dks_bound_misses_the_exact_likelihood_by_the_kl_of_its_conditionals(T, scale):
    """Equations: bal-elbo, bal-gap"""
    sigma = 0.7
    model, D, d = linear_dks(sigma, scale)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    exact = dense(model, u, D, sigma**2 * torch.eye(4)).log_likelihood((x - d).numpy())
    gap = T * 2 * 0.5 * (scale - 1 - math.log(scale))  # same means, variances times `scale`
    within(elbo(model, x, u, sigma, 8000), exact - gap, se_below=0.07)


def log_ratio(model, x, u, noise):
    """log q(z | x, u) - log p(z | u) and the path z, for given noise."""
    with torch.no_grad():
        mean, var, z = model._posterior(x, u, noise)
        return log_normal(z, mean, var).sum(-1) - model.log_prior(z, u), z


def test_dks_identity_of_every_draw_with_the_exact_conditionals():
    """Equations: notation-joint, ssm-factor, kf-forward, bal-model"""
    sigma, T = 0.7, 5
    model, D, d = linear_dks(sigma)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    exact = dense(model, u, D, sigma**2 * torch.eye(4)).log_likelihood((x - d).numpy())
    ratio, z = log_ratio(model, x.expand(20, T, 4), u.expand(20, T, 1), normal(20, T, 2, seed=3))
    likelihood = log_normal(x, model.decode(z), torch.tensor(sigma**2)).sum(-1).detach()
    assert torch.allclose(likelihood - ratio, torch.tensor(exact).expand(20), rtol=0, atol=1e-5)


def test_dks_random_posterior_stays_below_the_exact_likelihood():
    sigma, T = 0.7, 4
    model, D, d = linear_dks(sigma)
    random = make("dks", 5, x_dim=4, z_dim=2, bases=1)
    random.transition, random.decoder = model.transition, model.decoder
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    exact = dense(model, u, D, sigma**2 * torch.eye(4)).log_likelihood((x - d).numpy())
    draws = elbo(random, x, u, sigma, 2000)
    assert draws.mean() + 4.5 * draws.std() / 2000**0.5 < exact


def test_dks_rate_is_the_kl_given_each_draw():
    """Against torch.distributions at the same draws, and in the mean against log q - log p of those
    draws.

    Equations: bal-rate
    """
    model, B, T = make("dks", 1), 20000, 3
    with torch.no_grad():
        model.head.linear.weight *= 3
        model.transition.log_q.zero_()
    x, u = normal(T, 5, seed=11).expand(B, T, 5), normal(T, 1, seed=12).expand(B, T, 1)
    noise = torch.randn(B, T, 3, generator=generator(9), dtype=torch.float64)
    with torch.no_grad():
        rate = model.terms(x, u, generator(9)).rate
        mean, var, z = model._posterior(x, u, noise)
        p_mean, p_var = model.transition(z[:, :-1], u[:, :-1])
    p_mean = torch.cat([torch.zeros(B, 1, 3), p_mean], 1)
    p_var = torch.cat([torch.ones(B, 1, 3), p_var], 1)
    of_q, of_p = (
        torch.distributions.Normal(m, v.sqrt()) for m, v in ((mean, var), (p_mean, p_var))
    )
    assert torch.allclose(
        rate, torch.distributions.kl_divergence(of_q, of_p).sum((1, 2)), atol=1e-10
    )
    ratio, _ = log_ratio(model, x, u, noise)
    within(rate - ratio, 0.0, se_below=0.05)


def conditionals(model, x, u, path):
    """Mean and variance of q(z_t | z_{t-1}, x, u) along a given path: the noise is chosen such that
    the draw is that path.
    """
    noise = torch.zeros_like(path)
    with torch.no_grad():
        for t in range(path.shape[1]):
            mean, var, _ = model._posterior(x, u, noise)
            noise = torch.cat(
                [noise[:, :t], ((path - mean) / var.sqrt())[:, t : t + 1], noise[:, t + 1 :]], 1
            )
        mean, var, z = model._posterior(x, u, noise)
    assert torch.allclose(z, path, atol=1e-12)
    return torch.cat([mean, var], -1)[0]


def test_dks_posterior_sees_the_previous_state_the_present_and_the_future():
    model, T = make("dks", 1), 5
    x, u, path = normal(1, T, 5, seed=11), normal(1, T, 1, seed=12), normal(1, T, 3, seed=13)
    reference = conditionals(model, x, u, path)

    def changed(x=x, u=u, path=path):
        return ((conditionals(model, x, u, path) - reference).abs() > 1e-9).any(-1).tolist()

    def bump(v, s):
        return torch.cat([v[:, :s], v[:, s : s + 1] + 1, v[:, s + 1 :]], 1)

    for s in range(T):
        assert changed(x=bump(x, s)) == [t <= s for t in range(T)], (
            f"x_{s + 1} must reach z_1 … z_{s + 1} and no other"
        )
        assert changed(u=bump(u, s)) == [t <= s + 1 for t in range(T)], (
            f"u_{s + 1} must reach z_1 … z_{s + 2} and no other"
        )
        assert changed(path=bump(path, s)) == [t == s + 1 for t in range(T)], (
            f"z_{s + 1} must reach z_{s + 2} and no other"
        )


# --- what both models promise ---------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("T", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_types_and_gradients(kind, T, dtype):
    model = make(kind).to(dtype)
    x, u = normal(6, T, 5).to(dtype), normal(6, T, 1).to(dtype)
    posterior, terms = model.infer(x, u, generator()), model.terms(x, u, generator())
    assert (
        all(v.shape == (6, T, 3) and v.dtype == dtype for v in posterior)
        and (posterior.var > 0).all()
    )
    assert (
        all(v.shape == (6,) and v.dtype == dtype and torch.isfinite(v).all() for v in terms)
        and (terms.squared_error > 0).all()
    )
    path = model.predict(posterior.mean[:, 0], u)
    assert (
        path.shape == (6, T, 3)
        and path.dtype == dtype
        and torch.equal(path[:, 0], posterior.mean[:, 0])
    )
    assert model.decode(path).shape == (6, T, 5) and torch.allclose(
        model.decode(path)[2, -1], model.decode(path[2, -1]), atol=1e-6
    )
    (terms.squared_error.sum() + terms.rate.sum()).backward()
    for name, p in model.named_parameters():
        unused = (
            T == 1
            and name.startswith(("transition.", "from_", "frame_path.areas"))
            or "weight_hh" in name
            and T == 1
        )
        assert unused or (
            p.grad is not None and torch.isfinite(p.grad).all() and (p.grad != 0).any()
        ), f"no gradient reaches {name}"


@EACH
def test_the_future_matters_for_the_smoothed_first_state(kind):
    model, x, u = make(kind), normal(1, 4, 5), normal(1, 4, 1)
    later = torch.cat([x[:, :3], x[:, 3:] + 1], 1)
    assert (
        model.infer(x, u, generator()).mean[:, 0] - model.infer(later, u, generator()).mean[:, 0]
    ).abs().max() > 1e-6


@EACH
def test_prediction_follows_the_transition(kind):
    model, N = make(kind), 20000
    z1, u = normal(3, seed=5), normal(4, 1, seed=6)
    with torch.no_grad():
        mean = model.predict(z1[None], u[None])[0]
        step = [z1]
        for t in range(3):
            step.append(model.transition(step[-1], u[t])[0])
        assert torch.allclose(mean, torch.stack(step), atol=1e-12)
        assert torch.equal(mean, model.predict(z1[None], torch.cat([u[:3], u[3:] + 1])[None])[0]), (
            "u_T acts after the last state"
        )

        drawn = model.predict(
            z1.expand(N, 3), u.expand(N, 4, 1), sample=True, generator=generator()
        )
        second, var = model.transition(z1, u[0])
        for i in range(3):
            within(drawn[:, 1, i], second[i])
            within((drawn[:, 1, i] - second[i]) ** 2, var[i])
        third, var = model.transition(drawn[:, 1], u[1])
        for i in range(3):
            within((drawn[:, 2] - third)[:, i], 0.0)
            within(((drawn[:, 2] - third) ** 2 / var)[:, i], 1.0)

        model.transition.log_q.fill_(-math.inf)
        model.transition.floor = 0.0
        assert torch.equal(
            model.predict(z1[None], u[None], sample=True, generator=generator())[0], mean
        ), "no noise, no spread"


# --- networks -------------------------------------------------------------------------------------


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
