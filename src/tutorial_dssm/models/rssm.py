"""Recurrent state-space model (Hafner et al. 2019, PlaNet): a deterministic recurrent path beside
the stochastic state.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..networks.frames import FramePath, frame_decoder, frame_encoder
from ..networks.layers import ACTIVATIONS, GaussianHead, mlp
from ..probability.gaussian import kl_diagonal, log_normal
from .base import (
    MODELS,
    Posterior,
    Recipe,
    SequentialModel,
    StepRates,
    Terms,
    squared_error,
)


@dataclass(frozen=True)
class RSSMConfig:
    """Sizes and starting values of the recurrent state-space model."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control
    deterministic: int = 64  # h_t, the recurrent memory
    stochastic: int = 3  # s_t
    # coordinates of s_t that the frame path's linear map feeds; the decoder sees all of h_t and s_t
    seen: int = 2
    hidden: int = 128  # width of the hidden layers
    # variance of p(s_t | h_t) at the start: h_t predicts nothing yet, so that of p(z_1) in the
    # other models
    prior_var0: float = 1.0
    var0: float = 0.1  # variance of q(s_t | h_t, x_t) at the start
    # add to the posterior mean what frames say without a network (`FramePath`)
    frame_path: bool = True
    # share of the network, and of the areas in the frame path, in the posterior mean at the start
    gain: float = 0.3
    activation: str = "silu"  # of the encoder, the posterior and the prior; the decoder's is relu
    # encoder and decoder: mlp, or conv for square frames whose side is a multiple of 16
    network: str = "mlp"


class Recurrence(NamedTuple):
    """One pass along the posterior, all [B, T, ·]."""

    h: Tensor  # the deterministic path
    mean: Tensor  # of q(s_t | h_t, x_t)
    var: Tensor
    s: Tensor  # the draw from it

    def z(self) -> Tensor:
        """The state (h, s) of the interface."""
        return torch.cat([self.h, self.s], -1)


class RSSM(SequentialModel):
    """h_{t+1} = GRU(h_t, [s_t, u_t]) with h_1 = 0, prior p(s_t | h_t), posterior q(s_t | h_t, x_t),
    decoder p(x_t | h_t, s_t).

    Hafner et al. (2019), section 3 ("Recurrent state space model"). The state of the interface is
    z_t = (h_t, s_t) [H + S].
    Sizes: s_t has 3 numbers, as the z_t of the other models: they are all that enters from a frame,
    and all that costs rate. h_t is a function of s_{<t} and u_{<t} and costs none; 64 is room
    enough for a pendulum's state and small beside the networks of width 128 (the paper has 30 and
    200, for control tasks with many joints). Read results with that in mind: a regression from 67
    numbers is easier than one from 3.

    The posterior is a *filter*: no later frame reaches s_t. Its mean adds the `FramePath` of past
    frames (x_{t-1}, x_t). h_1 = 0 and one frame shows
    no velocity, so z_1 holds none: a prediction from z_1 must miss it by construction; one after
    several frames need not. Where a frame is missing the posterior is the prior.
    """

    has_step_rates = True

    def __init__(self, config: RSSMConfig = RSSMConfig()):
        c = config
        super().__init__(c.x_dim, c.u_dim, c.deterministic + c.stochastic)
        self.config = config
        self.encoder = frame_encoder(c.network, c.x_dim, c.hidden, c.activation)
        self.decoder = frame_decoder(c.network, self.z_dim, c.hidden, c.x_dim)
        self.gru = nn.GRUCell(c.stochastic + c.u_dim, c.deterministic)
        self.from_h = nn.Linear(c.deterministic, c.hidden, bias=False)
        self.posterior_head = nn.Sequential(
            ACTIVATIONS[c.activation](), GaussianHead(c.hidden, c.stochastic, c.var0, c.gain)
        )
        self.prior = nn.Sequential(
            mlp([c.deterministic, c.hidden], c.activation),
            ACTIVATIONS[c.activation](),
            GaussianHead(c.hidden, c.stochastic, c.prior_var0),
        )
        self.frame_path = (
            FramePath(c.x_dim, c.seen, c.stochastic, c.gain, past=True) if c.frame_path else None
        )

    def initialise(self, x: Tensor) -> None:
        """See `Model`: the frame path starts at the principal components."""
        if self.frame_path:
            self.frame_path.initialise(x)

    def follow(self, x: Tensor, u: Tensor, noise: Tensor, mask: Tensor | None = None) -> Recurrence:
        """The pass in which s_t is its posterior mean plus noise [B, T, S] times its standard
        deviation.

        The encoder runs for all t at once: its output is the frame's share of the posterior's
        hidden layer.
        """
        encoded = self.encoder(x).unbind(1)
        shift = self.frame_path(x, mask) if self.frame_path else torch.zeros_like(noise)
        h = x.new_zeros(len(x), self.config.deterministic)
        steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for t, (e, shift_t, noise_t) in enumerate(zip(encoded, shift.unbind(1), noise.unbind(1))):
            if t > 0:
                h = self.gru(torch.cat([steps[-1][-1], u[:, t - 1]], -1), h)
            mean, var = self.posterior_head(e + self.from_h(h))
            mean = mean + shift_t
            if mask is not None:
                seen = mask[:, t : t + 1]
                p_mean, p_var = self.prior(h)
                mean, var = torch.where(seen, mean, p_mean), torch.where(seen, var, p_var)
            steps.append((h, mean, var, torch.addcmul(mean, var.sqrt(), noise_t)))
        return Recurrence(*(torch.stack(v, 1) for v in zip(*steps)))

    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """The path of means (s_t at its mean at every step), one draw, and the conditional
        variances along the mean path: those of h are 0.
        """
        x, mask = self.admit(x, u, mask)
        noise = self.noise(x, *x.shape[:2], self.config.stochastic, generator=generator)
        means = self.follow(x, u, torch.zeros_like(noise), mask)
        var = torch.cat([torch.zeros_like(means.h), means.var], -1)
        return Posterior(means.z(), self.follow(x, u, noise, mask).z(), var)

    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """Squared error at a draw of the path; rate = Σ_t KL(q(s_t | h_t, x_t) ‖ p(s_t | h_t)),
        each in closed form given the draws before.

        Unless `analytic`: then it is log q - log p of the draw itself.
        """
        x, mask = self.admit(x, u, mask)
        noise = self.noise(x, *x.shape[:2], self.config.stochastic, generator=generator)
        drawn = self.follow(x, u, noise, mask)
        q, p = (drawn.mean, drawn.var), self.prior(drawn.h)
        error = squared_error(x, self.decode(drawn.z()), mask)
        if not analytic:
            return Terms(error, (log_normal(drawn.s, *q) - log_normal(drawn.s, *p)).sum(1))
        return Terms(error, kl_diagonal(*q, *p).sum(1), StepRates.of_gaussians(q, p))

    def transition(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [..., H + S] of the next state (h', s'); z [..., H + S], u [..., U]. h'
        is certain: its variance is 0.

        With it the base class's `predict` follows the prior mean of s, or draws s from the prior.
        """
        h, s = z.split([self.config.deterministic, self.config.stochastic], -1)
        flat = torch.cat([s, u], -1).flatten(0, -2), h.flatten(0, -2)
        h = self.gru(*flat).unflatten(0, z.shape[:-1])
        mean, var = self.prior(h)
        return torch.cat([h, mean], -1), torch.cat([torch.zeros_like(h), var], -1)

    def log_prior(self, z: Tensor, u: Tensor) -> Tensor:
        """Σ_t log p(s_t | h_t) [B] in nats, at a path z of which h follows from s and u (as every
        path of this model).
        """
        h, s = z.split([self.config.deterministic, self.config.stochastic], -1)
        return log_normal(s, *self.prior(h)).sum(-1)

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of the state (h, s). z [..., H + S] -> [..., X]."""
        return self.decoder(z)


MODELS.add("rssm", Recipe(RSSM, RSSMConfig()))
