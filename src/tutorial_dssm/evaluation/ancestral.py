"""One ancestral pass through the posterior of a trained model, with everything it meets on the way."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..models.dks import DKS
from ..models.dvbf import DVB
from ..probability.gaussian import kl_diagonal


class Pass(NamedTuple):
    """At each step q(z_t | z_{t-1}, x, u), p(z_t | z_{t-1}, u_{t-1}) (at t = 1 p(z_1)), and the
    draw; all [B, T, Z].
    """

    mean: Tensor
    var: Tensor
    prior_mean: Tensor
    prior_var: Tensor
    z: Tensor

    def kl(self) -> Tensor:
        """The T divergences KL(q ‖ p) given the draw of the step before, [B, T] in nats; their sum
        over t is the rate of `terms`.
        """
        return kl_diagonal(self.mean, self.var, self.prior_mean, self.prior_var)


@torch.no_grad()
def ancestral_pass(
    model: DKS | DVB,
    x: Tensor,
    u: Tensor,
    generator: torch.Generator | None = None,
    sample: bool = True,
) -> Pass:
    """Walk through the posterior of a DKF, DKS, DVBF or its smoother; x [B, T, X], u [B, T, U].

    The draw is that of `model.terms` with the same generator; without `sample`, each step is
    conditioned on the mean before it. ValueError for malformed data or a model of another kind.
    """
    if not isinstance(model, (DKS, DVB)):
        raise ValueError(f"the model must be a DKF, DKS, DVBF or DVBS, got {type(model).__name__}")
    model.check(x, u)
    noise = model.noise(x, *x.shape[:2], model.z_dim, generator=generator) * sample
    first, second, *_, z = model._posterior(x, u, noise)
    f, q = model.transition(z[:, :-1], u[:, :-1])
    f, q = (
        torch.cat([torch.zeros_like(z[:, :1]), f], 1),
        torch.cat([torch.ones_like(z[:, :1]), q], 1),
    )
    mean, var = (first, second) if isinstance(model, DKS) else (f + q.sqrt() * first, q * second)
    return Pass(mean, var, f, q, z)
