"""integrators.py: orders of error against SciPy, areas, one common interface."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.func import jacrev

from tutorial_dssm.data import pendulum
from tutorial_dssm.data.integrators import METHODS, euler, integrate, runge_kutta, semi_implicit

odd = pendulum.PendulumConfig(mass=1.7, length=0.6, friction=0.3, gravity=3.7)  # no constant is 1
start, torque = (
    torch.tensor([0.8, -1.3], dtype=torch.float64),
    torch.tensor(0.7, dtype=torch.float64),
)


def exact(seconds):
    def slope(_, s):
        moment = (
            -odd.friction * s[1]
            + odd.mass * odd.gravity * odd.length * math.sin(s[0])
            + float(torque)
        )
        return [s[1], moment / (odd.mass * odd.length**2)]

    return solve_ivp(slope, (0, seconds), start.numpy(), "DOP853", rtol=1e-13, atol=1e-13).y[:, -1]


@pytest.mark.parametrize(
    ("method", "order"), [("Euler", 1), ("semi-implicit Euler", 1), ("Runge-Kutta 4", 4)]
)
def test_error_falls_with_the_order_of_the_method(method, order):
    """Equations: ssm-euler, ssm-semi, ssm-rk4"""
    errors = [
        np.abs(integrate(start, torque, 0.8, steps, method, odd)[-1].numpy() - exact(0.8)).max()
        for steps in (40, 80, 160)
    ]
    measured = [math.log2(a / b) for a, b in zip(errors, errors[1:])]
    assert measured == pytest.approx([order, order], abs=0.15)


def test_runge_kutta_is_the_step_of_the_simulator():
    """Equations: ssm-rk4"""
    config = replace(odd, dt=0.07, substeps=3)
    torch.testing.assert_close(
        integrate(start, torque, 0.07, 3, config=config)[-1], pendulum.step(start, torque, config)
    )


def test_only_the_semi_implicit_step_keeps_areas_without_friction():
    """Equations: ssm-semi"""
    free = replace(odd, friction=0.0)
    areas = [
        torch.det(jacrev(lambda s, f=f: f(s, torque, 0.05, free))(start)).item()
        for f in (euler, semi_implicit, runge_kutta)
    ]
    assert areas[1] == pytest.approx(1, abs=1e-14)
    assert abs(areas[0] - 1) > 1e-3 > abs(areas[2] - 1) > 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_shapes(method):
    states = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torques = torch.zeros(3, 4, dtype=torch.float64)
    path = integrate(states, torques, 0.3, 5, method)
    assert path.shape == (6, 3, 4, 2)
    torch.testing.assert_close(
        path[:, 1, 2], integrate(states[1, 2], torques[1, 2], 0.3, 5, method)
    )
    torch.testing.assert_close(path[0], states)


def test_bad_requests_are_refused_at_the_door():
    with pytest.raises(ValueError, match="did you mean 'Euler'"):
        integrate(start, torque, 1.0, 10, "euler")
    for seconds, steps in ((0.0, 3), (-1.0, 3), (1.0, 0), (float("nan"), 2)):
        with pytest.raises(ValueError, match="seconds > 0 and steps >= 1"):
            integrate(start, torque, seconds, steps)
