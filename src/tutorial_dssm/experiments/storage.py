"""Finished runs: loading them from a folder or from the package, and evaluating them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .. import files
from ..evaluation import scores
from ..learning.objectives import Objective
from ..learning.training import CHECKPOINT, MODEL, choose_device
from ..models.base import Model, SequentialModel
from ..names import check
from .runs import EXPERIMENTS, Experiment, build, from_dict, make_data, make_long_data


def load_study() -> list[dict]:
    """The rows of the shipped study: a row per model, objective and seed, with the keys of
    `evaluate`, the IWAE bound, config hash and versions.
    """
    return files.read_json(PRETRAINED / "study.json")


def load_tuning() -> list[dict]:
    """The runs that chose the study's settings (`book/make_tuning.py`): a row per objective,
    setting and model, on one seed and validation films.
    """
    return files.read_json(PRETRAINED / "study_tuning.json")


PRETRAINED = Path(__file__).parents[1] / "pretrained"


HISTORY = (
    "-history"  # NAME-history.safetensors beside NAME.safetensors: how shipped weights came about
)


@dataclass(frozen=True)
class Trained:
    """A trained run, loaded from a folder or from the package."""

    experiment: Experiment
    model: Model
    objective: Objective


def _load(path: Path, device: str = "cpu") -> Trained:
    tensors, config = files.read_tensors(path)
    experiment = from_dict(config)
    model, objective = build(experiment)
    model.to(choose_device(device)), objective.to(choose_device(device))
    try:
        for name, module in (("model.", model), ("objective.", objective)):
            module.load_state_dict(
                {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}
            )
    except RuntimeError as error:
        what = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path} does not fit {experiment.name} of this version ({what})"
        ) from error
    return Trained(experiment, model.eval(), objective.eval())


def load_run(folder: Path, device: str = "cpu") -> Trained:
    """The finished run in a folder.

    ValueError when there is none, or an unfinished or damaged one.
    """
    folder = Path(folder)
    if not (folder / MODEL).exists():
        state = (
            "an unfinished run: train it to the end first"
            if (folder / CHECKPOINT).exists()
            else "no run"
        )
        raise ValueError(f"{folder} holds {state}")
    return _load(folder / MODEL, device)


def load_pretrained(name: str, device: str = "cpu") -> Trained:
    """Weights that the package ships (seed 0).

    ValueError for an unknown name (with the nearest) or one without weights.
    """
    names = sorted(p.stem for p in PRETRAINED.glob("*.safetensors") if not p.stem.endswith(HISTORY))
    check("run", name, {*names, *EXPERIMENTS})
    if name not in names:
        raise ValueError(f"the package ships no weights of {name}: train it, then give its folder")
    return _load(PRETRAINED / f"{name}.safetensors", device)


def load(name_or_folder: str, device: str = "cpu") -> Trained:
    """A run by folder, or shipped weights by name; errors as `load_run` and `load_pretrained`."""
    if Path(name_or_folder).is_dir():
        return load_run(Path(name_or_folder), device)
    if Path(name_or_folder).name != name_or_folder:
        raise ValueError(f"no such folder: {name_or_folder}")
    return load_pretrained(name_or_folder, device)


class TrainingRecord(NamedTuple):
    """How a run went."""

    history: Tensor  # [L, 1 + len(METRICS)] rows [step, *training.METRICS]
    snapshots: Tensor  # [S, N, T, Z] latent means of the first N validation sequences
    snapshot_steps: Tensor  # [S]


def training_record_path(name_or_folder: str | Path) -> Path:
    """Where the record of a run is, or would be: the checkpoint of a folder, or the history beside
    shipped weights.
    """
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder) / CHECKPOINT
    return PRETRAINED / f"{name_or_folder}{HISTORY}.safetensors"


def load_training_record(name_or_folder: str | Path) -> TrainingRecord:
    """History and snapshots of a run by folder, or of shipped weights by name.

    ValueError when there are none.
    """
    tensors, _ = files.read_tensors(training_record_path(name_or_folder))
    try:
        return TrainingRecord(*(tensors[name] for name in TrainingRecord._fields))
    except KeyError as error:
        raise ValueError(
            f"{training_record_path(name_or_folder)} holds no {error.args[0]}"
        ) from error


def load_results() -> list[dict]:
    """All rows of the book's table: one per run and seed."""
    return files.read_json(PRETRAINED / "results.json")


def evaluate(trained: Trained, split: str = "test") -> dict:
    """Evaluate a trained run on the held-out sequences of its data set (500; 200 in the full
    preset): numbers by name, with run, seed and steps.
    """
    e = trained.experiment
    if not isinstance(trained.model, SequentialModel):
        raise ValueError(
            f"{e.name} is a model of single frames: it cannot predict, and there is nothing to evaluate over time"
        )
    device = next(trained.model.parameters()).device
    data = getattr(make_data(e.data), split).to(device)
    with torch.no_grad():
        result = scores.evaluate(
            trained.model, trained.objective.noise(), data, make_long_data(e.data).to(device)
        )
    return {
        "run": e.name,
        "seed": e.seed,
        "steps": e.training.steps,
        "data": e.data,
        **result.to_dict(),
    }
