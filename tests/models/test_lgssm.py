"""The linear-Gaussian model and EM against a dense joint Gaussian, statsmodels, and the expected
log joint density written out term by term.
"""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from statsmodels.tsa.statespace.dynamic_factor_mq import DynamicFactorMQ
from statsmodels.tsa.statespace.kalman_filter import KalmanFilter
from torch.distributions import MultivariateNormal

from lgssm_instances import entries, lgssm_sequences, make_lgssm, mask_of, normal, seeded
from oracles import DenseGaussian
from tutorial_dssm.closed_form.em import em_step, fit_by_em, fit_by_gradient
from tutorial_dssm.models.lgssm import LGSSM, LGSSMConfig
from tutorial_dssm.probability.gaussian import log_normal

MASKS = pytest.mark.parametrize("missing", [None, "frames", "entries"])
SIZES = pytest.mark.parametrize(
    "X, U, n, T", [(2, 1, 3, 5), (5, 2, 2, 4), (1, 0, 1, 3), (4, 1, 3, 1), (2, 1, 2, 1)]
)  # X below and above n


def numbers(model):
    """F, B, b, Q, C, R, d, m1, P1 of a model; Q and P1 rebuilt from their definition, not by the
    package.
    """
    built = []
    for log_var, lower in ((model.log_q, model.lower_q), (model.log_p1, model.lower_p1)):
        L = torch.eye(len(log_var), dtype=torch.float64) + lower.detach().tril(-1)
        built.append(L @ torch.diag(log_var.detach().exp()) @ L.T)
    F, B, b, C, d, m1 = (
        v.detach() for v in (model.F, model.B, model.b, model.C, model.d, model.m1)
    )
    return F, B, b, built[0], C, torch.diag(model.log_r.detach().exp()), d, m1, built[1]


def dense(model, u):
    """The joint Gaussian of z_{1:T} and x_{1:T} - d of one sequence with controls u [T, U]."""
    F, B, b, Q, C, R, _, m1, P1 = (v.numpy() for v in numbers(model))
    T, n = len(u), len(F)

    def over(v, steps):
        return np.broadcast_to(v, (steps, *v.shape))

    return DenseGaussian(
        over(F, T - 1),
        (u[:-1].numpy() @ B.T + b).reshape(T - 1, n),
        over(Q, T - 1),
        over(C, T),
        over(R, T),
        m1,
        P1,
    )


def log_evidence(model, x, u, mask=None):
    """Exact log p of the observed entries [B] from the dense Gaussian."""
    seen, d = entries(mask, x), model.d.detach()
    return torch.tensor(
        [
            dense(model, u[i]).log_likelihood((x[i] - d).numpy(), seen[i].numpy())
            for i in range(len(x))
        ]
    )


# --- likelihood and posterior ---------------------------------------------------------------------


@SIZES
@MASKS
def test_log_likelihood_is_that_of_the_dense_gaussian(X, U, n, T, missing):
    """Equations: em-model, em-evidence"""
    model = make_lgssm(X, U, n)
    x, u = lgssm_sequences(model, T=T)
    mask = mask_of(missing, x)
    with torch.no_grad():
        hidden = x if mask is None else x.masked_fill(~entries(mask, x), math.nan)
        assert torch.allclose(
            model.log_likelihood(hidden, u, mask),
            log_evidence(model, x, u, mask),
            rtol=1e-10,
            atol=1e-10,
        )


@pytest.mark.parametrize("X, n", [(2, 3), (5, 2)])
@MASKS
def test_log_likelihood_is_that_of_statsmodels(X, n, missing):
    """Equations: em-evidence"""
    model = make_lgssm(X, 1, n)
    x, u = lgssm_sequences(model, B=3, T=30)
    mask = mask_of(missing, x)
    F, B, b, Q, C, R, d, m1, P1 = (v.numpy() for v in numbers(model))
    for i in range(3):
        reference = KalmanFilter(k_endog=X, k_states=n, k_posdef=n)
        reference.bind(np.where(entries(mask, x)[i].numpy(), x[i].numpy(), np.nan))
        reference["transition"], reference["state_intercept"] = F, (u[i].numpy() @ B.T + b).T.copy()
        (
            reference["selection"],
            reference["state_cov"],
            reference["design"],
            reference["obs_cov"],
        ) = np.eye(n), Q, C, R
        reference["obs_intercept"] = d
        reference.initialize_known(m1, P1)
        ours = model.log_likelihood(x, u, mask)[i].item()
        assert ours == pytest.approx(reference.loglike(), rel=1e-10)


@SIZES
@MASKS
def test_posterior_is_that_of_the_dense_gaussian(X, U, n, T, missing):
    """Mean and variance of every state; the draws have the joint posterior's mean and its
    covariance between neighbouring states.

    Equations: em-estep
    """
    model = make_lgssm(X, U, n)
    x, u = lgssm_sequences(model, T=T)
    mask, N = mask_of(missing, x), 20000
    with torch.no_grad():
        posterior = model.infer(x, u, seeded(), mask=mask)
        many = model.infer(
            x[:1].expand(N, T, X),
            u[:1].expand(N, T, U),
            seeded(1),
            None if mask is None else mask[:1].expand(N, *mask.shape[1:]),
        )
    for i in range(len(x)):
        mean, cov = dense(model, u[i]).posterior(
            (x[i] - model.d.detach()).numpy(), entries(mask, x)[i].numpy()
        )
        assert np.allclose(posterior.mean[i], mean, atol=1e-9)
        assert np.allclose(
            posterior.var[i].flatten(), np.diag(cov.reshape(T * n, T * n)), atol=1e-9
        )
        if i == 0:
            standard = np.linalg.solve(
                np.linalg.cholesky(cov.reshape(T * n, T * n)),
                (many.sample - posterior.mean[:1]).flatten(1).T.numpy(),
            )
            assert np.abs(
                np.cov(standard).reshape(T * n, T * n) - np.eye(T * n)
            ).max() < 5 * math.sqrt(2 / N)  # white in the posterior's own units
            assert np.abs(standard.mean(1)).max() < 5 / math.sqrt(N)


@SIZES
@MASKS
def test_elbo_at_its_own_noise_is_the_log_likelihood_of_what_is_observed(X, U, n, T, missing):
    """For every draw."""
    model = make_lgssm(X, U, n)
    x, u = lgssm_sequences(model, B=3, T=T)
    mask = mask_of(missing, x)
    seen = entries(mask, x)
    with torch.no_grad():
        hidden = x.masked_fill(~seen, math.nan)
        for seed in range(5):
            z = model.infer(hidden, u, seeded(seed), mask=mask).sample
            terms = model.terms(hidden, u, seeded(seed), mask=mask)
            error = x - model.decode(z)
            log_x = torch.distributions.Normal(0.0, (0.5 * model.log_r).exp()).log_prob(error)
            elbo = log_x.where(seen, 0.0).sum((1, 2)) - terms.rate
            assert torch.allclose(elbo, log_evidence(model, x, u, mask), rtol=0, atol=1e-9)
            assert torch.allclose(terms.squared_error, (error**2).where(seen, 0.0).sum((1, 2)))


@SIZES
def test_elbo_at_its_own_noise_is_the_log_likelihood_for_every_draw(X, U, n, T):
    """Equations: kf-every-draw, em-estep"""
    model = make_lgssm(X, U, n)
    x, u = lgssm_sequences(model, B=3, T=T)
    exact = log_evidence(model, x, u)
    with torch.no_grad():
        for seed in range(5):
            z, terms = (
                model.infer(x, u, seeded(seed)).sample,
                model.terms(x, u, seeded(seed)),
            )  # the same seed gives the same draw
            elbo = log_normal(x, model.decode(z), model.log_r.exp()).sum(1) - terms.rate
            assert torch.allclose(elbo, exact, rtol=0, atol=1e-9)
            for i in range(3):  # the rate itself: log p(z | x) - log p(z), both dense
                joint, rest = dense(model, u[i]), (x[i] - model.d).numpy()
                log_prior = (
                    joint.log_joint(z[i].numpy(), rest)
                    - log_normal(x[i], model.decode(z[i]), model.log_r.exp()).sum().item()
                )
                assert terms.rate[i].item() == pytest.approx(
                    joint.log_joint(z[i].numpy(), rest) - exact[i].item() - log_prior, abs=1e-8
                )


@pytest.mark.parametrize("X, n", [(2, 3), (5, 2)])
def test_elbo_of_an_objective_at_the_same_isotropic_noise(X, n):
    """What an objective computes from `terms` alone, at σ² I = R."""
    model, sigma = make_lgssm(X, 1, n), 0.6
    x, u = lgssm_sequences(model)
    with torch.no_grad():
        model.log_r.fill_(2 * math.log(sigma))
        terms = model.terms(x, u, seeded())
    elbo = (
        -terms.squared_error / (2 * sigma**2)
        - 0.5 * 6 * X * math.log(2 * math.pi * sigma**2)
        - terms.rate
    )
    assert torch.allclose(elbo, log_evidence(model, x, u), rtol=0, atol=1e-9)


def test_elbo_at_another_noise_misses_the_log_likelihood_by_the_kl_of_the_posteriors():
    """Equations: bal-gap"""
    model, sigma, N = make_lgssm(2, 1, 2), 0.9, 6000
    x, u = lgssm_sequences(model, B=1)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.log_r.fill_(2 * math.log(sigma))
        terms = model.terms(x.expand(N, 6, 2), u.expand(N, 6, 1), seeded())
    elbo = (
        -terms.squared_error / (2 * sigma**2)
        - 0.5 * 12 * math.log(2 * math.pi * sigma**2)
        - terms.rate
    )
    moments = [posteriors_of(m, x, u, entries(None, x))[0] for m in (model, other)]
    q, p = (MultivariateNormal(mean.flatten(), cov.reshape(12, 12)) for mean, cov in moments)
    gap, se = torch.distributions.kl_divergence(q, p), elbo.std() / N**0.5
    assert (
        gap > 0.2 and se < 0.06 and abs(elbo.mean() - log_evidence(other, x, u)[0] + gap) < 4.5 * se
    )


# --- the expected log joint density ---------------------------------------------------------------


def expected_log_joint(model, posteriors, x, u, seen):
    """E[log p(x, z | u)] per sequence, over posteriors (mean [T, n], cov [T, n, T, n]) held fixed:
    term by term, differentiable in the model.
    """
    Q, P1 = (
        L @ torch.diag(v.exp()) @ L.T
        for v, L in (
            (v, torch.eye(len(v), dtype=v.dtype) + low.tril(-1))
            for v, low in ((model.log_q, model.lower_q), (model.log_p1, model.lower_p1))
        )
    )
    total = 0.0
    for i, (mean, cov) in enumerate(posteriors):
        total = (
            total
            + MultivariateNormal(model.m1, P1).log_prob(mean[0])
            - 0.5 * torch.trace(torch.linalg.solve(P1, cov[0, :, 0]))
        )
        for t in range(len(mean)):
            square = (x[i, t] - model.C @ mean[t] - model.d) ** 2 + (
                model.C @ cov[t, :, t] @ model.C.T
            ).diagonal()
            total = (
                total
                - 0.5
                * (square * (-model.log_r).exp() + math.log(2 * math.pi) + model.log_r)[
                    seen[i, t]
                ].sum()
            )
            if t + 1 < len(mean):
                e = mean[t + 1] - model.F @ mean[t] - model.B @ u[i, t] - model.b
                A = torch.cat([-model.F, torch.eye(model.z_dim, dtype=model.F.dtype)], 1)
                pair = cov[t : t + 2, :, t : t + 2].reshape(2 * model.z_dim, -1)
                total = (
                    total
                    + MultivariateNormal(torch.zeros_like(e), Q).log_prob(e)
                    - 0.5 * torch.trace(torch.linalg.solve(Q, A @ pair @ A.T))
                )
    return total / len(x)


def posteriors_of(model, x, u, seen):
    pairs = [
        dense(model, u[i]).posterior((x[i] - model.d.detach()).numpy(), seen[i].numpy())
        for i in range(len(x))
    ]
    return [(torch.as_tensor(m), torch.as_tensor(V)) for m, V in pairs]


@SIZES
@MASKS
def test_m_step_is_a_maximum_of_the_expected_log_joint(X, U, n, T, missing):
    """Every parameter's gradient is zero there, and no step away from it in a random direction is
    better.

    Equations: em-mstep, em-dynamics, em-observation, em-first, em-missing
    """
    model = make_lgssm(X, U, n)
    x, u = lgssm_sequences(model, B=4 if T > 1 else 6, T=T)
    mask = mask_of(missing, x)
    seen = entries(mask, x)
    posteriors, before = posteriors_of(model, x, u, seen), copy.deepcopy(model)
    value = em_step(model, x, u, mask)
    assert value.item() == pytest.approx(log_evidence(before, x, u, mask).mean().item(), rel=1e-10)
    best = expected_log_joint(model, posteriors, x, u, seen)
    best.backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-8 for p in model.parameters() if p.numel())
    with torch.no_grad():
        assert best > expected_log_joint(before, posteriors, x, u, seen) + 1e-3
        for seed in range(3):
            away = copy.deepcopy(model)
            for i, p in enumerate(away.parameters()):
                p.add_(1e-2 * normal(*p.shape, seed=1000 * seed + i))
            assert expected_log_joint(away, posteriors, x, u, seen) < best


@SIZES
@MASKS
def test_gradient_of_the_log_likelihood_is_that_of_the_expected_log_joint(X, U, n, T, missing):
    """Fisher's identity: what EM and gradient ascent have in common.

    Equations: em-fisher
    """
    model = make_lgssm(X, U, n)
    x, u = lgssm_sequences(model, B=3, T=T)
    mask = mask_of(missing, x)
    seen, parameters = entries(mask, x), [p for p in model.parameters() if p.numel()]
    values = (
        model.log_likelihood(x, u, mask).mean(),
        expected_log_joint(model, posteriors_of(model, x, u, seen), x, u, seen),
    )
    for ours, reference in zip(
        *(torch.autograd.grad(v, parameters, materialize_grads=True) for v in values)
    ):
        assert torch.allclose(ours, reference, rtol=1e-8, atol=1e-8)


def test_m_step_is_that_of_statsmodels():
    """F, Q, C, R after one iteration of `DynamicFactorMQ`, which has one series and no offsets; of
    x and -x together the best offsets are 0.

    Equations: em-dynamics, em-observation
    """
    x = lgssm_sequences(make_lgssm(4, 0, 2), B=1, T=30)[0]
    other = DynamicFactorMQ(
        x[0].numpy(),
        factors=1,
        factor_multiplicities=2,
        factor_orders=1,
        idiosyncratic_ar1=False,
        standardize=False,
    )
    start = other.start_params
    P1 = torch.tensor(other.smooth(start).predicted_state_cov[:2, :2, 0])
    model = LGSSM(LGSSMConfig(4, 0, 2)).double()
    F, C, Q, R = (
        torch.tensor(other.ssm[name]) for name in ("transition", "design", "state_cov", "obs_cov")
    )
    with torch.no_grad():
        model.F.copy_(F[:2, :2]), model.C.copy_(C[:, :2]), model.log_r.copy_(R.diagonal().log())
        for V, log_var, lower in (
            (Q[:2, :2], model.log_q, model.lower_q),
            (P1, model.log_p1, model.lower_p1),
        ):
            K = torch.linalg.cholesky(V)
            log_var.copy_(2 * K.diagonal().log()), lower.copy_(K / K.diagonal())
    value = em_step(model, torch.cat([x, -x]), torch.zeros(2, 30, 0, dtype=torch.float64))
    assert value.item() == pytest.approx(other.loglike(start), rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.update(other.fit_em(start, maxiter=1, tolerance=0, return_params=True))
    F, B, b, Q, C, R, d, m1, P1 = numbers(model)
    assert max(v.abs().max() for v in (b, d, m1)) < 1e-12
    for name, ours in (("transition", F), ("state_cov", Q), ("design", C), ("obs_cov", R)):
        assert np.allclose(
            other.ssm[name][: len(ours), : ours.shape[1]], ours, rtol=1e-8, atol=1e-9
        ), name


# --- EM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("X, U, n, T", [(2, 1, 3, 6), (5, 2, 2, 6), (1, 0, 1, 6), (3, 1, 2, 1)])
@MASKS
def test_em_never_makes_the_likelihood_fall(X, U, n, T, missing):
    """Equations: em-monotone"""
    x, u = lgssm_sequences(make_lgssm(X, U, n), B=8, T=T)
    model = make_lgssm(X, U, n, seed=3)
    values = fit_by_em(model, x, u, 20, mask_of(missing, x))
    assert values.shape == (21,) and (values.diff() > -1e-9).all() and values[-1] > values[0] + 0.5
    assert torch.allclose(values[-1], model.log_likelihood(x, u, mask_of(missing, x)).mean())


def test_em_in_float32():
    """The same path as in float64, and no fall beyond rounding."""
    x, u = lgssm_sequences(make_lgssm(), B=8)
    paths = [
        fit_by_em(make_lgssm(seed=3).to(dtype), x.to(dtype), u.to(dtype), 15)
        for dtype in (torch.float32, torch.float64)
    ]
    assert (
        torch.allclose(paths[0].double(), paths[1], rtol=1e-4) and (paths[0].diff() > -1e-3).all()
    )


def test_em_and_gradient_ascent_reach_the_same_likelihood():
    """Both also pass the likelihood of the model that made the data, as a maximum must."""
    truth = make_lgssm(2, 1, 1)
    x, u = lgssm_sequences(truth, B=40, T=5)
    start = LGSSM(LGSSMConfig(2, 1, 1)).double()
    start.initialise(x)
    ways = copy.deepcopy(start), copy.deepcopy(start)
    by_em, by_gradient = fit_by_em(ways[0], x, u, 40), fit_by_gradient(ways[1], x, u, 100, 0.05)
    assert by_em[0] == by_gradient[0] and by_gradient.shape == (101,)
    assert (
        abs(by_em[-1] - by_gradient[-1]) < 1e-3
        and by_em[-1] > truth.log_likelihood(x, u).mean() > by_em[0] + 1
    )
    gradient = torch.autograd.grad(
        ways[0].log_likelihood(x, u).mean(), [ways[0].F, ways[0].B, ways[0].log_r]
    )
    assert max(g.abs().max() for g in gradient) < 1e-2


def test_gradient_ascent_with_missing_observations_is_adam_on_the_likelihood():
    x, u = lgssm_sequences(make_lgssm(), B=4)
    mask = mask_of("entries", x)
    model, reference = make_lgssm(seed=3), make_lgssm(seed=3)
    values = fit_by_gradient(model, x, u, 3, 0.01, mask)
    optimizer = torch.optim.Adam(reference.parameters(), 0.01)
    for value in values[:3]:
        loss = -reference.log_likelihood(x, u, mask).mean()
        assert torch.equal(-loss, value)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), reference.parameters()))


@pytest.mark.parametrize("missing", ["frames", "entries"])
def test_what_is_missing_has_no_influence_on_em(missing):
    """Equations: em-missing"""
    x, u = lgssm_sequences(make_lgssm(5, 1, 2), B=5)
    mask, results = mask_of(missing, x), []
    for fill in (0.0, 1e3, math.nan):
        model = make_lgssm(5, 1, 2, seed=3)
        fit_by_em(model, x.masked_fill(~entries(mask, x), fill), u, 3, mask)
        results.append(model.state_dict())
    assert all(torch.equal(results[0][k], r[k]) for r in results[1:] for k in results[0])


def test_a_coordinate_that_is_never_observed_keeps_its_parameters():
    model, x = make_lgssm(4, 1, 2), lgssm_sequences(make_lgssm(4, 1, 2))[0]
    before, mask = copy.deepcopy(model), torch.ones_like(x, dtype=torch.bool)
    mask[..., 1] = False
    fit_by_em(model, x, lgssm_sequences(model)[1], 2, mask)
    for name in ("C", "d", "log_r"):
        same = (getattr(model, name) == getattr(before, name)).reshape(4, -1).all(1)
        assert same.tolist() == [False, True, False, False], name


def test_a_control_that_is_always_zero_gets_no_weight():
    x, u = lgssm_sequences(make_lgssm(2, 2, 2), B=5)
    u[..., 1] = 0
    model, without = make_lgssm(2, 2, 2, seed=3), make_lgssm(2, 1, 2, seed=3)
    without.load_state_dict({k: v[:, :1] if k == "B" else v for k, v in model.state_dict().items()})
    assert torch.allclose(
        fit_by_em(model, x, u, 5), fit_by_em(without, x, u[..., :1], 5), rtol=1e-10
    )
    assert (model.B[:, 1] == 0).all() and torch.allclose(model.B[:, :1], without.B, atol=1e-9)


def test_the_unit_of_the_control_does_not_matter():
    x, u = lgssm_sequences(make_lgssm(2, 1, 2), B=5)
    models = [make_lgssm(2, 1, 2, seed=3) for _ in range(2)]
    with torch.no_grad():
        models[1].B.mul_(1e9)
    assert torch.allclose(
        fit_by_em(models[0], x, u, 5), fit_by_em(models[1], x, u * 1e-9, 5), rtol=1e-9
    )


def test_r_does_not_fall_below_its_floor():
    x, u = lgssm_sequences(make_lgssm(2, 1, 2), B=5)
    x[..., 0] = 3.0  # a dead pixel
    model = make_lgssm(2, 1, 2, seed=3, floor=1e-4)
    values = fit_by_em(model, x, u, 15)
    assert (
        model.log_r[0].item() == pytest.approx(math.log(1e-4), rel=1e-12)
        and (values.diff() > -1e-9).all()
    )


def test_a_failed_m_step_says_so_and_leaves_the_model_alone():
    """One exact sequence of a model without process noise: the best Q is 0."""
    model = LGSSM(LGSSMConfig(1, 0, 1, floor=1e-300)).double()
    with torch.no_grad():
        model.log_q.fill_(-800), model.log_r.fill_(-5), model.C.fill_(1)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="M-step's Q is not positive definite"):
        fit_by_em(
            model,
            torch.zeros(2, 5, 1, dtype=torch.float64),
            torch.zeros(2, 5, 0, dtype=torch.float64),
            3,
        )
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


# --- the interface --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("X, T", [(2, 1), (5, 1), (5, 2), (2, 4)])
def test_shapes_types_and_gradients(dtype, X, T):
    model = make_lgssm(X).to(dtype)
    x, u = normal(6, T, X).to(dtype), normal(6, T, 1).to(dtype)
    posterior, terms = model.infer(x, u, seeded()), model.terms(x, u, seeded())
    assert (
        all(v.shape == (6, T, 3) and v.dtype == dtype for v in posterior)
        and (posterior.var > 0).all()
    )
    assert all(
        v.shape == (6,) and v.dtype == dtype for v in (*terms[:2], model.log_likelihood(x, u))
    )
    assert (
        model.decode(posterior.mean).shape == (6, T, X)
        and em_step(copy.deepcopy(model), x, u).dtype == dtype
    )
    (terms.squared_error.sum() + terms.rate.sum()).backward()
    for name, p in model.named_parameters():
        unused = T == 1 and name in ("F", "B", "b", "log_q", "lower_q")
        assert unused or (torch.isfinite(p.grad).all() and (p.grad != 0).any()), (
            f"no gradient reaches {name}"
        )


@pytest.mark.parametrize("X, missing", [(2, None), (5, "frames"), (5, "entries")])
def test_training_and_em_on_the_meta_device(X, missing):
    model, x, u = (
        make_lgssm(X).to("meta"),
        torch.zeros(4, 6, X, device="meta").double(),
        torch.zeros(4, 6, 1, device="meta").double(),
    )
    mask = (
        None
        if missing is None
        else torch.ones(x.shape[: 2 + (missing == "entries")], dtype=torch.bool, device="meta")
    )
    terms = model.terms(x, u)
    (terms.squared_error + terms.rate + model.log_likelihood(x, u, mask)).mean().backward()
    assert all(p.grad.is_meta for p in model.parameters())
    assert (
        em_step(model, x, u, mask).is_meta
        and model.predict(x[:, 0, :1].expand(4, 3), u, sample=True).is_meta
    )


def test_prediction_follows_the_dynamics():
    """Mean paths step by step; samples have the dense Gaussian's mean and covariance, noise
    correlations included.
    """
    model, N = make_lgssm(), 40000
    u, z1 = normal(4, 1, seed=5), normal(3, seed=6)
    F, B, b, Q, *_ = numbers(model)
    with torch.no_grad():
        mean, path = model.predict(z1[None], u[None])[0], [z1]
        for t in range(3):
            path.append(F @ path[-1] + B @ u[t] + b)
        assert torch.allclose(mean, torch.stack(path), atol=1e-12)
        draws = model.predict(z1.expand(N, 3), u.expand(N, 4, 1), sample=True, generator=seeded())
        model.m1.copy_(z1), model.log_p1.fill_(-60)
    assert (draws[:, 0] == z1).all()
    cov = dense(model, u).z_cov[3:, 3:]
    standard = np.linalg.solve(np.linalg.cholesky(cov), (draws - mean)[:, 1:].flatten(1).T.numpy())
    assert (
        np.abs(standard.mean(1)).max() < 5 / N**0.5
        and np.abs(np.cov(standard) - np.eye(9)).max() < 5 * (2 / N) ** 0.5
    )


def test_initialise_starts_at_the_principal_components():
    """In every direction the model's covariance of a frame is that of the data, once the noise is
    as small as the data's.
    """
    x = (
        normal(50, 4, 2) @ torch.tensor([[3.0, 1, 0, 2, 1], [0, 1, 2, -1, 1]], dtype=torch.float64)
        + 0.1 * normal(50, 4, 5, seed=1)
        + 7
    )
    model = LGSSM(LGSSMConfig(5, 1, 2, r0=1e-3)).double()
    model.initialise(x)
    cov = torch.cov(x.flatten(0, 1).T)
    model_cov = (model.C @ model.C.T + torch.diag(model.log_r.exp())).detach()
    assert torch.allclose(model_cov.diagonal(), cov.diagonal(), rtol=1e-3) and torch.allclose(
        model_cov, cov, atol=0.05
    )
    assert torch.allclose(model.d, x.mean((0, 1)))
    wide = LGSSM(LGSSMConfig(1, 1, 3)).double()  # fewer coordinates than states
    wide.initialise(x[..., :1])
    assert wide.C[0, 0].abs().item() == pytest.approx(
        cov[0, 0].sqrt().item()
    ) and wide.log_r.exp().item() == pytest.approx(0.1 * cov[0, 0].item())


BAD = {
    "rank of x": (lambda x, u, m: (x[0], u, None), "x must be"),
    "size of x": (lambda x, u, m: (x[..., :1], u, None), "x must be"),
    "T = 0": (lambda x, u, m: (x[:, :0], u[:, :0], None), "T >= 1"),
    "controls of another length": (lambda x, u, m: (x, u[:, :3], None), "u must be"),
    "NaN frame": (lambda x, u, m: (x.masked_fill(x == x[0, 1, 1], math.nan), u, None), "finite"),
    "NaN frame that is not masked": (
        lambda x, u, m: (x.masked_fill(x == x[0, 1, 1], math.nan), u, m),
        "finite",
    ),
    "mask of another type": (lambda x, u, m: (x, u, m.double()), "mask must be"),
    "mask of another shape": (lambda x, u, m: (x, u, m[:, :3]), "mask must be"),
    "mask of one coordinate": (lambda x, u, m: (x, u, m[..., None]), "mask must be"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_the_door(what):
    change, message = BAD[what]
    model = make_lgssm()
    x, u, mask = change(
        normal(2, 4, 2), normal(2, 4, 1, seed=1), torch.ones(2, 4, dtype=torch.bool)
    )
    calls = [
        lambda: model.log_likelihood(x, u, mask),
        lambda: model.infer(x, u, mask=mask),
        lambda: em_step(model, x, u, mask),
        lambda: fit_by_em(model, x, u, 1, mask),
        lambda: fit_by_gradient(model, x, u, 1, 0.1, mask),
        lambda: model.terms(x, u, mask=mask),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
