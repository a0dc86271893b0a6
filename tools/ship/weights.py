"""The weights of a finished run, and how they came about, as package data."""

from pathlib import Path

from tools.ship import provenance
from tutorial_dssm import experiments, files
from tutorial_dssm.learning.training import CHECKPOINT, MODEL


def seconds(folder: Path) -> float:
    """What a run's training took."""
    checkpoint, _ = files.read_tensors(folder / CHECKPOINT)
    return round(float(checkpoint["seconds"]), 1)


def ship(folder: Path, name: str, command: str, record: bool = False) -> None:
    """Copy the weights of the run in a folder, with their provenance.

    Args:
        folder: of a finished run.
        name: of the run.
        command: that makes these files.
        record: whether to ship history and snapshots of the training, too.
    """
    tensors, config = files.read_tensors(folder / MODEL)
    shipped = {f"{name}.safetensors": tensors}
    if record:
        checkpoint, _ = files.read_tensors(folder / CHECKPOINT)
        kept = {key: checkpoint[key] for key in experiments.TrainingRecord._fields}
        shipped[f"{name}{experiments.HISTORY}.safetensors"] = kept
    for file, content in shipped.items():
        files.write_tensors(experiments.PRETRAINED / file, content, config)
    provenance.record(shipped, command, seconds(folder))
