"""Deep Kalman smoother (Krishnan et al. 2015, 2017): the posterior is a backward recurrent network
that meets the previous state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import FramePath, frame_decoder, frame_encoder
from ..networks.layers import GaussianHead, tanh
from ..networks.recurrent import read_backwards
from .ancestral import AncestralModel, Pass
from .base import MODELS, Recipe, blank_missing
from .locally_linear import LocallyLinearConfig


@dataclass(frozen=True)
class DKSConfig(LocallyLinearConfig):
    """Sizes and starting values of the deep Kalman smoother."""

    var0: float = 0.1  # variance of q(z_t | z_{t-1}, …) at the start
    # add to the posterior mean what frames say without a network (`FramePath`)
    frame_path: bool = True
    # share of the recurrent network, and of the areas in the frame path, in the posterior mean at
    # the start
    gain: float = 0.3
    activation: str = "silu"  # of the encoder; the decoder's is relu
    # encoder and decoder: mlp, or conv for square frames whose side is a multiple of 16
    network: str = "mlp"


class DKS(AncestralModel):
    """p(x_t | z_t) by a decoder, p(z_{t+1} | z_t, u_t) locally linear, q(z_t | z_{t-1}, x_{t:T},
    u_{t-1:T}) from a backward GRU.

    The previous state enters the posterior as in Krishnan et al. (2017), eq. (6) ("combiner"): h =
    (tanh(W [z_{t-1}, u_{t-1}] + b) + g_t) / 2, with g_t the GRU's summary of the present and future
    frames and controls. The posterior mean adds the frame path, and the decoder sees the first
    `seen` coordinates only (the a_t of the EKVAE): the two models differ in their posterior. Where
    a frame is missing the GRU sees zeros in the place of its features.

    Equations: kf-forward
    """

    def __init__(self, config: DKSConfig = DKSConfig()):
        c = config
        super().__init__(config)
        self.encoder = frame_encoder(c.network, c.x_dim, c.hidden, c.activation)
        self.decoder = frame_decoder(c.network, c.seen, c.hidden, c.x_dim)
        self.gru = nn.GRU(c.hidden + c.u_dim, c.hidden, batch_first=True)
        self.from_z = nn.Linear(c.z_dim, c.hidden, bias=False)
        self.from_u = nn.Linear(c.u_dim, c.hidden)
        self.head = GaussianHead(c.hidden, c.z_dim, c.var0, c.gain)
        self.frame_path = FramePath(c.x_dim, c.seen, c.z_dim, c.gain) if c.frame_path else None

    def summary(self, x: Tensor, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """g_t [B, T, hidden], what the frames and controls from t on say."""
        return read_backwards(self.gru, blank_missing(self.encoder(x), mask), u)

    def combine(self, z: Tensor, u: Tensor, g: Tensor) -> Tensor:
        """h_t [B, hidden] from z_{t-1} [B, Z], u_{t-1} [B, U] and g_t [B, hidden]."""
        return 0.5 * (tanh(self.from_z(z) + self.from_u(u)) + g)

    def walk(self, x: Tensor, u: Tensor, noise: Tensor, mask: Tensor | None = None) -> Pass:
        """See `AncestralModel`; at t = 1 there is no state before, and h_1 = g_1."""
        summary = self.summary(x, u, mask).unbind(1)
        frames = self.frame_path(x, mask) if self.frame_path else torch.zeros_like(noise)
        z = torch.zeros_like(noise[:, 0])
        steps = []
        for t, (h, frame, e) in enumerate(zip(summary, frames.unbind(1), noise.unbind(1))):
            if t > 0:
                h = self.combine(z, u[:, t - 1], h)
            mean, var = self.head(h)
            mean = mean + frame
            z = mean + var.sqrt() * e
            steps.append((mean, var, z))
        mean, var, z = (torch.stack(values, 1) for values in zip(*steps))
        return Pass(mean, var, *self.prior_along(z, u), z)


MODELS.add("dks", Recipe(DKS, DKSConfig()))
# as published: its decoder sees all of z, and nothing in it is slow or linear at the start
MODELS.add(
    "dks-classic",
    Recipe(DKS, DKSConfig(seen=3, frame_path=False, gain=1.0, q0_seen=0.1, q0_hidden=0.1)),
)
