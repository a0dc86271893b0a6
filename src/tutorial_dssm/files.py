"""Files that are never half-written and never unpickled.

Safetensors and JSON, written under a temporary name, then renamed.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from . import __version__

PART = ".part"  # how the temporary names end


def write(path: Path, data: bytes) -> None:
    """Write bytes under a temporary name in the same folder, then rename.

    On failure nothing is left and the old file stands.

    Raises ValueError (full disk, unwritable folder) with the path and the reason.
    """
    path = Path(path)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(PART, f".{path.name}.", path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def remove_parts(path: Path) -> None:
    """Remove what a killed process left of writing this file."""
    for part in Path(path).parent.glob(f".{Path(path).name}.*{PART}"):
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; ValueError with the path when it is missing or malformed."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}): it is damaged or not a file of this package"
        ) from error


def _digest(tensors: dict[str, torch.Tensor], config: str) -> str:
    """SHA-256 of config, names and values: safetensors notices a short file, not a wrong byte."""
    digest = hashlib.sha256(config.encode())
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], config: dict) -> None:
    """Write tensors to one safetensors file; config, digest and package version are its header."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    text = json.dumps(config, sort_keys=True)
    header = {"config": text, "sha256": _digest(tensors, text), "version": __version__}
    write(path, save(tensors, header))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors (on the CPU) and config of a file of `write_tensors`.

    Raises ValueError when the file is missing, damaged, not written by this package or by another
    major.minor version of it.
    """
    if not Path(path).is_file():
        raise ValueError(f"no such file: {path}")
    try:
        content = Path(path).read_bytes()  # at once: another process may replace the file meanwhile
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")  # of the JSON header that follows
        header = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        config = json.loads(header.get("config", "null"))
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error})") from error
    if not isinstance(config, dict) or "version" not in header:
        raise ValueError(
            f"{path} is a safetensors file, but not of this package: its header has no config"
        )
    if header["version"].split(".")[:2] != __version__.split(".")[:2]:
        raise ValueError(
            f"{path} was written by version {header['version']} of this package, "
            f"this is {__version__}"
        )
    if header.get("sha256") != _digest(tensors, header["config"]):
        raise ValueError(f"{path} is damaged: its content does not have the digest in its header")
    return tensors, config
