"""Finished runs: loading them from a folder or from the package, and evaluating them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .. import files
from ..evaluation import scores
from ..learning.objectives import Objective
from ..learning.training import CHECKPOINT, MODEL, choose_device, load_weights
from ..models import Model
from ..names import check
from .runs import Experiment, build, from_dict, make_data, make_long_data, named_runs

PRETRAINED = Path(__file__).parents[1] / "pretrained"
HISTORY = "-history"  # NAME-history.safetensors: how the weights of NAME.safetensors came about


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
    where = choose_device(device)
    try:
        load_weights(model.to(where), objective.to(where), tensors)
    except RuntimeError as error:
        what = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path} does not fit {experiment.name} of this version ({what})"
        ) from error
    return Trained(experiment, model.eval(), objective.eval())


def load_run(folder: Path, device: str = "cpu") -> Trained:
    """The finished run in a folder. ValueError where it is missing, unfinished or damaged."""
    folder = Path(folder)
    if not (folder / MODEL).exists():
        unfinished = (folder / CHECKPOINT).exists()
        state = "an unfinished run: train it to the end first" if unfinished else "no run"
        raise ValueError(f"{folder} holds {state}")
    return _load(folder / MODEL, device)


def shipped() -> list[str]:
    """Names of the runs whose weights the package ships (seed 0)."""
    stems = (path.stem for path in PRETRAINED.glob("*.safetensors"))
    return sorted(stem for stem in stems if not stem.endswith(HISTORY))


def load_pretrained(name: str, device: str = "cpu") -> Trained:
    """Weights that the package ships (seed 0).

    ValueError for an unknown name (with the nearest) or one without weights.
    """
    names = shipped()
    check("run", name, {*names, *named_runs()})
    if name not in names:
        raise ValueError(f"the package ships no weights of {name}: train it, then give its folder")
    return _load(PRETRAINED / f"{name}.safetensors", device)


def load(name_or_folder: str, device: str = "cpu") -> Trained:
    """A run by folder, or shipped weights by name.

    Errors as `load_run` and `load_pretrained`.
    """
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
    """Where the record of a run is, or would be.

    That is the checkpoint of a folder, or the history beside shipped weights.
    """
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder) / CHECKPOINT
    return PRETRAINED / f"{name_or_folder}{HISTORY}.safetensors"


def load_training_record(name_or_folder: str | Path) -> TrainingRecord:
    """History and snapshots of a run by folder, or of shipped weights by name.

    ValueError where there are none.
    """
    path = training_record_path(name_or_folder)
    tensors, _ = files.read_tensors(path)
    try:
        return TrainingRecord(*(tensors[name] for name in TrainingRecord._fields))
    except KeyError as error:
        raise ValueError(f"{path} holds no {error.args[0]}") from error


def load_results() -> list[dict]:
    """All rows of the book's table: one per run and seed."""
    return files.read_json(PRETRAINED / "results.json")


def load_study() -> list[dict]:
    """The rows of the shipped study, one per model, objective and seed.

    They have the keys of `evaluate`, the IWAE bound, the config's hash and versions.
    """
    return files.read_json(PRETRAINED / "study.json")


def load_tuning() -> list[dict]:
    """The runs that chose the study's settings, on one seed and validation sequences.

    A row per objective, setting and model.
    """
    return files.read_json(PRETRAINED / "study_tuning.json")


def names_of(experiment: Experiment) -> dict[str, str | int]:
    """What every row says first: run, model, objective, seed, steps and data."""
    return {
        "run": experiment.name,
        "model": experiment.model_name,
        "objective": experiment.objective_name,
        "seed": experiment.seed,
        "steps": experiment.training.steps,
        "data": experiment.data,
    }


def evaluate(trained: Trained, split: str = "test") -> dict:
    """Evaluate a trained run on the held-out sequences of its data set.

    Returns:
        Numbers by name, after what `names_of` says of the run.
    Raises:
        ValueError: the model cannot predict (one of single frames).
    """
    model, data = trained.model, trained.experiment.data
    if "predict" in model.cannot:
        why = model.cannot["predict"]
        raise ValueError(f"{trained.experiment.name} cannot be evaluated over time: {why}")
    device = next(model.parameters()).device
    sequences = getattr(make_data(data), split).to(device)
    long = make_long_data(data).to(device)
    result = scores.evaluate(model, trained.objective.noise(), sequences, long)
    return names_of(trained.experiment) | result.to_dict()
