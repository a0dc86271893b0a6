"""Variational autoencoder of single frames (Kingma & Welling 2014): every frame of a sequence is an
observation of its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.frames import GaussianEncoder
from ..networks.layers import mlp
from ..probability.gaussian import log_normal
from .base import MODELS, Model, Posterior, Recipe, Terms, squared_error


class FrameModel(Model):
    """A model without dynamics, behind the interface of the sequential ones: it ignores u, and
    treats every frame as independent of the others.
    """

    _WHY = "a model of single frames has no dynamics: nothing says how one leads to the next"
    cannot = {"predict": _WHY, "transition": _WHY}

    def predict(
        self, z1: Tensor, u: Tensor, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """ValueError: see `cannot`. A repeated z_1 would be a number, but no prediction."""
        self.refuse("predict")

    def transition(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """ValueError: see `cannot`."""
        self.refuse("transition")


@dataclass(frozen=True)
class VAEConfig:
    """Sizes and starting values of the variational autoencoder."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control, which is checked and ignored
    z_dim: int = 2  # latent z_t of one frame
    hidden: int = 128  # width of the two hidden layers of encoder and decoder
    var0: float = 0.1  # variance of q(z_t | x_t) at the start
    activation: str = "silu"  # of the encoder; the decoder's is relu


class VAE(FrameModel):
    """p(z_t) = N(0, I), p(x_t | z_t) by a decoder, q(z_t | x_t) diagonal; the T frames of a
    sequence are independent of each other.

    Its bound is one on the sum of log p(x_t): nats per sequence, like that of the sequential
    models, but of a model without time. A missing frame adds nothing to it, and what is inferred
    there is the prior.
    """

    def __init__(self, config: VAEConfig = VAEConfig()):
        c = config
        super().__init__(c.x_dim, c.u_dim, c.z_dim)
        self.config = config
        self.encoder = GaussianEncoder(c.x_dim, c.hidden, c.z_dim, c.var0, c.activation)
        self.decoder = mlp([c.z_dim, c.hidden, c.hidden, c.x_dim])

    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """Mean, one draw and variance of q(z_t | x_t) for every frame. x [B, T, X], u [B, T, U]."""
        x, mask = self.admit(x, u, mask)
        mean, var = self.encoder(x)
        noise = self.noise(x, *mean.shape, generator=generator)
        posterior = Posterior(mean, mean + var.sqrt() * noise, var)
        if mask is None:
            return posterior
        prior, seen = self.prior_of(noise, generator), mask.unsqueeze(-1)
        return Posterior(*(torch.where(seen, q, p) for q, p in zip(posterior, prior)))

    def prior_of(self, noise: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """Mean, a draw by noise [..., Z], and variance of p(z) for every frame."""
        return Posterior(torch.zeros_like(noise), noise, torch.ones_like(noise))

    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """Squared error at a draw of z; rate = log q(z | x) - log p(z) at the same draw, summed
        over the frames.

        That is the first of the two estimators of Kingma & Welling (2014, section 2.3). The second
        takes the KL divergence in closed form, which a prior without a density in closed form
        (`vhp`) cannot; and only the first has no variance where the posterior is exact.

        Equations: vae-two-terms, vae-distortion
        """
        x, mask = self.admit(x, u, mask)
        mean, z, var = self.infer(x, u, generator)
        rate = log_normal(z, mean, var) - self.log_prior_of_frames(z, generator)
        if mask is not None:
            rate = rate.masked_fill(~mask, 0.0)
        return Terms(squared_error(x, self.decode(z), mask), rate.sum(1))

    def log_prior_of_frames(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """log p(z) of every frame, in nats; z [..., Z] -> [...].

        Draws nothing here; a prior with latents of its own does.
        """
        return log_normal(z, torch.zeros_like(z), torch.ones_like(z))

    def log_prior(self, z: Tensor, u: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Model`: the sum over the frames, whatever u is."""
        return self.log_prior_of_frames(z, generator).sum(1)

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of the latent. z [..., Z] -> [..., X]."""
        return self.decoder(z)


MODELS.add("vae", Recipe(VAE, VAEConfig()))
