"""Kalman VAE (Fraccaro, Kamronn, Paquet & Winther 2017): given a_{1:T} the state space model is
exactly linear-Gaussian.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.transitions import RecurrentTransition
from ..probability import kalman
from ..probability.gaussian import log_normal
from .auxiliary import AuxiliaryConfig, AuxiliaryModel
from .base import MODELS, Recipe, Terms, squared_error


@dataclass(frozen=True)
class KVAEConfig(AuxiliaryConfig):
    """Sizes and starting values of the Kalman VAE: the shared ones, and those of its memory."""

    # mix by a recurrent network over all past a; False: by what the last a says alone
    memory: bool = True
    # scales what the memory adds to the mixture's logits, which starts at zero: small, so that it
    # learns late
    memory_gain: float = 0.1


class KVAE(AuxiliaryModel):
    """x_t <- a_t <- z_t as in the EKVAE, p(z_{t+1} | z_t, u_t, a_{1:t}) linear in z_t with matrices
    that only the *past* a (and u) decide.

    p(a, z) = Π p(a_t | z_t) p(z_t | z_{t-1}, u_{t-1}, a_{1:t-1}) is a valid generative model, and
    F, B, Q are known before z is filtered. So given a the Kalman filter, smoother and sampler are
    exact, and log p(a) is the filter's likelihood. The price: z alone is no state, the memory of
    past a belongs to it (see `predict`). There is no hidden weight on the reconstruction: weighing
    is the objective's work.
    """

    cannot = {
        "transition": RecurrentTransition.NO_STATE,
        "log_prior": f"{RecurrentTransition.NO_STATE}: see `log_prior_given`",
    }
    transition: RecurrentTransition

    def __init__(self, config: KVAEConfig = KVAEConfig()):
        c = config
        transition = RecurrentTransition(
            c.z_dim, c.a_dim, c.u_dim, c.bases, c.mix_hidden, c.q0, c.memory, c.memory_gain
        )
        super().__init__(c, transition)

    def initialise(self, x: Tensor) -> None:
        """See `Model`: the encoder's linear path starts at the principal components."""
        self.encoder.initialise(x)

    def matrices(self, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """F [B, T-1, n, n], b [B, T-1, n], Q [B, T-1, n, n] of a [B, T, A] and u [B, T, U], in one
        pass of the LSTM.
        """
        before = a[:, :-1].transpose(0, 1), u[:, :-1].transpose(0, 1)
        (F, b, Q), _ = self.transition.matrices(*before)
        return F.transpose(0, 1), b.transpose(0, 1), Q.transpose(0, 1)

    def filter(
        self, a: Tensor, u: Tensor, validate: bool = False, mask: Tensor | None = None
    ) -> kalman.Filtered:
        """Kalman filter over a [B, T, A] and u [B, T, U]; with a mask [B, T] (True = observed),
        missing a are imputed for the LSTM.

        In the place of a missing a_t the LSTM sees the prediction H E[z_t | a observed before t],
        step by step inside the filter (Fraccaro et al. 2017, "Missing data imputation"); given the
        weights that result, the filter is exact. The model that this makes is one of the observed
        a for this mask: its likelihood is a density of them, not the integral of the full model's
        over the missing ones, whose weights would move with them.
        """
        R, m1, P1 = self.start(a)
        if mask is None:
            F, b, Q = self.matrices(a, u)
            linear = kalman.StateSpaceModel(F, Q, self.H, R, m1, P1, b)
            return kalman.kalman_filter(a, linear, validate=validate)
        memory = None

        def linearise(
            mean: Tensor, inputs: tuple[Tensor, Tensor, Tensor]
        ) -> tuple[Tensor, Tensor, Tensor]:
            """F, b, Q of t -> t+1, from the LSTM that has now seen a_t, or what stands for it."""
            nonlocal memory  # the filter calls this once for each t, in order
            a_t, u_t, seen = inputs
            # where nothing was seen, the filtered mean is the predicted one
            a_t = torch.where(seen.unsqueeze(-1), a_t, mean @ self.H.t())
            (F, b, Q), memory = self.transition.matrices(a_t[None], u_t[None], memory)
            return F[0], b[0], Q[0]

        inputs = list(zip(a.unbind(1), u.unbind(1), mask.unbind(1)))
        model = kalman.ExtendedModel(linearise, self.H, R, m1, P1)
        return kalman.extended_kalman_filter(a, inputs, model, mask, validate)

    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """Squared error at a ~ q(a | x); rate = log q(a|x) + log q(z|a) - log p(a|z) - log p(z|a)
        with z from the exact q(z|a) = p(z|a), over the observed frames.

        The last three add up to -log p(a) for *every* z, and so do their gradients: no z is drawn.
        """
        x, mask = self.admit(x, u, mask)
        mean, var = self.encoder(x)
        a = mean + var.sqrt() * self.noise(x, *mean.shape, generator=generator)
        log_q = log_normal(a, mean, var)
        if mask is not None:
            log_q = log_q.where(mask, 0.0)
        rate = log_q.sum(-1) - self.filter(a, u, mask=mask).log_likelihood
        return Terms(squared_error(x, self.decoder(a), mask), rate)

    def log_prior(self, z: Tensor, u: Tensor) -> Tensor:
        """ValueError: see `cannot`."""
        self.refuse("log_prior")

    def log_prior_given(self, z: Tensor, u: Tensor, a: Tensor) -> Tensor:
        """Σ log p(z_t | z_{t-1}, u_{t-1}, a_{1:t-1}) [B] in nats, all steps at once; z [B, T, Z], u
        [B, T, U], a [B, T, A].
        """
        F, b, Q = self.matrices(a, u)
        mean = (F @ z[:, :-1].unsqueeze(-1)).squeeze(-1) + b
        first = log_normal(z[:, 0], torch.zeros_like(z[:, 0]), torch.ones_like(z[:, 0]))
        return first + log_normal(z[:, 1:], mean, Q.diagonal(dim1=-2, dim2=-1)).sum(-1)

    def predict(
        self, z1: Tensor, u: Tensor, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Open loop, as in the base class; the LSTM starts at its start and is fed a_t = H z_t of
        the path (with `sample`, a draw from p(a_t | z_t)).

        A forecast after k frames starts without their memory: the interface hands on z alone, and
        the weights are a function of the past.
        """
        self.check_start(z1, u)
        A = len(self.H)
        memory = None
        path = [z1]
        for u_t in u[:, :-1].unbind(1):
            noise = z1.new_zeros(len(z1), A + self.z_dim)
            if sample:
                noise = self.noise(z1, *noise.shape, generator=generator)
            a = path[-1] @ self.H.t() + self.r.sqrt() * noise[:, :A]
            (F, b, Q), memory = self.transition.matrices(a[None], u_t[None], memory)
            mean = (F[0] @ path[-1].unsqueeze(-1)).squeeze(-1) + b[0]
            path.append(mean + Q[0].diagonal(dim1=-2, dim2=-1).sqrt() * noise[:, A:])
        return torch.stack(path, 1)


MODELS.add("kvae", Recipe(KVAE, KVAEConfig()))
MODELS.add("kvae-markov", Recipe(KVAE, KVAEConfig(memory=False)))
