"""VAE, VHP and E2C: bounds against exact likelihoods of linear instances, divergences against
torch.distributions, who depends on whom.
"""

import copy
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import instances
from instances import (
    SIGMA,
    LinearGaussian,
    bump,
    elbo,
    generator,
    linear_decoder,
    linear_layer,
    normal,
    rotation,
    within,
)
from tutorial_dssm.learning.objectives import ELBOConfig, make_objective
from tutorial_dssm.models.vhp import VHP, VHPConfig
from tutorial_dssm.probability.gaussian import DiagonalGaussian

PLAIN = {"frame_path": False, "gain": 1.0, "seen": 3}
KINDS = {
    "vae": ("vae", {"z_dim": 3}),
    "vhp": ("vhp", {"z_dim": 3}),
    "vhp-4": ("vhp", {"z_dim": 3, "samples": 4}),
    "e2c": ("e2c", {}),
    "e2c-plain": ("e2c", PLAIN),
}
EACH = pytest.mark.parametrize("kind", list(KINDS))
FRAMES = pytest.mark.parametrize("kind", ["vae", "vhp", "vhp-4"])
STEPS = pytest.mark.parametrize("kind", ["e2c", "e2c-plain"])


def made(kind, seed=0, **settings):
    name, own = KINDS[kind]
    return instances.make(name, seed, **own | settings)


# --- VAE and VHP: linear-Gaussian instances -------------------------------------------------------

SPREAD = 0.4  # variance of z given ζ


def linear_vae(scale=1.0):
    """(linear VAE with the exact posterior, its variances times `scale`; exact log p(x_t) of frames
    x [..., 4]).
    """
    D, d = linear_decoder(4, seed=0)
    model = made("vae", x_dim=4, z_dim=2)
    model.decoder = linear_layer(D, d)
    v = 1 / (1 + (D**2).sum(0) / SIGMA**2)
    W = v[:, None] * D.T / SIGMA**2
    model.encoder = LinearGaussian(W, -W @ d, scale * v)
    return model, MultivariateNormal(
        d, D @ D.T + SIGMA**2 * torch.eye(4, dtype=torch.float64)
    ).log_prob


def linear_vhp(samples=1, scale=1.0, offset=0.0):
    """As `linear_vae` with z = A ζ + c + noise, A a rotation times 1.2; q(ζ | z) is exact but for
    `scale` on its variance, `offset` on its mean.
    """
    A, c = 1.2 * rotation(0.6), torch.tensor([0.5, -1.0], dtype=torch.float64)
    D, d = linear_decoder(4, seed=0)
    model = made("vhp", x_dim=4, z_dim=2, samples=samples)
    model.decoder = linear_layer(D, d)
    spread, prior_var = torch.tensor(SPREAD, dtype=torch.float64), 1.2**2 + SPREAD  # prior of z
    model.prior.p = LinearGaussian(A, c, spread)
    W = A.T / prior_var
    model.prior.q = LinearGaussian(W, offset - W @ c, scale * spread / prior_var)
    v = 1 / (1 / prior_var + (D**2).sum(0) / SIGMA**2)
    W = v[:, None] * D.T / SIGMA**2
    model.encoder = LinearGaussian(W, v * c / prior_var - W @ d, v)
    marginal = MultivariateNormal(c, A @ A.T + SPREAD * torch.eye(2, dtype=torch.float64))
    cov = D @ marginal.covariance_matrix @ D.T + SIGMA**2 * torch.eye(4, dtype=torch.float64)
    return model, MultivariateNormal(d + D @ c, cov).log_prob, marginal.log_prob


@pytest.mark.parametrize("T", [1, 5])
def test_vae_bound_is_tight_for_every_draw_with_the_exact_posterior(T):
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    model, log_p = linear_vae()
    exact = log_p(x).sum()
    assert torch.allclose(elbo(model, x, u, SIGMA, 50), exact.expand(50), rtol=0, atol=1e-9)
    model, _ = linear_vae(scale=2.0)
    within(elbo(model, x, u, SIGMA, 8000), exact - T * 2 * 0.5 * (1 - math.log(2)), se_below=0.05)


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("T", [1, 5])
def test_vhp_bound_is_tight_for_every_draw_with_exact_posteriors(T, samples):
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    model, log_p, log_pz = linear_vhp(samples)
    assert torch.allclose(
        elbo(model, x, u, SIGMA, 50), log_p(x).sum().expand(50), rtol=0, atol=1e-9
    )
    z = normal(6, T, 2, seed=13)
    assert torch.allclose(model.log_prior_of_frames(z, generator()), log_pz(z), rtol=0, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 5])
def test_a_posterior_that_is_not_exact_stays_below_the_likelihood(samples):
    x, u = normal(3, 4, seed=11), normal(3, 1, seed=12)
    (vae, vae_p), (vhp, vhp_p, _) = linear_vae(), linear_vhp(samples)
    vae.encoder, vhp.encoder, vhp.prior.q = (
        copy.deepcopy(v)
        for v in (
            made("vae", x_dim=4, z_dim=2).encoder,
            made("vae", x_dim=4, z_dim=2).encoder,
            made("vhp", z_dim=2).prior.q,
        )
    )
    for model, exact in ((vae, vae_p(x).sum()), (vhp, vhp_p(x).sum())):
        draws = elbo(model, x, u, SIGMA, 4000)
        assert draws.mean() + 4.5 * draws.std() / 4000**0.5 < exact


def test_vhp_with_one_sample_misses_log_p_by_the_kl_of_its_encoder_and_more_samples_close_the_gap():
    z, N, scale, offset = normal(2, seed=5), 20000, 1.8, 0.5
    v = SPREAD / (1.2**2 + SPREAD)
    gap = 2 * 0.5 * (scale - 1 - math.log(scale) + offset**2 / v)
    means, errors = [], []
    for samples in (1, 3, 10, 100):
        model, _, log_pz = linear_vhp(samples, scale, offset)
        draws = model.log_prior_of_frames(
            z.expand(N if samples < 100 else 4000, 2), generator(samples)
        )
        means.append(draws.mean())
        errors.append(draws.std() / len(draws) ** 0.5)
        if samples == 1:
            within(draws, log_pz(z) - gap, se_below=0.03)
    for i in range(3):
        assert means[i + 1] - means[i] > 4.5 * math.hypot(errors[i], errors[i + 1]), (
            f"more samples must help: {means}"
        )
    assert abs(means[3] - log_pz(z)) < 0.05 < gap and means[3] < log_pz(z) + 4.5 * errors[3]


def test_vhp_weights_are_unbiased_for_a_nonlinear_prior():
    """E over ζ ~ q(ζ | z) of the weights is p(z), here by quadrature over ζ."""
    model, z = (
        made("vhp", 4, z_dim=2, zeta_dim=1, samples=1, prior_hidden=8),
        torch.tensor([0.7, -0.2], dtype=torch.float64),
    )
    with torch.no_grad():
        model.prior.p[0][0].weight *= 4
        model.prior.p[-1].linear.weight *= 4
        grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
        mean, var = model.prior.p(grid)
        p = (
            Normal(mean, var.sqrt()).log_prob(z).sum(-1) + Normal(0.0, 1.0).log_prob(grid)[:, 0]
        ).exp().sum() * (grid[1, 0] - grid[0, 0])
        assert mean.max() - mean.min() > 1, "the test needs a prior that is not one Gaussian"
        within(
            (model.log_prior_of_frames(z.expand(40000, 2), generator()) - p.log()).exp(),
            1.0,
            se_below=0.02,
        )


@FRAMES
def test_frames_do_not_know_each_other_nor_the_controls(kind):
    model, x, u = made(kind), normal(2, 4, 5), normal(2, 4, 1)
    changed = torch.cat([x[:, :1], x[:, 1:2] + 1, x[:, 2:]], 1)
    for a, b in zip(model.infer(x, u, generator()), model.infer(changed, u, generator())):
        assert ((a - b).abs() > 1e-9).any(-1).all(0).tolist() == [False, True, False, False]
        assert torch.equal(a[:, [0, 2, 3]], b[:, [0, 2, 3]])
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.terms(x, u, generator())[:2], model.terms(x, u + 1, generator())[:2])
    )


def test_vhp_starts_close_to_the_prior_of_the_vae():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VHP().double()
    mean, var = model.prior.p(normal(500, 2))
    assert mean.abs().max() < 1 and (var.log().abs() < 0.3).all()


def test_vhp_refuses_no_samples():
    with pytest.raises(ValueError, match="samples"):
        VHPConfig(samples=0)


# --- E2C: what enters the terms -------------------------------------------------------------------


def by_hand(model, x, u, z_noise, hat_noise):
    """Squared error and rate of one sequence x [T, X], with loops over t, matrices written out and
    torch.distributions.
    """
    T, n = len(x), model.z_dim
    with torch.no_grad():
        q, z, hat, pushed = [], [], {}, {}
        for t in range(max(T - 1, 1)):
            pair = x[[t, min(t + 1, T - 1)]]
            mean, var = model.head(model.encoder(pair.flatten()))
            if model.frame_path:
                mean = mean + model.frame_path(pair[None])[0, 0]
            q.append(MultivariateNormal(mean, torch.diag(var)))
            z.append(mean + var.sqrt() * z_noise[t])
        for t in range(T - 1):
            w = model.transition.weights(z[t], model.transition.from_u(u[t]))
            F, B = (w @ v.flatten(1) for v in (model.transition.F, model.transition.B))
            F, b = F.view(n, n), B.view(n, -1) @ u[t]
            Q = torch.diag(w @ (model.transition.log_q.exp() + model.transition.floor))
            hat[t + 1] = F @ z[t] + b + Q.sqrt() @ hat_noise[t]
            pushed[t + 1] = MultivariateNormal(
                F @ q[t].mean + b, F @ q[t].covariance_matrix @ F.T + Q
            )
        error = 0.0
        for t in range(T):
            ways = ([z[t]] if t < len(z) else []) + ([hat[t]] if t in hat else [])
            error = error + sum(((x[t] - model.decode(v)) ** 2).sum() for v in ways) / len(ways)
        prior = MultivariateNormal(torch.zeros(n, dtype=x.dtype), torch.eye(n, dtype=x.dtype))
        first = sum(kl_divergence(v, prior) for v in q)
        second = sum(kl_divergence(pushed[t], q[t]) for t in range(1, T - 1))
    return error, first, second, pushed


@STEPS
@pytest.mark.parametrize("T", [1, 2, 3, 6])
def test_e2c_terms_against_loops_and_torch_distributions(kind, T):
    model, B = made(kind, consistency=0.3), 3
    with torch.no_grad():
        model.transition.from_z.weight *= 5
        model.head.linear.weight *= 3  # variances that differ
        x, u = normal(B, T, 5, seed=1), normal(B, T, 1, seed=2)
        terms = model.terms(x, u, generator(7))
        again = generator(7)
        z_noise = torch.randn(B, max(T - 1, 1), 3, generator=again, dtype=torch.float64)
        hat_noise = torch.randn(B, T - 1, 3, generator=again, dtype=torch.float64)
    for i in range(B):
        error, first, second, _ = by_hand(model, x[i], u[i], z_noise[i], hat_noise[i])
        assert torch.allclose(terms.squared_error[i], error, rtol=1e-10)
        assert torch.allclose(terms.rate[i], first + 0.3 * second, rtol=1e-10)
        assert T < 3 or second > 0.01, "the test needs a consistency term"


def test_e2c_infers_the_last_state_by_the_transition():
    """Mean and covariance of z_T from the Gaussian pushed through the transition at the mean, its
    draw from the transition at the draw of z_{T-1}.
    """
    model, T = made("e2c"), 4
    x, u = normal(1, T, 5, seed=1), normal(1, T, 1, seed=2)
    no_noise = torch.zeros(T, 3, dtype=torch.float64)
    *_, pushed = by_hand(model, x[0], u[0], no_noise, no_noise)
    with torch.no_grad():
        posterior = model.infer(x, u, generator(3))
        assert torch.allclose(posterior.mean[0, -1], pushed[T - 1].mean, atol=1e-12)
        assert torch.allclose(
            posterior.var[0, -1], pushed[T - 1].covariance_matrix.diagonal(), atol=1e-12
        )
        assert torch.allclose(
            posterior.mean[:, -1],
            model.predict(posterior.mean[:, -2], u[:, -2:])[:, -1],
            atol=1e-12,
        )
        q = model.encode(x)
        assert torch.equal(posterior.mean[:, :-1], q.mean) and torch.equal(
            posterior.var[:, :-1], q.var
        )
        N = 20000
        drawn = model.infer(x.expand(N, T, 5), u.expand(N, T, 1), generator(3)).sample
        mean, var = model.transition(drawn[:, -2], u[0, -2].expand(N, 1))
        for i in range(3):
            within((drawn[:, 0] - q.mean[0, 0])[:, i], 0.0)
            within(((drawn[:, 0] - q.mean[0, 0]) ** 2)[:, i], q.var[0, 0, i])
            within((drawn[:, -1] - mean)[:, i], 0.0)
            within(((drawn[:, -1] - mean) ** 2 / var)[:, i], 1.0)


@STEPS
def test_e2c_sees_two_frames_and_for_the_last_state_the_control_before_it(kind):
    model, T = made(kind), 5
    x, u = normal(1, T, 5, seed=11), normal(1, T, 1, seed=12)
    reference = model.infer(x, u, generator())

    for s in range(T):
        for a, b in zip(reference, model.infer(bump(x, s), u, generator())):
            sees = [t <= s <= t + 1 if t < T - 1 else s >= T - 2 for t in range(T)]
            assert ((a - b).abs() > 1e-9).any(-1)[0].tolist() == sees, f"x_{s + 1}"
        for a, b in zip(reference, model.infer(x, bump(u, s), generator())):
            assert ((a - b).abs() > 1e-9).any(-1)[0].tolist() == [
                t == T - 1 and s == T - 2 for t in range(T)
            ], f"u_{s + 1}"
    errors = [
        model.terms(x, v, generator()).squared_error.item()
        for v in (u, *(bump(u, s) for s in range(T)))
    ]
    assert [e != errors[0] for e in errors[1:]] == [True] * (T - 1) + [False], (
        "every u_t but u_T moves a prediction"
    )


def linear_pair(noise, scale=1.0):
    """(linear E2C for T = 2 with transition noise `noise`, encoder exact for noise 0 up to `scale`;
    exact log p(x_1, x_2 | u)).
    """
    sigma, F, B = 0.7, 0.8 * rotation(0.9), torch.tensor([[0.5], [-0.3]], dtype=torch.float64)
    D, d = 1.5 * torch.linalg.qr(normal(4, 2, seed=1)).Q, normal(4, seed=2)
    model = made("e2c", x_dim=4, z_dim=2, seen=2, bases=1)
    with torch.no_grad():
        model.transition.F.copy_(F[None])
        model.transition.B.copy_(B[None])
        model.transition.log_q.fill_(math.log(noise) if noise else -math.inf)
    model.transition.floor = 0.0
    model.decoder = linear_layer(D, d)
    v = torch.tensor(1 / (1 + 1.5**2 * (1 + 0.8**2) / sigma**2), dtype=torch.float64).expand(2)

    def encode(x):
        push = D @ B @ U
        mean = v * ((x[:, :1] - d) @ D + (x[:, 1:2] - d - push) @ D @ F) / sigma**2
        return DiagonalGaussian(mean, (scale * v).expand_as(mean))

    def exact(x):
        G = torch.cat([D, D @ F])
        H = torch.cat([torch.zeros(4, 2, dtype=torch.float64), D])
        cov = G @ G.T + noise * H @ H.T + sigma**2 * torch.eye(8, dtype=torch.float64)
        return MultivariateNormal(torch.cat([d, d + D @ B @ U]), cov).log_prob(x.flatten())

    U = torch.tensor([0.7], dtype=torch.float64)
    model.encode = encode
    return model, exact, torch.stack([U, U + 1]), sigma


def test_e2c_of_one_pair_is_a_bound_and_tight_when_the_transition_is_exact():
    x = normal(2, 4, seed=11)
    model, exact, u, sigma = linear_pair(0.0)
    within(elbo(model, x, u, sigma, 20000), exact(x), se_below=0.03)
    model, exact, u, sigma = linear_pair(0.0, scale=2.0)
    within(elbo(model, x, u, sigma, 40000), exact(x) - 2 * 0.5 * (1 - math.log(2)), se_below=0.03)
    model, exact, u, sigma = linear_pair(0.05)
    draws = elbo(model, x, u, sigma, 20000)
    assert draws.mean() + 4.5 * draws.std() / 20000**0.5 < exact(x), (
        "ẑ_2 does not see x_2: no encoder closes this gap"
    )


def test_e2c_is_no_bound_for_a_sequence():
    """A constant state, and frames that jump once: the exact likelihood falls with every frame
    after the jump, E2C pays for the jump alone.
    """
    T, sigma = 40, 0.1
    model = made("e2c", x_dim=1, z_dim=1, seen=1, bases=1)
    with torch.no_grad():
        model.transition.F.fill_(1.0)
        model.transition.B.zero_()
        model.transition.log_q.fill_(math.log(1e-6))
    one = torch.ones(1, 1, dtype=torch.float64)
    model.decoder = linear_layer(one, 0 * one[0])
    v = torch.tensor(1 / (1 + 2 / sigma**2), dtype=torch.float64)
    model.encode = lambda x: DiagonalGaussian(
        v * (x[:, :-1] + x[:, 1:]) / sigma**2, v.expand_as(x[:, 1:])
    )
    x = torch.cat([torch.full((T // 2, 1), -1.0), torch.full((T // 2, 1), 1.0)]).double()
    time = torch.arange(T, dtype=torch.float64)
    cov = (
        1
        + 1e-6 * torch.minimum(time[:, None], time[None])
        + sigma**2 * torch.eye(T, dtype=torch.float64)
    )
    exact = MultivariateNormal(torch.zeros(T, dtype=torch.float64), cov).log_prob(x[:, 0])
    draws = elbo(model, x, torch.zeros(T, 1, dtype=torch.float64), sigma, 200)
    assert draws.min() > exact + 500


# --- training ---------------------------------------------------------------------


@EACH
def test_training_lowers_the_loss(kind):
    """Frames of a point on a circle that turns at its own speed: an angle says all of a frame."""
    model, speed, start = (
        made(kind, z_dim=3).float(),
        normal(40, 1, seed=1),
        3 * normal(40, 1, seed=2),
    )
    angle = start + speed * torch.arange(6)
    x = (torch.stack([angle.cos(), angle.sin()], -1) @ normal(2, 5, seed=3)).float()
    u = torch.zeros(40, 6, 1)
    objective = make_objective(ELBOConfig(sigma=0.3))
    model.initialise(x)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    losses, g = [], generator()
    for _ in range(60):
        report = objective(model.terms(x, u, g), 30)
        optimizer.zero_grad()
        report.loss.backward()
        optimizer.step()
        losses.append(report.loss.item())
    assert sum(losses[-10:]) / 10 < 0.5 * sum(losses[:5]) / 5
    assert report.mse < 0.5 * x.var() and report.rate > 1
