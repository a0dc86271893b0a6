"""pendulum.py against SciPy's integrator, conservation laws and a per-pixel rendering."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from tutorial_dssm.data import DATA, make_splits
from tutorial_dssm.data.pendulum import (
    PendulumConfig,
    acceleration,
    energy,
    make_sequences,
    render,
    simulate,
    step,
)

default = PendulumConfig()
odd = PendulumConfig(mass=1.7, length=0.6, friction=0.3, gravity=3.7, dt=0.07)  # no constant is 1


def random_start(count, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state1 = torch.randn(count, 2, generator=generator, dtype=torch.float64) * torch.tensor(
        [2.0, 4.0]
    )
    u = 4 * torch.rand(count, length, 1, generator=generator, dtype=torch.float64) - 2
    return state1, u


# --- physics --------------------------------------------------------------------------------------


def solve(state1, u, c):
    """By SciPy, written from m l² φ̈ = -µ φ̇ + m g l sin φ + u, frame by frame."""
    states = [np.asarray(state1)]
    for torque in u[:-1, 0].tolist():

        def slope(_, s, torque=torque):
            moment = -c.friction * s[1] + c.mass * c.gravity * c.length * math.sin(s[0]) + torque
            return [s[1], moment / (c.mass * c.length**2)]

        states.append(
            solve_ivp(slope, (0, c.dt), states[-1], "DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
        )
    return np.stack(states)


@pytest.mark.parametrize("config", [default, odd], ids=["default", "odd constants"])
def test_states_agree_with_scipy(config):
    """1e-5 rad after 1.5 s from a pendulum that amplifies errors as exp(√(g/l) t); with finer
    steps, 1e-9.

    Equations: ssm-ode
    """
    state1, u = random_start(4, 16)
    reference = np.stack([solve(s, v, config) for s, v in zip(state1, u, strict=True)])
    np.testing.assert_allclose(simulate(state1, u, config), reference, atol=1e-5)
    np.testing.assert_allclose(
        simulate(state1, u, replace(config, substeps=160)), reference, atol=1e-9
    )


def test_runge_kutta_converges_with_order_4():
    """Halving the step divides the error by 2^4 once the step is small.

    Equations: ssm-rk4
    """
    state1, u = random_start(8, 11)
    exact = simulate(state1, u, replace(default, substeps=256))
    errors = [
        (simulate(state1, u, replace(default, substeps=k)) - exact).abs().mean().item()
        for k in (4, 8, 16, 32)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert ((orders > 3.7) & (orders < 4.3)).all(), orders
    assert abs(orders[-1] - 4) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("config", [default, odd], ids=["default", "odd constants"])
def test_energy_is_conserved_without_friction_and_torque(config):
    config = replace(config, friction=0.0, substeps=100)
    state1, u = random_start(6, 60)
    joules = energy(simulate(state1, torch.zeros_like(u), config), config)
    torch.testing.assert_close(joules, joules[:, :1].expand_as(joules), rtol=0, atol=1e-7)


def test_power_balance():
    """dE/dt = (u - µ φ̇) φ̇: all the energy comes through the torque and goes through friction.

    Equations: ssm-energy
    """
    state, u = random_start(20, 1)
    state.requires_grad_()
    (gradient,) = torch.autograd.grad(energy(state, odd).sum(), state)
    velocity, torque = state[:, 1], u[:, 0, 0]
    power = gradient[:, 0] * velocity + gradient[:, 1] * acceleration(state, torque, odd)
    torch.testing.assert_close(power, (torque - odd.friction * velocity) * velocity)


def test_energy_in_joules_at_known_states():
    states = torch.tensor(
        [[0.0, 0.0], [math.pi / 2, 0.0], [math.pi, 0.0], [math.pi / 2, 2.0]], dtype=torch.float64
    )
    weight = odd.mass * odd.gravity * odd.length
    kinetic = 0.5 * odd.mass * (odd.length * 2.0) ** 2
    np.testing.assert_allclose(energy(states, odd), [weight, 0, -weight, kinetic], atol=1e-12)


def test_signs():
    """Upright balances but is unstable, hanging is stable, and a positive torque accelerates φ
    upwards.
    """
    zero = torch.zeros(())
    assert acceleration(torch.tensor([0.0, 0.0]), zero) == 0
    assert acceleration(torch.tensor([0.1, 0.0]), zero) > 0
    assert acceleration(torch.tensor([math.pi + 0.1, 0.0]), zero) < 0
    assert acceleration(torch.tensor([0.0, 1.0]), zero) < 0  # friction
    assert acceleration(torch.tensor([0.0, 0.0]), torch.tensor(1.0)) > 0
    rest = torch.tensor([[math.pi, 0.0]])
    assert (step(rest, torch.tensor([1.0])) > rest).all() and (
        step(rest, torch.tensor([-1.0])) < rest
    ).all()


def test_torque_t_acts_between_t_and_t_plus_1():
    """Equations: ssm-last"""
    state1, u = random_start(3, 6)
    changed = u.clone()
    changed[:, 2] += 1.0
    moved = (simulate(state1, u) != simulate(state1, changed)).any(-1).any(0)
    assert moved.tolist() == [False, False, False, True, True, True]
    last = u.clone()
    last[:, -1] += 1.0
    assert torch.equal(simulate(state1, u), simulate(state1, last))
    assert torch.equal(simulate(state1, u)[:, 0], state1)


def test_simulate_is_step_by_step_and_keeps_the_dtype():
    """Equations: ssm-pendulum"""
    state1, u = random_start(3, 5)
    states = simulate(state1.float(), u.float())
    assert states.dtype == torch.float32 and states.shape == (3, 5, 2)
    for t in range(4):
        assert torch.equal(states[:, t + 1], step(states[:, t], u[:, t, 0].float()))
    assert torch.equal(simulate(state1, u[:, :1]), state1[:, None])  # T = 1


def test_physics_is_differentiable():
    state, torque = (
        random_start(1, 1)[0][0].requires_grad_(),
        torch.tensor(0.7, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(
        lambda s, u: step(s, u, replace(default, substeps=2)), (state, torque)
    )


# --- rendering ------------------------------------------------------------------------------------


def slow_image(phi, config):
    """Pixel by pixel: the distance of each centre to the segment, found by its end points and its
    normal.
    """
    size, length = config.image_size, config.rod_length
    tip = (-length * math.sin(phi), length * math.cos(phi))
    image = []
    for row in range(size):
        for column in range(size):
            x, y = -1 + (2 * column + 1) / size, 1 - (2 * row + 1) / size
            share = (x * tip[0] + y * tip[1]) / length**2
            if share <= 0:
                distance = math.hypot(x, y)
            elif share >= 1:
                distance = math.hypot(x - tip[0], y - tip[1])
            else:
                distance = abs(x * tip[1] - y * tip[0]) / length
            image.append(math.exp(-0.5 * (distance / config.rod_width) ** 2))
    return image


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.floats(-10, 10), st.integers(1, 18), st.floats(0.05, 0.5), st.floats(0.1, 1.2))
def test_image_agrees_with_a_slow_reference(phi, size, width, length):
    """Equations: ssm-render"""
    config = PendulumConfig(image_size=size, rod_width=width, rod_length=length)
    image = render(torch.tensor(phi, dtype=torch.float64), config)
    np.testing.assert_allclose(image, slow_image(phi, config), atol=1e-9)


@pytest.mark.parametrize(
    "phi, bright",
    [(0.0, "top"), (math.pi, "bottom"), (math.pi / 2, "left"), (-math.pi / 2, "right")],
)
def test_phi_0_points_up_and_positive_is_counter_clockwise(phi, bright):
    image = render(torch.tensor(phi)).reshape(16, 16)
    halves = {"top": image[:8], "bottom": image[8:], "left": image[:, :8], "right": image[:, 8:]}
    assert max(halves, key=lambda side: halves[side].sum()) == bright


def test_images_have_the_period_of_a_turn_and_lie_in_0_1():
    phi = torch.linspace(-3, 3, 50, dtype=torch.float64).reshape(5, 10)
    images = render(phi)
    assert images.shape == (5, 10, 256) and images.dtype == torch.float64
    assert images.min() >= 0 and images.max() <= 1 and images.flatten(0, 1).amax(-1).min() > 0.9
    torch.testing.assert_close(images, render(phi + 2 * math.pi))
    assert render(phi.float()).dtype == torch.float32


def test_one_image_tells_the_angle_but_not_the_velocity():
    """Equations: ssm-oneframe"""
    data = make_sequences(20, 3, torch.Generator().manual_seed(0), dtype=torch.float64)
    centres = (torch.arange(16, dtype=torch.float64) + 0.5) / 8 - 1
    image = data.x.reshape(20, 3, 16, 16)
    x, y = (image * centres).sum((-2, -1)), (image * -centres[:, None]).sum((-2, -1))
    difference = torch.atan2(-x, y) - data.state[..., 0]
    assert torch.remainder(difference + math.pi, 2 * math.pi).sub(math.pi).abs().max() < 0.05
    assert torch.equal(render(data.state[..., 0]), data.x)  # nothing but the angle goes in


def test_physics_and_images_on_the_meta_device():
    assert step(torch.zeros(2, 2, device="meta"), torch.zeros(2, device="meta")).is_meta
    assert render(torch.zeros(2, 3, device="meta")).shape == (2, 3, 256)


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sequences_have_the_promised_shapes_ranges_and_types(dtype):
    data = make_sequences(40, 7, torch.Generator().manual_seed(0), dtype=dtype)
    assert (
        data.x.shape == (40, 7, 256)
        and data.u.shape == (40, 7, 1)
        and data.state.shape == (40, 7, 2)
    )
    assert {v.dtype for v in (data.x, data.u, data.state)} == {dtype}
    assert data.x.min() >= 0 and data.x.max() <= 1
    assert data.u.abs().max() <= 2 and data.u.min() < -1.5 and data.u.max() > 1.5
    phi1, velocity1 = data.state[:, 0].T
    assert phi1.abs().max() <= math.pi and phi1.min() < -2 and phi1.max() > 2
    assert velocity1.abs().max() <= 8 and velocity1.min() < -6 and velocity1.max() > 6
    close = dict(rtol=1e-4, atol=1e-4) if dtype == torch.float32 else dict(rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(simulate(data.state[:, 0], data.u), data.state, **close)
    torch.testing.assert_close(render(data.state[..., 0]), data.x, **close)


def test_sequences_follow_their_config():
    config = PendulumConfig(image_size=8, max_torque=0.0, max_velocity=0.0)
    data = make_sequences(5, 4, torch.Generator().manual_seed(0), config)
    assert data.x.shape == (5, 4, 64) and (data.u == 0).all() and (data.state[:, 0, 1] == 0).all()


def test_splits_are_set_by_their_seed_and_disjoint():
    first, again, other = (
        make_splits(make_sequences, seed, n=6, length=3, n_test=5) for seed in (1, 1, 2)
    )
    for a, b, c in zip(first, again, other, strict=True):
        for field in ("x", "u", "state"):
            assert torch.equal(getattr(a, field), getattr(b, field))
            assert not torch.equal(getattr(a, field), getattr(c, field))
    assert [len(part.x) for part in first] == [6, 5, 5]
    starts = torch.cat([part.state[:, 0] for part in (*first, *other)])
    assert len(starts.unique(dim=0)) == 2 * (6 + 5 + 5)


def test_default_splits_are_the_published_ones_in_size():
    splits = DATA["pendulum"].splits()
    assert [tuple(part.x.shape) for part in splits] == [(500, 15, 256)] * 3
    assert {v.dtype for part in splits for v in (part.x, part.u, part.state)} == {torch.float32}
    assert {part.dt for part in splits} == {0.1} == {PendulumConfig().dt}


def test_data_do_not_touch_the_global_random_state():
    before = torch.random.get_rng_state()
    make_splits(make_sequences, 0, n=2, length=2, n_test=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_data_move_to_a_device():
    data = make_sequences(2, 3, torch.Generator().manual_seed(0))
    moved = replace(data, mask=torch.ones(2, 3, dtype=torch.bool)).to("meta")
    assert all(v.is_meta for v in (moved.x, moved.u, moved.state, moved.mask))
    assert all(v.is_meta for v in moved.targets.values()) and moved.dt == data.dt


def test_a_part_of_the_data_is_a_part_of_all_of_it():
    data = make_sequences(5, 4, torch.Generator().manual_seed(0))
    data = replace(data, mask=torch.rand(5, 4) > 0.5)
    rows, steps = data.rows(torch.tensor([4, 0])), data.steps(1, 3)
    assert len(data) == 5 and len(rows) == 2
    for name in ("x", "u", "state", "mask"):
        whole = getattr(data, name)
        assert torch.equal(getattr(rows, name), whole[[4, 0]])
        assert torch.equal(getattr(steps, name), whole[:, 1:3])
    for name, whole in data.targets.items():
        assert torch.equal(rows.targets[name], whole[[4, 0]])
        assert torch.equal(steps.targets[name], whole[:, 1:3])
    assert torch.equal(data.targets["sin"], data.state[..., 0].double().sin())


# --- bad input ------------------------------------------------------------------------------------

zeros = torch.zeros
bad_calls = {
    "T = 0": (lambda: simulate(zeros(2, 2), zeros(2, 0, 1)), "T >= 1"),
    "u of rank 2": (lambda: simulate(zeros(2, 2), zeros(2, 3)), r"u must be \[B, T, 1\]"),
    "two torques": (lambda: simulate(zeros(2, 2), zeros(2, 3, 2)), r"u must be \[B, T, 1\]"),
    "state of rank 1": (lambda: simulate(zeros(2), zeros(2, 3, 1)), r"state1 must be \[B, 2\]"),
    "other batch": (
        lambda: simulate(zeros(3, 2), zeros(2, 3, 1)),
        r"state1 must be \[B, 2\] = \[2, 2\]",
    ),
    "NaN state": (lambda: simulate(zeros(2, 2) * math.nan, zeros(2, 3, 1)), "finite"),
    "infinite torque": (lambda: simulate(zeros(2, 2), zeros(2, 3, 1) + math.inf), "finite"),
    "no sequence": (lambda: make_sequences(0, 3, torch.Generator()), "at least one"),
    "length 0": (lambda: make_sequences(3, 0, torch.Generator()), "at least one"),
    "negative n": (lambda: make_splits(make_sequences, n=-1), "at least one"),
    "negative length": (lambda: make_splits(make_sequences, n=2, length=-3), "at least one"),
}


@pytest.mark.parametrize("call, message", bad_calls.values(), ids=bad_calls.keys())
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "name",
    [
        "mass",
        "length",
        "dt",
        "substeps",
        "image_size",
        "rod_width",
        "rod_length",
        "friction",
        "max_torque",
        "max_velocity",
    ],
)
@pytest.mark.parametrize("value", [-1, math.nan])
def test_impossible_constants_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        PendulumConfig(**{name: value})


@pytest.mark.parametrize(
    "name", ["mass", "length", "dt", "substeps", "image_size", "rod_width", "rod_length"]
)
def test_constants_that_divide_may_not_be_zero(name):
    with pytest.raises(ValueError, match=name):
        PendulumConfig(**{name: 0})
