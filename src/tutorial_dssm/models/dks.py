"""Deep Kalman smoother (Krishnan et al. 2015, 2017): the posterior is a backward recurrent network
that meets the previous state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import FramePath, frame_decoder, frame_encoder
from ..networks.layers import GaussianHead
from ..probability.gaussian import log_normal
from .base import LocallyLinearModel, Posterior, Terms


@dataclass(frozen=True)
class DKSConfig:
    """Sizes and starting values of the deep Kalman smoother."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control
    z_dim: int = 3  # state z_t
    seen: int = 2  # its first coordinates, which the decoder sees: what one frame shows
    # width of the two hidden layers of encoder and decoder, and of the recurrent network
    hidden: int = 128
    bases: int = 32  # base matrices of the locally linear transition
    mix_hidden: int = 128  # width of the network that mixes them
    q0_seen: float = 0.1  # transition noise variance at the start, of the seen coordinates
    q0_hidden: float = 0.02  # and of the others: what a frame does not show starts out slow
    var0: float = 0.1  # variance of q(z_t | z_{t-1}, …) at the start
    # add to the posterior mean what frames say without a network (`FramePath`)
    frame_path: bool = True
    # share of the recurrent network, and of the areas in the frame path, in the posterior mean at
    # the start
    gain: float = 0.3
    activation: str = "silu"  # of the encoder; the decoder's is relu
    # encoder and decoder: mlp, or conv for square frames whose side is a multiple of 16
    network: str = "mlp"


class DKS(LocallyLinearModel):
    """p(x_t | z_t) by a decoder, p(z_{t+1} | z_t, u_t) locally linear, q(z_t | z_{t-1}, x_{t:T},
    u_{t-1:T}) from a backward GRU.

    The previous state enters the posterior as in Krishnan et al. (2017), eq. (6) ("combiner"): h =
    (tanh(W [z_{t-1}, u_{t-1}] + b) + g_t) / 2, with g_t the GRU's summary of the present and future
    frames and controls. The posterior mean adds the frame path, and the decoder sees the first
    `seen` coordinates only (the a_t of the EKVAE): the two models differ in their posterior.

    Equations: kf-forward
    """

    def __init__(self, config: DKSConfig = DKSConfig()):
        c = config
        super().__init__(
            c.x_dim,
            c.u_dim,
            c.z_dim,
            c.bases,
            c.mix_hidden,
            [c.q0_seen] * c.seen + [c.q0_hidden] * (c.z_dim - c.seen),
        )
        self.config = config
        self.encoder = frame_encoder(c.network, c.x_dim, c.hidden, c.activation)
        self.decoder = frame_decoder(c.network, c.seen, c.hidden, c.x_dim)
        self.gru = nn.GRU(c.hidden + c.u_dim, c.hidden, batch_first=True)
        self.from_z = nn.Linear(c.z_dim, c.hidden, bias=False)
        self.from_u = nn.Linear(c.u_dim, c.hidden)
        self.head = GaussianHead(c.hidden, c.z_dim, c.var0, c.gain)
        self.frame_path = FramePath(c.x_dim, c.seen, c.z_dim, c.gain) if c.frame_path else None

    def initialise(self, x: Tensor) -> None:
        """See `Model`: the frame path starts at the principal components."""
        if self.frame_path:
            self.frame_path.initialise(x)

    def _summary(self, x: Tensor, u: Tensor) -> Tensor:
        """What the frames and controls from t on say, for every t: [T, B, hidden], time first.

        The same as `self.gru` run backwards over `cat(self.encoder(x), u)`, in less time on a CPU:
        the encoder's last layer and the GRU's input layer are both linear, so that one matrix does
        the work of both.
        """
        *body, last = self.encoder
        (W, V, b, c), H = (
            self.gru.parameters(),
            self.gru.hidden_size,
        )  # of the input and of the state; rows: reset, keep, new
        twice = torch.cat(
            [b.new_ones(2 * H), b.new_full((H,), 2.0)]
        )  # tanh(a) = 2 σ(2 a) - 1, quicker on a CPU: the first 2 goes into the weights
        W_x, W_u = W.split([H, self.u_dim], 1)
        W, b = (
            torch.cat([W_x @ last.weight, W_u], 1) * twice.unsqueeze(-1),
            (W_x @ last.bias + b) * twice,
        )
        V, c = V * twice.unsqueeze(-1), c * twice
        inputs = (
            torch.cat([nn.Sequential(*body)(x), u], -1).transpose(0, 1).flatten(0, 1)
        )  # [T·B, hidden + U]
        gates = (
            nn.functional.linear(inputs, W[: 2 * H], (b + c)[: 2 * H])
            .unflatten(0, (-1, len(x)))
            .unbind()
        )
        news = (
            nn.functional.linear(inputs, W[2 * H :], b[2 * H :]).unflatten(0, (-1, len(x))).unbind()
        )
        V_gates, V_new, c_new = V[: 2 * H].t(), V[2 * H :].t(), c[2 * H :]
        h, path = x.new_zeros(x.shape[0], H), []
        for gate, new in zip(reversed(gates), reversed(news)):
            recalled = c_new
            if path:  # before that, h is zero
                gate, recalled = torch.addmm(gate, h, V_gates), torch.addmm(c_new, h, V_new)
            reset, keep = gate.sigmoid().chunk(2, -1)
            new = torch.addcmul(new, reset, recalled).sigmoid_()
            h = torch.lerp(2 * new - 1, h, keep)
            path.append(h)
        return torch.stack(path[::-1])

    def _outputs(self, x: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """For every t, the head's outputs without the share of z_{t-1}, batch last:

        T times [2 Z, B].

        The head is linear, so its product with the summary is taken for all t at once. For t > 1 it
        sees h = (tanh(a) + g_t) / 2 = σ(2 a) + (g_t - 1) / 2, whose second term needs no z;
        `_recall` adds the first.
        """
        g, (W, b) = self._summary(x, u), self.head.linear.parameters()
        first, later = (
            nn.functional.linear(g[:1], W, b),
            nn.functional.linear(g[1:], 0.5 * W, b - 0.5 * W.sum(1)),
        )
        outputs = torch.cat([first, later])  # [T, B, 2 Z]
        if self.frame_path:
            outputs = outputs + nn.functional.pad(
                self.frame_path(x).transpose(0, 1), (0, self.z_dim)
            )  # to the means only
        return outputs.mT.unbind()

    def _recall(
        self, output: Tensor, memory: Tensor, weights: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Adds what z_{t-1} and u_{t-1}, together [Z + U, B], say to the head's output at t."""
        W, b, head = weights
        return torch.addmm(output, head, torch.addmm(b, W, memory).sigmoid_())

    def _posterior(self, x: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ancestral pass: conditional means, variances and the path they lead to, each [B, T, Z];
        zero noise gives the mean path.
        """
        weights = (
            2 * torch.cat([self.from_z.weight, self.from_u.weight], 1),
            2 * self.from_u.bias.unsqueeze(-1),
            self.head.linear.weight,
        )
        outputs, path = [], []
        for output, e, before in zip(
            self._outputs(x, u), noise.movedim(0, -1).unbind(), [None, *u.movedim(0, -1).unbind()]
        ):
            if path:
                output = self._recall(output, torch.cat([path[-1], before]), weights)
            mean, var = self.head.split(output, 0)
            outputs.append(output), path.append(torch.addcmul(mean, var.sqrt(), e))
        mean, var = self.head.split(torch.stack(outputs).permute(2, 0, 1))
        return mean, var, torch.stack(path).permute(2, 0, 1)

    def infer(self, x: Tensor, u: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """The path of means (each step conditioned on the mean before it), one draw, and the
        conditional variances along the mean path.
        """
        self.check(x, u)
        noise = self.noise(x, *x.shape[:2], self.z_dim, generator=generator)
        mean, var, _ = self._posterior(x, u, torch.zeros_like(noise))
        return Posterior(mean, self._posterior(x, u, noise)[2], var)

    def terms(
        self, x: Tensor, u: Tensor, generator: torch.Generator | None = None, analytic: bool = True
    ) -> Terms:
        """Squared error at a draw of the path; the rate sums T KL divergences, each in closed form
        given the draw of the step before.

        Unless `analytic`: then it is log q - log p of the draw itself, noisier with the same mean,
        as importance weights need it.

        Equations: bal-elbo, bal-rate
        """
        self.check(x, u)
        mean, var, z = self._posterior(
            x, u, self.noise(x, *x.shape[:2], self.z_dim, generator=generator)
        )
        squared_error = ((x - self.decode(z)) ** 2).sum((1, 2))
        if not analytic:
            return Terms(squared_error, log_normal(z, mean, var).sum(-1) - self.log_prior(z, u))
        prior_mean, prior_var = self.transition(z[:, :-1], u[:, :-1])
        prior_mean = torch.cat([torch.zeros_like(z[:, :1]), prior_mean], 1)  # p(z_1) = N(0, I)
        prior_var = torch.cat([torch.ones_like(z[:, :1]), prior_var], 1)
        kl = 0.5 * (torch.log(prior_var / var) + (var + (mean - prior_mean) ** 2) / prior_var - 1)
        return Terms(squared_error, kl.sum((1, 2)))

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of the state. z [..., Z] -> [..., X]."""
        return self.decoder(z[..., : self.config.seen])
