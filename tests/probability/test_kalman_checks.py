"""The door of the filters: what is refused, and what is never looked at."""

import math

import pytest
import torch

from lgssm_instances import as_extended, each, problem
from tutorial_dssm.probability.kalman import (
    extended_kalman_filter,
    kalman_filter,
    sample_joint,
    smooth,
)

f64 = torch.float64


BAD = {
    "a without time": (dict(a=lambda a: a[:, 0]), "a must be"),
    "T = 0": (dict(a=lambda a: a[:, :0]), "T >= 1"),
    "NaN observed": (dict(a=lambda a: a.index_fill(1, torch.tensor(2), math.nan)), "finite|NaN"),
    "infinity observed": (
        dict(a=lambda a: a.index_fill(1, torch.tensor(2), math.inf)),
        "finite|NaN",
    ),
    "F of another size": (dict(F=lambda F: F[..., :2, :2]), "^F must be"),
    "F for T steps": (dict(F=lambda F: torch.cat([F, F[:, :1]], 1)), "^F must be"),
    "F for another batch": (dict(F=lambda F: F[:2]), "^F must be"),
    "F not square": (dict(F=lambda F: F[..., :2]), "^F must be"),
    "F with too many axes": (dict(F=lambda F: F.unsqueeze(0)), "^F must be"),
    "b too short": (dict(b=lambda b: b[..., :2]), "^b must be"),
    "Q of another size": (dict(Q=lambda Q: Q[..., :2, :2]), "^Q must be"),
    "H of another size": (dict(H=lambda H: H[..., :2]), "^H must be"),
    "R of another size": (dict(R=lambda R: R[..., :1, :1]), "^R must be"),
    "m1 of another size": (dict(m1=lambda m: m[..., :2]), "to go with m1"),
    "m1 a number": (dict(m1=lambda m: m[0, 0]), "^m1 must be"),
    "m1 for another batch": (dict(m1=lambda m: m[:2]), "^m1 must be"),
    "P1 of another size": (dict(P1=lambda P: P[..., :2]), "^P1 must be"),
    "P1 a vector": (dict(P1=lambda P: P[0, 0]), "^P1 must be"),
    "mask of floats": (dict(mask=lambda a: torch.ones(a.shape)), "mask must be"),
    "mask of another shape": (
        dict(mask=lambda a: torch.ones(3, 5, dtype=torch.bool)),
        "mask must be",
    ),
    "NaN in F": (dict(F=lambda F: F * math.nan), "finite"),
    "R negative": (dict(R=lambda R: -R), "R.*positive"),
    "R singular": (dict(R=lambda R: R * 0), "R.*positive"),
    "R not symmetric": (
        dict(R=lambda R: R + torch.tensor([[0.0, 0.1], [0.0, 0.0]], dtype=f64)),
        "R.*symmetric",
    ),
    "Q with a negative eigenvalue": (
        dict(Q=lambda Q: Q - 0.3 * torch.eye(3, dtype=f64)),
        "Q.*positive",
    ),
    "P1 with a negative eigenvalue": (
        dict(P1=lambda P: P - 0.5 * torch.eye(3, dtype=f64)),
        "P1.*positive",
    ),
    "P1 not symmetric": (dict(P1=lambda P: P.tril()), "P1.*symmetric"),
    "another dtype": (dict(H=lambda H: H.float()), "dtype|float"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    changes, message = BAD[case]
    model, _, a = problem()
    arguments = {"a": a, "mask": None, **model._asdict()}
    for name, change in changes.items():
        arguments[name] = change(a if name == "mask" else arguments[name])
    a, mask = arguments.pop("a"), arguments.pop("mask")
    model = model._replace(**arguments)
    with pytest.raises(ValueError, match=message):
        kalman_filter(a, model, mask)
    if not set(changes) & {"F", "b", "Q"}:
        with pytest.raises(ValueError, match=message):
            extended_kalman_filter(a, range(5), as_extended(model), mask)


def test_too_few_inputs():
    model, _, a = problem()
    with pytest.raises(ValueError, match="each of the 5 transitions, got 4"):
        extended_kalman_filter(a, range(4), as_extended(model))


def test_without_validation_nothing_is_read_back():
    """`validate=False` lets NaN pass (an accelerator need not wait); shapes are still checked."""
    model, _, a = problem()
    filtered = kalman_filter(a * math.nan, model, validate=False)
    assert torch.isnan(filtered.filtered_mean).any()
    with pytest.raises(ValueError, match="F must be"):
        kalman_filter(a, model._replace(F=model.F[:2]), validate=False)


def test_a_training_step_on_the_meta_device():
    """A tensor made on the CPU by mistake raises here, as it would on a GPU."""
    model, _, a = problem()
    model, a = each(model, lambda v: v.to("meta").requires_grad_()), a.to("meta")
    mask = torch.ones(3, 6, dtype=torch.bool, device="meta")
    filtered = kalman_filter(a, model, mask=mask)
    draw = sample_joint(filtered, torch.zeros(3, 6, 3, dtype=f64, device="meta"))
    (draw.log_density.sum() + smooth(filtered).mean.sum()).backward()
    assert all(v.grad.device.type == "meta" for v in model)
    extended = extended_kalman_filter(a, range(5), as_extended(model), mask=mask)
    assert smooth(extended).cross_cov.shape == (3, 5, 3, 3)
