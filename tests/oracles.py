"""Slow, obvious references that tests compare the package with.

A linear-Gaussian state-space model is one big Gaussian over all states and all observations. Here
it is written down as such (a matrix of size T·n), without recursion over time or batching, in
float64 numpy, and every question about it is answered by plain conditioning.
"""

import math
from typing import NamedTuple

import numpy as np
import torch


class DenseGaussian:
    """The joint Gaussian of one series over (z_1 … z_T, a_1 … a_T), and what observed a say."""

    def __init__(self, F, b, Q, H, R, m1, P1):
        """Numpy arrays without a batch axis.

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
        self.z_mean = inverse @ np.concatenate([m1, np.ravel(b)])
        self.z_cov = inverse @ noise @ inverse.T
        self.observe = observe
        self.a_mean, self.a_cov = observe @ self.z_mean, observe @ self.z_cov @ observe.T + self.R

    @classmethod
    def of_series(cls, model, i):
        """Of series i of a `StateSpaceModel` that is written out for every series and step."""
        names = ("F", "b", "Q", "H", "R", "m1", "P1")
        return cls(*(getattr(model, name)[i].detach().double().numpy() for name in names))

    def _seen(self, mask, steps):
        seen = np.ones((self.T, self.A), bool) if mask is None else np.array(mask, bool)
        seen[self.T if steps is None else steps :] = False
        return np.flatnonzero(seen)

    def posterior(self, a, mask=None, steps=None):
        """Mean [T, n] and covariance [T, n, T, n] of z_{1:T} given observed entries of a [T, A].

        With `steps`, those of the first frames only.
        """
        i = self._seen(mask, steps)
        gain = np.linalg.solve(self.a_cov[np.ix_(i, i)], self.observe[i] @ self.z_cov).T
        mean = self.z_mean + gain @ (np.ravel(a)[i] - self.a_mean[i])
        cov = self.z_cov - gain @ self.observe[i] @ self.z_cov
        return mean.reshape(self.T, self.n), cov.reshape(self.T, self.n, self.T, self.n)

    def log_likelihood(self, a, mask=None):
        """log p of the observed entries of a [T, A], in nats."""
        i = self._seen(mask, None)
        return log_normal(np.ravel(a)[i], self.a_mean[i], self.a_cov[np.ix_(i, i)])

    def log_joint(self, z, a):
        """log p(z_{1:T}) + log p(a_{1:T} | z_{1:T}) in nats; z [T, n], a [T, A]."""
        z = np.ravel(z)
        prior = log_normal(z, self.z_mean, self.z_cov)
        return prior + log_normal(np.ravel(a), self.observe @ z, self.R)


def log_normal(x, mean, cov):
    """log N(x; mean, cov) in nats; numpy, x [k]."""
    sign, log_det = np.linalg.slogdet(cov)
    assert sign > 0
    distance = (x - mean) @ np.linalg.solve(cov, x - mean)
    return -0.5 * (distance + log_det + len(x) * np.log(2 * np.pi))


class Answers(NamedTuple):
    """What filter and smoother should say, [B, …] in float64.

    The fields are named as those of `Filtered` and `Smoothed`.
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
    """All moments by conditioning the dense Gaussian of each series.

    a [B, T, A], mask bool [B, T, A] or None; the model is written out for every series and step.
    """
    rows = []
    for i in range(a.shape[0]):
        dense = DenseGaussian.of_series(model, i)
        y = a[i].detach().double().numpy()
        seen = None if mask is None else mask[i].numpy()
        T, n = dense.T, dense.n
        # before[t]: given the first t frames
        before = [dense.posterior(y, seen, t) for t in range(T + 1)]
        mean, cov = before[T]
        cross = [cov[t + 1, :, t] for t in range(T - 1)]
        answers = Answers(
            filtered_mean=np.stack([before[t + 1][0][t] for t in range(T)]),
            filtered_cov=np.stack([before[t + 1][1][t, :, t] for t in range(T)]),
            predicted_mean=np.stack([before[t][0][t] for t in range(T)]),
            predicted_cov=np.stack([before[t][1][t, :, t] for t in range(T)]),
            log_likelihood=dense.log_likelihood(y, seen),
            mean=mean,
            cov=np.stack([cov[t, :, t] for t in range(T)]),
            cross_cov=np.reshape(cross, (T - 1, n, n)),
        )
        rows.append(answers)
    return stack_answers(rows)


def relative_error(ours, reference):
    """Largest deviation relative to the largest value (or to 1); infinite for another shape."""
    if ours.shape != reference.shape:
        return math.inf
    if reference.numel() == 0:
        return 0.0
    reference = reference.double()
    return float((ours.double() - reference).abs().max() / reference.abs().max().clamp(min=1.0))


def assert_answers(filtered, smoothed, answers, tolerance):
    """Filter and smoother say what the reference says."""
    ours = {**filtered._asdict(), **smoothed._asdict()}
    for name, reference in answers._asdict().items():
        assert relative_error(ours[name], reference) < tolerance, name


def stack_answers(rows):
    """Answers of single series (numpy) -> of the batch (tensors)."""
    return Answers(*(torch.as_tensor(np.stack(v)) for v in zip(*rows)))


def textbook_filter_step(linearise, mean, cov, H, R, a, inputs):
    """One step of the extended Kalman filter as textbooks write it: Särkkä (2013), algorithm 5.4.

    Batch-first and differentiable; `kalman.filter_step` is the fast form.

    Args:
        linearise: (mean [B, n], inputs) -> F [B, n, n], b [B, n], Q [B, n, n].
        mean, cov: predicted moments of z_t, [B, n] and [B, n, n].
        H, R, a: a_t = H z_t + N(0, R), [A, n], [A, A] and [B, A].
        inputs: the second argument of `linearise`.
    Returns:
        Filtered mean and cov, predicted mean and cov of z_{t+1}, and F, b, Q.
    """
    S = H @ cov @ H.mT + R
    K = torch.linalg.solve(S, H @ cov).mT  # P Hᵀ S⁻¹
    surprise = a - mean @ H.mT
    mean = mean + (K @ surprise.unsqueeze(-1)).squeeze(-1)
    cov = cov - K @ S @ K.mT
    F, b, Q = linearise(mean, inputs)
    next_mean = (F @ mean.unsqueeze(-1)).squeeze(-1) + b
    next_cov = F @ cov @ F.mT + Q
    return mean, cov, next_mean, next_cov, F, b, Q
