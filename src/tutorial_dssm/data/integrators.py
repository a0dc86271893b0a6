"""Simple integrators of the pendulum, to be compared with the classical Runge-Kutta method of
`pendulum.step`.

States are (φ, φ̇) in rad and rad/s with φ = 0 upright, torques in N·m, times in s, as in
`pendulum`. All steps are deterministic, differentiable and work on any device and in any precision.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import names
from . import pendulum
from .pendulum import PendulumConfig

DEFAULT = PendulumConfig()


def euler(state: Tensor, torque: Tensor, h: float, config: PendulumConfig = DEFAULT) -> Tensor:
    """One step of the explicit Euler method: follow the slope at the start for h seconds. state
    [..., 2], torque [...] -> [..., 2].

    Equations: ssm-euler
    """
    slope = torch.stack([state[..., 1], pendulum.acceleration(state, torque, config)], -1)
    return state + h * slope


def semi_implicit(
    state: Tensor, torque: Tensor, h: float, config: PendulumConfig = DEFAULT
) -> Tensor:
    """One step of the semi-implicit Euler method: first the velocity, then the angle with the *new*
    velocity. Shapes as for `euler`.

    Equations: ssm-semi
    """
    velocity = state[..., 1] + h * pendulum.acceleration(state, torque, config)
    return torch.stack([state[..., 0] + h * velocity, velocity], -1)


def runge_kutta(
    state: Tensor, torque: Tensor, h: float, config: PendulumConfig = DEFAULT
) -> Tensor:
    """One step of the classical Runge-Kutta method of order 4, that of `pendulum.step`.

    Shapes as for `euler`.

    Equations: ssm-rk4
    """
    return pendulum.step(state, torque, replace(config, dt=h, substeps=1))


METHODS: dict[str, Callable[..., Tensor]] = {
    "Euler": euler,
    "semi-implicit Euler": semi_implicit,
    "Runge-Kutta 4": runge_kutta,
}


def integrate(
    state: Tensor,
    torque: Tensor,
    seconds: float,
    steps: int,
    method: str = "Runge-Kutta 4",
    config: PendulumConfig = DEFAULT,
) -> Tensor:
    """The states after 0, 1, ..., `steps` equal steps that make `seconds` together, under a
    constant torque.

    state [..., 2], torque [...] -> [steps + 1, ..., 2]. Raises ValueError for an unknown method,
    seconds <= 0 or steps < 1.
    """
    names.check("method", method, METHODS)
    if not seconds > 0 or steps < 1:
        raise ValueError(
            f"need seconds > 0 and steps >= 1, got seconds = {seconds}, steps = {steps}"
        )
    states = [state]
    for _ in range(steps):
        states.append(METHODS[method](states[-1], torque, seconds / steps, config))
    return torch.stack(states)
