"""Models with an ancestral posterior (DKF, DKS, DVBF and its smoother): exact likelihoods of linear
instances, closed-form KL, who sees what, and that what they infer and pay is what they walk.
"""

import math

import numpy as np
import pytest
import torch

from instances import (
    SIGMA,
    bump,
    dense,
    elbo,
    generator,
    hide,
    kl_gaussian,
    linear,
    linear_dks,
    make,
    normal,
    with_conditionals,
    within,
)
from oracles import DenseGaussian
from tutorial_dssm.evaluation import bounds
from tutorial_dssm.models import MODELS
from tutorial_dssm.networks.frames import FramePath
from tutorial_dssm.probability.gaussian import DiagonalGaussian, log_normal, product

KINDS = ("dkf", "dks", "dks-classic", "dvbf", "dvbf-smoothing")
EACH = pytest.mark.parametrize("kind", KINDS)


def walk(model, x, u, noise, mask=None):
    """The pass that given noise leads to, without gradients."""
    with torch.no_grad():
        return model.walk(x, u, noise, mask)


# --- linear-Gaussian instances ------------------------------------------------------------------


def likelihood(model, D, d, x, u, mask=None):
    """Exact log p of the frames in mask [T] given u, and posterior mean and covariance of z_{1:T}
    as a vector and a matrix.
    """
    oracle = dense(model, u, D, SIGMA**2 * torch.eye(4, dtype=torch.float64))
    seen = None if mask is None else np.repeat(mask[:, None].numpy(), 4, 1)
    mean, cov = oracle.posterior((x - d).numpy(), seen)
    exact = oracle.log_likelihood((x - d).numpy(), seen)
    return exact, mean.ravel(), cov.reshape(mean.size, mean.size)


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
    mean, var, _, _, z = walk(model, x, u, normal(*x.shape[:2], model.z_dim, seed=3))
    with torch.no_grad():
        log_x = log_normal(x, model.decode(z), torch.tensor(SIGMA**2, dtype=torch.float64)).sum(-1)
        return log_x + model.log_prior(z, u) - log_normal(z, mean, var).sum(-1)


@pytest.mark.parametrize("scale", [1.0, 1.6])
@pytest.mark.parametrize("T", [1, 5])
def test_dks_bound_misses_the_exact_likelihood_by_the_kl_of_its_conditionals(T, scale):
    """Equations: bal-elbo, bal-gap"""
    model, D, d = linear_dks(scale)
    x, u = data(T)
    exact, *_ = likelihood(model, D, d, x, u)
    gap = T * 2 * 0.5 * (scale - 1 - math.log(scale))  # same means, variances times `scale`
    within(elbo(model, x, u, SIGMA, 8000), exact - gap, se_below=0.07)


def test_dks_identity_of_every_draw_with_the_exact_conditionals():
    """Equations: notation-joint, ssm-factor, kf-forward, bal-model"""
    model, D, d = linear_dks()
    x, u = data(5)
    assert (every_draw(model, x, u) - likelihood(model, D, d, x, u)[0]).abs().max() < 1e-9


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
    first = v1 * eta[0]
    gap = kl_gaussian(*chain(first, v1, [v / q * f] * (T - 1), offsets, [v] * (T - 1)), mean, cov)

    def conditionals(x, u, mask):
        gains = (v / q * f).expand(T, 2)
        parts = gains, torch.cat([first[None], offsets]), torch.stack([v1, *[v] * (T - 1)])
        return [w.expand(len(x), T, 2) for w in parts]

    with_conditionals(model, conditionals)
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
        model.frame_path.linear.weight.copy_(W)
        model.frame_path.linear.bias.copy_(-W @ d)
        model.correction.copy_(k.logit())
        model.head.linear.bias[2:] = torch.log(1 - k)
        model.first_head.linear.bias[2:] = -torch.log(1 + h)
    model.head.floor = model.first_head.floor = 0.0
    x, u = data(T)
    a = (x - d) @ W.T
    offsets = [(1 - k) * u[t] * b + k * a[t + 1] for t in range(T - 1)]
    parts = [(1 - k) * f] * (T - 1), offsets, [q * (1 - k)] * (T - 1)
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
        first = torch.tensor(mean[:2]), torch.tensor(np.diag(cov)[:2])
        model.first_state = lambda x, u, features, mask, first=first: tuple(
            v.expand(len(x), 2) for v in first
        )
        misses = every_draw(model, x, u) - exact
        assert misses.abs().max() < 1e-9 if T == 2 else misses.std() > 0.05


def linear_dvbs(T, scale=1.0):
    """DVBS with the exact backward information for an inverse measurement, its variances times
    `scale`, and the chain this makes.
    """
    model, D, d, f, b, q, h = linear("dvbf-smoothing")
    x, u = data(T)
    eta_x, push = (x - d) @ D / SIGMA**2, u * b
    J, eta = [h], [eta_x[-1]]  # log p(x_{t:T} | z_t) = -J z²/2 + eta z + constant
    for t in reversed(range(T - 1)):
        s = 1 + q * J[0]
        J, eta = [h + f**2 * J[0] / s, *J], [eta_x[t] + f * (eta[0] - J[0] * push[t]) / s, *eta]
    evidence = [(e / j, scale / j) for e, j in zip(eta, J)]
    model.evidence = lambda x, u, mask=None: [
        tuple(v.expand(len(x), 2) for v in pair) for pair in evidence
    ]
    gains, offsets, variances = [], [], []
    for t, (m, s) in enumerate(evidence[1:]):
        var = 1 / (1 / q + 1 / s)
        gains.append(var / q * f)
        offsets.append(var * (push[t] / q + m / s))
        variances.append(var)
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


# --- missing frames -----------------------------------------------------------------------------

GAPS = torch.tensor([1, 1, 0, 0, 1, 0], dtype=torch.bool)


def test_dks_of_missing_frames_is_exact_for_every_draw_with_the_exact_conditionals():
    model, D, d = linear_dks()
    x, u = data(6)
    exact, *_ = likelihood(model, D, d, x, u, GAPS)
    x, u, mask = hide(x, GAPS).expand(20, 6, 4), u.expand(20, 6, 1), GAPS.expand(20, 6)
    log_w = bounds.log_weights(model, x, u, SIGMA, 2, generator(), mask=mask)
    assert (log_w - exact).abs().max() < 1e-9


def test_dvbf_follows_the_transition_through_a_gap():
    """Its bound misses the exact likelihood of the observed frames by KL(q ‖ posterior), with q the
    transition itself where a frame is missing.
    """
    model, D, d, x, u, first, (gains, offsets, variances) = linear_dvbf(6)
    _, _, _, f, b, q, _ = linear("dvbf")
    for t in range(1, 6):
        if not GAPS[t]:
            gains[t - 1], offsets[t - 1], variances[t - 1] = f, u[t - 1] * b, q
    exact, mean, cov = likelihood(model, D, d, x, u, GAPS)
    gap = kl_gaussian(*chain(*first, gains, offsets, variances), mean, cov)
    assert gap > 0.03
    within(elbo(model, hide(x, GAPS), u, SIGMA, 8000, mask=GAPS), exact - gap, se_below=0.1)


@EACH
@pytest.mark.parametrize("gaps", [[1, 0, 0, 1], [0, 0, 1, 0]])
def test_random_posterior_of_missing_frames_stays_below_the_exact_likelihood(kind, gaps):
    source, D, d, *_ = linear("dks")
    random = make(kind, 5, x_dim=4, z_dim=2, seen=2, bases=1)
    random.transition, random.decoder = source.transition, source.decoder
    (x, u), mask = data(4), torch.tensor(gaps, dtype=torch.bool)
    exact, *_ = likelihood(source, D, d, x, u, mask)
    draws = elbo(random, hide(x, mask), u, SIGMA, 2000, mask=mask)
    assert draws.mean() + 4.5 * draws.std() / 2000**0.5 < exact


@EACH
def test_random_posterior_stays_below_the_exact_likelihood(kind):
    source, D, d, *_ = linear("dks")
    random = make(kind, 5, x_dim=4, z_dim=2, seen=2, bases=1)
    random.transition, random.decoder = source.transition, source.decoder
    x, u = data(4)
    draws = elbo(random, x, u, SIGMA, 2000)
    assert draws.mean() + 4.5 * draws.std() / 2000**0.5 < likelihood(source, D, d, x, u)[0]


# --- what each posterior is ---------------------------------------------------------------------


@pytest.mark.parametrize("seen", [[1, 1, 1, 1], [1, 0, 1, 0]])
@pytest.mark.parametrize("kind", ["dkf", "dks", "dks-classic"])
def test_dks_posterior_is_the_combiner_step_by_step(kind, seen):
    """Krishnan et al. (2017), eq. (6), written down plainly; a missing frame has no features."""
    model, T = make(kind, 0), 4
    x, u, noise = normal(3, T, 5, seed=1), normal(3, T, 1, seed=2), normal(3, T, 3, seed=3)
    mask = torch.tensor(seen, dtype=torch.bool).expand(3, T)
    drawn = walk(model, x, u, noise, mask)
    with torch.no_grad():
        features = model.encoder(x) * mask[..., None]
        if kind == "dkf":
            before = torch.cat([torch.zeros_like(u[:, :1]), u[:, :-1]], 1)
            g = model.gru(torch.cat([features, before], -1))[0]
        else:
            g = model.gru(torch.cat([features, u], -1).flip(1))[0].flip(1)
        direct = torch.zeros(3, T, 3, dtype=x.dtype)
        if model.frame_path:
            direct = model.frame_path(x, mask)
        z, h = None, g[:, 0]
        for t in range(T):
            if t:
                h = 0.5 * (torch.tanh(model.from_z(z) + model.from_u(u[:, t - 1])) + g[:, t])
            mean, var = model.head(h)
            mean = mean + direct[:, t]
            z = mean + var.sqrt() * noise[:, t]
            for mine, plain in ((drawn.mean, mean), (drawn.var, var), (drawn.z, z)):
                assert torch.allclose(mine[:, t], plain, rtol=0, atol=1e-12)


@EACH
def test_the_prior_of_a_pass_is_the_transition_at_its_draw(kind):
    model, x, u = make(kind, 1), normal(6, 4, 5, seed=11), normal(6, 4, 1, seed=12)
    drawn = walk(model, x, u, normal(6, 4, 3, seed=13))
    assert (drawn.prior_mean[:, 0] == 0).all() and (drawn.prior_var[:, 0] == 1).all()
    with torch.no_grad():
        for t in range(3):
            mean, var = model.transition(drawn.z[:, t], u[:, t])
            assert torch.allclose(drawn.prior_mean[:, t + 1], mean, atol=1e-12)
            assert torch.allclose(drawn.prior_var[:, t + 1], var, atol=1e-12)


@EACH
def test_rate_is_the_kl_between_states_given_each_draw(kind):
    """torch.distributions at the same draws, and log q - log p in the mean; for the variational
    Bayes models KL(q(w_t) ‖ N(0, I)) = KL(q(z_t | z_{t-1}) ‖ p(z_t | z_{t-1})).

    Equations: bal-rate
    """
    model, B, T = make(kind, 1), 20000, 3
    with torch.no_grad():
        model.head.linear.weight *= 3
        model.transition.log_q.copy_(normal(3, 3, seed=4))
    x, u = normal(T, 5, seed=11).expand(B, T, 5), normal(T, 1, seed=12).expand(B, T, 1)
    with torch.no_grad():
        rate = model.terms(x, u, generator(9)).rate
        ratio = model.terms(x, u, generator(9), analytic=False).rate
        mean, var, f, q, z = walk(model, x, u, normal(B, T, 3, seed=9))
        of_q, of_p = (torch.distributions.Normal(m, v.sqrt()) for m, v in ((mean, var), (f, q)))
        exact = torch.distributions.kl_divergence(of_q, of_p).sum((1, 2))
        assert torch.allclose(rate, exact, atol=1e-9)
        drawn = log_normal(z, mean, var).sum(-1) - model.log_prior(z, u)
        assert torch.allclose(ratio, drawn, atol=1e-9)
    within(rate - drawn, 0.0, se_below=0.05)


@EACH
@pytest.mark.parametrize("T", [1, 5])
def test_infer_and_terms_are_those_of_the_pass(kind, T):
    """`infer` gives the mean path, its variances and one draw; `terms` the decoded draw's error."""
    model, x, u = make(kind, 1), normal(6, T, 5, seed=11), normal(6, T, 1, seed=12)
    with torch.no_grad():
        drawn = model.ancestral_pass(x, u, generator(13))
        means = model.ancestral_pass(x, u, sample=False)
        posterior, terms = model.infer(x, u, generator(13)), model.terms(x, u, generator(13))
    assert torch.equal(drawn.z, walk(model, x, u, normal(6, T, 3, seed=13)).z)
    assert torch.equal(means.z, means.mean)
    for ours, expected in zip(posterior, (means.mean, drawn.z, means.var)):
        assert torch.allclose(ours, expected, atol=1e-12)
    error = ((model.decode(drawn.z) - x) ** 2).sum((1, 2))
    assert torch.allclose(terms.squared_error, error, atol=1e-10)
    with pytest.raises(ValueError, match="x must be"):
        model.ancestral_pass(x[..., :4], u)


def test_dvbs_reads_no_features_of_a_missing_frame():
    model, x, u = make("dvbf-smoothing", 1), normal(2, 6, 5, seed=11), normal(2, 6, 1, seed=12)
    mask = GAPS.expand(2, 6)
    with torch.no_grad():
        features = model.encoder(x) * mask[..., None]
        mean, var = model.head(model.gru(torch.cat([features, u], -1).flip(1))[0].flip(1))
        mean = mean + model.frame_path(x, mask)
        for t, (m, s) in enumerate(model.evidence(x, u, mask)):
            assert torch.allclose(m, mean[:, t], atol=1e-12)
            assert torch.allclose(s, var[:, t], atol=1e-12)


def test_dvbs_posterior_is_the_product_of_transition_and_inverse_measurement():
    model, x, u = make("dvbf-smoothing", 1), normal(6, 4, 5, seed=11), normal(6, 4, 1, seed=12)
    drawn = walk(model, x, u, normal(6, 4, 3, seed=13))
    with torch.no_grad():
        measured = DiagonalGaussian(*(torch.stack(v, 1) for v in zip(*model.evidence(x, u))))
    prior = DiagonalGaussian(drawn.prior_mean, drawn.prior_var)
    expected = product(prior, measured).gaussian
    assert torch.allclose(drawn.mean, expected.mean, atol=1e-12)
    assert torch.allclose(drawn.var, expected.var, atol=1e-12)


@pytest.mark.parametrize("kind", ["dkf", "dks", "dvbf", "dvbf-smoothing"])
def test_without_networks_the_mean_path_is_the_frame_path(kind):
    """A filter's area ends at t, a smoother's begins there; at z_1 the DVBF, which sees x_2, has an
    area too.
    """
    model, x, u = make(kind, 1), normal(6, 4, 5, seed=11), normal(6, 4, 1, seed=12)
    with torch.no_grad():
        for head in (model.head, getattr(model, "first_head", model.head)):
            head.linear.weight[:3].zero_()
            head.linear.bias[:3].zero_()
        if kind.startswith("dk"):
            model.head.linear.weight.zero_()
        if kind == "dvbf":
            model.correction.fill_(math.inf)  # k = 1: all that the frame says
        if kind == "dvbf-smoothing":  # an inverse measurement without noise
            model.head.linear.bias[3:] = -90.0
            model.head.floor = 1e-14
        paths = {past: FramePath(5, 2, 3, 1.0, past).double() for past in (False, True)}
        for path in paths.values():
            path.load_state_dict(model.frame_path.state_dict())
        after, before = paths[False](x), paths[True](x)
        expected = {
            "dkf": before,
            "dks": after,
            "dvbf-smoothing": after,
            "dvbf": torch.cat([after[:, :1], before[:, 1:]], 1),
        }[kind]
        assert torch.allclose(model.infer(x, u, generator()).mean, expected, atol=1e-9)
        assert (after - before)[..., 2].abs().mean() > 1e-2


def reaches(kind, T, **settings):
    """What a change of x_s, u_s and of the path at z_s moves: for each the set of (s, t) with
    another q(z_t | z_{t-1}, …), both from 1.
    """
    model = make(kind, 1, **settings)
    inputs = {
        "x": normal(1, T, 5, seed=11),
        "u": normal(1, T, 1, seed=12),
        "path": normal(1, T, 3, seed=13),
    }

    def conditionals(x, u, path):
        noise = torch.zeros_like(path)
        for t in range(T):  # choose the noise such that the draw is the path
            drawn = walk(model, x, u, noise)
            noise[:, t] = ((path - drawn.mean) / drawn.var.sqrt())[:, t]
        drawn = walk(model, x, u, noise)
        assert torch.allclose(drawn.z, path, atol=1e-12)
        return torch.cat([drawn.mean, drawn.var], -1)[0]

    reference, found = conditionals(**inputs), {}
    for name, value in inputs.items():
        changes = [conditionals(**inputs | {name: bump(value, s)}) for s in range(T)]
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
    assert reaches("dkf", T) == {
        "x": pairs(T, lambda s, t: s <= t),
        "u": pairs(T, lambda s, t: s < t),
        "path": pairs(T, lambda s, t: s + 1 == t),
    }


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("T", [1, 2, 5])
def test_dvbf_posterior_sees_one_step_and_the_first_frames(T, first):
    """u_T acts after the last frame and says nothing."""
    assert reaches("dvbf", T, first=first) == {
        "x": pairs(T, lambda s, t: s == t or t == 1 and s <= first),
        "u": pairs(T, lambda s, t: s + 1 == t or t == 1 and s < min(first, T)),
        "path": pairs(T, lambda s, t: s + 1 == t),
    }


@pytest.mark.parametrize("kind", ["dks", "dvbf-smoothing"])
@pytest.mark.parametrize("T", [1, 2, 5])
def test_a_smoother_sees_the_previous_state_the_present_and_the_future(kind, T):
    assert reaches(kind, T) == {
        "x": pairs(T, lambda s, t: t <= s),
        "u": pairs(T, lambda s, t: t <= s + 1),
        "path": pairs(T, lambda s, t: s + 1 == t),
    }


@EACH
def test_starting_values(kind):
    """Variances start where the configuration says, the frame path at the principal components."""
    config = MODELS[kind].config
    model = make(kind, hidden=64, **({"correction0": 0.3} if kind == "dvbf" else {}))
    x, u = normal(200, 6, 5), normal(200, 6, 1)
    model.initialise(x)
    if model.frame_path:  # the model was made in float32
        a = model.frame_path.linear(x).flatten(0, 1)
        assert torch.allclose(torch.cov(a.T), torch.eye(2, dtype=torch.float64), atol=1e-5)
    drawn = walk(model, x, u, torch.zeros(200, 6, 3, dtype=torch.float64))
    q = torch.tensor([config.q0_seen] * config.seen + [config.q0_hidden] * (3 - config.seen))
    if kind == "dvbf":
        assert torch.allclose(torch.sigmoid(model.correction), torch.full((3,), 0.3).double())
    prior = torch.cat([torch.ones(1, 3), q.expand(5, 3)])
    start = {
        "dvbf": torch.cat([torch.full((1, 3), 0.1), q.expand(5, 3)]),
        "dvbf-smoothing": 1 / (1 / prior + 1 / 0.1),
    }.get(kind, torch.full((6, 3), 0.1))
    assert torch.allclose(drawn.var.log().mean(0).exp(), start.double(), rtol=0.15)
