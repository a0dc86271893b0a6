"""Recurrent state-space model (Hafner et al. 2019, PlaNet): a deterministic recurrent path beside
the stochastic state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import FramePath, frame_decoder, frame_encoder
from ..networks.layers import ACTIVATIONS, GaussianHead, mlp
from ..probability.gaussian import log_normal
from .base import Posterior, SequentialModel, StepTerms, Terms


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
    several frames need not.
    """

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

    def _posterior(
        self, x: Tensor, u: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Forward pass: h [B, T, H], means, variances and draws of s, each [B, T, S]; zero noise
        gives the mean path.

        The encoder runs for all t at once: its output is the frame's share of the posterior's
        hidden layer.
        """
        shift = self.frame_path(x) if self.frame_path else torch.zeros_like(noise)
        h, steps = x.new_zeros(len(x), self.config.deterministic), []
        for e, u_t, shift_t, noise_t in zip(
            *(v.unbind(1) for v in (self.encoder(x), u, shift, noise))
        ):
            mean, var = self.posterior_head(e + self.from_h(h))
            mean = mean + shift_t
            s = torch.addcmul(mean, var.sqrt(), noise_t)
            steps.append((h, mean, var, s))
            if len(steps) < x.shape[1]:
                h = self.gru(torch.cat([s, u_t], -1), h)
        return tuple(torch.stack(v, 1) for v in zip(*steps))

    def infer(self, x: Tensor, u: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """The path of means (s_t at its mean at every step), one draw, and the conditional
        variances along the mean path: those of h are 0.
        """
        self.check(x, u)
        noise = self.noise(x, *x.shape[:2], self.config.stochastic, generator=generator)
        h, mean, var, _ = self._posterior(x, u, torch.zeros_like(noise))
        drawn_h, _, _, s = self._posterior(x, u, noise)
        return Posterior(
            *(torch.cat(v, -1) for v in ((h, mean), (drawn_h, s), (torch.zeros_like(h), var)))
        )

    def terms(
        self, x: Tensor, u: Tensor, generator: torch.Generator | None = None, analytic: bool = True
    ) -> Terms:
        """Squared error at a draw of the path; rate = Σ_t KL(q(s_t | h_t, x_t) ‖ p(s_t | h_t)),
        each in closed form given the draws before.

        Unless `analytic`: then it is log q - log p of the draw itself.
        """
        self.check(x, u)
        h, mean, var, s = self._posterior(
            x, u, self.noise(x, *x.shape[:2], self.config.stochastic, generator=generator)
        )
        squared_error = ((x - self.decode(torch.cat([h, s], -1))) ** 2).sum((1, 2))
        if not analytic:
            return Terms(
                squared_error, (log_normal(s, mean, var) - log_normal(s, *self.prior(h))).sum(1)
            )
        return StepTerms.of_gaussians(squared_error, (mean, var), self.prior(h))

    def transition(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [..., H + S] of the next state (h', s'); z [..., H + S], u [..., U]. h'
        is certain: its variance is 0.

        With it the base class's `predict` follows the prior mean of s, or draws s from the prior.
        """
        h, s = z.split([self.config.deterministic, self.config.stochastic], -1)
        h = self.gru(torch.cat([s, u], -1).flatten(0, -2), h.flatten(0, -2)).unflatten(
            0, z.shape[:-1]
        )
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
