"""Models with auxiliary variables, x_t <- a_t <- z_t: an encoder finds a_t in each frame, a Kalman
filter and smoother find the states z_t behind them.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import GaussianEncoder, frame_decoder
from ..networks.transitions import BaseMatrices
from ..probability import kalman
from .base import Posterior, SequentialModel


@dataclass(frozen=True)
class AuxiliaryConfig:
    """Sizes and starting values that these models share."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control
    a_dim: int = 2  # auxiliary variables a_t, what one frame shows
    z_dim: int = 3  # state z_t; its first a_dim coordinates are observed through a_t
    hidden: int = 128  # width of the two hidden layers of encoder and decoder
    bases: int = 32  # base matrices of each kind
    mix_hidden: int = 128  # width of the network that mixes them
    q0_seen: float = 0.3  # transition noise variance at the start, of the coordinates that a_t sees
    q0_hidden: float = 0.05  # and of the others: what a frame does not show starts out slow
    r0: float = 0.37  # variance of a_t given z_t at the start
    var0: float = 0.1  # variance of q(a_t | x_t) at the start
    activation: str = "silu"  # of the encoder; the decoder's is relu
    # encoder and decoder: mlp, or conv for square frames whose side is a multiple of 16
    network: str = "mlp"

    @property
    def q0(self) -> list[float]:
        """Transition noise variances at the start, [Z]."""
        return [self.q0_seen] * self.a_dim + [self.q0_hidden] * (self.z_dim - self.a_dim)


class AuxiliaryModel(SequentialModel):
    """p(x_t | a_t) by a decoder, p(a_t | z_t) = N(H z_t, R) with H = [I 0], q(a_t | x_t) by an
    encoder; a subclass has the transition and the filter that goes with it.

    H = [I 0] loses no generality: an observation matrix of full rank becomes [I 0] in another basis
    of z. A missing frame leaves its a_t unobserved.
    """

    H: Tensor  # [A, Z]

    def __init__(self, config: AuxiliaryConfig, transition: BaseMatrices):
        c = config
        super().__init__(c.x_dim, c.u_dim, c.z_dim)
        self.config = config
        self.transition = transition
        self.encoder = GaussianEncoder(
            c.x_dim, c.hidden, c.a_dim, c.var0, c.activation, network=c.network
        )
        self.decoder = frame_decoder(c.network, c.a_dim, c.hidden, c.x_dim)
        self.log_r = nn.Parameter(torch.full((c.a_dim,), c.r0).log())
        self.register_buffer("H", torch.eye(c.a_dim, c.z_dim))

    @property
    def r(self) -> Tensor:
        """Diagonal of R [A]."""
        return self.log_r.exp() + 1e-6

    @abstractmethod
    def filter(
        self, a: Tensor, u: Tensor, validate: bool = False, mask: Tensor | None = None
    ) -> kalman.Filtered:
        """Kalman filter over a [B, T, A] and u [B, T, U]; mask [B, T], True = observed."""

    def start(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What every filter over a needs: R, and mean and covariance of z_1 ~ N(0, I)."""
        identity = torch.eye(self.z_dim, dtype=a.dtype, device=a.device)
        return torch.diag_embed(self.r), a.new_zeros(self.z_dim), identity

    def auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Model`."""
        return self.encoder(x)

    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """Smoothed means and variances from the mean of q(a | x), and one joint draw. x [B, T, X],
        u [B, T, U]; `decode` of the mean imputes the frames that mask calls missing.
        """
        x, mask = self.admit(x, u, mask)
        a, _ = self.encoder(x)
        filtered = self.filter(a, u, mask=mask)
        smoothed = kalman.smooth(filtered, validate=False)
        noise = self.noise(x, *smoothed.mean.shape, generator=generator)
        draw = kalman.sample_joint(filtered, noise, validate=False)
        return Posterior(smoothed.mean, draw.z, smoothed.cov.diagonal(dim1=-2, dim2=-1))

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of the state: decoder(H z). z [..., Z] -> [..., X]."""
        return self.decoder(z @ self.H.t())
