"""The linear-Gaussian state-space model: exact likelihood, exact posterior.

`tutorial_dssm.closed_form.em` learns it by EM or by gradient.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..probability import kalman
from ..probability.gaussian import log_normal
from .base import MODELS, Posterior, Recipe, SequentialModel, Terms, squared_error


@dataclass(frozen=True)
class LGSSMConfig:
    """Sizes and starting values of the linear-Gaussian state-space model."""

    x_dim: int = 256  # size of an observation
    u_dim: int = 1  # size of a control; 0 for none
    z_dim: int = 3  # state z_t
    f0: float = 0.95  # F starts as f0 I: slow
    q0: float = 0.1  # Q starts as q0 I
    # R starts as r0 I; after `initialise`, the least share of noise in a coordinate's variance
    r0: float = 0.1
    # least variance in R that an M-step gives: a coordinate that never changes would get 0
    floor: float = 1e-6


def covariance(log_var: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
    """(V, L) with V = L diag(exp log_var) L' [n, n] and L = I + the strict lower triangle of
    `lower`: positive definite whatever the parameters.
    """
    L = torch.eye(len(log_var), dtype=lower.dtype, device=lower.device) + torch.tril(lower, -1)
    return (L * log_var.exp()) @ L.mT, L


def log_normal_full(e: Tensor, log_var: Tensor, lower: Tensor) -> Tensor:
    """log N(e; 0, V) [...] in nats, V as in `covariance`; e [..., n]."""
    white = torch.linalg.solve_triangular(
        covariance(log_var, lower)[1].mT, e, upper=True, left=False, unitriangular=True
    )  # L⁻¹ e, |L| = 1
    return log_normal(white, torch.zeros_like(white), log_var.exp())


class LGSSM(SequentialModel):
    """z_1 ~ N(m1, P1), z_{t+1} = F z_t + B u_t + b + N(0, Q), x_t = C z_t + d + N(0, R); Q and P1
    are full, R is diagonal.

    Kalman (1960); Shumway & Stoffer (1982). The states are known up to a change of basis only:
    compare likelihoods and predictions, not F or z.

    Equations: em-model
    """

    entries_may_miss = True

    def __init__(self, config: LGSSMConfig = LGSSMConfig()):
        super().__init__(config.x_dim, config.u_dim, config.z_dim)
        self.config = config
        n, X, U = config.z_dim, config.x_dim, config.u_dim
        self.F = nn.Parameter(config.f0 * torch.eye(n))
        self.B = nn.Parameter(torch.zeros(n, U))
        self.b = nn.Parameter(torch.zeros(n))
        self.C = nn.Parameter(torch.randn(X, n) / n**0.5)
        self.d = nn.Parameter(torch.zeros(X))
        self.m1 = nn.Parameter(torch.zeros(n))
        self.log_q = nn.Parameter(torch.full((n,), config.q0).log())
        self.lower_q = nn.Parameter(torch.zeros(n, n))
        self.log_p1 = nn.Parameter(torch.zeros(n))
        self.lower_p1 = nn.Parameter(torch.zeros(n, n))
        self.log_r = nn.Parameter(torch.full((X,), config.r0).log())

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start C, d, R from frames x [N, T, X]: principal components, such that their coordinates
        have unit variance; other columns of C stay.
        """
        frames = x.flatten(0, -2)
        cov, k = torch.cov(frames.t()).reshape(self.x_dim, self.x_dim), min(self.z_dim, self.x_dim)
        values, vectors = torch.linalg.eigh(cov)  # ascending
        self.C[:, :k] = vectors[:, -k:] * values[-k:].clamp(min=0).sqrt()
        var = cov.diagonal()
        unexplained = torch.maximum(var - (self.C[:, :k] ** 2).sum(1), self.config.r0 * var)
        self.log_r.copy_(unexplained.clamp(min=self.config.floor).log())
        self.d.copy_(frames.mean(0))

    def transition(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of the next state, and the diagonal of Q; z [..., Z], u [..., U]."""
        mean = z @ self.F.t() + u @ self.B.t() + self.b
        return mean, covariance(self.log_q, self.lower_q)[0].diagonal().expand_as(mean)

    def filter(self, x: Tensor, u: Tensor, mask: Tensor | None = None) -> kalman.Filtered:
        """Kalman filter, with log p(x | u) [B] of what is observed; mask bool [B, T] or [B, T, X],
        True = observed (what is masked may be NaN).

        Where X > Z, whitened frames are first rotated, R^-½ C = O H with O orthonormal (QR): O'R^-½
        (x - d) = H z + N(0, I) has Z entries and says all about z; the rest is noise. Not where
        single entries are missing: there the time grows with X³. Gradients want C of full rank.
        """
        x, mask = self.admit(x, u, mask)
        scale, R = (0.5 * self.log_r).exp(), torch.diag_embed(torch.ones_like(self.log_r))
        y, H = (x - self.d) / scale, self.C / scale.unsqueeze(-1)
        constant = -0.5 * self.log_r.expand_as(x)  # of log p(x_t | z_t), per entry
        seen = torch.ones_like(x[..., :1])
        if mask is not None:
            seen = mask.to(x.dtype).reshape(*x.shape[:2], -1)
        if seen.shape[-1] == 1 and self.x_dim > self.z_dim:
            O, H = torch.linalg.qr(H)
            a = y @ O
            missed = 0.5 * (self.x_dim - self.z_dim) * math.log(2 * math.pi) / self.x_dim
            constant = constant - 0.5 * (y - a @ O.t()) ** 2 - missed
            y, R = a, R[: self.z_dim, : self.z_dim]
        P1, Q = covariance(self.log_p1, self.lower_p1)[0], covariance(self.log_q, self.lower_q)[0]
        b = u[:, :-1] @ self.B.t() + self.b
        model = kalman.StateSpaceModel(self.F, Q, H, R, self.m1, P1, b)
        filtered = kalman.kalman_filter(y, model, mask, validate=x.device.type == "cpu")
        log_likelihood = filtered.log_likelihood + (constant * seen).sum((1, 2))
        return filtered._replace(log_likelihood=log_likelihood)

    def observed(self, x: Tensor, u: Tensor, mask: Tensor | None) -> Tensor:
        """x with 0 where it is masked, after the checks at the door."""
        return self.admit(x, u, mask)[0]

    def log_likelihood(self, x: Tensor, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x | u) [B], exact, nats per sequence; arguments as in `filter`.

        Equations: em-evidence
        """
        return self.filter(x, u, mask).log_likelihood

    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """Exact smoothed means and variances, and a draw from the exact joint posterior.

        Equations: em-estep
        """
        filtered = self.filter(x, u, mask)
        smoothed = kalman.smooth(filtered, validate=False)
        noise = self.noise(x, *smoothed.mean.shape, generator=generator)
        draw = kalman.sample_joint(filtered, noise, validate=False)
        return Posterior(smoothed.mean, draw.z, smoothed.cov.diagonal(dim1=-2, dim2=-1))

    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """At a draw of z_{1:T} from the joint posterior under the model's own R; rate = log q(z|x)
        - log p(z).

        log N(x; C z + d, R) - rate is log p(x | u) for every draw, both of what is observed. At
        another noise, as an objective may choose, it is a lower bound.
        """
        filtered = self.filter(x, u, mask)
        noise = self.noise(x, *x.shape[:2], self.z_dim, generator=generator)
        draw = kalman.sample_joint(filtered, noise, validate=False)
        rate = draw.log_density - self.log_prior(draw.z, u)
        return Terms(squared_error(x, self.decode(draw.z), mask), rate)

    def log_prior(self, z: Tensor, u: Tensor) -> Tensor:
        """log p(z_{1:T} | u) [B] in nats."""
        e = z[:, 1:] - self.transition(z[:, :-1], u[:, :-1])[0]
        first = log_normal_full(z[:, 0] - self.m1, self.log_p1, self.lower_p1)
        return first + log_normal_full(e, self.log_q, self.lower_q).sum(-1)

    def predict(
        self, z1: Tensor, u: Tensor, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `SequentialModel`.

        The model is linear: a sample is the path of means plus what the noise, which Q correlates,
        adds up to.
        """
        path = super().predict(z1, u)
        if not sample:
            return path
        L = covariance(self.log_q, self.lower_q)[1] * (0.5 * self.log_q).exp()
        shocks = self.noise(path, *path[:, 1:].shape, generator=generator) @ L.t()
        deviation = [torch.zeros_like(z1)]
        for shock in shocks.unbind(1):
            deviation.append(deviation[-1] @ self.F.t() + shock)
        return path + torch.stack(deviation, 1)

    def decode(self, z: Tensor) -> Tensor:
        """C z + d. z [..., Z] -> [..., X]."""
        return z @ self.C.t() + self.d


MODELS.add("lgssm", Recipe(LGSSM, LGSSMConfig()))
