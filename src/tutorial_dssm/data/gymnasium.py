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
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .sequences import SequenceData, Splits, split_generator

IMAGE_SIZE = 16  # pixels a side


WINDOW = 500  # pixels a side of Gymnasium's frame, the axle in the middle


# at most so many of them, ±1.2 rod lengths around the axle: 16 · 17, or 256 = 64 · 4, which still
# holds the rod (reach 125)
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
                f"max_velocity must be between 0 and the environment's {env.max_speed} rad/s, got {max_velocity}"
            )

        def uniform(limit, *shape):
            """Uniform on (-limit, limit)."""
            return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * limit

        state1 = torch.stack([uniform(torch.pi, n), uniform(max_velocity, n)], -1)
        u = uniform(env.max_torque, n, length, 1)
        states = torch.from_numpy(
            np.stack([_rollout(env, s, v) for s, v in zip(state1.numpy(), u.numpy(), strict=True)])
        )
        x = _cached_frames(
            env,
            states[..., 0],
            versions,
            Path(cache_dir or default_cache_dir()),
            progress,
            image_size,
        )
    return SequenceData(x.to(dtype), u.to(dtype), states.to(dtype))


def make_gym_splits(
    seed: int = 0,
    n: int = 500,
    length: int = 15,
    max_velocity: float = 4.0,
    n_test: int = 500,
    dtype: torch.dtype = torch.float32,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    image_size: int = IMAGE_SIZE,
) -> Splits:
    """Train (n), validation (n_test) and test (n_test) sequences of Pendulum-v1, the parallel of
    `pendulum.make_splits`.

    Arguments and errors as `make_gym_sequences`; each split is drawn from its own seeded generator.
    """
    settings = (max_velocity, dtype, cache_dir, progress, image_size)
    sizes = (n, n_test, n_test)
    return Splits(
        *(
            make_gym_sequences(size, length, split_generator(seed, i), *settings)
            for i, size in enumerate(sizes)
        )
    )


def default_cache_dir() -> Path:
    """Where frames are kept: `$XDG_CACHE_HOME/tutorial_dssm`, or `~/.cache/tutorial_dssm`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tutorial_dssm"


@contextlib.contextmanager
def _pendulum():
    """The bare environment, without wrappers or display, and the versions that made it; leaves the
    process as it was.
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
                f'Gymnasium data needs gymnasium and pygame: pip install "tutorial-dssm[gym]" ({error})'
            ) from error
        env = gymnasium.make(
            "Pendulum-v1", render_mode="rgb_array", disable_env_checker=True
        ).unwrapped
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


def _rollout(env, state1: np.ndarray, u: np.ndarray) -> np.ndarray:
    """state1 [2], u [T, 1] -> states [T, 2], stepped by the environment; the last torque is not
    used.
    """
    states = [state1]
    env.state = state1
    for torque in u[:-1]:
        env.step(torque)
        states.append(env.state)
    return np.stack(states)


def _frame(env, phi: float, size: int = IMAGE_SIZE) -> np.ndarray:
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
    env, phi: Tensor, versions: str, folder: Path, progress: bool, size: int
) -> Tensor:
    """Frames of the angles phi [n, T] -> [n, T, size²] float32, from the cache or rendered and then
    kept there.

    The file's name is a hash of everything the frames depend on, so a change of any setting can
    never meet an old file.
    """
    key = hashlib.sha256(
        f"{CACHE_FORMAT}, {versions}, {list(phi.shape)}".encode() + phi.numpy().tobytes()
    ).hexdigest()[:32]
    path = folder / f"pendulum_v1_{size}_{key}.npz"
    shape = (*phi.shape, size**2)
    frames = _load(path, shape)
    if frames is None:
        bar = tqdm(
            phi.flatten().tolist(), desc="rendering Pendulum-v1", unit="frame", disable=not progress
        )
        kind = np.dtype(
            (np.float32, size**2)
        )  # from an iterator: a list to stack would hold all frames a second time
        frames = np.fromiter(
            (_frame(env, angle, size) for angle in bar), kind, phi.numel()
        ).reshape(shape)
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
    """Write under a temporary name, then rename: a reader meets a whole file or none.

    The frames themselves are good, so a cache that cannot be written is only a warning.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            temporary = file.name
            np.savez_compressed(file, x=frames)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        message = f"the rendered frames could not be kept in {path.parent}, so they will be rendered again: {error}"
        warnings.warn(message, stacklevel=2)
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
