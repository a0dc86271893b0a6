"""Deep Kalman filter, deep variational Bayes filter and smoother: exact likelihoods of linear
instances, closed-form KL, who sees what.
"""

import math

import numpy as np
import pytest
import test_models as common
import torch
from test_models import dense, elbo, generator, kl_gaussian, normal, orthogonal, recall, within
from torch import nn

from oracles import DenseGaussian
from tutorial_dssm.models.dkf import DKF, DKFConfig
from tutorial_dssm.models.dvbf import DVBF, DVBFConfig
from tutorial_dssm.models.dvbs import DVBS, DVBSConfig
from tutorial_dssm.networks.frames import FramePath
from tutorial_dssm.probability.gaussian import DiagonalGaussian, log_normal, product

KINDS = {"dkf": (DKF, DKFConfig), "dvbf": (DVBF, DVBFConfig), "dvbs": (DVBS, DVBSConfig)}
EACH = pytest.mark.parametrize("kind", list(KINDS))
SIGMA = 0.7  # observation noise of the linear instances


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """`test_models.make` knows these models, in this file's tests only."""
    for kind, value in KINDS.items():
        monkeypatch.setitem(common.KINDS, kind, value)


def make(kind, seed=0, **sizes):
    return common.make(kind, seed, **sizes)


def conditional(model, x, u, noise):
    """Mean and variance of every q(z_t | z_{t-1}, …) along the draw that the noise leads to, and
    that draw; [B, T, Z] each.

    For the variational Bayes models by way of w_t, with f and q from the transition at the finished
    draw.
    """
    with torch.no_grad():
        if isinstance(model, DKF):
            return model._posterior(x, u, noise)
        m, v, _, z = model._posterior(x, u, noise)
        f, q = prior(model, z, u)
        return f + q.sqrt() * m, q * v, z


def prior(model, z, u):
    """Mean and variance of p(z_t | z_{t-1}, u_{t-1}) along a path, N(0, I) at t = 1; [B, T, Z]
    each.
    """
    with torch.no_grad():
        f, q = model.transition(z[:, :-1], u[:, :-1])
    return torch.cat([torch.zeros_like(z[:, :1]), f], 1), torch.cat(
        [torch.ones_like(z[:, :1]), q], 1
    )


# --- linear-Gaussian instances: decoupled dynamics, orthogonal decoder ----------------------------


def linear(kind, seed=0):
    """(a model with linear dynamics and decoder, D, d, f, b, q of the two coordinates, their
    information h in one frame).
    """
    model = make(kind, seed, x_dim=4, z_dim=2, seen=2, bases=1)
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
    return (
        model,
        D,
        d,
        t.F[0].diagonal().detach(),
        t.B[0, :, 0].detach(),
        q,
        (D**2).sum(0) / SIGMA**2,
    )


def likelihood(model, D, d, x, u):
    """Exact log p(x | u), and posterior mean and covariance of z_{1:T} as a vector and a matrix."""
    oracle = dense(model, u, D, SIGMA**2 * torch.eye(4, dtype=torch.float64))
    mean, cov = oracle.posterior((x - d).numpy())
    return oracle.log_likelihood((x - d).numpy()), mean.ravel(), cov.reshape(mean.size, mean.size)


def chain(first_mean, first_var, gains, offsets, variances):
    """Mean and covariance of z_{1:T} for z_1 ~ N(first), z_t ~ N(gain_t z_{t-1} + offset_t, var_t),
    all diagonal; [T-1, n] each.
    """
    n, T = len(first_mean), len(gains) + 1
    gains, offsets, variances = (
        np.reshape([np.asarray(v) for v in values], (T - 1, n))
        for values in (gains, offsets, variances)
    )
    F, Q = (
        np.stack([np.diag(v) for v in values]) if T > 1 else np.zeros((0, n, n))
        for values in (gains, variances)
    )
    observe = np.zeros((T, 1, n))
    q = DenseGaussian(
        F,
        offsets,
        Q,
        observe,
        np.ones((T, 1, 1)),
        np.asarray(first_mean),
        np.diag(np.asarray(first_var)),
    )
    return q.z_mean, q.z_cov


def data(T):
    return normal(T, 4, seed=11), normal(T, 1, seed=12)


def every_draw(model, x, u, n=20):
    """log p(x, z) - log q(z | x) [n] of draws z: the exact log p(x) for each of them where the
    posterior is exact.
    """
    x, u = x.expand(n, *x.shape), u.expand(n, *u.shape)
    mean, var, z = conditional(model, x, u, normal(*x.shape[:2], model.z_dim, seed=3))
    with torch.no_grad():
        log_x = log_normal(x, model.decode(z), torch.tensor(SIGMA**2, dtype=torch.float64)).sum(-1)
        return log_x + model.log_prior(z, u) - log_normal(z, mean, var).sum(-1)


@pytest.mark.parametrize("T", [1, 2, 5])
def test_dkf_with_the_best_filter_misses_what_the_future_would_tell(T):
    """q = p(z_t | z_{t-1}, x_t, u_{t-1}), the most that x_{1:t} can say: the bound misses log p(x)
    by KL(q ‖ posterior), 0 at T = 1 only.

    Equations: kf-forward
    """
    model, D, d, f, b, q, h = linear("dkf")
    x, u = data(T)
    exact, mean, cov = likelihood(model, D, d, x, u)
    eta = (x - d) @ D / SIGMA**2  # [T, n]
    v1, v = 1 / (1 + h), 1 / (1 / q + h)
    offsets = v * (u[:-1] * b / q + eta[1:])
    gap = kl_gaussian(
        *chain(v1 * eta[0], v1, [v / q * f] * (T - 1), offsets, [v] * (T - 1)), mean, cov
    )

    def outputs(x, u):  # for `recall`: gain, offset and log variance, batch last
        n = len(x)
        first = torch.cat([v1 * eta[0], v1.log()])
        return [
            w.expand(n, -1).T
            for w in (first, *(torch.cat([v / q * f, o, v.log()]) for o in offsets))
        ]

    model._outputs, model._recall, model.head.floor = outputs, recall, 0.0
    within(elbo(model, x, u, SIGMA, 8000), exact - gap, se_below=0.07)
    assert abs(gap) < 1e-9 if T == 1 else gap > 0.03


def linear_dvbf(T, k_scale=1.0):
    """DVBF whose own weights are those of the exact filter for `k_scale` 1: gain k, noise variance
    1 - k; z_1 ~ N(a_1, 1/(1 + h)).
    """
    model, D, d, f, b, q, h = linear("dvbf")
    k = k_scale * q * h / (q * h + 1)
    with torch.no_grad():
        W = D.T / (D**2).sum(0)[:, None]
        model.frame_path.linear.weight.copy_(W), model.frame_path.linear.bias.copy_(-W @ d)
        model.correction.copy_(k.logit())
        model.head.linear.bias[2:] = torch.log(1 - k)
        model.first_head.linear.bias[2:] = -torch.log(1 + h)
    model.head.floor = model.first_head.floor = 0.0
    x, u = data(T)
    a = (x - d) @ W.T
    parts = [(1 - k) * f] * (T - 1), (1 - k) * u[:-1] * b + k * a[1:], [q * (1 - k)] * (T - 1)
    return model, D, d, x, u, (a[0], 1 / (1 + h)), parts


@pytest.mark.parametrize("k_scale", [1.0, 0.8])
@pytest.mark.parametrize("T", [1, 2, 5])
def test_dvbf_bound_misses_the_exact_likelihood_by_the_kl_of_its_posterior(T, k_scale):
    model, D, d, x, u, first, parts = linear_dvbf(T, k_scale)
    exact, mean, cov = likelihood(model, D, d, x, u)
    gap = kl_gaussian(*chain(*first, *parts), mean, cov)
    assert gap > 0.03
    within(elbo(model, x, u, SIGMA, 8000), exact - gap, se_below=0.1)


def test_dvbf_is_exact_for_two_frames_and_not_for_three():
    """With the exact q(z_1 | x_1, x_2, …), the filter at the last frame is the smoother; before the
    last it is not.
    """
    for T in (2, 3):
        model, D, d, x, u, _, _ = linear_dvbf(T)
        exact, mean, cov = likelihood(model, D, d, x, u)
        own, first = model._evidence, (torch.tensor(mean[:2]), torch.tensor(np.diag(cov)[:2]))
        model._evidence = lambda x, u, own=own, first=first: [
            tuple(v.expand(len(x), 2) for v in first),
            *own(x, u)[1:],
        ]
        misses = every_draw(model, x, u) - exact
        assert misses.abs().max() < 1e-9 if T == 2 else misses.std() > 0.05


def linear_dvbs(T, scale=1.0):
    """DVBS with the exact backward information for an inverse measurement, its variances times
    `scale`, and the chain this makes.
    """
    model, D, d, f, b, q, h = linear("dvbs")
    x, u = data(T)
    eta_x, push = (x - d) @ D / SIGMA**2, u * b
    J, eta = [h], [eta_x[-1]]  # log p(x_{t:T} | z_t) = -J z²/2 + eta z + constant
    for t in reversed(range(T - 1)):
        s = 1 + q * J[0]
        J, eta = [h + f**2 * J[0] / s, *J], [eta_x[t] + f * (eta[0] - J[0] * push[t]) / s, *eta]
    evidence = [(e / j, scale / j) for e, j in zip(eta, J)]
    model._evidence = lambda x, u: [tuple(v.expand(len(x), 2) for v in pair) for pair in evidence]
    gains, offsets, variances = [], [], []
    for t, (m, s) in enumerate(evidence[1:]):
        var = 1 / (1 / q + 1 / s)
        (
            gains.append(var / q * f),
            offsets.append(var * (push[t] / q + m / s)),
            variances.append(var),
        )
    m, s = evidence[0]
    return model, D, d, x, u, (m / s / (1 + 1 / s), 1 / (1 + 1 / s)), (gains, offsets, variances)


@pytest.mark.parametrize("T", [1, 2, 5])
def test_dvbs_is_exact_for_every_draw_with_the_exact_inverse_measurement(T):
    model, D, d, x, u, *_ = linear_dvbs(T)
    exact, *_ = likelihood(model, D, d, x, u)
    assert (every_draw(model, x, u) - exact).abs().max() < 1e-9
    within(elbo(model, x, u, SIGMA, 8000), exact, se_below=0.07)


@pytest.mark.parametrize("T", [1, 5])
def test_dvbs_bound_misses_the_exact_likelihood_by_the_kl_of_its_posterior(T):
    model, D, d, x, u, first, parts = linear_dvbs(T, scale=2.0)
    exact, mean, cov = likelihood(model, D, d, x, u)
    gap = kl_gaussian(*chain(*first, *parts), mean, cov)
    assert gap > 0.03
    within(elbo(model, x, u, SIGMA, 8000), exact - gap, se_below=0.07)


@EACH
def test_random_posterior_stays_below_the_exact_likelihood(kind):
    model, D, d, *_ = linear(kind)
    random = make(kind, 5, x_dim=4, z_dim=2, bases=1)
    random.transition, random.decoder = model.transition, model.decoder
    x, u = data(4)
    draws = elbo(random, x, u, SIGMA, 2000)
    assert draws.mean() + 4.5 * draws.std() / 2000**0.5 < likelihood(model, D, d, x, u)[0]


# --- what each posterior is -----------------------------------------------------------------------


@EACH
def test_rate_is_the_kl_between_states_given_each_draw(kind):
    """KL(q(w_t) ‖ N(0, I)) = KL(q(z_t | z_{t-1}) ‖ p(z_t | z_{t-1})): torch.distributions at the
    same draws, and log q - log p in the mean.
    """
    model, B, T = make(kind, 1), 20000, 3
    with torch.no_grad():
        model.head.linear.weight *= 3
        model.transition.log_q.copy_(normal(3, 3, seed=4))
    x, u = normal(T, 5, seed=11).expand(B, T, 5), normal(T, 1, seed=12).expand(B, T, 1)
    with torch.no_grad():
        rate = model.terms(x, u, generator(9)).rate
        mean, var, z = conditional(model, x, u, normal(B, T, 3, seed=9))
        f, q = prior(model, z, u)
        of_q, of_p = (torch.distributions.Normal(m, v.sqrt()) for m, v in ((mean, var), (f, q)))
        assert torch.allclose(
            rate, torch.distributions.kl_divergence(of_q, of_p).sum((1, 2)), atol=1e-9
        )
        within(rate - log_normal(z, mean, var).sum(-1) + model.log_prior(z, u), 0.0, se_below=0.05)


def test_dvbs_posterior_is_the_product_of_transition_and_inverse_measurement():
    model, x, u = make("dvbs", 1), normal(6, 4, 5, seed=11), normal(6, 4, 1, seed=12)
    mean, var, z = conditional(model, x, u, normal(6, 4, 3, seed=13))
    with torch.no_grad():
        measured = DiagonalGaussian(*(torch.stack(v, 1) for v in zip(*model._evidence(x, u))))
        expected = product(DiagonalGaussian(*prior(model, z, u)), measured).gaussian
    assert torch.allclose(mean, expected.mean, atol=1e-12) and torch.allclose(
        var, expected.var, atol=1e-12
    )


@EACH
def test_infer_gives_the_mean_path_its_variances_and_one_draw(kind):
    model, x, u = make(kind, 1), normal(6, 4, 5, seed=11), normal(6, 4, 1, seed=12)
    posterior, noise = model.infer(x, u, generator(13)), normal(6, 4, 3, seed=13)
    mean, var, path = conditional(model, x, u, torch.zeros_like(noise))
    for ours, expected in zip(posterior, (mean, conditional(model, x, u, noise)[2], var)):
        assert torch.allclose(ours, expected, atol=1e-12)
    assert torch.allclose(mean, path, atol=1e-12)


@pytest.mark.parametrize("T", [1, 6])
def test_dkf_summary_is_its_gru_run_forwards_over_frames_and_the_controls_before_them(T):
    model, x, u = make("dkf", 0), normal(3, T, 5, seed=1), normal(3, T, 1, seed=2)
    before = torch.cat([torch.zeros(3, 1, 1, dtype=torch.float64), u[:, :-1]], 1)
    outputs = [
        model._summary(x, u).transpose(0, 1),
        model.gru(torch.cat([model.encoder(x), before], -1))[0],
    ]
    parameters = [*model.encoder.parameters(), *model.gru.parameters()]
    ours, theirs = (
        [
            out,
            *torch.autograd.grad(
                (out * normal(*out.shape, seed=3)).sum(), parameters, materialize_grads=True
            ),
        ]
        for out in outputs
    )
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(ours, theirs))


@EACH
def test_without_networks_the_mean_path_is_the_frame_path(kind):
    """A filter's area ends at t, a smoother's begins there; at z_1 the DVBF, which sees x_2, has an
    area too.
    """
    model, x, u = make(kind, 1), normal(6, 4, 5, seed=11), normal(6, 4, 1, seed=12)
    with torch.no_grad():
        for head in (model.head, getattr(model, "first_head", model.head)):
            head.linear.weight[:3].zero_(), head.linear.bias[:3].zero_()
        if kind == "dvbf":
            model.correction.fill_(math.inf)  # k = 1: all that the frame says
        if kind == "dvbs":
            model.head.linear.bias[3:], model.head.floor = (
                -90.0,
                1e-14,
            )  # an inverse measurement without noise
        paths = {past: FramePath(5, 2, 3, 1.0, past).double() for past in (False, True)}
        for path in paths.values():
            path.load_state_dict(model.frame_path.state_dict())
        after, before = paths[False](x), paths[True](x)
        expected = {
            "dkf": before,
            "dvbs": after,
            "dvbf": torch.cat([after[:, :1], before[:, 1:]], 1),
        }[kind]
        assert torch.allclose(model.infer(x, u, generator()).mean, expected, atol=1e-9)
        assert (after - before)[..., 2].abs().mean() > 1e-2


def reaches(kind, T, **sizes):
    """What a change of x_s, u_s and of the path at z_s moves: for each the set of (s, t) with
    another q(z_t | z_{t-1}, …), both from 1.
    """
    model = make(kind, 1, **sizes)
    inputs = {
        "x": normal(1, T, 5, seed=11),
        "u": normal(1, T, 1, seed=12),
        "path": normal(1, T, 3, seed=13),
    }

    def conditionals(x, u, path):
        noise = torch.zeros_like(path)
        for t in range(T + 1):  # choose the noise such that the draw is the path
            mean, var, z = conditional(model, x, u, noise)
            if t < T:
                noise = torch.cat(
                    [noise[:, :t], ((path - mean) / var.sqrt())[:, t : t + 1], noise[:, t + 1 :]], 1
                )
        assert torch.allclose(z, path, atol=1e-12)
        return torch.cat([mean, var], -1)[0]

    reference, found = conditionals(**inputs), {}
    for name, value in inputs.items():
        changes = [
            conditionals(**inputs | {name: value + torch.eye(T, dtype=value.dtype)[s, :, None]})
            for s in range(T)
        ]
        found[name] = {
            (s + 1, t + 1)
            for s in range(T)
            for t in range(T)
            if (changes[s] - reference)[t].abs().max() > 1e-9
        }
    return found


def pairs(T, rule):
    return {(s, t) for s in range(1, T + 1) for t in range(1, T + 1) if rule(s, t)}


@pytest.mark.parametrize("T", [1, 2, 5])
def test_dkf_posterior_sees_the_previous_state_and_the_past(T):
    expected = {
        "x": pairs(T, lambda s, t: s <= t),
        "u": pairs(T, lambda s, t: s < t),
        "path": pairs(T, lambda s, t: s + 1 == t),
    }
    assert reaches("dkf", T) == expected


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("T", [1, 2, 5])
def test_dvbf_posterior_sees_one_step_and_the_first_frames(T, first):
    """u_T acts after the last frame and says nothing."""
    assert reaches("dvbf", T, first=first) == {
        "x": pairs(T, lambda s, t: s == t or t == 1 and s <= first),
        "u": pairs(T, lambda s, t: s + 1 == t or t == 1 and s < min(first, T)),
        "path": pairs(T, lambda s, t: s + 1 == t),
    }


@pytest.mark.parametrize("T", [1, 2, 5])
def test_dvbs_posterior_sees_the_previous_state_the_present_and_the_future(T):
    assert reaches("dvbs", T) == {
        "x": pairs(T, lambda s, t: t <= s),
        "u": pairs(T, lambda s, t: t <= s + 1),
        "path": pairs(T, lambda s, t: s + 1 == t),
    }


# --- what all models promise: the tests of test_models.py, on these models ------------------------


@EACH
def test_prediction_follows_the_transition(kind):
    common.test_prediction_follows_the_transition(kind)


STEP = (
    "transition.",
    "from_",
    "frame_path.areas",
    "head.",
    "correction",
)  # what a single frame does not need


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
    assert model.decode(posterior.mean).shape == (6, T, 5)
    (terms.squared_error.sum() + terms.rate.sum()).backward()
    for name, p in model.named_parameters():
        unused = T == 1 and (
            name.startswith(STEP[:3] if kind != "dvbf" else STEP) or "weight_hh" in name
        )
        reached = (
            p.grad is not None and bool((p.grad != 0).any()) and bool(torch.isfinite(p.grad).all())
        )
        assert reached != unused, f"a gradient {'reaches' if reached else 'does not reach'} {name}"


@EACH
@pytest.mark.parametrize("T", [1, 2, 5])
def test_a_training_step_on_another_device(kind, T):
    """On `meta`, where a tensor left on the CPU raises as it would on a GPU."""
    model = make(kind).to("meta")
    x, u = (
        torch.empty(4, T, 5, dtype=torch.float64, device="meta"),
        torch.empty(4, T, 1, dtype=torch.float64, device="meta"),
    )
    model.noise = lambda like, *shape, generator: torch.empty(
        shape, dtype=like.dtype, device=like.device
    )
    assert model.infer(x, u).mean.device.type == "meta"
    terms = model.terms(x, u)
    (terms.squared_error + terms.rate).sum().backward()
    assert terms.rate.device.type == "meta"


@EACH
def test_starting_values(kind):
    """Variances start where the configuration says, the frame path at the principal components."""
    config = KINDS[kind][1](x_dim=5, hidden=64, **({"correction0": 0.3} if kind == "dvbf" else {}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = KINDS[kind][0](config).double()
    x, u = normal(200, 6, 5), normal(200, 6, 1)
    model.initialise(x)
    a = model.frame_path.linear(x).flatten(0, 1)
    assert torch.allclose(
        torch.cov(a.T), torch.eye(2, dtype=torch.float64), atol=1e-5
    )  # the model was made in float32
    _, var, _ = conditional(model, x, u, torch.zeros(200, 6, 3, dtype=torch.float64))
    q = torch.tensor([config.q0_seen] * 2 + [config.q0_hidden])
    if kind == "dvbf":
        assert torch.allclose(
            torch.sigmoid(model.correction), torch.full((3,), config.correction0).double()
        )
    start = {
        "dkf": torch.full((6, 3), 0.1),
        "dvbf": torch.cat([torch.full((1, 3), 0.1), q.expand(5, 3)]),
    }
    start["dvbs"] = 1 / (1 / torch.cat([torch.ones(1, 3), q.expand(5, 3)]) + 1 / 0.1)
    assert torch.allclose(var.log().mean(0).exp(), start[kind].double(), rtol=0.15)
