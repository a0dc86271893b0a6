"""The door of `kalman`: what is checked once, and how the arguments are laid out inside.

Arguments of all admissible shapes become tensors with the batch last. A check of values makes the
host wait for an accelerator, so it is made only with `validate`; on the `meta` device there are no
values.
"""

import torch
from torch import Tensor

from .small_matrices import all_finite, batch_last, cholesky, identity, transpose


def observed_entries(a: Tensor, mask: Tensor | None, validate: bool) -> Tensor | None:
    """The mask as [B, T, A] (or None), once it is known that a and mask may be filtered.

    Raises:
        ValueError: a is not [B, T, A] of floats, the mask is not bool [B, T] or [B, T, A], or (with
            `validate`) an observed entry is not finite.
    """
    if a.ndim != 3 or 0 in a.shape or not a.is_floating_point():
        raise ValueError(
            f"a must be [B, T, A] of floats with T >= 1, got {a.dtype} {list(a.shape)}"
        )
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape not in (a.shape[:2], a.shape):
            raise ValueError(
                f"mask must be bool, {list(a.shape[:2])} or {list(a.shape)} (True = observed), "
                f"got {mask.dtype} {list(mask.shape)}"
            )
        mask = mask.unsqueeze(-1).expand_as(a) if mask.ndim == 2 else mask
    if validate and a.device.type != "meta" and not all_finite(a if mask is None else a[mask]):
        raise ValueError(
            "a holds NaN or infinite values where it is observed; mask missing observations instead"
        )
    return mask


def first_state(m1: Tensor, P1: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """m1 [n] or [B, n] and P1 [n, n] or [B, n, n] -> [n, B or 1] and [n, n, B or 1].

    ValueError for other shapes, or another dtype or device than that of a [B, T, A].
    """
    _same_kind("m1", m1, a)
    _same_kind("P1", P1, a)
    B = a.shape[0]
    n = m1.shape[-1] if m1.ndim else 0
    if n == 0 or m1.shape[:-1] not in ((), (1,), (B,)):
        raise ValueError(f"m1 must be [n] or [{B}, n], got {list(m1.shape)}")
    if P1.shape[-2:] != (n, n) or P1.shape[:-2] not in ((), (1,), (B,)):
        raise ValueError(f"P1 must be {[n, n]} or {[B, n, n]} to go with m1, got {list(P1.shape)}")
    mean = m1 if m1.ndim == 2 else m1.unsqueeze(0)
    cov = P1 if P1.ndim == 3 else P1.unsqueeze(0)
    return batch_last(mean).contiguous(), batch_last(cov).contiguous()


def over_time(name: str, x: Tensor, a: Tensor, steps: int, core: tuple[int, ...]) -> Tensor:
    """[*core], [steps, *core] or [B, steps, *core] -> [steps or 1, *core, B or 1].

    An axis of size 1 stands for all of its values. ValueError for other shapes, or another dtype or
    device than that of a [B, T, A].
    """
    _same_kind(name, x, a)
    B = a.shape[0]
    lead = x.shape[: x.ndim - len(core)]
    fits = all(got in (1, want) for got, want in zip(lead[::-1], (steps, B)))
    if x.shape[len(lead) :] != core or len(lead) > 2 or not fits:
        shapes = f"{list(core)}, {[steps, *core]} or {[B, steps, *core]}"
        raise ValueError(f"{name} must be {shapes}, got {list(x.shape)}")
    return batch_last(x[(None,) * (2 - len(lead))]).contiguous()


def check_covariance(name: str, P: Tensor, validate: bool, definite: bool = False) -> None:
    """ValueError unless every matrix of P [..., n, n, B] is a covariance, up to rounding.

    That is finite, symmetric and positive semidefinite; with `definite`, positive definite.
    """
    if not validate or P.device.type == "meta":
        return
    if not all_finite(P):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    scale = P.diagonal(dim1=-3, dim2=-2).abs().amax(-1)  # [..., B]
    if ((P - transpose(P)).abs().amax((-3, -2)) > 1e-4 * scale).any():
        raise ValueError(f"{name} must be symmetric")
    number = torch.finfo(P.dtype)
    room = 0 * scale if definite else 100 * number.eps * scale + number.tiny
    root = cholesky(P + room[..., None, None, :] * identity(P.shape[-2], P))
    if not all((row[-1] > 0).all() for row in root):
        raise ValueError(f"{name} must be positive {'definite' if definite else 'semidefinite'}")


def check_result(what: str, validate: bool, *values: Tensor) -> None:
    """ValueError, with the likely reason, unless all that was computed is finite."""
    if not validate or values[0].device.type == "meta":
        return
    if not all(all_finite(v) for v in values):
        raise ValueError(
            f"{what} is not finite: a covariance (Q, R, P1 or one computed from them) "
            f"is not positive definite in {values[0].dtype}"
        )


def _same_kind(name: str, x: Tensor, a: Tensor) -> None:
    if x.dtype != a.dtype or x.device != a.device:
        raise ValueError(
            f"{name} must have the dtype and device of a ({a.dtype}, {a.device}), "
            f"got {x.dtype}, {x.device}"
        )
