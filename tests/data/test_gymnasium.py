"""The data of Gymnasium's Pendulum-v1 against Gymnasium itself (a few hundred frames at most)."""

import math
import os
import sys
from functools import partial

import numpy as np
import pytest
import torch

from tutorial_dssm.data import SequenceData, make_splits, pendulum
from tutorial_dssm.data import gymnasium as ours
from tutorial_dssm.data.gymnasium import default_cache_dir, make_gym_sequences

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra [gym]")
pytest.importorskip("pygame", reason="needs the extra [gym]")
pytestmark = pytest.mark.gym

N, T = 12, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(folder):
    return sequences(folder)


def sequences(folder, n=N, length=T, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    return make_gym_sequences(
        n, length, generator, dtype=torch.float64, cache_dir=folder, progress=False, **settings
    )


@pytest.fixture
def env(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gymnasium.make("Pendulum-v1", render_mode="rgb_array")
    env.reset(seed=0)
    yield env
    env.close()


@pytest.fixture
def no_rendering(monkeypatch):
    def fail(*_):
        raise AssertionError("rendered although the frames are in the cache")

    monkeypatch.setattr(ours, "_frame", fail)


def test_shapes_ranges_and_types(data):
    assert (
        data.x.shape == (N, T, 256) and data.u.shape == (N, T, 1) and data.state.shape == (N, T, 2)
    )
    assert {v.dtype for v in (data.x, data.u, data.state)} == {torch.float64}
    assert data.x.min() == 0 and 0.9 < data.x.max() <= 1  # bright rod on dark
    assert (data.x == 0).double().mean() > 0.5
    assert data.u.abs().max() <= 2 and data.u.abs().max() > 1.5
    assert data.state[:, 0, 0].abs().max() <= math.pi and data.state[:, 0, 1].abs().max() <= 4
    assert isinstance(data, SequenceData) and data.dt == 0.05


def test_stepping_the_environment_reproduces_every_next_state(data, env):
    for states, torques in zip(data.state.numpy(), data.u.numpy(), strict=True):
        for t in range(T - 1):
            env.reset()
            env.unwrapped.state = states[t]
            env.step(torques[t])
            np.testing.assert_allclose(env.unwrapped.state, states[t + 1], atol=1e-12)


def test_pixels_are_gymnasiums(data, env):
    """A slow reference from the raw frame: the brightness of the rod's colour, by blocks."""
    for n in range(3):
        env.unwrapped.state, env.unwrapped.last_u = data.state[n, 0].numpy(), None
        frame = env.render()
        assert frame.shape == (500, 500, 3)
        for pixel in range(256):
            top, left = 114 + 17 * (pixel // 16), 114 + 17 * (pixel % 16)
            green = frame[top : top + 17, left : left + 17, 1].astype(float)
            brightness = np.minimum((255 - green) / (255 - 77), 1).mean()
            assert data.x[n, 0, pixel].item() == pytest.approx(brightness, abs=1e-6)


def test_trap_one_the_torque_leaves_no_trace(env):
    bare = env.unwrapped
    bare.state, bare.last_u = np.array([0.3, 0.0]), None
    without = env.render().copy()
    bare.last_u = 2.0
    assert (env.render() != without).any()  # the trap is there
    frames = []
    for torque in (-2.0, 0.5, 2.0):
        bare.last_u = torque
        frames.append(ours._frame(bare, 0.3))
    assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[0], frames[2])


def test_trap_two_the_crop_holds_the_whole_rod_and_little_else(data):
    image = data.x.reshape(-1, 16, 16)
    brightness = image.sum((-2, -1))
    assert brightness.std() / brightness.mean() < 0.02  # nothing is cut off at any angle
    centres = torch.arange(16) - 7.5
    radius = torch.hypot(centres[:, None], centres[None, :])
    reach = torch.where(image > 0.3, radius, 0.0).amax((-2, -1))
    assert reach.min() > 5.5  # of 8 pixels


def test_the_angle_can_be_read_from_the_image(data):
    centres = (torch.arange(16, dtype=torch.float64) + 0.5) / 8 - 1
    image = data.x.reshape(N, T, 16, 16)
    x, y = (image * centres).sum((-2, -1)), (image * -centres[:, None]).sum((-2, -1))
    difference = torch.atan2(-x, y) - data.state[..., 0]
    assert torch.remainder(difference + math.pi, 2 * math.pi).sub(math.pi).abs().max() < 0.05


def test_same_conventions_as_our_own_images(data):
    """Gymnasium's rod lies where ours does: upright is up, positive is counter-clockwise."""
    ours = pendulum.render(data.state[..., 0])
    match = torch.nn.functional.cosine_similarity(ours, data.x, dim=-1)
    mirrored = torch.nn.functional.cosine_similarity(
        pendulum.render(-data.state[..., 0]), data.x, dim=-1
    )
    assert match.min() > 0.6 and mirrored.mean() < match.min()


def test_the_environment_variables_are_put_back(folder, monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    sequences(folder)
    assert "SDL_VIDEODRIVER" not in os.environ
    monkeypatch.setenv("SDL_VIDEODRIVER", "mine")
    sequences(folder)
    assert os.environ["SDL_VIDEODRIVER"] == "mine"


def test_splits_are_set_by_their_seed_and_disjoint(folder):
    make = partial(make_gym_sequences, cache_dir=folder, progress=False)
    first, again, other = (make_splits(make, s, n=4, length=2, n_test=3) for s in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        for name in ("x", "u", "state"):
            v, w, o = (getattr(part, name) for part in (a, b, c))
            assert v.dtype == torch.float32 and torch.equal(v, w) and not torch.equal(v, o)
    assert [len(part.x) for part in first] == [4, 3, 3]
    starts = torch.cat([part.state[:, 0] for part in (*first, *other)])
    assert len(starts.unique(dim=0)) == 20


# --- the cache ------------------------------------------------------------------------------------


def test_second_call_reads_the_cache(data, folder, no_rendering):
    again = sequences(folder)
    assert torch.equal(data.x, again.x) and torch.equal(data.state, again.state)


@pytest.mark.parametrize("change", [{"seed": 1}, {"n": 3}, {"length": 2}, {"max_velocity": 1.0}])
def test_other_settings_do_not_meet_an_old_file(data, folder, no_rendering, change):
    with pytest.raises(AssertionError, match="rendered"):
        sequences(folder, **change)


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "empty", "text", "other array", "other shape", "NaN"]
)
def test_a_damaged_file_is_rendered_again(tmp_path, damage):
    good = sequences(tmp_path, 2, 2)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "other array":
        np.savez(path, y=np.zeros(3))
    elif damage == "other shape":
        np.savez(path, x=np.zeros((2, 3, 256), np.float32))
    elif damage == "NaN":
        np.savez(path, x=np.full((2, 2, 256), np.nan, np.float32))
    else:
        path.write_bytes(
            {
                "truncated": content[:middle],
                "flipped": content[:middle]
                + bytes([content[middle] ^ 255])
                + content[middle + 1 :],
                "empty": b"",
                "text": b"not a data file",
            }[damage]
        )
    assert torch.equal(sequences(tmp_path, 2, 2).x, good.x)
    assert [p.name for p in tmp_path.iterdir()] == [
        path.name
    ]  # repaired, and no temporary file is left
    assert ours._load(path, (2, 2, 256)) is not None


def test_a_cache_that_cannot_be_written_is_only_a_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="are not kept"):
        assert sequences(blocked / "cache", 1, 2).x.shape == (1, 2, 256)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.warns(UserWarning, match="No space left"):
        sequences(tmp_path, 1, 2)
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "tutorial_dssm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir().parts[-2:] == (".cache", "tutorial_dssm")


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["gymnasium", "pygame"])
def test_a_missing_package_is_named(missing, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match="pip install gymnasium pygame"):
        sequences(tmp_path, 1, 2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"n": 0}, "at least one"),
        ({"n": -1}, "at least one"),
        ({"length": 0}, "at least one"),
        ({"max_velocity": 8.5}, "max_velocity"),
        ({"max_velocity": -1.0}, "max_velocity"),
        ({"max_velocity": math.nan}, "max_velocity"),
    ],
)
def test_bad_input_is_refused_at_the_door(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        sequences(tmp_path, **settings)
