"""A data set, a model and an objective of one's own, from outside.

python -m tutorial_dssm --use toy train drift-beta --data bump
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutorial_dssm import DATA, MODELS, OBJECTIVES
from tutorial_dssm.data import DataSet, SequenceData
from tutorial_dssm.learning.objectives import (
    Goal,
    Objective,
    Report,
    distortion,
    report,
)
from tutorial_dssm.models import (
    Posterior,
    Recipe,
    SequentialModel,
    Terms,
)
from tutorial_dssm.models.base import squared_error
from tutorial_dssm.probability.gaussian import log_normal

PIXELS = 9


# --- a data set ---


def make_bumps(
    n: int, length: int, generator: torch.Generator
) -> SequenceData:
    """A bump on a line of pixels, pushed by a control."""
    u = torch.randn(n, length, 1, generator=generator)
    start = torch.randn(n, 1, 1, generator=generator)
    before = torch.cat([start, 0.3 * u[:, :-1]], 1)
    position = before.cumsum(1)  # [N, T, 1]
    line = torch.linspace(-3, 3, PIXELS)
    x = torch.exp(-((line - position) ** 2))  # [N, T, PIXELS]
    return SequenceData(
        x,
        u,
        dt=0.1,
        targets={"position": position.squeeze(-1).double()},
    )


DATA.add(
    "bump",
    DataSet(
        make_bumps, n=120, n_test=20, n_long=5, length=6, x_dim=PIXELS
    ),
)


# --- a model ---


@dataclass(frozen=True)
class DriftConfig:
    """Sizes of the drift model."""

    x_dim: int = PIXELS  # size of an observation
    u_dim: int = 1  # size of a control
    z_dim: int = 2  # state z_t


class Drift(SequentialModel):
    """z_{t+1} = z_t + B u_t + noise, linear decoder, q(z_t | x_t)."""

    def __init__(self, config: DriftConfig = DriftConfig()):
        super().__init__(config.x_dim, config.u_dim, config.z_dim)
        self.B = nn.Linear(config.u_dim, config.z_dim, bias=False)
        self.encoder = nn.Linear(config.x_dim, config.z_dim)
        self.decoder = nn.Linear(config.z_dim, config.x_dim)
        self.log_q = nn.Parameter(
            torch.zeros(config.z_dim)
        )  # of the transition's noise
        self.log_var = nn.Parameter(
            torch.zeros(config.z_dim)
        )  # of q(z_t | x_t)

    def transition(
        self, z: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance [..., Z] of the next state."""
        mean = z + self.B(u)
        return mean, self.log_q.exp().expand_as(mean)

    def infer(self, x, u, generator=None, mask=None):
        """Where a frame is missing, q(z_t) is N(0, I)."""
        x, mask = self.admit(x, u, mask)
        mean = self.encoder(x)
        var = self.log_var.exp().expand_as(mean)
        if mask is not None:
            seen = mask.unsqueeze(-1)
            mean = torch.where(seen, mean, 0.0)
            var = torch.where(seen, var, 1.0)
        noise = self.noise(x, *mean.shape, generator=generator)
        return Posterior(mean, mean + var.sqrt() * noise, var)

    def terms(self, x, u, generator=None, mask=None, analytic=True):
        """The rate is log q - log p of the draw."""
        mean, z, var = self.infer(x, u, generator, mask)
        rate = log_normal(z, mean, var).sum(1) - self.log_prior(z, u)
        return Terms(squared_error(x, self.decode(z), mask), rate)

    def decode(self, z: Tensor) -> Tensor:
        """Mean frame of a state."""
        return self.decoder(z)


MODELS.add("drift", Recipe(Drift, DriftConfig()))


# --- an objective ---


@dataclass(frozen=True)
class BetaConfig:
    """The weighted ELBO."""

    beta: float = 0.5  # weight of the rate
    sigma: float = 0.1  # standard deviation of a pixel


class Beta(Objective):
    """loss = D + β R at a fixed noise."""

    def __init__(self, config: BetaConfig = BetaConfig()):
        super().__init__()
        self.beta = config.beta
        self.register_buffer("sigma", torch.tensor(config.sigma))

    def forward(self, terms: Terms, n: Tensor | float) -> Report:
        """See `Objective`."""
        error, rate = terms.squared_error.mean(), terms.rate.mean()
        d = distortion(error, n, self.sigma)
        return report(
            d + self.beta * rate,
            d,
            rate,
            error / n,
            self.sigma,
            self.beta,
        )

    def noise(self) -> Tensor:
        """σ."""
        return self.sigma


OBJECTIVES.add("beta", Goal(Beta, BetaConfig()))
