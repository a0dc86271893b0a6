"""Variational autoencoder of single frames with a learned, hierarchical prior (VHP: Klushyn et al.
2019).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.priors import HierarchicalPrior
from .base import MODELS, Posterior, Recipe
from .vae import VAE, VAEConfig

MOMENT_DRAWS = 1000  # of ζ, for mean and variance of p(z)


@dataclass(frozen=True)
class VHPConfig(VAEConfig):
    """Sizes and starting values: those of the VAE, and those of its prior."""

    zeta_dim: int = 2  # latent ζ of the prior
    prior_hidden: int = 64  # width of the two hidden layers of p(z | ζ) and of q(ζ | z)
    # their variances at the start: the prior starts out close to the VAE's N(0, I)
    prior_var0: float = 1.0
    samples: int = 1  # K, importance samples of ζ; 1 is the ELBO of a VAE of two levels

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")


class VHP(VAE):
    """A VAE with p(z) = ∫ p(z | ζ) p(ζ) dζ, p(ζ) = N(0, I): a continuous mixture of Gaussians
    instead of one.

    N(0, I) has one mode and no hole, so it pulls the codes of a ring of frames into a disc. A
    learned prior may take their shape. Its density has no closed form; a lower bound on log p(z)
    (`log_prior`) takes its place, which leaves -(D + R) a lower bound. The paper trains it under a
    constraint on the reconstruction, with a multiplier that is damped towards 1 (REWO): the
    objective `ConstrainedConfig(damping=True)`, no part of this model.
    """

    config: VHPConfig
    zeta: Tensor  # [1000, Zζ] draws for mean and variance of p(z)

    def __init__(self, config: VHPConfig = VHPConfig()):
        c = config
        super().__init__(config)
        self.prior = HierarchicalPrior(
            c.z_dim, c.zeta_dim, c.prior_hidden, c.prior_var0, c.activation
        )
        always = torch.Generator().manual_seed(0)
        zeta = torch.randn(MOMENT_DRAWS, c.zeta_dim, generator=always)
        self.register_buffer("zeta", zeta, persistent=False)

    def log_prior_of_frames(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A lower bound on log p(z) in expectation, in nats, with K draws of ζ
        (`HierarchicalPrior`); z [..., Z] -> [...].
        """
        shape = (*z.shape[:-1], self.config.samples, self.prior.zeta_dim)
        return self.prior(z, self.noise(z, *shape, generator=generator))

    def prior_of(self, noise: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """See `VAE`; mean and variance are those of 1000 draws of ζ, always the same ones."""
        means, variances = self.prior.p(self.zeta)
        mean = means.mean(0)
        var = (variances + (means - mean) ** 2).mean(0)
        zeta = self.noise(noise, *noise.shape[:-1], self.prior.zeta_dim, generator=generator)
        z_mean, z_var = self.prior.p(zeta)
        draw = z_mean + z_var.sqrt() * noise
        return Posterior(mean.expand_as(noise), draw, var.expand_as(noise))


MODELS.add("vhp", Recipe(VHP, VHPConfig()))
