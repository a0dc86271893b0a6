"""Objectives: each against a trajectory worked out by hand in plain Python, and the identities
between them.
"""

import math

import pytest
import torch

from tutorial_dssm.learning.objectives import (
    OBJECTIVES,
    AnnealedConfig,
    BalancedConfig,
    ConstrainedConfig,
    ELBOConfig,
    LearnedNoiseConfig,
    Report,
    distortion,
    make_objective,
)
from tutorial_dssm.models.base import StepRates, Terms

N = 60  # values in a sequence
TARGET = 1e-3
# Squared error per pixel at each step: violated, falling until the constraint holds, then violated
# again, far off both ways.
MSE = [
    0.05,
    0.02,
    0.004,
    0.0011,
    0.0005,
    0.0002,
    0.0001,
    0.00005,
    0.0008,
    0.003,
    0.02,
    0.02,
    0.002,
    0.0003,
    0.0001,
    0.0001,
]
PLAIN, REWO = (
    ConstrainedConfig(average=0.5),
    ConstrainedConfig(lambda0=0.5, average=0.5, damping=True),
)
CONFIGS = [
    ELBOConfig(),
    LearnedNoiseConfig(),
    AnnealedConfig(steps=11),
    PLAIN,
    REWO,
    BalancedConfig(free_nats=0.1),
]


def terms(mse, rate=5.0):
    """A batch of three sequences with that mean squared error per value, and that mean rate."""
    spread = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    return step_terms(spread * mse * N, spread * rate)


def step_terms(squared_error, rate):
    """Terms of four steps that share a rate."""
    each = rate[:, None].expand(-1, 4) / 4
    return Terms(squared_error, rate, StepRates(each, each))


def objective(config):
    return make_objective(config).double()


def log_normal(squared_error, sigma):
    """log N(x; x̂, σ² I) of N values, as torch.distributions has it."""
    return float(
        torch.distributions.Normal(0.0, torch.tensor(sigma, dtype=torch.float64))
        .log_prob(torch.full((N,), (squared_error / N) ** 0.5, dtype=torch.float64))
        .sum()
    )


def test_distortion_is_minus_the_log_density():
    """Equations: bal-distortion, vae-distortion"""
    for sigma in (0.03, 0.4):
        for value in (sigma, torch.tensor(sigma, dtype=torch.float64)):
            assert float(
                distortion(torch.tensor(0.7, dtype=torch.float64), N, value)
            ) == pytest.approx(-log_normal(0.7, sigma))


def test_elbo():
    """Equations: bal-elbo"""
    report = objective(ELBOConfig(sigma=0.2))(terms(0.03, 5.0), N)
    d = -log_normal(0.03 * N, 0.2)
    assert float(report.loss) == pytest.approx(d + 5.0, rel=1e-6)
    assert float(report.distortion) == pytest.approx(d, rel=1e-6) and float(report.rate) == 5.0
    assert float(report.mse) == pytest.approx(0.03) and float(report.sigma) == pytest.approx(0.2)
    assert float(report.weight) == 1 and float(report.constraint) == 0


def test_learned_noise_gradient_and_optimum():
    """dL/d log σ = n - SE/σ², which vanishes at σ² = SE/n, the squared error per value; there D =
    n/2 (1 + log 2π mse).

    Equations: bal-sigma
    """
    model = objective(LearnedNoiseConfig(sigma0=0.3))
    assert float(model.noise().detach()) == pytest.approx(0.3)

    def at(sigma):
        model.zero_grad()
        with torch.no_grad():
            model.log_sigma.fill_(math.log(sigma))
        report = model(terms(0.02), N)
        report.loss.backward()
        assert model.log_sigma.grad.item() == pytest.approx(
            N - 0.02 * N / sigma**2, rel=1e-9, abs=1e-9
        )
        return report

    best = 0.02**0.5
    report = at(best)
    assert all(at(s * best).loss.item() > report.loss.item() for s in (0.2, 0.99, 1.01, 5.0))
    assert float(report.distortion) == pytest.approx(
        0.5 * N * (1 + math.log(2 * math.pi * 0.02)), rel=1e-6
    )
    assert not report.sigma.requires_grad and report.loss.requires_grad


def test_annealed_schedule():
    """c_i = min(1, c_0 + (1 - c_0) i/7).

    Equations: bal-anneal
    """
    model, d = objective(AnnealedConfig(sigma=0.2, start=0.01, steps=7)), -log_normal(0.03 * N, 0.2)
    for i in range(12):
        c = min(1.0, 0.01 + 0.99 * i / 7)
        report = model(terms(0.03, 5.0), N)
        assert float(report.weight) == pytest.approx(c, rel=1e-6) and float(
            report.loss
        ) == pytest.approx(d + c * 5.0, rel=1e-6)
    model = objective(AnnealedConfig(steps=7)).eval()
    assert float(model(terms(0.03), N).weight) == float(model(terms(0.03), N).weight), (
        "evaluation must not advance the schedule"
    )


def by_hand(config, errors):
    """λ, Ĉ/C₀ - 1, phase and rate weight of the Lagrangian at each step, as the loss of that step
    sees them.
    """
    lam, average, held, rows = config.lambda0, None, False, []
    for mse in errors:
        average = mse if average is None else config.average * average + (1 - config.average) * mse
        violation = average / config.target_mse - 1
        rows.append((lam, violation, held))
        if violation < 0:
            held = True
        nu = config.rate_after if held else config.rate
        if not config.damping:
            f = 1.0
        elif not held:
            f = 0.0
        elif violation < 0:
            f = -math.tanh(config.tau * (1 / lam - 1))
        else:
            f = 1.0
        lam *= math.exp(nu * f * max(-1.0, min(1.0, violation)))
    return rows


@pytest.mark.parametrize("damping", [False, True])
@pytest.mark.parametrize("lambda0", [0.3, 1.0, 4.0])
def test_constrained_follows_the_trajectory_worked_out_by_hand(damping, lambda0):
    """Equations: bal-lagrangian, bal-units, bal-update, bal-rewo"""
    config = ConstrainedConfig(
        TARGET, lambda0, rate=0.3, rate_after=0.7, average=0.5, damping=damping, tau=0.8
    )
    model, seen = objective(config), []
    for (lam, violation, held), mse in zip(by_hand(config, MSE), MSE):
        report = model(terms(mse, 5.0), N)
        weight = 5.0 / lam if held or not damping else 0.0
        d, d0 = -log_normal(mse * N, TARGET**0.5), 0.5 * N * (1 + math.log(2 * math.pi * TARGET))
        assert float(report.weight) == pytest.approx(lam, rel=1e-6)
        assert float(report.constraint) == pytest.approx(violation, rel=1e-6, abs=1e-9)
        assert float(report.loss) == pytest.approx(d - d0 + weight, rel=1e-6)
        assert float(report.distortion) == pytest.approx(d, rel=1e-6) and float(
            report.rate
        ) == pytest.approx(5.0)
        assert float(report.sigma) == pytest.approx((TARGET / lam) ** 0.5, rel=1e-6)
        seen.append((violation > 0, held))
    assert set(seen) == {(True, False), (False, False), (False, True), (True, True)}, (
        "the trajectory must visit every phase"
    )
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()(terms(0.5), N)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items()), (
        "evaluation must not advance λ"
    )


def test_plain_lagrangian_settles_where_the_constraint_is_active():
    """A world where more weight on reconstruction lowers the error: mse = 1e-4/λ.

    The only fixed point is mse = target, λ = 0.1.

    Equations: bal-problem, bal-update
    """
    model = objective(ConstrainedConfig(TARGET, 3.0, rate=0.05, rate_after=0.05, average=0.5))
    for _ in range(1000):
        report = model(terms(1e-4 / float(model.lam)), N)
    assert float(model.lam) == pytest.approx(0.1, rel=1e-3) and abs(float(report.constraint)) < 1e-3


def test_rewo_reconstructs_first_and_leads_to_the_elbo():
    """No rate until the constraint holds; λ waits; once it holds, λ tends to 1 from both sides, and
    1 is a fixed point.

    Equations: bal-rewo
    """
    for lambda0 in (0.2, 1.0, 5.0):
        model = objective(
            ConstrainedConfig(TARGET, lambda0, average=0.0, rate_after=0.1, damping=True)
        )
        for _ in range(5):
            easy, costly = model(terms(0.1, 0.0), N), model(terms(0.1, 1e4), N)
            assert float(easy.loss) == float(costly.loss) and float(costly.weight) == pytest.approx(
                lambda0
            )
        path = [float(model(terms(0.2 * TARGET), N).weight) for _ in range(300)]
        steps = [abs(math.log(v)) for v in path]
        assert all(b <= a + 1e-9 for a, b in zip(steps, steps[1:])), (
            "λ must approach 1 without turning back"
        )
        assert path[-1] == pytest.approx(1.0, abs=1e-3)
        assert float(model(terms(0.2 * TARGET, 0.0), N).loss) != float(
            model(terms(0.2 * TARGET, 9.0), N).loss
        ), "now the rate counts"
        lam = float(model.lam)
        model(terms(3 * TARGET), N)
        assert float(model.lam) == pytest.approx(lam * math.exp(0.1)), (
            "violated again: f = 1, the clipped factor"
        )


def test_lambda_one_is_the_elbo():
    """With λ = 1 the Lagrangian is -ELBO at σ = √target, but for the constant D₀.

    Equations: bal-lagrangian, bal-units
    """
    for mse, rate in ((0.02, 3.0), (TARGET, 40.0)):
        lagrangian = objective(ConstrainedConfig(TARGET, 1.0))(terms(mse, rate), N)
        elbo = objective(ELBOConfig(TARGET**0.5))(terms(mse, rate), N)
        d0 = float(distortion(torch.tensor(TARGET * N, dtype=torch.float64), N, TARGET**0.5))
        assert float(elbo.loss) - float(lagrangian.loss) == pytest.approx(d0, rel=1e-6)
        assert float(elbo.distortion) == pytest.approx(float(lagrangian.distortion), rel=1e-6)


@pytest.mark.parametrize("lam", [0.05, 1.0, 7.0])
def test_lagrangian_has_the_gradient_of_the_elbo_at_the_effective_noise(lam):
    """λ·∇(D - D₀ + R/λ) = ∇ -ELBO at σ/√λ: weighing the distortion is choosing the noise.

    Equations: bal-lagrangian, bal-noise
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = torch.randn(4, dtype=torch.float64).requires_grad_()

    def world():
        return Terms(
            (weights**2).sum() * torch.ones(3, dtype=torch.float64),
            (weights.exp() @ torch.arange(1.0, 5.0).double()).expand(3),
        )

    constrained = objective(ConstrainedConfig(TARGET, lam))
    sigma = float(constrained.noise())
    assert sigma == pytest.approx((TARGET / lam) ** 0.5, rel=1e-6)
    (of_lagrangian,) = torch.autograd.grad(constrained(world(), N).loss, weights)
    (of_elbo,) = torch.autograd.grad(objective(ELBOConfig(sigma))(world(), N).loss, weights)
    assert torch.allclose(lam * of_lagrangian, of_elbo, rtol=1e-6)


@pytest.mark.parametrize("saved", [4, 9])  # before and after the constraint first holds
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_state_goes_on_where_it_was_saved(config, saved):
    whole, first, second = objective(config), objective(config), objective(config)
    expected = [whole(terms(m), N) for m in MSE]
    for m in MSE[:saved]:
        first(terms(m), N)
    second.load_state_dict(first.state_dict())
    for report, m in zip(expected[saved:], MSE[saved:]):
        assert all(torch.equal(a, b) for a, b in zip(report, second(terms(m), N)))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_report_is_scalars_of_which_only_the_loss_has_a_gradient(config):
    leaf = torch.ones(3, requires_grad=True)
    model = make_objective(config)
    report = model(step_terms(leaf * 2, leaf * 3), N)
    assert isinstance(report, Report) and all(
        v.shape == () and v.dtype == torch.float32 for v in report
    )
    assert report.loss.requires_grad and not any(v.requires_grad for v in report[1:])
    assert float(report.rate) == 3 and float(report.mse) == pytest.approx(2 / N)
    assert model.noise().shape == () and float(model.noise().detach()) > 0


def test_make_objective_knows_every_config():
    known = {type(make_objective(c)) for c in CONFIGS}
    assert known == {goal.objective for goal in OBJECTIVES.values()}


@pytest.mark.parametrize(
    "config, field, value",
    [
        (ELBOConfig, "sigma", 0.0),
        (LearnedNoiseConfig, "sigma0", -1.0),
        (AnnealedConfig, "steps", 0),
        (AnnealedConfig, "start", 1.5),
        (AnnealedConfig, "sigma", math.nan),
        (ConstrainedConfig, "target_mse", 0.0),
        (ConstrainedConfig, "lambda0", 0.0),
        (ConstrainedConfig, "rate", -0.1),
        (ConstrainedConfig, "average", 1.0),
        (ConstrainedConfig, "tau", 0.0),
    ],
)
def test_configs_refuse_settings_without_meaning(config, field, value):
    with pytest.raises(ValueError, match=field):
        config(**{field: value})
