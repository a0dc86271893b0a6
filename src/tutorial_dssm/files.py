"""Files that are never half-written and never unpickled: safetensors and JSON under a temporary name, then renamed."""

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from . import __version__


def write(path: Path, data: bytes) -> None:
    """Write bytes under a temporary name in the same folder, then rename. On failure nothing is left behind and the old file stands.

    Raises ValueError (full disk, unwritable folder) with the path and the reason.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def write_json(path: Path, value) -> None:
    """Write a value as indented JSON."""
    write(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path):
    """Read JSON; ValueError with the path when it is missing or malformed."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): it is damaged or not a file of this package") from error


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], config: dict) -> None:
    """Write tensors with their config (JSON) and the package version in the header of one safetensors file."""
    header = {"config": json.dumps(config, sort_keys=True), "version": __version__}
    write(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, header))


def read_tensors(path: Path, device="cpu") -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors and config of a file of `write_tensors`.

    Raises ValueError when the file is missing, damaged, not written by this package or by another major.minor version of it.
    """
    if not Path(path).is_file():
        raise ValueError(f"no such file: {path}")
    try:
        with safe_open(str(path), "pt", device=str(device)) as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error})") from error
    if "config" not in header or "version" not in header:
        raise ValueError(f"{path} holds tensors but not of this package: its header has no config")
    if header["version"].split(".")[:2] != __version__.split(".")[:2]:
        raise ValueError(f"{path} was written by version {header['version']} of this package, this is {__version__}")
    return tensors, json.loads(header["config"])
