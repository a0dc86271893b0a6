"""Extended Kalman VAE (Klushyn et al. 2021): an encoder finds a_t in each frame, extended Kalman
smoothing finds the state z_t behind them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import GaussianEncoder, frame_decoder
from ..networks.priors import HierarchicalPrior
from ..probability import kalman
from ..probability.gaussian import log_normal
from .base import LocallyLinearModel, Posterior, Terms


@dataclass(frozen=True)
class EKVAEConfig:
    """Sizes and starting values of the extended Kalman VAE."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control
    a_dim: int = 2  # auxiliary variables a_t, what one frame shows
    z_dim: int = 3  # state z_t; its first a_dim coordinates are observed through a_t
    hidden: int = 128  # width of the two hidden layers of encoder and decoder
    bases: int = 32  # base matrices of the locally linear transition
    mix_hidden: int = 128  # width of the network that mixes them
    q0_seen: float = 0.3  # transition noise variance at the start, of the coordinates that a_t sees
    q0_hidden: float = 0.05  # and of the others: what a frame does not show starts out slow
    r0: float = 0.37  # variance of a_t given z_t at the start
    var0: float = 0.1  # variance of q(a_t | x_t) at the start
    activation: str = "silu"  # of the encoder; the decoder's is relu
    # encoder and decoder: mlp, or conv for square frames whose side is a multiple of 16
    network: str = "mlp"
    # learn p(z_1) as a hierarchical prior (`HierarchicalPrior`) in the place of N(0, I)
    vhp: bool = False
    vhp_dim: int = 3  # size of its latent variable ζ
    vhp_hidden: int = 64  # width of the two hidden layers of its networks


def blank_missing(x: Tensor, mask: Tensor | None) -> Tensor:
    """x [B, T, X] with zeros in the frames that mask [B, T] (True = observed) calls missing, which
    may be NaN. ValueError for another mask.
    """
    if mask is None:
        return x
    if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
        raise ValueError(
            f"mask must be bool, {list(x.shape[:2])} (True = observed), got {mask.dtype} {list(mask.shape)}"
        )
    return x.masked_fill(~mask.unsqueeze(-1), 0.0)


class EKVAE(LocallyLinearModel):
    """x_t <- a_t <- z_t: p(x_t | a_t) by a decoder, p(a_t | z_t) = N(H z_t, R) with H = [I 0],
    p(z_{t+1} | z_t, u_t) locally linear.

    H = [I 0] loses no generality: an observation matrix of full rank becomes [I 0] in another basis
    of z.

    Equations: ek-model, ek-q
    """

    def __init__(self, config: EKVAEConfig = EKVAEConfig()):
        c = config
        super().__init__(
            c.x_dim,
            c.u_dim,
            c.z_dim,
            c.bases,
            c.mix_hidden,
            [c.q0_seen] * c.a_dim + [c.q0_hidden] * (c.z_dim - c.a_dim),
        )
        self.config = config
        self.encoder = GaussianEncoder(
            c.x_dim, c.hidden, c.a_dim, c.var0, c.activation, network=c.network
        )
        self.decoder = frame_decoder(c.network, c.a_dim, c.hidden, c.x_dim)
        self.log_r = nn.Parameter(torch.full((c.a_dim,), c.r0).log())
        self.register_buffer("H", torch.eye(c.a_dim, c.z_dim))
        self.step = kalman.filter_step
        self.vhp = HierarchicalPrior(c.z_dim, c.vhp_dim, c.vhp_hidden) if c.vhp else None

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
        inputs = [
            (u_t, part, bases)
            for u_t, part in zip(u.unbind(1), self.transition.from_u(u).unbind(1))
        ]
        m1, P1 = a.new_zeros(self.z_dim), torch.eye(self.z_dim, dtype=a.dtype, device=a.device)
        R = torch.diag_embed(self.r)
        model = kalman.ExtendedModel(self.transition.linearise, self.H, R, m1, P1)
        return kalman.extended_kalman_filter(a, inputs, model, mask, validate, self.step)

    @property
    def r(self) -> Tensor:
        """Diagonal of R [A]."""
        return self.log_r.exp() + 1e-6

    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """Smoothed means and variances from the mean of q(a | x), and one joint draw. x [B, T, X],
        u [B, T, U].

        Frames where mask [B, T] is False are missing: their values (NaN too) do not count, and
        `decode` of the mean imputes them.
        """
        x = blank_missing(x, mask)
        self.check(x, u)
        a, _ = self.encoder(x)
        filtered = self.filter(a, u, mask=mask)
        smoothed = kalman.smooth(filtered, validate=False)
        draw = kalman.sample_joint(
            filtered, self.noise(x, *smoothed.mean.shape, generator=generator), validate=False
        )
        return Posterior(smoothed.mean, draw.z, smoothed.cov.diagonal(dim1=-2, dim2=-1))

    def terms(
        self, x: Tensor, u: Tensor, generator: torch.Generator | None = None, analytic: bool = True
    ) -> Terms:
        """Squared error at a ~ q(a | x); rate = log q(a|x) + log q(z|a) - log p(a|z) - log p(z), a
        valid bound whatever the linearisation.

        Equations: ek-bound, ek-every-draw, ek-rate
        """
        self.check(x, u)
        B, T, _ = x.shape
        mean, var = self.encoder(x)
        a = mean + var.sqrt() * self.noise(x, *mean.shape, generator=generator)
        squared_error = ((x - self.decoder(a)) ** 2).sum((1, 2))
        draw = kalman.sample_joint(
            self.filter(a, u), self.noise(x, B, T, self.z_dim, generator=generator), validate=False
        )
        log_q = log_normal(a, mean, var).sum(-1) + draw.log_density
        log_p = log_normal(a, draw.z @ self.H.t(), self.r).sum(-1) + self.log_prior(draw.z, u)
        if self.vhp:
            z1 = draw.z[:, 0]
            gaussian = log_normal(z1, torch.zeros_like(z1), torch.ones_like(z1))  # is in log_prior
            log_p = (
                log_p
                - gaussian
                + self.vhp(z1, self.noise(x, B, 1, self.vhp.zeta_dim, generator=generator))
            )
        return Terms(squared_error, log_q - log_p)

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of the state: decoder(H z). z [..., Z] -> [..., X]."""
        return self.decoder(z @ self.H.t())
