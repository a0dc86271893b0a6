"""The study: models x objectives x seeds, trained and evaluated on all cores or on a cluster, and
what the runs say about each other.
"""

import csv
import hashlib
import io
import json
import math
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from .. import __version__, files
from ..evaluation import bounds, scores
from ..learning.objectives import AnnealedConfig, ConstrainedConfig, LearnedNoiseConfig
from ..learning.training import TrainingConfig
from ..models.e2c import E2C
from . import runs, storage
from .backends import workers
from .runs import Experiment

MODELS = ("dkf", "dks", "dvbf", "dvbf-smoothing", "kvae", "rssm", "ekvae")


OBJECTIVES = ("elbo-learned-noise", "annealed", "constrained")


ENDINGS = (*OBJECTIVES, "elbo", "rewo", "balanced")  # every objective of the named runs


SEEDS = "0-4"


BUDGET = TrainingConfig(
    steps=1500, noise_learning_rate=0.02, noise_warmup=600
)  # of every run, whatever the model


# chosen for all models together, on a seed that is not among the study's (book/make_tuning.py)
BUDGET_OBJECTIVES = {
    "elbo-learned-noise": LearnedNoiseConfig(sigma0=1.0),
    "annealed": AnnealedConfig(steps=300),
    "constrained": ConstrainedConfig(target_mse=1.2e-3, lambda0=0.0072, rate_after=0.02),
}


ROW, TABLE = "row.json", "study"  # of one run, in its folder; of all, TABLE.csv and TABLE.json


BROKEN = (
    FloatingPointError,
    np.linalg.LinAlgError,
    torch.linalg.LinAlgError,
)  # the numbers broke down: an outcome, not an accident


# ---------------------------------------------------------------- running


class Failure(NamedTuple):
    """A run that did not end well."""

    name: str
    seed: int
    error: str  # class and message

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}: {self.error}"


class Study(NamedTuple):
    """What a call of `run` leaves."""

    rows: list[dict]  # the table: every outcome in the folder, those of earlier calls too
    failures: list[Failure]  # of the runs that were asked for


def parse_seeds(text: str) -> list[int]:
    """ "0-4" or "0,2,7-9" -> sorted seeds, each once. ValueError when malformed or empty."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"seeds must look like 0-4 or 0,2,7-9, got {text!r}")
        first, last = int(first), int(last or first)
        if not first <= last < first + 10_000:
            raise ValueError(
                f"seeds must be ranges from low to high of at most 10000, got {text!r}"
            )
        seeds.update(range(first, last + 1))
    return sorted(seeds)


def equal_budget(experiment: Experiment, steps: int | None = None) -> Experiment:
    """The run with the study's training and the study's settings of its objective, which are the
    same for all models.
    """
    objective = BUDGET_OBJECTIVES.get(split(experiment.name)[1], experiment.objective)
    return replace(
        experiment,
        training=BUDGET if steps is None else replace(BUDGET, steps=steps),
        objective=objective,
    )


def grid(
    models: Sequence[str], objectives: Sequence[str], seeds: Iterable[int], steps: int | None = None
) -> list[Experiment]:
    """All runs, at equal budget, seed by seed, so that every model has been seen once early on.

    ValueError as `experiments.get`, or for an empty grid.
    """
    seeds, names = (
        list(dict.fromkeys(seeds)),
        dict.fromkeys(f"{m}-{o}" for m in models for o in objectives),
    )
    if not names or not seeds:
        raise ValueError("a study needs at least one model, one objective and one seed")
    return [equal_budget(runs.get(name, seed, steps), steps) for seed in seeds for name in names]


def split(run: str) -> tuple[str, str]:
    """<model>-<objective> -> (model, objective); the objective is the longest known one, "" where
    there is none.
    """
    objective = max((o for o in ENDINGS if run.endswith(f"-{o}")), key=len, default="")
    return run.removesuffix(f"-{objective}") if objective else run, objective


# ---------------------------------------------------------------- what the rows say


def config_hash(experiment: Experiment) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the experiment as JSON with sorted keys: names
    everything that decides its outcome.
    """
    return hashlib.sha256(json.dumps(experiment.to_dict(), sort_keys=True).encode()).hexdigest()[
        :12
    ]


def run_one(experiment: Experiment, folder: Path) -> dict:
    """Train an experiment in a folder (or go on there), evaluate it on the CPU with one thread, and
    write its row; a finished one is only read.

    A run whose numbers break down has a row too: `nan` true, `error` the reason, no numbers. It is
    not tried again, since it would go the same way. ValueError when the folder holds another run;
    errors of `experiments.run` and `experiments.evaluate` other than `BROKEN`.
    """
    folder, config = Path(folder), config_hash(experiment)
    files.remove_parts(folder / ROW)
    if (folder / ROW).exists():
        row = files.read_json(folder / ROW)
        if not isinstance(row, dict) or row.get("config") != config:
            raise ValueError(
                f"{folder} holds another run than {config}; choose another folder, or remove it to start again"
            )
        return row
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        row = _outcome(experiment, folder, config)
    finally:
        torch.set_num_threads(threads)
    files.write_json(folder / ROW, row)
    return row


def _outcome(experiment: Experiment, folder: Path, config: str) -> dict:
    """The row of a run: names, configuration, versions, time, and every number of
    `experiments.evaluate` (None where it is not finite).
    """
    seconds, error, numbers = [0.0], "", {}
    try:
        state = runs.run(
            experiment,
            folder,
            "cpu",
            progress=False,
            on_step=lambda run: seconds.append(run.seconds),
        )
        seconds.append(state.seconds)  # a run that was trained before takes no step
        trained = storage.load_run(folder)
        numbers = storage.evaluate(trained) | tighter_bound(trained)
    except BROKEN as problem:
        error = _text(problem)
    measured = {
        name: numbers.get(name)
        for name in (*(field.name for field in fields(scores.Evaluation)), "iwae", "iwae_se")
    }
    finite = {k: v if v is not None and math.isfinite(v) else None for k, v in measured.items()}
    broken = bool(error) or any(finite[k] is None for k in numbers.keys() & finite.keys())
    model, objective = split(experiment.name)
    return {
        "run": experiment.name,
        "model": model,
        "objective": objective,
        "seed": experiment.seed,
        "steps": experiment.training.steps,
        "data": experiment.data,
        "config": config,
        "nan": broken,
        "error": error,
        "seconds": seconds[-1],
        **finite,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "package": __version__,
        "python": platform.python_version(),
    }


def tighter_bound(trained: storage.Trained, sequences: int = 50, K: int = 100) -> dict[str, float]:
    """The importance-weighted bound with K draws at the run's own noise, on the first test
    sequences: its mean and standard error in nats.

    Nothing for E2C, whose loss is that of pairs of frames and bounds nothing.
    """
    if isinstance(trained.model, E2C):
        return {}
    data = runs.make_data(trained.experiment.data).test
    bound = bounds.iwae(
        trained.model,
        data.x[:sequences],
        data.u[:sequences],
        trained.objective.noise(),
        K,
        torch.Generator().manual_seed(0),
    )
    return {"iwae": float(bound.mean()), "iwae_se": float(bound.std() / len(bound) ** 0.5)}


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _job(k: int, experiment: Experiment, folder: Path) -> tuple[int, str]:
    """Run number k of the grid in a worker; its error, or "".

    Nothing but an interruption gets out.
    """
    try:
        return k, run_one(experiment, folder)["error"]
    except Exception as error:
        return k, _text(error)


def run(
    out: Path,
    models: Sequence[str] = MODELS,
    objectives: Sequence[str] = OBJECTIVES,
    seeds: Iterable[int] = tuple(parse_seeds(SEEDS)),
    steps: int | None = None,
    jobs: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    progress: bool = True,
) -> Study:
    """Run the grid, each run in OUT/<name>-seed<k>, and write OUT/study.csv and OUT/study.json
    after every run.

    Finished runs are not done again, interrupted ones go on from their checkpoint, and a failed one
    does not stop the others.

    Args:
        out: folder of the study; on a cluster, one that every worker sees under this path.
        models, objectives, seeds: what to combine.
        steps: optimiser steps, if not those of `BUDGET`.
        jobs: runs at a time on this machine (all cores if None); each uses one thread.
        backend: of joblib: loky (processes on this machine), dask or ray.
        scheduler: address of the Dask scheduler, or of a Ray cluster.
    Raises:
        ValueError: unknown name (with the nearest), bad seed, steps or jobs, a backend without what
            it needs, workers with several threads.
        ImportError: the backend is not installed.
    """
    planned, out = grid(models, objectives, seeds, steps), Path(out).resolve()
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    failures: dict[int, Failure] = {}
    waiting = dict(enumerate(planned))
    with workers(backend, scheduler, jobs) as parallel:
        _write_table(out)  # an unwritable folder shows now
        tasks = [
            joblib.delayed(_job)(k, e, out / f"{e.name}-seed{e.seed}")
            for k, e in enumerate(planned)
        ]
        bar = tqdm(total=len(planned), disable=not progress, unit="run", dynamic_ncols=True)
        with bar:
            try:
                for k, error in parallel(tasks):
                    e = waiting.pop(k)
                    if error:
                        failures[k] = Failure(e.name, e.seed, error)
                        bar.write(f"failed: {failures[k]}", file=sys.stderr)
                    _write_table(out)
                    bar.set_postfix_str(
                        f"{e.name}, seed {e.seed}; {len(failures)} failed", refresh=False
                    )
                    bar.update()
            # a worker died (out of memory, killed), which joblib answers by stopping the others
            except Exception as error:
                for k, e in waiting.items():
                    failures[k] = Failure(e.name, e.seed, f"stopped ({_text(error)})")
    return Study(_write_table(out), [failures[k] for k in sorted(failures)])


# ---------------------------------------------------------------- the table


def load(folder: Path) -> list[dict]:
    """The rows of all runs that ended in a study's folder, in the order of
    `experiments.EXPERIMENTS` and seeds. ValueError for a damaged row.
    """
    rows = []
    for path in Path(folder).glob(f"*/{ROW}"):
        rows.append(row := files.read_json(path))
        if not isinstance(row, dict) or not {"run", "seed", "config"} <= row.keys():
            raise ValueError(f"{path} is not a row of a study")
    order = {name: k for k, name in enumerate(runs.EXPERIMENTS)}
    return sorted(
        rows, key=lambda row: (order.get(row["run"], len(order)), row["run"], row["seed"])
    )


def to_csv(rows: Sequence[Mapping]) -> str:
    """Rows as CSV with a head; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_table(out: Path) -> list[dict]:
    rows = load(out)
    files.write(out / f"{TABLE}.csv", to_csv(rows).encode())
    files.write_json(out / f"{TABLE}.json", rows)
    return rows
