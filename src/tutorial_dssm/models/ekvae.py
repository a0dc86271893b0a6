"""Extended Kalman VAE (Klushyn et al. 2021): an encoder finds a_t in each frame, extended Kalman
smoothing finds the state z_t behind them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.priors import HierarchicalPrior
from ..networks.transitions import LocallyLinearTransition
from ..probability import kalman
from ..probability.gaussian import log_normal
from .auxiliary import AuxiliaryConfig, AuxiliaryModel
from .base import MODELS, Recipe, Terms, squared_error


@dataclass(frozen=True)
class EKVAEConfig(AuxiliaryConfig):
    """Sizes and starting values of the extended Kalman VAE: those shared, and those of p(z_1)."""

    # learn p(z_1) as a hierarchical prior (`HierarchicalPrior`) in the place of N(0, I)
    vhp: bool = False
    vhp_dim: int = 3  # size of its latent variable ζ
    vhp_hidden: int = 64  # width of the two hidden layers of its networks


class EKVAE(AuxiliaryModel):
    """x_t <- a_t <- z_t: p(x_t | a_t) by a decoder, p(a_t | z_t) = N(H z_t, R) with H = [I 0],
    p(z_{t+1} | z_t, u_t) locally linear.

    Equations: ek-model, ek-q
    """

    transition: LocallyLinearTransition

    def __init__(self, config: EKVAEConfig = EKVAEConfig()):
        c = config
        super().__init__(c, LocallyLinearTransition(c.z_dim, c.u_dim, c.bases, c.mix_hidden, c.q0))
        self.step: Callable = kalman.filter_step
        self.vhp = HierarchicalPrior(c.z_dim, c.vhp_dim, c.vhp_hidden) if c.vhp else None

    def compile_step(self) -> None:
        """Compile the filter's step (`kalman.compiled_filter_step`)."""
        self.step = kalman.compiled_filter_step()

    def filter(
        self, a: Tensor, u: Tensor, validate: bool = False, mask: Tensor | None = None
    ) -> kalman.Filtered:
        """Extended Kalman filter over a [B, T, A] and u [B, T, U], with F, B, Q taken at the
        filtered mean. mask [B, T], True = observed.

        It starts from N(0, I) with the hierarchical prior too: any q is valid, only log p(z_1) in
        the bound changes.

        Equations: ek-filter
        """
        bases = self.transition.bases_full()
        parts = self.transition.from_u(u).unbind(1)
        inputs = [(u_t, part, bases) for u_t, part in zip(u.unbind(1), parts)]
        R, m1, P1 = self.start(a)
        model = kalman.ExtendedModel(self.transition.linearise, self.H, R, m1, P1)
        return kalman.extended_kalman_filter(a, inputs, model, mask, validate, self.step)

    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """Squared error at a ~ q(a | x); rate = log q(a|x) + log q(z|a) - log p(a|z) - log p(z), a
        valid bound whatever the linearisation. The two densities of a are those of the observed
        frames.

        Equations: ek-bound, ek-every-draw, ek-rate
        """
        x, mask = self.admit(x, u, mask)
        mean, var = self.encoder(x)
        a = mean + var.sqrt() * self.noise(x, *mean.shape, generator=generator)
        noise = self.noise(x, *x.shape[:2], self.z_dim, generator=generator)
        draw = kalman.sample_joint(self.filter(a, u, mask=mask), noise, validate=False)
        log_q_a = log_normal(a, mean, var)
        log_p_a = log_normal(a, draw.z @ self.H.t(), self.r)
        if mask is not None:
            log_q_a, log_p_a = log_q_a.where(mask, 0.0), log_p_a.where(mask, 0.0)
        log_q = log_q_a.sum(-1) + draw.log_density
        log_p = log_p_a.sum(-1) + self.log_prior(draw.z, u, generator)
        return Terms(squared_error(x, self.decoder(a), mask), log_q - log_p)

    def log_prior(self, z: Tensor, u: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Model`. With the hierarchical prior it is a lower bound in expectation, with a draw
        of ζ.
        """
        log_p = super().log_prior(z, u)
        if self.vhp is None:
            return log_p
        z1 = z[:, 0]
        gaussian = log_normal(z1, torch.zeros_like(z1), torch.ones_like(z1))  # is in log_p
        zeta_noise = self.noise(z, len(z), 1, self.vhp.zeta_dim, generator=generator)
        return log_p - gaussian + self.vhp(z1, zeta_noise)


MODELS.add("ekvae", Recipe(EKVAE, EKVAEConfig()))
