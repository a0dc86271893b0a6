"""Models whose posterior is a chain that is drawn from its first state on."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from ..probability.gaussian import kl_diagonal, log_normal
from .base import Posterior, Terms, squared_error
from .locally_linear import LocallyLinearModel


class Pass(NamedTuple):
    """One ancestral pass. At each step q(z_t | z_{t-1}, x, u), p(z_t | z_{t-1}, u_{t-1}) (at t = 1
    p(z_1)) and the draw from q; all [B, T, Z].
    """

    mean: Tensor
    var: Tensor
    prior_mean: Tensor
    prior_var: Tensor
    z: Tensor

    def kl(self) -> Tensor:
        """The T divergences KL(q ‖ p) given the draw of the step before, [B, T] in nats."""
        return kl_diagonal(self.mean, self.var, self.prior_mean, self.prior_var)

    def log_ratio(self) -> Tensor:
        """log q - log p of each step's draw, [B, T] in nats: `kl` is its mean."""
        log_q = log_normal(self.z, self.mean, self.var)
        return log_q - log_normal(self.z, self.prior_mean, self.prior_var)


class AncestralModel(LocallyLinearModel):
    """q(z_{1:T} | x, u) = Π_t q(z_t | z_{t-1}, x, u), each factor a diagonal Gaussian: a subclass
    walks along it, and what is inferred and paid follows.
    """

    @abstractmethod
    def walk(self, x: Tensor, u: Tensor, noise: Tensor, mask: Tensor | None = None) -> Pass:
        """The pass in which z_t is the mean of its conditional plus noise [B, T, Z] times its
        standard deviation. x is blank where mask says so.
        """

    def ancestral_pass(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        sample: bool = True,
        mask: Tensor | None = None,
    ) -> Pass:
        """A walk with the draw of `terms`; without `sample` nothing is drawn, and each step is
        conditioned on the mean before it. x [B, T, X], u [B, T, U]. ValueError for malformed data.
        """
        x, mask = self.admit(x, u, mask)
        shape = (*x.shape[:2], self.z_dim)
        noise = self.noise(x, *shape, generator=generator) if sample else x.new_zeros(shape)
        return self.walk(x, u, noise, mask)

    def prior_along(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [B, T, Z] of p(z_t | z_{t-1}, u_{t-1}) at the states of a path z
        [B, T, Z], N(0, I) at t = 1.
        """
        mean, var = self.transition(z[:, :-1], u[:, :-1])
        first = torch.zeros_like(z[:, :1])
        return torch.cat([first, mean], 1), torch.cat([torch.ones_like(first), var], 1)

    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """The path of means (each step conditioned on the mean before it), one draw, and the
        conditional variances along the mean path.
        """
        means = self.ancestral_pass(x, u, sample=False, mask=mask)
        return Posterior(means.z, self.ancestral_pass(x, u, generator, mask=mask).z, means.var)

    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """Squared error at a draw of the path; the rate sums T KL divergences, each in closed form
        given the draw of the step before.

        Unless `analytic`: then it is log q - log p of the draw itself, noisier with the same mean,
        as importance weights need it.

        Equations: bal-elbo, bal-rate
        """
        drawn = self.ancestral_pass(x, u, generator, mask=mask)
        rate = drawn.kl() if analytic else drawn.log_ratio()
        return Terms(squared_error(x, self.decode(drawn.z), mask), rate.sum(1))
