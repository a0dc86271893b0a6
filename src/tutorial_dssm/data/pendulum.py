"""The torque-driven pendulum: its physics, its images, and data sets of both.

The state is (φ, φ̇): angle in radians with φ = 0 **upright**, counter-clockwise positive, and
angular velocity in rad/s. The control u_t is a torque in N·m, held constant between t and t+1, so
it acts on the step from state t to state t+1.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .sequences import DATA, DataSet, SequenceData

RENDERED_AT_ONCE = 2**23  # pixels


@dataclass(frozen=True)
class PendulumConfig:
    """Constants of the simulator.

    The mass, length, friction and gravity are those of Karl et al. (2017); the rest is this book's.
    """

    mass: float = 1.0  # kg
    length: float = 1.0  # m
    friction: float = 0.5  # N·m·s
    gravity: float = 9.81  # m/s²
    dt: float = 0.1  # s between two frames
    substeps: int = 10  # RK4 steps per frame
    max_torque: float = 2.0  # N·m, controls are uniform in ± this
    max_velocity: float = 8.0  # rad/s, first velocities are uniform in ± this
    image_size: int = 16  # pixels a side
    rod_width: float = 0.22  # width w of the rod, in the units of the image square [-1, 1]²
    rod_length: float = 0.8  # length of the rod, same units

    def __post_init__(self) -> None:
        for name in ("mass", "length", "dt", "substeps", "image_size", "rod_width", "rod_length"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("friction", "max_torque", "max_velocity"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("substeps", "image_size"):
            if getattr(self, name) != int(getattr(self, name)):
                raise ValueError(f"{name} must be a whole number, got {getattr(self, name)}")


def acceleration(
    state: Tensor, torque: Tensor, config: PendulumConfig = PendulumConfig()
) -> Tensor:
    """φ̈ in rad/s² from m l² φ̈ = -µ φ̇ + m g l sin φ + u. state [..., 2], torque [...] -> [...].

    Karl et al. (2017), section 5.

    Equations: ssm-ode
    """
    c = config
    phi, velocity = state[..., 0], state[..., 1]
    moment = -c.friction * velocity + c.mass * c.gravity * c.length * torch.sin(phi) + torque
    return moment / (c.mass * c.length**2)


def energy(state: Tensor, config: PendulumConfig = PendulumConfig()) -> Tensor:
    """Kinetic plus potential energy in joules, zero at rest at the height of the pivot.

    state [..., 2] -> [...].

    Equations: ssm-energy
    """
    c = config
    phi, velocity = state[..., 0], state[..., 1]
    kinetic = 0.5 * c.mass * c.length**2 * velocity**2
    return kinetic + c.mass * c.gravity * c.length * torch.cos(phi)


def step(state: Tensor, torque: Tensor, config: PendulumConfig = PendulumConfig()) -> Tensor:
    """The state one frame (`config.dt` seconds) later, by classical Runge-Kutta of order 4.

    state [..., 2], torque [...] -> [..., 2].

    Equations: ssm-rk4
    """

    def slope(s: Tensor) -> Tensor:
        """Time derivative of the state."""
        return torch.stack([s[..., 1], acceleration(s, torque, config)], -1)

    h = config.dt / config.substeps
    for _ in range(config.substeps):
        k1 = slope(state)
        k2 = slope(state + 0.5 * h * k1)
        k3 = slope(state + 0.5 * h * k2)
        k4 = slope(state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def simulate(state1: Tensor, u: Tensor, config: PendulumConfig = PendulumConfig()) -> Tensor:
    """All states from the first and the torques.

    state1 [B, 2], u [B, T, 1] -> states [B, T, 2] with states[:, 0] = state1; the last torque acts
    after the last state and is not used. Angles are not wrapped. Raises ValueError for other
    shapes, T = 0 or values that are not finite.

    Equations: ssm-pendulum
    """
    if u.ndim != 3 or u.shape[-1] != 1 or u.shape[1] == 0:
        raise ValueError(f"u must be [B, T, 1] with T >= 1, got {list(u.shape)}")
    if state1.shape != (u.shape[0], 2):
        raise ValueError(
            f"state1 must be [B, 2] = {[u.shape[0], 2]} to go with u {list(u.shape)}, "
            f"got {list(state1.shape)}"
        )
    if not (torch.isfinite(state1).all() and torch.isfinite(u).all()):
        raise ValueError("state1 and u must be finite, got NaN or infinity")
    states = [state1]
    for t in range(u.shape[1] - 1):
        states.append(step(states[-1], u[:, t, 0], config))
    return torch.stack(states, 1)


def render(phi: Tensor, config: PendulumConfig = PendulumConfig()) -> Tensor:
    """Grey images of a rod at angle φ: intensity exp(-d²/(2w²)) at distance d from the rod.

    phi [...] in radians -> [..., S²] in [0, 1], rows from top to bottom. The rod runs from the
    centre to `rod_length`·(-sin φ, cos φ).

    Equations: ssm-pendulum, ssm-render
    """
    c = config
    pixel = torch.arange(c.image_size, dtype=phi.dtype, device=phi.device)
    centres = (pixel + 0.5) * (2 / c.image_size) - 1  # [S]
    px = centres.repeat(c.image_size)  # [S²]
    py = -centres.repeat_interleave(c.image_size)  # [S²], y points up
    dx, dy = -torch.sin(phi)[..., None], torch.cos(phi)[..., None]  # direction of the rod
    # Foot of the perpendicular, kept on the rod
    along = (px * dx + py * dy).clamp(0.0, c.rod_length)
    d2 = (px - along * dx) ** 2 + (py - along * dy) ** 2
    return torch.exp(-d2 / (2 * c.rod_width**2))


def pendulum_targets(state: Tensor) -> dict[str, Tensor]:
    """What is regressed on latent states: sin φ, cos φ and φ̇, float64 [...]; state [..., 2]."""
    phi, velocity = state[..., 0].double(), state[..., 1].double()
    return {"sin": phi.sin(), "cos": phi.cos(), "velocity": velocity}


def make_sequences(
    n: int,
    length: int,
    generator: torch.Generator,
    config: PendulumConfig = PendulumConfig(),
    dtype: torch.dtype = torch.float32,
) -> SequenceData:
    """n random sequences: φ₁ ~ U(-π, π), φ̇₁ ~ U(±max_velocity), u_t ~ U(±max_torque).

    Simulated in float64, returned as `dtype`.

    Raises ValueError unless n >= 1 and length >= 1.
    """
    if n < 1 or length < 1:
        raise ValueError(
            f"need at least one sequence of at least one step, got n = {n}, length = {length}"
        )

    def uniform(limit: float, *shape: int) -> Tensor:
        """Uniform on (-limit, limit)."""
        return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * limit

    state1 = torch.stack([uniform(torch.pi, n), uniform(config.max_velocity, n)], -1)
    u = uniform(config.max_torque, n, length, 1)
    states = simulate(state1, u, config)
    # The renderer holds several float64 copies: so many sequences at once.
    at_once = max(1, RENDERED_AT_ONCE // (length * config.image_size**2))
    x = torch.cat([render(part, config).to(dtype) for part in states[..., 0].split(at_once)])
    states = states.to(dtype)
    return SequenceData(x, u.to(dtype), config.dt, states, pendulum_targets(states))


# The rod of 16 x 16 pixels is a blur at 64 x 64; a width of 0.15 is 4.8 pixels there.
FULL_IMAGE = PendulumConfig(image_size=64, rod_width=0.15)
# 64 x 64 frames take room, so that fewer sequences are held out than trained on.
FULL = DataSet(
    partial(make_sequences, config=FULL_IMAGE),
    n=2000,
    n_test=200,
    n_long=50,
    length=50,
    x_dim=FULL_IMAGE.image_size**2,
)
DATA.add("pendulum", DataSet(make_sequences))
DATA.add("pendulum-full", FULL)
