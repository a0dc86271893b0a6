"""Objectives: ways to weigh the squared error of a model against its rate.

Every objective is a function of `Terms` = (squared error, rate) and never sees the model. With
p(x | z) = N(decoder, σ² I) and n = T·X values in a sequence, the distortion is
D = squared error/(2σ²) + (n/2) log 2πσ² and the ELBO is -(D + R), all in nats per sequence. Fixed
σ, learned σ and the Lagrangian differ only in the price they put on squared error; what they learn
on the way (σ, λ, moving average, phase) is saved state.

An objective registers itself at the end of this file, with the settings of a named run.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..models.base import Terms
from ..names import Registry


class Report(NamedTuple):
    """One evaluation of an objective: scalars on the model's device, all but `loss` detached."""

    loss: Tensor  # what to minimise
    distortion: Tensor  # D, nats per sequence, at noise `sigma`
    rate: Tensor  # R, nats per sequence
    mse: Tensor  # squared error per pixel
    weight: Tensor  # λ (constrained), the KL weight (annealed) or 1
    sigma: Tensor  # the observation noise in force: σ, or σ/√λ under a constraint
    # moving average of mse over its target, minus 1; 0 where there is no constraint
    constraint: Tensor


def distortion(squared_error: Tensor, n: Tensor | float, sigma: Tensor | float) -> Tensor:
    """-log N(x; x̂, σ² I) from the squared error |x - x̂|² over n values: nats.

    Equations: bal-distortion, vae-distortion
    """
    variance = 2 * math.pi * sigma**2
    # A number stays on the host.
    log = torch.log(variance) if isinstance(variance, Tensor) else math.log(variance)
    return squared_error / (2 * sigma**2) + 0.5 * n * log


class Objective(nn.Module, ABC):
    """Base class: calling it with (terms, n) gives a `Report`.

    While `self.training` a call also advances the objective's own state by a step.
    """

    needs_step_rates: ClassVar[bool] = False  # of `Terms`: not every model has them

    @abstractmethod
    def forward(self, terms: Terms, n: Tensor | float) -> Report:
        """terms of a batch, n = T·X values per sequence (their mean where frames are missing)."""

    @abstractmethod
    def noise(self) -> Tensor:
        """The observation noise σ at which the model's ELBO is quoted (σ/√λ under a constraint)."""

    @property
    def target_mse(self) -> float | None:
        """The squared error per pixel that a constraint holds; None where there is none."""
        return None


def report(
    loss: Tensor,
    d: Tensor,
    rate: Tensor,
    mse: Tensor,
    sigma: Tensor,
    weight: Tensor | float = 1.0,
    constraint: Tensor | float = 0.0,
) -> Report:
    """The report of a step; everything but the loss is detached."""
    zero = torch.zeros_like(mse)
    values = (d, rate, mse, zero + weight, zero + sigma, zero + constraint)
    return Report(loss, *(v.detach() for v in values))


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")


def _means(terms: Terms, n: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Batch means of squared error and rate, and the squared error per value."""
    squared_error, rate = terms.squared_error.mean(), terms.rate.mean()
    return squared_error, rate, squared_error / n


@dataclass(frozen=True)
class ELBOConfig:
    """The ELBO at a fixed observation noise."""

    sigma: float = 0.1  # standard deviation of a pixel

    def __post_init__(self) -> None:
        _check_positive(self, "sigma")


class ELBO(Objective):
    """loss = D + R at fixed σ (Kingma & Welling 2014).

    Equations: bal-elbo
    """

    sigma: Tensor

    def __init__(self, config: ELBOConfig = ELBOConfig()):
        super().__init__()
        self.register_buffer("sigma", torch.tensor(config.sigma))

    def forward(self, terms: Terms, n: Tensor | float) -> Report:
        """See `Objective`."""
        squared_error, rate, mse = _means(terms, n)
        d = distortion(squared_error, n, self.sigma)
        return report(d + rate, d, rate, mse, self.sigma)

    def noise(self) -> Tensor:
        """σ."""
        return self.sigma


@dataclass(frozen=True)
class LearnedNoiseConfig:
    """The ELBO with a learned observation noise."""

    sigma0: float = 0.3  # σ at the start: the standard deviation of the pixels

    def __post_init__(self) -> None:
        _check_positive(self, "sigma0")


class LearnedNoise(Objective):
    """loss = D + R, with σ learned by gradient beside the model (Rybkin et al. 2021).

    Equations: bal-sigma
    """

    def __init__(self, config: LearnedNoiseConfig = LearnedNoiseConfig()):
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(config.sigma0)))

    def forward(self, terms: Terms, n: Tensor | float) -> Report:
        """See `Objective`."""
        squared_error, rate, mse = _means(terms, n)
        d = distortion(squared_error, n, self.noise())
        return report(d + rate, d, rate, mse, self.noise())

    def noise(self) -> Tensor:
        """σ."""
        return self.log_sigma.exp()


@dataclass(frozen=True)
class AnnealedConfig:
    """The ELBO at a fixed noise with a KL weight that grows to 1."""

    sigma: float = 0.1  # standard deviation of a pixel
    start: float = 0.01  # KL weight at the first step
    steps: int = 1500  # steps until the weight is 1

    def __post_init__(self) -> None:
        _check_positive(self, "sigma", "steps")
        if not 0 <= self.start <= 1:
            raise ValueError(f"start must be between 0 and 1, got {self.start}")


class Annealed(Objective):
    """loss = D + c R with c = min(1, start + (1 - start) i/steps) at step i = 0, 1, …

    Bowman et al. (2016); Karl et al. (2017a), who print max for min.

    Equations: bal-anneal
    """

    sigma: Tensor
    step: Tensor

    def __init__(self, config: AnnealedConfig = AnnealedConfig()):
        super().__init__()
        self.config = config
        self.register_buffer("sigma", torch.tensor(config.sigma))
        self.register_buffer("step", torch.tensor(0.0))

    def forward(self, terms: Terms, n: Tensor | float) -> Report:
        """See `Objective`."""
        squared_error, rate, mse = _means(terms, n)
        d = distortion(squared_error, n, self.sigma)
        c = (self.config.start + (1 - self.config.start) * self.step / self.config.steps).clamp(
            max=1.0
        )
        if self.training:
            self.step = self.step + 1
        return report(d + c * rate, d, rate, mse, self.sigma, c)

    def noise(self) -> Tensor:
        """σ."""
        return self.sigma


@dataclass(frozen=True)
class ConstrainedConfig:
    """min R subject to D <= D₀, by a Lagrange multiplier λ on D (Klushyn et al. 2019, 2021)."""

    # the constraint as squared error per pixel; σ is its root, so that λ = 1 is the ELBO at σ
    target_mse: float = 1e-3
    lambda0: float = 0.002  # λ at the start; 0.002 is an effective noise σ/√λ of 0.7
    # ν until the constraint first holds: λ changes by at most this factor exponent a step
    rate: float = 0.004
    rate_after: float = 0.01  # ν from then on
    average: float = 0.95  # α, the share of the past in the moving average of the squared error
    # REWO: reconstruction only until the constraint first holds, then λ is damped towards 1
    damping: bool = False
    tau: float = 1.0  # τ of the damping

    def __post_init__(self) -> None:
        _check_positive(self, "target_mse", "lambda0", "rate", "rate_after", "tau")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be at least 0 and below 1, got {self.average}")


class Constrained(Objective):
    """The Lagrangian R + λ (D - D₀); λ ← λ exp(ν f clip(Ĉ/C₀ - 1, ±1)).

    Ĉ is a moving average of the squared error per pixel, C₀ its target. f = 1 is the plain
    Lagrangian: λ keeps falling until the constraint is active. With `damping` (REWO, Klushyn et al.
    2019): no rate in the loss until the constraint first holds, and λ stays; from then on f = 1
    while it is violated and f = -tanh(τ (1/λ - 1)) while it holds, which leads λ to 1. The loss is
    the Lagrangian divided by λ, so that reconstruction gradients keep their size.

    Equations: bal-problem, bal-lagrangian, bal-units, bal-update, bal-rewo
    """

    lam: Tensor  # λ
    average: Tensor  # Ĉ
    step: Tensor
    held: Tensor  # 1 once the constraint has held: the phase

    def __init__(self, config: ConstrainedConfig = ConstrainedConfig()):
        super().__init__()
        self.config = config
        self.register_buffer("lam", torch.tensor(config.lambda0))
        self.register_buffer("average", torch.tensor(0.0))
        self.register_buffer("step", torch.tensor(0.0))
        self.register_buffer("held", torch.tensor(0.0))

    def forward(self, terms: Terms, n: Tensor | float) -> Report:
        """See `Objective`."""
        c = self.config
        squared_error, rate, mse = _means(terms, n)
        sigma = math.sqrt(c.target_mse)
        d, d0 = (
            distortion(squared_error, n, sigma),
            0.5 * n * (1 + math.log(2 * math.pi * c.target_mse)),
        )
        rate_weight = self.held if c.damping else 1.0
        loss = d - d0 + rate_weight * rate / self.lam
        violation = self._violation(mse.detach())
        result = report(loss, d, rate, mse, self.noise(), self.lam, violation)
        if self.training:
            self._advance(violation)
        return result

    @property
    def target_mse(self) -> float:
        """C₀."""
        return self.config.target_mse

    def _violation(self, mse: Tensor) -> Tensor:
        """Ĉ/C₀ - 1 with this batch taken into the average."""
        average = torch.where(
            self.step == 0,
            mse,
            self.config.average * self.average + (1 - self.config.average) * mse,
        )
        return average / self.config.target_mse - 1

    def _advance(self, violation: Tensor) -> None:
        """One step of moving average, phase and λ; tensors only, nothing leaves the device."""
        c = self.config
        self.held = torch.where(violation < 0, torch.ones_like(self.held), self.held)
        nu = torch.where(self.held > 0, c.rate_after, c.rate)
        f = torch.ones_like(violation)
        if c.damping:
            to_one = -torch.tanh(c.tau * (1 / self.lam - 1))
            f = torch.where(violation < 0, to_one, f) * self.held
        self.lam = self.lam * torch.exp(nu * f * violation.clamp(-1, 1))
        self.average = (violation + 1) * c.target_mse
        self.step = self.step + 1

    def noise(self) -> Tensor:
        """σ/√λ.

        Equations: bal-noise
        """
        return math.sqrt(self.config.target_mse) / self.lam.sqrt()


@dataclass(frozen=True)
class BalancedConfig:
    """KL balancing and free nats, with a learned observation noise."""

    sigma0: float = 0.3  # σ at the start: the standard deviation of the pixels
    # α, the share of the KL's gradient that goes to the prior; 1 - α goes to the posterior
    balance: float = 0.8
    free_nats: float = 0.0  # KL of a step below which it is free, nats per step

    def __post_init__(self) -> None:
        _check_positive(self, "sigma0")
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance must be between 0 and 1, got {self.balance}")
        if not 0 <= self.free_nats < math.inf:
            raise ValueError(f"free_nats must be at least 0 and finite, got {self.free_nats}")


class Balanced(LearnedNoise):
    """loss = D + Σ_t max(α KL(sg(q_t) ‖ p_t) + (1 - α) KL(q_t ‖ sg(p_t)), free nats).

    Here sg means no gradient, and σ is learned as in `LearnedNoise`.
    Balancing (Hafner et al. 2021, DreamerV2) leaves the value alone and lets the prior learn faster
    than it holds the posterior down; at α = 1/2 both have half the gradient of the ELBO. Free nats
    (Kingma et al. 2016; Hafner et al. 2019), here of each step of each sequence: a KL below them
    has no gradient. So the gradient is not that of a bound; the `rate` reported is the true one,
    unclipped. ValueError for terms without step rates.
    """

    needs_step_rates = True

    def __init__(self, config: BalancedConfig = BalancedConfig()):
        super().__init__(LearnedNoiseConfig(config.sigma0))
        self.config = config

    def forward(self, terms: Terms, n: Tensor | float) -> Report:
        """See `Objective`."""
        c, each = self.config, terms.step_rates
        if each is None:
            raise ValueError(
                "balanced needs the rate of every step, which this model does not give; "
                "use a model that does, as rssm"
            )
        squared_error, rate, mse = _means(terms, n)
        kl = c.balance * each.prior + (1 - c.balance) * each.posterior  # [B, T]
        if c.free_nats > 0:
            kl = kl.clamp(min=c.free_nats)
        d = distortion(squared_error, n, self.noise())
        return report(d + kl.sum(1).mean(), d, rate, mse, self.noise())


class Goal(NamedTuple):
    """A registered objective with its settings."""

    objective: type[Objective]
    config: Any  # a frozen dataclass


OBJECTIVES: Registry[Goal] = Registry("objective")
CONSTRAINT = ConstrainedConfig(target_mse=1.2e-3, lambda0=0.0024, rate_after=0.02)
OBJECTIVES.add("elbo", Goal(ELBO, ELBOConfig()))
OBJECTIVES.add("elbo-learned-noise", Goal(LearnedNoise, LearnedNoiseConfig()))
OBJECTIVES.add("annealed", Goal(Annealed, AnnealedConfig()))
OBJECTIVES.add("constrained", Goal(Constrained, CONSTRAINT))
OBJECTIVES.add("rewo", Goal(Constrained, replace(CONSTRAINT, lambda0=1.0, damping=True)))
OBJECTIVES.add("balanced", Goal(Balanced, BalancedConfig()))


def make_objective(config: Any) -> Objective:
    """The objective that belongs to a config. ValueError where none is registered with its type."""
    for goal in OBJECTIVES.values():
        if type(goal.config) is type(config):
            return goal.objective(config)
    raise ValueError(f"no objective is registered with a config like {config!r}")
