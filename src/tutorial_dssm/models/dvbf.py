"""Deep variational Bayes filter and smoother (Karl et al. 2017a, b): the posterior is over the
noise that drives the transition.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import FramePath
from ..networks.layers import ACTIVATIONS, GaussianHead, mlp
from .base import LocallyLinearModel, Posterior, Terms


@dataclass(frozen=True)
class DVBConfig:
    """Sizes and starting values that filter and smoother share."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control
    z_dim: int = 3  # state z_t
    seen: int = 2  # its first coordinates, which the decoder sees: what one frame shows
    # width of the two hidden layers of encoder and decoder, and of the smoother's recurrent network
    hidden: int = 128
    bases: int = 32  # base matrices of the locally linear transition
    mix_hidden: int = 128  # width of the network that mixes them
    q0_seen: float = 0.1  # transition noise variance at the start, of the seen coordinates
    q0_hidden: float = 0.02  # and of the others: what a frame does not show starts out slow
    # variance at the start, of the smoother's inverse measurements and the filter's q(z_1 | …)
    var0: float = 0.1
    # share of the networks, and of the areas in the frame path, in posterior means at the start
    gain: float = 0.3
    activation: str = "silu"  # of the encoder; the decoder's is relu


class DVB(LocallyLinearModel):
    """What filter and smoother share: z_1 = w_1, z_t = F z_{t-1} + B u_{t-1} + C w_t, p(w_t) = N(0,
    I), with F, B, C mixed at (z_{t-1}, u_{t-1}).

    (Here w_t has the index of the state it leads to; in Karl et al. it is w_{t-1}.) C is diagonal,
    with C² = Q of `LocallyLinearTransition`. Given z_{t-1}, the map from w_t to z_t is affine and
    invertible: with f = F z_{t-1} + B u_{t-1} and q the diagonal of Q, N(m, v) for w_t is N(f + √q
    m, q v) for z_t, and N(0, I) is the transition N(f, q). A divergence does not change under an
    invertible map, so that KL(q(w_t | z_{t-1}, …) ‖ N(0, I)) = KL(q(z_t | z_{t-1}, …) ‖ p(z_t |
    z_{t-1}, u_{t-1})), and the rate is that of any other model here.

    A subclass collects what x and u say without z_{t-1}, `_evidence(x, u)`, a list over t, and
    turns it into mean and variance [B, Z] of q(w_t | z_{t-1}, …), `_noise_posterior(evidence[t],
    z_{t-1}, f, q)`; at t = 1, z_0 is None, f = 0, q = 1.
    """

    def __init__(self, config: DVBConfig):
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
        self.encoder = mlp([c.x_dim, c.hidden, c.hidden], c.activation)
        self.decoder = mlp([c.seen, c.hidden, c.hidden, c.x_dim])
        self.frame_path = FramePath(c.x_dim, c.seen, c.z_dim, c.gain)

    def initialise(self, x: Tensor) -> None:
        """See `Model`: the frame path starts at the principal components."""
        if self.frame_path:
            self.frame_path.initialise(x)

    def _posterior(
        self, x: Tensor, u: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ancestral pass: m, v, q as above and the path z they lead to, each [B, T, Z]; zero noise
        gives the path of means.
        """
        bases, parts = self.transition.bases_full(), self.transition.from_u(u)
        z, f, q, path = None, torch.zeros_like(noise[:, 0]), torch.ones_like(noise[:, 0]), []
        for evidence, e, before in zip(
            self._evidence(x, u), noise.unbind(1), [None, *zip(u.unbind(1), parts.unbind(1))]
        ):
            if path:
                F, b, Q = self.transition.linearise(z, (*before, bases))
                f, q = (F * z.unsqueeze(-2)).sum(-1) + b, Q.diagonal(dim1=-2, dim2=-1)
            m, v = self._noise_posterior(evidence, z, f, q)
            z = f + q.sqrt() * (m + v.sqrt() * e)
            path.append((m, v, q, z))
        return tuple(torch.stack(values, 1) for values in zip(*path))

    def infer(self, x: Tensor, u: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """The path of means (each step conditioned on the mean before it), one draw, and the
        conditional variances along the mean path.
        """
        self.check(x, u)
        noise = self.noise(x, *x.shape[:2], self.z_dim, generator=generator)
        _, v, q, mean = self._posterior(x, u, torch.zeros_like(noise))
        return Posterior(mean, self._posterior(x, u, noise)[-1], q * v)

    def terms(
        self, x: Tensor, u: Tensor, generator: torch.Generator | None = None, analytic: bool = True
    ) -> Terms:
        """Squared error at a draw of the path; the rate sums KL(q(w_t | z_{t-1}, …) ‖ N(0, I)) over
        t, in closed form given the draw of z_{t-1}.

        Unless `analytic`: then it is log q - log p of the draw itself.
        """
        self.check(x, u)
        noise = self.noise(x, *x.shape[:2], self.z_dim, generator=generator)
        m, v, _, z = self._posterior(x, u, noise)
        w_squared = (
            v + m**2 if analytic else (m + v.sqrt() * noise) ** 2 - noise**2 + 1
        )  # E w², or what its draw puts in its place
        return Terms(
            ((x - self.decode(z)) ** 2).sum((1, 2)), 0.5 * (w_squared - 1 - v.log()).sum((1, 2))
        )

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of the state. z [..., Z] -> [..., X]."""
        return self.decoder(z[..., : self.config.seen])


@dataclass(frozen=True)
class DVBFConfig(DVBConfig):
    """Sizes and starting values of the deep variational Bayes filter: the shared ones, and three of
    its own.
    """

    first: int = 3  # frames that the network of z_1 sees, at least 1
    noise_var0: float = 1.0  # variance of q(w_t | …) at the start; 1 is the prior's
    # share of the innovation that the mean of q(w_t | …) takes up at the start, between 0 and 1
    correction0: float = 0.5


class DVBF(DVB):
    """Filter (Karl et al. 2017a): q(w_t | z_{t-1}, x_t, u_{t-1}) and q(z_1 | x_{1:K}, u_{1:K-1})
    from two networks, K = `first`.

    The mean of q(w_t) is the network's output plus k (μ - f)/√q, the form of a Kalman update with a
    learned gain k (`correction`). μ is what x_t says
    by the frame path: to the seen coordinates a_t, to the others the area swept from z_{t-1} to
    a_t. z_1 sees K frames, because a filter that starts without a velocity needs several steps to
    find one; a backward network over all frames would make z_1 a smoother's.
    """

    def __init__(self, config: DVBFConfig = DVBFConfig()):
        super().__init__(config)
        c, K, self.activation = config, config.first, ACTIVATIONS[config.activation]()
        self.first = nn.Linear(K * c.hidden + (K - 1) * c.u_dim, c.hidden)
        self.first_head = GaussianHead(c.hidden, c.z_dim, c.var0, c.gain)
        self.from_z, self.from_u = (
            nn.Linear(c.z_dim, c.hidden, bias=False),
            nn.Linear(c.u_dim, c.hidden, bias=False),
        )
        self.head = GaussianHead(c.hidden, c.z_dim, c.noise_var0, c.gain)
        self.correction = nn.Parameter(torch.full((c.z_dim,), c.correction0).logit())

    def _evidence(self, x: Tensor, u: Tensor) -> list[tuple[Tensor, Tensor]]:
        features, a, n = (
            self.encoder(x),
            self.frame_path.linear(x),
            min(self.config.first, x.shape[1]),
        )
        present = [
            self.activation(features[:, :n]),
            u[:, : n - 1],
        ]  # a shorter sequence is filled up with zeros
        inputs = [
            nn.functional.pad(v, (0, 0, 0, self.config.first - n)).flatten(1) for v in present
        ]
        mean, var = self.first_head(self.activation(self.first(torch.cat(inputs, -1))))
        later = zip((features[:, 1:] + self.from_u(u[:, :-1])).unbind(1), a[:, 1:].unbind(1))
        return [(mean + self.frame_path(x[:, : min(n, 2)])[:, 0], var), *later]

    def _noise_posterior(
        self, evidence: tuple[Tensor, Tensor], z: Tensor | None, f: Tensor, q: Tensor
    ) -> tuple[Tensor, Tensor]:
        if z is None:
            return evidence  # of z_1 = w_1
        (feature, a), (i, j), areas = evidence, self.frame_path.pairs, self.frame_path.areas
        m, v = self.head(self.activation(feature + self.from_z(z)))
        f_seen, f_hidden = f.split([a.shape[-1], self.z_dim - a.shape[-1]], -1)
        swept = areas(z[:, i] * a[:, j] - z[:, j] * a[:, i]) if areas else f_hidden
        return m + torch.sigmoid(self.correction) * torch.cat(
            [a - f_seen, swept - f_hidden], -1
        ) / q.sqrt(), v
