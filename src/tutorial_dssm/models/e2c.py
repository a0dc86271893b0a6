"""Embed to control (Watter et al. 2015): a model of one step, trained on pairs of observations."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import FramePath
from ..networks.layers import ACTIVATIONS, GaussianHead, mlp
from ..probability.gaussian import DiagonalGaussian, Gaussian, kl, kl_standard
from .base import MODELS, Posterior, Recipe, Terms
from .locally_linear import LocallyLinearConfig, LocallyLinearModel


@dataclass(frozen=True)
class E2CConfig(LocallyLinearConfig):
    """Sizes and starting values of embed to control."""

    var0: float = 0.1  # variance of q(z_t | o_t) at the start
    # add to the posterior mean what frames say without a network (`FramePath`)
    frame_path: bool = True
    # share of the network, and of the areas in the frame path, in the posterior mean at the start
    gain: float = 0.3
    consistency: float = 1.0  # weight of the consistency KL (λ in the paper)
    activation: str = "silu"  # of the encoder; the decoder's is relu


class E2C(LocallyLinearModel):
    """q(z_t | o_t) from two stacked frames o_t = (x_t, x_{t+1}), p(x_t | z_t) by a decoder,
    p(z_{t+1} | z_t, u_t) locally linear.

    Nothing here looks beyond one observation: no filter, no recurrent network. Whatever the state
    holds, one o_t must show, and one frame shows no velocity; so, as in the paper, an observation
    is two frames. They are stacked forwards, since a prediction starts at z_1, which then knows
    where x_1 is going. There is no o_T: z_T comes from z_{T-1} by the transition (o_{T-1} holds
    x_T), because a repeated last frame would say that the motion stops. For T = 1 there is no other
    choice: o_1 = (x_1, x_1).

    The loss of the paper for a pair reconstructs o_t from z_t ~ q(z_t | o_t) and o_{t+1} from
    ẑ_{t+1} ~ p(z_{t+1} | z_t, u_t), and adds KL(q(z_t | o_t) ‖ N(0, I)) + λ KL(p̂(z_{t+1} | o_t,
    u_t) ‖ q(z_{t+1} | o_{t+1})), where p̂ = N(F μ_t + B u_t, F Σ_t F' + Q) is q(z_t | o_t) pushed
    through the transition, linearised at the drawn z_t. Three things differ here. A state is
    decoded into the first frame of its observation, as in the other models (the second is what
    ẑ_{t+1} is decoded into). The transition is the one all models share: no offset o_t beside F z +
    B u, F with no A = I + v r', and the mixture sees u_t. And of a sequence's pairs `terms` makes
    one reconstruction per frame.

    -(D + R) is not a bound on log p(x_{1:T} | u) for T > 2. The sum goes over pairs, each a small
    model with a prior N(0, I) of its own; q(z_t | o_t) and the prediction ẑ_t are two variables for
    one state, held together by a penalty whose KL runs from the prediction to the posterior.
    Nothing adds up over more than a step: a path that fits the dynamics at every step but a few
    pays for those few, while in the model of the sequence the whole path has to follow from z_1
    (Banijamali et al. 2018 make the point against E2C). For T <= 2 it is a bound: there is one
    pair.
    """

    cannot = {
        "mask": "an observation is two neighbouring frames, so none may be missing",
        "log_weights": "its loss is one of pairs, and no bound on log p(x | u) of a sequence",
    }
    config: E2CConfig

    def __init__(self, config: E2CConfig = E2CConfig()):
        c = config
        super().__init__(config)
        self.encoder = nn.Sequential(
            mlp([2 * c.x_dim, c.hidden, c.hidden], c.activation), ACTIVATIONS[c.activation]()
        )
        self.head = GaussianHead(c.hidden, c.z_dim, c.var0, c.gain)
        self.decoder = mlp([c.seen, c.hidden, c.hidden, c.x_dim])
        self.frame_path = FramePath(c.x_dim, c.seen, c.z_dim, c.gain) if c.frame_path else None

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """q(z_t | o_t) for t = 1 … T-1 (for t = 1 if T = 1): mean and variance [B, max(T-1, 1), Z];
        x [B, T, X].
        """
        before, after = (x, x) if x.shape[1] == 1 else (x[:, :-1], x[:, 1:])
        mean, var = self.head(self.encoder(torch.cat([before, after], -1)))
        if self.frame_path:
            mean = mean + self.frame_path(x)[:, : before.shape[1]]
        return DiagonalGaussian(mean, var)

    def push(self, z: Tensor, q: DiagonalGaussian, u: Tensor) -> tuple[DiagonalGaussian, Gaussian]:
        """p(z_{t+1} | z_t, u_t) at z [B, S, Z], and p̂: q [B, S, Z] pushed through the transition
        linearised there; u [B, S, U].
        """
        flat = u.flatten(0, 1)
        inputs = flat, self.transition.from_u(flat), self.transition.bases_full()
        linear = self.transition.linearise(z.flatten(0, 1), inputs)
        F, Bu, Q = (v.unflatten(0, z.shape[:2]) for v in linear)
        root = F * q.var.sqrt().unsqueeze(-2)
        mean, pushed = ((F * v.unsqueeze(-2)).sum(-1) + Bu for v in (z, q.mean))
        step = DiagonalGaussian(mean, Q.diagonal(dim1=-2, dim2=-1))
        return step, Gaussian(pushed, root @ root.mT + Q)

    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """q(z_t | o_t) for t < T, each draw on its own, and for z_T the transition from z_{T-1}
        (mean and variance linearised at the mean).
        """
        self.check(x, u, mask)
        q = self.encode(x)
        z = q.mean + q.var.sqrt() * self.noise(x, *q.mean.shape, generator=generator)
        if x.shape[1] == 1:
            return Posterior(q.mean, z, q.var)
        last, before = DiagonalGaussian(q.mean[:, -1:], q.var[:, -1:]), u[:, -2:-1]
        _, pushed = self.push(last.mean, last, before)
        mean, var = self.transition(z[:, -1:], before)
        drawn = mean + var.sqrt() * self.noise(x, *mean.shape, generator=generator)
        var = torch.cat([q.var, pushed.cov.diagonal(dim1=-2, dim2=-1)], 1)
        return Posterior(torch.cat([q.mean, pushed.mean], 1), torch.cat([z, drawn], 1), var)

    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """One reconstruction per frame, and the divergences of all pairs.

        squared_error: x_1 from z_1, x_T from ẑ_T; a frame between them is decoded twice, from z_t
        and from ẑ_t, and counts with the mean of both errors (the paper adds them), so that the sum
        is one over T frames as in every model.
        rate: Σ_{t=1}^{T-1} KL(q(z_t | o_t) ‖ N(0, I)) + λ Σ_{t=2}^{T-1} KL(p̂(z_t | o_{t-1},
        u_{t-1}) ‖ q(z_t | o_t)), in closed form. A single frame (T = 1) leaves the terms of a VAE.
        """
        if not analytic:
            self.refuse("log_weights")
        self.check(x, u, mask)
        q = self.encode(x)
        z = q.mean + q.var.sqrt() * self.noise(x, *q.mean.shape, generator=generator)
        rate = kl_standard(q.mean, q.var).sum(1)
        encoded = ((x[:, : z.shape[1]] - self.decode(z)) ** 2).sum(-1)  # of x_1 … x_{T-1}
        if x.shape[1] == 1:
            return Terms(encoded[:, 0], rate)
        step, pushed = self.push(z, q, u[:, :-1])
        z_hat = step.mean + step.var.sqrt() * self.noise(x, *z.shape, generator=generator)
        predicted = ((x[:, 1:] - self.decode(z_hat)) ** 2).sum(-1)  # of x_2 … x_T
        squared_error = (
            encoded[:, 0] + 0.5 * (encoded[:, 1:] + predicted[:, :-1]).sum(1) + predicted[:, -1]
        )
        consistency = kl(
            Gaussian(pushed.mean[:, :-1], pushed.cov[:, :-1]),
            DiagonalGaussian(q.mean[:, 1:], q.var[:, 1:]),
        )
        return Terms(squared_error, rate + self.config.consistency * consistency.sum(1))


MODELS.add("e2c", Recipe(E2C, E2CConfig()))
