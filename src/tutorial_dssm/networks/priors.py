"""The hierarchical prior p(z) = ∫ p(z | ζ) p(ζ) dζ (VHP: Klushyn et al. 2019), for the VHP-VAE and
for z_1 of the EKVAE.
"""

import math

import torch
from torch import Tensor, nn

from ..probability.gaussian import log_normal
from .layers import ACTIVATIONS, GaussianHead, mlp


class HierarchicalPrior(nn.Module):
    """p(ζ) = N(0, I), p(z | ζ) and q(ζ | z) diagonal Gaussians by networks: a continuous mixture of
    Gaussians, known by a lower bound.

    At the start both Gaussians are nearly N(0, I) whatever they are conditioned on, so that p(z) is
    nearly the N(0, I) it replaces.
    """

    def __init__(
        self, z_dim: int, zeta_dim: int, hidden: int, var0: float = 1.0, activation: str = "silu"
    ):
        super().__init__()

        def gaussian(fan_in: int, fan_out: int) -> nn.Sequential:
            """Mean and variance of one vector given another."""
            return nn.Sequential(
                mlp([fan_in, hidden, hidden], activation),
                ACTIVATIONS[activation](),
                GaussianHead(hidden, fan_out, var0, 0.1),
            )

        self.zeta_dim = zeta_dim
        self.p = gaussian(zeta_dim, z_dim)
        self.q = gaussian(z_dim, zeta_dim)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        """A lower bound on log p(z) in expectation, in nats; z [..., Z], noise [..., K, zeta_dim]
        -> [...].

        log (1/K) Σ_k p(z | ζ_k) p(ζ_k) / q(ζ_k | z) with K draws ζ_k ~ q(ζ | z). It rises with K
        towards log p(z), and is log p(z) at every draw if q(ζ | z) is exact (Burda et al. 2016 for
        the bound, Klushyn et al. 2019 for its use in a prior).
        """
        mean, var = (v.unsqueeze(-2) for v in self.q(z))  # [..., 1, Zζ]
        zeta = mean + var.sqrt() * noise  # [..., K, Zζ]
        log_p = log_normal(z.unsqueeze(-2), *self.p(zeta)) + log_normal(
            zeta, torch.zeros_like(zeta), torch.ones_like(zeta)
        )
        return torch.logsumexp(log_p - log_normal(zeta, mean, var), -1) - math.log(noise.shape[-2])
