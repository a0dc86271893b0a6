"""Deep variational Bayes filter (Karl et al. 2017a): the posterior is over the noise that drives
the transition.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import FramePath
from ..networks.layers import ACTIVATIONS, GaussianHead, mlp
from .ancestral import AncestralModel, Pass
from .base import MODELS, Recipe, blank_missing
from .locally_linear import LocallyLinearConfig


@dataclass(frozen=True)
class DVBConfig(LocallyLinearConfig):
    """Sizes and starting values that filter and smoother share."""

    # variance at the start, of the smoother's inverse measurements and the filter's q(z_1 | …)
    var0: float = 0.1
    # share of the networks, and of the areas in the frame path, in posterior means at the start
    gain: float = 0.3
    activation: str = "silu"  # of the encoder; the decoder's is relu


class DVB(AncestralModel):
    """What filter and smoother share: z_1 = w_1, z_t = F z_{t-1} + B u_{t-1} + C w_t, p(w_t) = N(0,
    I), with F, B, C mixed at (z_{t-1}, u_{t-1}).

    (Here w_t has the index of the state it leads to; in Karl et al. it is w_{t-1}.) C is diagonal,
    with C² = Q of `LocallyLinearTransition`. Given z_{t-1}, the map from w_t to z_t is affine and
    invertible: with f = F z_{t-1} + B u_{t-1} and q the diagonal of Q, N(m, v) for w_t is N(f + √q
    m, q v) for z_t, and N(0, I) is the transition N(f, q). A divergence does not change under an
    invertible map, so that KL(q(w_t | z_{t-1}, …) ‖ N(0, I)) = KL(q(z_t | z_{t-1}, …) ‖ p(z_t |
    z_{t-1}, u_{t-1})), and the rate is that of any other model here.

    A subclass collects what x and u say without z_{t-1}, and turns it into q(w_t | z_{t-1}, …).
    """

    def __init__(self, config: DVBConfig):
        c = config
        super().__init__(config)
        self.encoder = mlp([c.x_dim, c.hidden, c.hidden], c.activation)
        self.decoder = mlp([c.seen, c.hidden, c.hidden, c.x_dim])
        self.frame_path = FramePath(c.x_dim, c.seen, c.z_dim, c.gain)

    @abstractmethod
    def evidence(
        self, x: Tensor, u: Tensor, mask: Tensor | None = None
    ) -> list[tuple[Tensor, ...]]:
        """What x and u say about z_t without z_{t-1}, for every t."""

    @abstractmethod
    def noise_posterior(
        self, evidence: tuple[Tensor, ...], z: Tensor | None, f: Tensor, q: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean m and variance v [B, Z] of q(w_t | z_{t-1}, …) from the evidence at t, z = z_{t-1}
        and the moments f, q of p(z_t | z_{t-1}, u_{t-1}); at t = 1, z is None, f = 0, q = 1.
        """

    def walk(self, x: Tensor, u: Tensor, noise: Tensor, mask: Tensor | None = None) -> Pass:
        """See `AncestralModel`; q(w_t) = N(m, v) of the noise is N(f + √q m, q v) of the state."""
        z, f, q = None, torch.zeros_like(noise[:, 0]), torch.ones_like(noise[:, 0])
        steps = []
        before = [None, *u[:, :-1].unbind(1)]
        for evidence, u_before, e in zip(self.evidence(x, u, mask), before, noise.unbind(1)):
            if z is not None:
                f, q = self.transition(z, u_before)
            m, v = self.noise_posterior(evidence, z, f, q)
            mean, var = f + q.sqrt() * m, q * v
            z = mean + var.sqrt() * e
            steps.append((mean, var, f, q, z))
        return Pass(*(torch.stack(values, 1) for values in zip(*steps)))


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
    learned gain k (`correction`). μ is what x_t says by the frame path: to the seen coordinates
    a_t, to the others the area swept from z_{t-1} to a_t. z_1 sees K frames, because a filter that
    starts without a velocity needs several steps to find one; a backward network over all frames
    would make z_1 a smoother's.

    Where x_t is missing, q(w_t) is the prior N(0, I). The network of z_1 sees zeros in the place of
    a missing frame, and where all K are missing q(z_1) is the prior.
    """

    config: DVBFConfig
    frame_path: FramePath

    def __init__(self, config: DVBFConfig = DVBFConfig()):
        super().__init__(config)
        c, K = config, config.first
        self.activation = ACTIVATIONS[c.activation]()
        self.first = nn.Linear(K * c.hidden + (K - 1) * c.u_dim, c.hidden)
        self.first_head = GaussianHead(c.hidden, c.z_dim, c.var0, c.gain)
        self.from_z = nn.Linear(c.z_dim, c.hidden, bias=False)
        self.from_u = nn.Linear(c.u_dim, c.hidden, bias=False)
        self.head = GaussianHead(c.hidden, c.z_dim, c.noise_var0, c.gain)
        self.correction = nn.Parameter(torch.full((c.z_dim,), c.correction0).logit())

    def first_state(
        self, x: Tensor, u: Tensor, features: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance [B, Z] of q(z_1 | x_{1:K}, u_{1:K-1}) from x [B, T, X], u [B, T, U] and
        the encoder's features [B, T, hidden]; a shorter sequence is filled up with zeros.
        """
        n = min(self.config.first, x.shape[1])
        seen = None if mask is None else mask[:, :n]
        parts = [blank_missing(self.activation(features[:, :n]), seen), u[:, : n - 1]]
        missing = self.config.first - n
        filled = [torch.cat([v, v.new_zeros(len(v), missing, v.shape[-1])], 1) for v in parts]
        inputs = [v.flatten(1) for v in filled]
        mean, var = self.first_head(self.activation(self.first(torch.cat(inputs, -1))))
        two = slice(min(n, 2))
        mean = mean + self.frame_path(x[:, two], None if mask is None else mask[:, two])[:, 0]
        if seen is None:
            return mean, var
        any_seen = seen.any(1, keepdim=True)
        return mean.where(any_seen, torch.zeros_like(mean)), var.where(
            any_seen, torch.ones_like(var)
        )

    def evidence(
        self, x: Tensor, u: Tensor, mask: Tensor | None = None
    ) -> list[tuple[Tensor, ...]]:
        """At t = 1 mean and variance of q(z_1 | …); later the share of x_t and u_{t-1} in the
        hidden layer, a_t, and whether x_t was seen [B, 1].
        """
        features, a = self.encoder(x), self.frame_path.linear(x)
        seen = torch.ones_like(x[..., :1], dtype=torch.bool) if mask is None else mask.unsqueeze(-1)
        hidden = features[:, 1:] + self.from_u(u[:, :-1])
        later = zip(hidden.unbind(1), a[:, 1:].unbind(1), seen[:, 1:].unbind(1))
        return [self.first_state(x, u, features, mask), *later]

    def noise_posterior(
        self, evidence: tuple[Tensor, ...], z: Tensor | None, f: Tensor, q: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `DVB`."""
        if z is None:
            mean, var = evidence  # of z_1 = w_1
            return mean, var
        hidden, a, seen = evidence
        m, v = self.head(self.activation(hidden + self.from_z(z)))
        f_seen, f_hidden = f.split([a.shape[-1], self.z_dim - a.shape[-1]], -1)
        swept = f_hidden if self.frame_path.areas is None else self.frame_path.swept(z, a)
        innovation = torch.cat([a - f_seen, swept - f_hidden], -1)
        m = m + torch.sigmoid(self.correction) * innovation / q.sqrt()
        return m.where(seen, torch.zeros_like(m)), v.where(seen, torch.ones_like(v))


MODELS.add("dvbf", Recipe(DVBF, DVBFConfig()))
