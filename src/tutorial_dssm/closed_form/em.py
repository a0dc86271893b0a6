"""Learning the linear-Gaussian state-space model: EM, and gradient ascent of the same likelihood.

Both start with what the smoother knows. EM puts its moments into the log joint density and jumps to
the maximum; the gradient of the log-likelihood is the gradient of that same expectation (Fisher's
identity), and a gradient method takes a step along it.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..models.lgssm import LGSSM
from ..probability import kalman


def _regress(yr: Tensor, rr: Tensor) -> Tensor:
    """W [..., m, k] with the least E|y - W r|², from E[y r'] [..., m, k] and E[r r'] [..., k, k].

    Of many such W (a control that is always 0), the smallest.
    """
    # Divided by the size of each regressor, so that the units of u do not matter.
    scale = rr.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale)).unsqueeze(-2)
    return (yr / scale) @ torch.linalg.pinv(rr / scale / scale.mT, hermitian=True) / scale


def factors(name: str, V: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `models.lgssm.covariance`: log_var [n], lower [n, n].

    ValueError where V is not positive definite: nothing is repaired.
    """
    K, info = torch.linalg.cholesky_ex(0.5 * (V + V.mT))
    if V.device.type == "cpu" and info:
        raise ValueError(
            f"the M-step's {name} is not positive definite in {V.dtype}: "
            f"too few data for {len(V)} states"
        )
    return 2 * K.diagonal().log(), torch.tril(K / K.diagonal(), -1)


def _first_state(M: Tensor, V: Tensor) -> dict[str, Tensor]:
    """m1, P1 from means [B, n] and covariances [B, n, n] of z_1.

    With one sequence the best P1 is 0, and every iteration shrinks it.
    """
    m1 = M.mean(0)
    spread = (M - m1).t() @ (M - m1) / len(M)
    log_p1, lower_p1 = factors("P1", spread + V.mean(0))
    return {"m1": m1, "log_p1": log_p1, "lower_p1": lower_p1}


def _dynamics(M: Tensor, V: Tensor, cross: Tensor, u: Tensor) -> dict[str, Tensor]:
    """F, B, b, Q: the regression of z_{t+1} on (z_t, u_t, 1), from moments and controls.

    All are [B, T, ...]. The residual's covariance is a sum of squares, not a difference of second
    moments: float32 will do.
    """
    one = torch.ones_like(M[:, :-1, :1])
    r = torch.cat([M[:, :-1], u[:, :-1], one], -1).flatten(0, 1)
    y = M[:, 1:].flatten(0, 1)
    now, then = V[:, :-1].sum((0, 1)), V[:, 1:].sum((0, 1))
    both = cross.sum((0, 1))
    others = (0, u.shape[-1] + 1)  # u and 1 have no covariance
    W = _regress(y.t() @ r + pad(both, others), r.t() @ r + pad(now, others * 2))
    F, B, b = W.split([M.shape[-1], u.shape[-1], 1], 1)
    e = y - r @ W.t()
    moved = F @ both.t()
    log_q, lower_q = factors("Q", (e.t() @ e + then - moved - moved.t() + F @ now @ F.t()) / len(r))
    return {"F": F, "B": B, "b": b.squeeze(1), "log_q": log_q, "lower_q": lower_q}


def _observation(
    model: LGSSM, M: Tensor, V: Tensor, x: Tensor, mask: Tensor | None
) -> dict[str, Tensor]:
    """C, d, R: the regression of x_t on (z_t, 1), from moments and observations [B, T, ...].

    As R is diagonal, each coordinate has a regression of its own, over the frames in which it is
    observed.
    """
    r = torch.cat([M, torch.ones_like(M[..., :1])], -1).flatten(0, 1)  # [B·T, n + 1]
    x = x.flatten(0, 1)
    seen = torch.ones_like(x[:, :1]).t()  # [X or 1, B·T]
    if mask is not None:
        seen = mask.reshape(len(x), -1).to(x.dtype).t()
    k = r.shape[1]
    spread = pad(V, (0, 1, 0, 1)).flatten(0, 1).flatten(1)  # of (z_t, 1), [B·T, k²]
    uncertain = (seen @ spread).unflatten(1, (k, k))  # [X or 1, k, k]
    known = (seen @ (r.unsqueeze(-1) * r.unsqueeze(-2)).flatten(1)).view_as(uncertain)
    W = _regress(((x * seen.t()).t() @ r).unsqueeze(1), known + uncertain)
    squares = (seen * (x - r @ W.squeeze(1).t()).t() ** 2).sum(1) + (W @ uncertain @ W.mT).flatten()
    count = seen.sum(1).expand(model.x_dim)
    # clamped: the exact maximum under r >= floor
    log_r = (squares / count).clamp(min=model.config.floor).log()
    new = {"C": W[:, 0, :-1], "d": W[:, 0, -1], "log_r": log_r}
    never = count == 0  # such a coordinate keeps its parameters
    return {
        name: torch.where(never.view(-1, *[1] * (v.ndim - 1)), getattr(model, name), v)
        for name, v in new.items()
    }


@torch.no_grad()
def m_step(
    model: LGSSM, q: kalman.Smoothed, x: Tensor, u: Tensor, mask: Tensor | None = None
) -> None:
    """The M-step in place, from the moments of any posterior q.

    Each line of the model is a regression on regressors known by these moments. Shumway & Stoffer
    (1982); with offsets and controls as more regressors, Ghahramani & Hinton (1996). ValueError
    where the new Q or P1 is singular; the model is then as it was.

    Equations: em-mstep, em-dynamics, em-observation, em-first, em-missing
    """
    M, V, cross = q
    new = _first_state(M[:, 0], V[:, 0])
    new |= _observation(model, M, V, model.observed(x, u, mask), mask)
    if x.shape[1] > 1:  # else no transition was seen
        new |= _dynamics(M, V, cross, u)
    for name, value in new.items():
        getattr(model, name).copy_(value)


@torch.no_grad()
def em_step(model: LGSSM, x: Tensor, u: Tensor, mask: Tensor | None = None) -> Tensor:
    """One iteration of EM in place, which never makes the likelihood fall.

    The E-step: smoothed means, covariances and lag-one cross-covariances, exactly.

    Args:
        model: is changed.
        x, u: sequences [B, T, X] and controls [B, T, U].
        mask: as in `LGSSM.filter`.
    Returns:
        The mean log-likelihood of a sequence *before* the iteration, a scalar, in nats.
    Raises:
        ValueError: as `LGSSM.check` and `m_step`.

    Equations: em-monotone, em-precond
    """
    filtered = model.filter(x, u, mask)
    q = kalman.smooth(filtered, validate=x.device.type == "cpu")
    m_step(model, q, x, u, mask)
    return filtered.log_likelihood.mean()


def fit_by_em(
    model: LGSSM, x: Tensor, u: Tensor, iterations: int, mask: Tensor | None = None
) -> Tensor:
    """`iterations` of `em_step` in place.

    Returns the mean log-likelihood of a sequence before each and after the last, [iterations + 1]
    nats.

    Equations: em-monotone
    """
    values = [em_step(model, x, u, mask) for _ in range(iterations)]
    with torch.no_grad():
        return torch.stack([*values, model.log_likelihood(x, u, mask).mean()])


def fit_by_gradient(
    model: LGSSM, x: Tensor, u: Tensor, steps: int, learning_rate: float, mask: Tensor | None = None
) -> Tensor:
    """`steps` of Adam up the same likelihood in place, all sequences at every step.

    Values as from `fit_by_em`, [steps + 1] nats.
    """
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    values = []
    for _ in range(steps):
        value = model.log_likelihood(x, u, mask).mean()
        optimizer.zero_grad(set_to_none=True)
        (-value).backward()
        optimizer.step()
        values.append(value.detach())
    with torch.no_grad():
        return torch.stack([*values, model.log_likelihood(x, u, mask).mean()])
