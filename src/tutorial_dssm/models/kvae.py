"""Kalman VAE (Fraccaro, Kamronn, Paquet & Winther 2017): given a_{1:T} the state space model is
exactly linear-Gaussian.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.frames import GaussianEncoder, frame_decoder
from ..networks.transitions import RecurrentTransition
from ..probability import kalman
from ..probability.gaussian import log_normal
from .base import SequentialModel, Terms
from .ekvae import EKVAE


@dataclass(frozen=True)
class KVAEConfig:
    """Sizes and starting values of the Kalman VAE."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control
    a_dim: int = 2  # auxiliary variables a_t, what one frame shows
    z_dim: int = 3  # state z_t; its first a_dim coordinates are observed through a_t
    hidden: int = 128  # width of the two hidden layers of encoder and decoder
    bases: int = 32  # base matrices of each kind
    mix_hidden: int = 128  # width of the recurrent network that mixes them
    q0_seen: float = 0.3  # transition noise variance at the start, of the coordinates that a_t sees
    q0_hidden: float = 0.05  # and of the others: what a frame does not show starts out slow
    r0: float = 0.37  # variance of a_t given z_t at the start
    var0: float = 0.1  # variance of q(a_t | x_t) at the start
    activation: str = "silu"  # of the encoder; the decoder's is relu
    # encoder and decoder: mlp, or conv for square frames whose side is a multiple of 16
    network: str = "mlp"
    # mix by a recurrent network over all past a; False: by what the last a says alone
    memory: bool = True
    # scales what the memory adds to the mixture's logits, which starts at zero: small, so that it
    # learns late
    memory_gain: float = 0.1


class KVAE(SequentialModel):
    """x_t <- a_t <- z_t as in the EKVAE, p(z_{t+1} | z_t, u_t, a_{1:t}) linear in z_t with matrices
    that only the *past* a (and u) decide.

    p(a, z) = Π p(a_t | z_t) p(z_t | z_{t-1}, u_{t-1}, a_{1:t-1}) is a valid generative model, and
    F, B, Q are known before z is filtered. So given a the Kalman filter, smoother and sampler are
    exact, and log p(a) is the filter's likelihood. The price: z alone is no state, the memory of
    past a belongs to it (see `predict`). There is no hidden weight on the reconstruction: weighing
    is the objective's work.
    """

    def __init__(self, config: KVAEConfig = KVAEConfig()):
        c = config
        super().__init__(c.x_dim, c.u_dim, c.z_dim)
        self.config = config
        q0 = [c.q0_seen] * c.a_dim + [c.q0_hidden] * (c.z_dim - c.a_dim)
        self.transition = RecurrentTransition(
            c.z_dim, c.a_dim, c.u_dim, c.bases, c.mix_hidden, q0, c.memory, c.memory_gain
        )
        self.encoder = GaussianEncoder(
            c.x_dim, c.hidden, c.a_dim, c.var0, c.activation, network=c.network
        )
        self.decoder = frame_decoder(c.network, c.a_dim, c.hidden, c.x_dim)
        self.log_r = nn.Parameter(torch.full((c.a_dim,), c.r0).log())
        self.register_buffer("H", torch.eye(c.a_dim, c.z_dim))

    def initialise(self, x: Tensor) -> None:
        """See `Model`: the encoder's linear path starts at the principal components."""
        self.encoder.initialise(x)

    @property
    def r(self) -> Tensor:
        """Diagonal of R [A]."""
        return self.log_r.exp() + 1e-6

    def _model(self, a: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """F [B, T-1, n, n], b [B, T-1, n], Q [B, T-1, n, n] of a [B, T, A] and u [B, T, U], in one
        pass of the LSTM.
        """
        return tuple(
            v.transpose(0, 1)
            for v in self.transition(a[:, :-1].transpose(0, 1), u[:, :-1].transpose(0, 1))[0]
        )

    def filter(
        self, a: Tensor, u: Tensor, validate: bool = False, mask: Tensor | None = None
    ) -> kalman.Filtered:
        """Kalman filter over a [B, T, A] and u [B, T, U]; with a mask [B, T] (True = observed),
        missing a are imputed for the LSTM.

        In the place of a missing a_t the LSTM sees the prediction H E[z_t | a observed before t],
        step by step inside the filter (Fraccaro et al. 2017, "Missing data imputation"); given the
        weights that result, the filter is exact.
        """
        m1, P1, R = (
            a.new_zeros(self.z_dim),
            torch.eye(self.z_dim, dtype=a.dtype, device=a.device),
            torch.diag_embed(self.r),
        )
        if mask is None:
            F, b, Q = self._model(a, u)
            linear = kalman.StateSpaceModel(F, Q, self.H, R, m1, P1, b)
            return kalman.kalman_filter(a, linear, validate=validate)
        memory = None

        def linearise(mean: Tensor, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
            """F, b, Q of t -> t+1, from the LSTM that has now seen a_t, or what stands for it."""
            nonlocal memory  # the filter calls this once for each t, in order
            a_t, u_t, seen = inputs
            a_t = torch.where(
                seen.unsqueeze(-1), a_t, mean @ self.H.t()
            )  # where nothing was seen, the filtered mean is the predicted one
            model, memory = self.transition(a_t[None], u_t[None], memory)
            return tuple(v[0] for v in model)

        return kalman.extended_kalman_filter(
            a,
            list(zip(*(v.unbind(1) for v in (a, u, mask)))),
            kalman.ExtendedModel(linearise, self.H, R, m1, P1),
            mask,
            validate,
        )

    infer, decode = (
        EKVAE.infer,
        EKVAE.decode,
    )  # the smoother that follows the filter, and H z through the decoder

    def terms(
        self, x: Tensor, u: Tensor, generator: torch.Generator | None = None, analytic: bool = True
    ) -> Terms:
        """Squared error at a ~ q(a | x); rate = log q(a|x) + log q(z|a) - log p(a|z) - log p(z|a)
        with z from the exact q(z|a) = p(z|a).

        The last three add up to -log p(a) for *every* z, and so do their gradients: no z is drawn.
        """
        self.check(x, u)
        mean, var = self.encoder(x)
        a = mean + var.sqrt() * self.noise(x, *mean.shape, generator=generator)
        return Terms(
            ((x - self.decoder(a)) ** 2).sum((1, 2)),
            log_normal(a, mean, var).sum(-1) - self.filter(a, u).log_likelihood,
        )

    def log_prior(self, z: Tensor, u: Tensor, a: Tensor) -> Tensor:
        """Σ log p(z_t | z_{t-1}, u_{t-1}, a_{1:t-1}) [B] in nats, all steps at once."""
        F, b, Q = self._model(a, u)
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
        path, memory, A = [z1], None, len(self.H)
        for u_t in u[:, :-1].unbind(1):
            noise = (
                self.noise(z1, len(z1), A + self.z_dim, generator=generator)
                if sample
                else z1.new_zeros(len(z1), A + self.z_dim)
            )
            a = path[-1] @ self.H.t() + self.r.sqrt() * noise[:, :A]
            (F, b, Q), memory = self.transition(a[None], u_t[None], memory)
            path.append(
                (F[0] @ path[-1].unsqueeze(-1)).squeeze(-1)
                + b[0]
                + Q[0].diagonal(dim1=-2, dim2=-1).sqrt() * noise[:, A:]
            )
        return torch.stack(path, 1)
