"""The same pendulum data made from Gymnasium's Pendulum-v1 frames (extra `[gym]`).

Physics and pixels are Gymnasium's; this file only draws starts and torques, and crops. Its physics
differ from ours: a rod instead of a point mass, φ̈ = 3g/(2l) sin φ + 3u/(m l²) with g = 10, no
friction, Δt = 0.05 s, semi-implicit Euler, and |φ̇| clipped at 8 rad/s.
The conventions agree: φ = 0 is upright, counter-clockwise positive, u_t acts between t and t+1, and
angles are not wrapped.

Rendering is slow (a few hundred frames a second), so the frames are kept in a cache folder.
"""

import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import files
from .pendulum import pendulum_targets
from .sequences import DATA, DataSet, SequenceData

DT = 0.05  # s between two frames
IMAGE_SIZE = 16  # pixels a side
WINDOW = 500  # pixels a side of Gymnasium's frame, the axle in the middle
# At most so many of them, ±1.2 rod lengths around the axle: 16 · 17, or 256 = 64 · 4, which still
# holds the rod (reach 125).
CROP = 272
ROD_GREEN = 77  # green value of the rod; the background is 255 and the axle 0
CACHE_FORMAT = 1  # raise it when the frames change


def make_gym_sequences(
    n: int,
    length: int,
    generator: torch.Generator,
    max_velocity: float = 4.0,
    dtype: torch.dtype = torch.float32,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    image_size: int = IMAGE_SIZE,
) -> SequenceData:
    """n random sequences of Pendulum-v1: φ₁ ~ U(-π, π), φ̇₁ ~ U(±max_velocity), u_t ~ U(±2).

    The parallel of `pendulum.make_sequences`.

    Args:
        n, length: number of sequences, and frames in each.
        generator: on the CPU; the only source of randomness.
        max_velocity: rad/s, at most the environment's 8. Faster starts meet its clipping more
            often.
        dtype: of the result.
        cache_dir: folder of the frames; None is the user's cache folder (`default_cache_dir`).
        progress: show a progress bar while rendering.
        image_size: S, pixels a side: 16 or 64.
    Returns:
        `SequenceData`: x [n, length, S²] in [0, 1], the rod bright on dark; u [n, length, 1] in
        N·m; state [n, length, 2] = (φ, φ̇).
    Raises:
        ValueError: n or length below 1, max_velocity outside 0..8, or another image size.
        ImportError: Gymnasium or pygame is not installed.
    """
    if n < 1 or length < 1:
        raise ValueError(
            f"need at least one sequence of at least one step, got n = {n}, length = {length}"
        )
    if image_size not in (16, 64):
        raise ValueError(f"image_size must be 16 or 64, got {image_size}")
    with _pendulum() as (env, versions):
        if not 0 <= max_velocity <= env.max_speed:
            raise ValueError(
                f"max_velocity must be between 0 and the environment's {env.max_speed} rad/s, "
                f"got {max_velocity}"
            )

        def uniform(limit: float, *shape: int) -> Tensor:
            """Uniform on (-limit, limit)."""
            return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * limit

        state1 = torch.stack([uniform(torch.pi, n), uniform(max_velocity, n)], -1)
        u = uniform(env.max_torque, n, length, 1)
        paths = [_rollout(env, s, v) for s, v in zip(state1.numpy(), u.numpy(), strict=True)]
        states = torch.from_numpy(np.stack(paths))
        folder = Path(cache_dir or default_cache_dir())
        x = _cached_frames(env, states[..., 0], versions, folder, progress, image_size)
    states = states.to(dtype)
    return SequenceData(x.to(dtype), u.to(dtype), DT, states, pendulum_targets(states))


def default_cache_dir() -> Path:
    """Where frames are kept: `$XDG_CACHE_HOME/tutorial_dssm`, or `~/.cache/tutorial_dssm`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tutorial_dssm"


@contextlib.contextmanager
def _pendulum() -> Iterator[tuple[Any, str]]:
    """The bare environment, without wrappers or display, and the versions that made it.

    The process is left as it was.
    """
    hidden = {"SDL_VIDEODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
    before = {name: os.environ.get(name) for name in hidden}
    os.environ.update(hidden)
    try:
        try:
            import gymnasium
            import pygame
        except ImportError as error:
            raise ImportError(
                "Gymnasium data needs gymnasium, and pygame or pygame-ce (one of them, they share "
                f"a name): pip install gymnasium pygame ({error})"
            ) from error
        made = gymnasium.make("Pendulum-v1", render_mode="rgb_array", disable_env_checker=True)
        env = made.unwrapped
        try:
            yield env, f"gymnasium {gymnasium.__version__}, pygame {pygame.version.ver}"
        finally:
            env.close()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _rollout(env: Any, state1: np.ndarray, u: np.ndarray) -> np.ndarray:
    """state1 [2], u [T, 1] -> states [T, 2], stepped by the environment; u_T is not used."""
    states = [state1]
    env.state = state1
    for torque in u[:-1]:
        env.step(torque)
        states.append(env.state)
    return np.stack(states)


def _frame(env: Any, phi: float, size: int = IMAGE_SIZE) -> np.ndarray:
    """One image at angle φ: [size²] float32 in [0, 1], 1 where a pixel is all rod.

    Two traps: the environment draws the last torque as an arrow into the image (the pixels would
    tell u), so `last_u` is cleared; and its full frame shrinks the rod to a blob, so the frame is
    cropped to the rod's reach before each block of 17×17 (or 4×4) pixels is averaged.
    """
    env.state, env.last_u = np.array([phi, 0.0]), None
    block = CROP // size
    crop = slice((WINDOW - block * size) // 2, (WINDOW + block * size) // 2)
    green = env.render()[crop, crop, 1].astype(np.float32)
    rod = np.clip((255 - green) / (255 - ROD_GREEN), 0, 1)  # the black axle counts as rod
    return rod.reshape(size, block, size, block).mean((1, 3)).reshape(-1)


def _cached_frames(
    env: Any, phi: Tensor, versions: str, folder: Path, progress: bool, size: int
) -> Tensor:
    """Frames of the angles phi [n, T] -> [n, T, size²] float32, rendered once and kept.

    The file's name is a hash of everything the frames depend on, so a change of any setting can
    never meet an old file.
    """
    depends = f"{CACHE_FORMAT}, {versions}, {list(phi.shape)}".encode() + phi.numpy().tobytes()
    key = hashlib.sha256(depends).hexdigest()[:32]
    path = folder / f"pendulum_v1_{size}_{key}.npz"
    shape = (*phi.shape, size**2)
    frames = _load(path, shape)
    if frames is None:
        angles = phi.flatten().tolist()
        bar = tqdm(angles, desc="rendering Pendulum-v1", unit="frame", disable=not progress)
        # From an iterator: a list to stack would hold all frames a second time.
        kind = np.dtype((np.float32, size**2))
        rendered = np.fromiter((_frame(env, angle, size) for angle in bar), kind, phi.numel())
        frames = rendered.reshape(shape)
        _save(path, frames)
    return torch.from_numpy(frames)


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The frames, or None when there is no file or it is damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            frames = arrays["x"]
    except Exception:  # whatever is wrong with a cache file, its frames can be rendered again
        return None
    good = (
        frames.shape == shape
        and frames.dtype == np.float32
        and frames.min() >= 0
        and frames.max() <= 1
    )
    return frames if good else None


def _save(path: Path, frames: np.ndarray) -> None:
    """Keep the frames. They are good in themselves: a cache that cannot be written is a warning."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=frames)
    try:
        files.write(path, buffer.getvalue())
    except ValueError as error:
        message = f"the rendered frames are not kept, so they will be rendered again: {error}"
        warnings.warn(message, stacklevel=2)


DATA.add("gymnasium", DataSet(make_gym_sequences))
DATA.add(
    "gymnasium-full",
    DataSet(
        partial(make_gym_sequences, image_size=64),
        n=2000,
        n_test=200,
        n_long=50,
        length=50,
        x_dim=64**2,
    ),
)
