"""Posteriors of a linear-Gaussian model as chains over time, and what their bounds miss.

The model is `lgssm_moments.Matrices`. Its states and observations, stacked over time, are one
Gaussian (`joint`), which knows nothing of filters or networks. A `Chain` is a posterior q(z_{1:T} |
x_{1:T}) = Π_t N(z_t | A_t z_{t-1} + K_t x + c_t, S_t): what an ancestral pass draws from. All is in
closed form; information in nats per sequence. No batch of models: one model, one sequence of
controls, many sequences x.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..probability import gaussian
from .lgssm_moments import Matrices


class Joint(NamedTuple):
    """z_1, …, z_T, x_1, …, x_T stacked into one Gaussian."""

    mean: Tensor  # [T (n + X)]
    cov: Tensor  # [T (n + X), T (n + X)]
    n: int  # size of a state
    X: int  # size of an observation
    T: int  # steps

    def z(self, *steps: int) -> list[int]:
        """Where the states of these steps (from 1) stand in the vector."""
        return [(t - 1) * self.n + i for t in steps for i in range(self.n)]

    def x(self, *steps: int) -> list[int]:
        """Where the observations of these steps (from 1) stand in the vector."""
        return [self.T * self.n + (t - 1) * self.X + i for t in steps for i in range(self.X)]

    def part(self, index: Sequence[int]) -> gaussian.Gaussian:
        """The marginal density of some coordinates."""
        return gaussian.Gaussian(self.mean[index], self.cov[index][:, index])


class Chain(NamedTuple):
    """q(z_{1:T} | x) = Π_t N(z_t | A_t z_{t-1} + K_t x + c_t, S_t).

    x is all observations of a sequence, stacked.
    """

    A: Tensor  # [T, n, n]; A_1 = 0
    K: Tensor  # [T, n, T·X]
    c: Tensor  # [T, n]
    S: Tensor  # [T, n, n]


class BoundPerStep(NamedTuple):
    """The bound of a chain, step by step."""

    reconstruction: Tensor  # [N, T] E log p(x_t | z_t), nats
    # [N, T] E KL(q(z_t | z_{t-1}, x) ‖ p(z_t | z_{t-1}, u_{t-1})), at t = 1 against p(z_1), nats
    kl: Tensor


def joint(m: Matrices, u: Tensor) -> Joint:
    """All states and observations as one Gaussian; u [T, U]."""
    T = len(u)
    X, n = m.C.shape
    solve = _unrolled(m.F.expand(T - 1, n, n), m.F)
    mean = solve @ torch.cat([m.m1, *(u[:-1] @ m.B.T + m.b)])
    cov = solve @ torch.block_diag(m.P1, *m.Q.expand(T - 1, n, n)) @ solve.T
    C = torch.block_diag(*m.C.expand(T, X, n))
    cross = C @ cov  # of observations and states
    upper = torch.cat([cov, cross.T], 1)
    lower = torch.cat([cross, cross @ C.T + torch.diag(m.r.repeat(T))], 1)
    whole = torch.cat([upper, lower])
    return Joint(torch.cat([mean, C @ mean + m.d.repeat(T)]), (whole + whole.T) / 2, n, X, T)


def _unrolled(F: Tensor, like: Tensor) -> Tensor:
    """The matrix that solves z_t = F_t z_{t-1} + e_t for all z at once: z = unrolled @ e.

    F [T-1, n, n] of the steps 2 … T, like [n, n] -> [T n, T n].
    """
    n = len(like)
    below = pad(torch.block_diag(*F), (0, n, n, 0)) if len(F) else torch.zeros_like(like)
    return torch.linalg.inv(torch.eye(len(below)).to(like) - below)


def regress(j: Joint, want: Sequence[int], known: Sequence[int]) -> tuple[Tensor, Tensor]:
    """W and V of p(want | known) = N(mean + W (known - mean), V); coordinates of the vector."""
    prior = j.cov[want][:, want]
    if not known:
        return prior.new_zeros(len(want), 0), prior
    W = torch.linalg.solve(j.cov[known][:, known], j.cov[known][:, want]).T
    V = prior - W @ j.cov[known][:, want]
    return W, (V + V.T) / 2


def _chain(j: Joint, factors: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Chain:
    """From A, K, S of every step; c such that the means agree: E z_t = A E z_{t-1} + K E x + c."""
    A, K, S = (torch.stack(v) for v in zip(*factors))
    z, x = j.mean.split([j.T * j.n, j.T * j.X])
    z = z.unflatten(0, (j.T, j.n))
    before = torch.cat([torch.zeros_like(z[:1]), z[:-1]])
    return Chain(A, K, z - (A @ before.unsqueeze(-1)).squeeze(-1) - K @ x, S)


def conditionals(j: Joint, sees: Callable[[int], Iterable[int]]) -> Chain:
    """Every factor is the model's own p(z_t | z_{t-1}, x_s for s in sees(t)), t from 1.

    With sees(t) = t … T this is the exact posterior.
    """

    def factor(t: int) -> tuple[Tensor, Tensor, Tensor]:
        """A, K and S of step t."""
        before, seen = j.z(t - 1) if t > 1 else [], j.x(*sees(t))
        W, V = regress(j, j.z(t), [*before, *seen])
        A = W[:, : len(before)] if before else W.new_zeros(j.n, j.n)
        K = W.new_zeros(j.n, j.T * j.X)
        K[:, [i - j.T * j.n for i in seen]] = W[:, len(before) :]
        return A, K, V

    return _chain(j, (factor(t) for t in range(1, j.T + 1)))


def _guess(j: Joint, t: int, last: int) -> tuple[Tensor, Tensor]:
    """G and V of p(x_{t:T} | x_{1:last}) = N(mean + G (x_{1:last} - mean), V)."""
    return regress(j, j.x(*range(t, j.T + 1)), j.x(*range(1, last + 1)))


def best_conditionals(j: Joint, last: Sequence[int]) -> Chain:
    """The posterior with the highest average bound if factor t sees only x_1, …, x_{last[t-1]}.

    It also sees z_{1:t-1}. Its factors are the exact ones, p(z_t | z_{t-1}, x_{t:T}), with what is
    not seen replaced by its prediction E[x_{t:T} | x_{1:last}]. last = (1, …, T) gives the best
    filter, (T, …, T) the exact posterior, (0, …, 0) the best posterior that sees no data.
    ValueError unless last never falls.
    """
    falls = any(a > b for a, b in zip(last, last[1:]))
    if len(last) != j.T or falls or not all(0 <= k <= j.T for k in last):
        raise ValueError(
            f"last must be {j.T} numbers between 0 and {j.T} that never fall, got {list(last)}"
        )
    exact = conditionals(j, lambda t: range(t, j.T + 1))
    factors = []
    for t, k in enumerate(last, 1):
        K = torch.zeros_like(exact.K[0])
        K[:, : k * j.X] = exact.K[t - 1][:, (t - 1) * j.X :] @ _guess(j, t, k)[0]
        factors.append((exact.A[t - 1], K, exact.S[t - 1]))
    return _chain(j, factors)


def price(j: Joint, last: Sequence[int]) -> Tensor:
    """What the bound of `best_conditionals` misses on average, step by step: [T] nats.

    ½ tr(S_t⁻¹ K_t V_t K_t'), averaged over the model's own data: K_t the weights of x_{t:T} in the
    exact factor, V_t their covariance given x_{1:last}.
    """
    exact = conditionals(j, lambda t: range(t, j.T + 1))
    nats = []
    for t, k in enumerate(last, 1):
        K = exact.K[t - 1][:, (t - 1) * j.X :]
        _, V = _guess(j, t, k)
        nats.append(0.5 * torch.linalg.solve(exact.S[t - 1], K @ V @ K.T).trace())
    return torch.stack(nats)


def diagonal_chain(chain: Chain) -> Chain:
    """The same means, with the diagonal covariance that is best in KL(q ‖ ·) to each S_t.

    It is one over the diagonal of the inverse of S_t.
    """
    precision = torch.linalg.inv(chain.S).diagonal(dim1=-2, dim2=-1)
    return chain._replace(S=torch.diag_embed(1 / precision))


def path_map(chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
    """W [T·n, T·X], w [T·n] and V: q(z_{1:T} | x) = N(W x + w, V), all steps stacked."""
    solve = _unrolled(chain.A[1:], chain.A[0])
    V = solve @ torch.block_diag(*chain.S) @ solve.T
    return solve @ chain.K.flatten(0, 1), solve @ chain.c.flatten(), (V + V.T) / 2


def path(chain: Chain, x: Tensor) -> gaussian.Gaussian:
    """q(z_{1:T} | x) as one Gaussian per sequence, event [T·n]; x [N, T, X]."""
    W, w, V = path_map(chain)
    return gaussian.Gaussian(x.flatten(1) @ W.T + w, V)


def ancestral_sample(chain: Chain, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Ancestral pass: paths z [N, T, n] and log q(z | x) [N] in nats.

    x [N, T, X], noise [N, T, n] standard normal.
    """
    news = _from_data(chain, x)
    roots = torch.linalg.cholesky(chain.S)
    z: list[Tensor] = []
    log_q = []
    for t, e in enumerate(noise.unbind(1)):
        mean = news[:, t]
        if z:
            mean = mean + z[-1] @ chain.A[t].T
        z.append(mean + e @ roots[t].T)
        log_q.append(gaussian.log_density(gaussian.Gaussian(mean, chain.S[t]), z[-1]))
    return torch.stack(z, 1), torch.stack(log_q, 1).sum(1)


def _from_data(chain: Chain, x: Tensor) -> Tensor:
    """K_t x + c_t [N, T, n]: what the data contribute to the mean of every step; x [N, T, X]."""
    return (x.flatten(1) @ chain.K.mT).movedim(1, 0) + chain.c


def average_gap(j: Joint, chain: Chain) -> Tensor:
    """E[log p(x) - ELBO(x)] = E KL(q(z_{1:T} | x) ‖ p(z_{1:T} | x)) in nats, x from the model."""
    steps = range(1, j.T + 1)
    z, x = j.z(*steps), j.x(*steps)
    K, P = regress(j, z, x)
    W, w, V = path_map(chain)
    mu = j.mean[x]
    same_data = gaussian.kl(gaussian.Gaussian(W @ mu + w, V), gaussian.Gaussian(j.mean[z], P))
    return same_data + 0.5 * torch.linalg.solve(P, (W - K) @ j.cov[x][:, x] @ (W - K).T).trace()


def sequential_terms(
    m: Matrices, u: Tensor, chain: Chain, x: Tensor, nested: bool = True
) -> BoundPerStep:
    """The sequential ELBO in closed form, step by step: the sum of reconstruction - kl.

    x [N, T, X], u [T, U]. The expectations are over the marginals of q. With `nested` False
    the state before is put at its mean, not averaged over: a mistake, for show.
    """
    normal = gaussian.Gaussian
    news = _from_data(chain, x)
    mean, V = news[:, 0], chain.S[0]  # of q(z_t | x)
    kl = [gaussian.kl(normal(mean, V), normal(m.m1, m.P1))]
    fit = [_expected_fit(m, mean, V, x[:, 0])]
    for t in range(1, x.shape[1]):
        A, S = chain.A[t], chain.S[t]
        before = V if nested else torch.zeros_like(V)
        prior = mean @ m.F.T + u[t - 1] @ m.B.T + m.b
        mean = news[:, t] + mean @ A.T
        # the distance of the two means, averaged over z_{t-1}
        D = (A - m.F) @ before @ (A - m.F).T
        spread = 0.5 * torch.linalg.solve(m.Q, D).trace()
        kl.append(gaussian.kl(normal(mean, S), normal(prior, m.Q)) + spread)
        V = A @ before @ A.T + S
        fit.append(_expected_fit(m, mean, V, x[:, t]))
    return BoundPerStep(torch.stack(fit, 1), torch.stack(kl, 1))


def _expected_fit(m: Matrices, mean: Tensor, V: Tensor, x: Tensor) -> Tensor:
    """E log p(x_t | z_t) [N] in nats for z_t ~ N(mean [N, n], V [n, n]); x [N, X]."""
    at_mean = gaussian.log_normal(x, mean @ m.C.T + m.d, m.r)
    return at_mean - 0.5 * ((m.C @ V @ m.C.T).diagonal() / m.r).sum()
