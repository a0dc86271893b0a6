"""Slow, obvious references that tests compare the package with: no recursion over time, no
batching, float64 numpy.

A linear-Gaussian state-space model is one big Gaussian over all states and all observations. Here
it is written down as such (a matrix of size T·n), and every question about it is answered by plain
conditioning.
"""

from typing import NamedTuple

import numpy as np
import torch


class Model(NamedTuple):
    """z_1 ~ N(m1, P1), z_{t+1} = F_t z_t + b_t + w_t, a_t = H_t z_t + v_t, one model per series; in
    the order `kalman_filter` takes it.
    """

    F: torch.Tensor  # [B, T-1, n, n]
    b: torch.Tensor  # [B, T-1, n]
    Q: torch.Tensor  # [B, T-1, n, n]
    H: torch.Tensor  # [B, T, A, n]
    R: torch.Tensor  # [B, T, A, A]
    m1: torch.Tensor  # [B, n]
    P1: torch.Tensor  # [B, n, n]

    def to(self, dtype):
        return Model(*(v.to(dtype) for v in self))

    def series(self, i):
        """The model of one series as float64 numpy arrays, without the batch axis."""
        return [v[i].detach().double().numpy() for v in self]


def random_covariance(generator, *batch, n):
    """Full covariances [*batch, n, n] with eigenvalues above 0.2."""
    root = torch.randn(*batch, n, n, generator=generator, dtype=torch.float64) / n**0.5
    return root @ root.mT + 0.2 * torch.eye(n, dtype=torch.float64)


def random_model(generator, B, T, n, A):
    """Everything varies over series and time, all covariances are full, the dynamics are stable
    (spectral radius about 0.9).
    """

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    orthogonal = torch.linalg.qr(normal(B, T - 1, n, n)).Q
    return Model(
        0.9 * orthogonal + 0.05 * normal(B, T - 1, n, n),
        normal(B, T - 1, n),
        random_covariance(generator, B, T - 1, n=n),
        normal(B, T, A, n),
        random_covariance(generator, B, T, n=A),
        normal(B, n),
        random_covariance(generator, B, n=n),
    )


def simulate(model, generator):
    """States [B, T, n] and observations [B, T, A], drawn step by step."""

    def normal(cov):
        noise = torch.randn(cov.shape[:-1], generator=generator, dtype=cov.dtype)
        return (torch.linalg.cholesky(cov) @ noise.unsqueeze(-1)).squeeze(-1)

    z = [model.m1 + normal(model.P1)]
    for t in range(model.H.shape[1] - 1):
        z.append(
            (model.F[:, t] @ z[-1].unsqueeze(-1)).squeeze(-1)
            + model.b[:, t]
            + normal(model.Q[:, t])
        )
    z = torch.stack(z, 1)
    return z, (model.H @ z.unsqueeze(-1)).squeeze(-1) + normal(model.R)


class DenseGaussian:
    """The joint Gaussian of one series over (z_1 … z_T, a_1 … a_T), and what conditioning on some
    of the a says.
    """

    def __init__(self, F, b, Q, H, R, m1, P1):
        """Numpy arrays without a batch axis:

        F, Q [T-1, n, n], b [T-1, n], H [T, A, n], R [T, A, A], m1 [n], P1 [n, n].
        """
        self.T, self.A, self.n = T, A, n = H.shape
        # All equations of motion at once: (I - shifted F) z = (m1, b_1 … b_{T-1}) + (e_1, w_1 …
        # w_{T-1}).
        motion, noise = np.eye(T * n), np.zeros((T * n, T * n))
        observe, self.R = np.zeros((T * A, T * n)), np.zeros((T * A, T * A))
        noise[:n, :n] = P1
        for t in range(T - 1):
            now, then = slice(t * n, (t + 1) * n), slice((t + 1) * n, (t + 2) * n)
            motion[then, now] = -F[t]
            noise[then, then] = Q[t]
        for t in range(T):
            observe[t * A : (t + 1) * A, t * n : (t + 1) * n] = H[t]
            self.R[t * A : (t + 1) * A, t * A : (t + 1) * A] = R[t]
        inverse = np.linalg.inv(motion)
        self.z_mean, self.z_cov = (
            inverse @ np.concatenate([m1, np.ravel(b)]),
            inverse @ noise @ inverse.T,
        )
        self.observe = observe
        self.a_mean, self.a_cov = observe @ self.z_mean, observe @ self.z_cov @ observe.T + self.R

    def _seen(self, mask, steps):
        seen = np.ones((self.T, self.A), bool) if mask is None else np.array(mask, bool)
        seen[self.T if steps is None else steps :] = False
        return np.flatnonzero(seen)

    def posterior(self, a, mask=None, steps=None):
        """Mean [T, n] and covariance [T, n, T, n] of z_{1:T} given the observed entries of a [T,
        A], of the first `steps` frames only.
        """
        i = self._seen(mask, steps)
        gain = np.linalg.solve(self.a_cov[np.ix_(i, i)], self.observe[i] @ self.z_cov).T
        mean = self.z_mean + gain @ (np.ravel(a)[i] - self.a_mean[i])
        cov = self.z_cov - gain @ self.observe[i] @ self.z_cov
        return mean.reshape(self.T, self.n), cov.reshape(self.T, self.n, self.T, self.n)

    def log_likelihood(self, a, mask=None):
        """log p of the observed entries of a [T, A], in nats."""
        i = self._seen(mask, None)
        return _log_normal(np.ravel(a)[i], self.a_mean[i], self.a_cov[np.ix_(i, i)])

    def log_joint(self, z, a):
        """log p(z_{1:T}) + log p(a_{1:T} | z_{1:T}) in nats; z [T, n], a [T, A]."""
        z = np.ravel(z)
        return _log_normal(z, self.z_mean, self.z_cov) + _log_normal(
            np.ravel(a), self.observe @ z, self.R
        )


def _log_normal(x, mean, cov):
    sign, log_det = np.linalg.slogdet(cov)
    assert sign > 0
    return -0.5 * (
        (x - mean) @ np.linalg.solve(cov, x - mean) + log_det + len(x) * np.log(2 * np.pi)
    )


class Answers(NamedTuple):
    """What filter and smoother should say, [B, …] in float64; the fields are named as those of
    `Filtered` and `Smoothed`.
    """

    filtered_mean: torch.Tensor
    filtered_cov: torch.Tensor
    predicted_mean: torch.Tensor
    predicted_cov: torch.Tensor
    log_likelihood: torch.Tensor
    mean: torch.Tensor
    cov: torch.Tensor
    cross_cov: torch.Tensor


def dense_answers(model, a, mask=None):
    """All moments by conditioning the dense Gaussian of each series. a [B, T, A], mask bool [B, T,
    A] or None.
    """
    rows = []
    for i in range(a.shape[0]):
        dense = DenseGaussian(*model.series(i))
        y, seen = a[i].detach().double().numpy(), None if mask is None else mask[i].numpy()
        T = dense.T
        before = [
            dense.posterior(y, seen, t) for t in range(T + 1)
        ]  # before[t]: given the first t frames
        mean, cov = before[T]
        rows.append(
            Answers(
                np.stack([before[t + 1][0][t] for t in range(T)]),
                np.stack([before[t + 1][1][t, :, t] for t in range(T)]),
                np.stack([before[t][0][t] for t in range(T)]),
                np.stack([before[t][1][t, :, t] for t in range(T)]),
                dense.log_likelihood(y, seen),
                mean,
                np.stack([cov[t, :, t] for t in range(T)]),
                np.stack([cov[t + 1, :, t] for t in range(T - 1)])
                if T > 1
                else np.zeros((0, dense.n, dense.n)),
            )
        )
    return Answers(*(torch.as_tensor(np.stack(v)) for v in zip(*rows)))
