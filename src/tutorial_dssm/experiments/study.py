"""The study: models x objectives x seeds, trained and evaluated on all cores or on a cluster."""

import csv
import hashlib
import io
import json
import math
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from .. import __version__, files
from ..evaluation import bounds, scores
from ..learning.objectives import AnnealedConfig, ConstrainedConfig, LearnedNoiseConfig
from ..learning.training import TrainingConfig
from . import runs, storage
from .backends import BACKENDS
from .runs import Experiment

MODELS = ("dkf", "dks", "dvbf", "dvbf-smoothing", "kvae", "rssm", "ekvae")
OBJECTIVES = ("elbo-learned-noise", "annealed", "constrained")
SEEDS = "0-4"
# Of every run, whatever the model
BUDGET = TrainingConfig(steps=1500, noise_learning_rate=0.02, noise_warmup=600)
# Chosen for all models together, on a seed that is not among the study's (tools.ship.tuning)
BUDGET_OBJECTIVES: dict[str, Any] = {
    "elbo-learned-noise": LearnedNoiseConfig(sigma0=1.0),
    "annealed": AnnealedConfig(steps=300),
    "constrained": ConstrainedConfig(target_mse=1.2e-3, lambda0=0.0072, rate_after=0.02),
}
ROW, TABLE = "row.json", "study"  # of one run, in its folder; of all, TABLE.csv and TABLE.json
# The numbers broke down: an outcome, not an accident
BROKEN = (FloatingPointError, np.linalg.LinAlgError, torch.linalg.LinAlgError)


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


# ---------------------------------------------------------------- what is run


def parse_seeds(text: str) -> list[int]:
    """Sorted seeds, each once, from a text such as 0-4 or 0,2,7-9.

    ValueError when malformed or empty.
    """
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"seeds must look like 0-4 or 0,2,7-9, got {text!r}")
        low, high = int(first), int(last or first)
        if not low <= high < low + 10_000:
            raise ValueError(
                f"seeds must be ranges from low to high of at most 10000, got {text!r}"
            )
        seeds.update(range(low, high + 1))
    return sorted(seeds)


def equal_budget(experiment: Experiment, steps: int | None = None) -> Experiment:
    """The run with the study's training and its settings of the objective, equal for all models."""
    goal = BUDGET_OBJECTIVES.get(experiment.objective_name, experiment.objective)
    training = BUDGET if steps is None else replace(BUDGET, steps=steps)
    return replace(experiment, training=training, objective=goal)


def grid(
    models: Sequence[str], objectives: Sequence[str], seeds: Iterable[int], steps: int | None = None
) -> list[Experiment]:
    """All runs, at equal budget, seed by seed, so that every model has been seen once early on.

    ValueError as `experiments.get`, or for an empty grid.
    """
    names = dict.fromkeys(f"{m}-{o}" for m in models for o in objectives)
    seeds = list(dict.fromkeys(seeds))
    if not names or not seeds:
        raise ValueError("a study needs at least one model, one objective and one seed")
    return [equal_budget(runs.get(name, seed, steps), steps) for seed in seeds for name in names]


def config_hash(experiment: Experiment) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the experiment as JSON with sorted keys.

    It names everything that decides the outcome.
    """
    text = json.dumps(experiment.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# ---------------------------------------------------------------- one run


def run_one(experiment: Experiment, folder: Path) -> dict:
    """Train an experiment in a folder (or go on there), evaluate it, and write its row.

    On the CPU with one thread; a finished run is only read. A run whose numbers break down has a
    row too: `nan` true, `error` the reason, no numbers. It is not tried again, since it would go
    the same way. ValueError when the folder holds another run; errors of `experiments.run` and
    `experiments.evaluate` other than `BROKEN`.
    """
    folder, config = Path(folder), config_hash(experiment)
    files.remove_parts(folder / ROW)
    if (folder / ROW).exists():
        row = files.read_json(folder / ROW)
        if not isinstance(row, dict) or row.get("config") != config:
            raise ValueError(
                f"{folder} holds another run than {config}; "
                "choose another folder, or remove it to start again"
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
    """The row of a run: names, configuration, versions, time, and every number (None if broken)."""
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
    measures = [*scores.names(runs.make_data(experiment.data).test.targets), "iwae", "iwae_se"]
    finite = {key: _finite(numbers.get(key)) for key in measures}
    broken = bool(error) or any(finite[key] is None for key in numbers if key in finite)
    return storage.names_of(experiment) | {
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


def _finite(value: float | None) -> float | None:
    """The number, or None where there is none or it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def tighter_bound(trained: storage.Trained, sequences: int = 50, K: int = 100) -> dict[str, float]:
    """The importance-weighted bound with K draws at the run's own noise: mean and error in nats.

    On the first test sequences. Nothing for a model whose terms make no bound.
    """
    if "log_weights" in trained.model.cannot:
        return {}
    data = runs.make_data(trained.experiment.data).test.rows(slice(sequences))
    noise, generator = trained.objective.noise(), torch.Generator().manual_seed(0)
    bound = bounds.iwae(trained.model, data.x, data.u, noise, K, generator, mask=data.mask)
    return {"iwae": float(bound.mean()), "iwae_se": float(bound.std() / len(bound) ** 0.5)}


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _job(k: int, experiment: Experiment, folder: Path) -> tuple[int, str]:
    """Run number k of the grid in a worker; its error, or an empty text.

    Nothing but an interruption gets out.
    """
    try:
        return k, run_one(experiment, folder)["error"]
    except Exception as error:
        return k, _text(error)


# ---------------------------------------------------------------- all runs


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
    """Run the grid, each run in OUT/<name>-seed<k>, with a table that grows after every run.

    The table is OUT/study.csv and OUT/study.json. Finished runs are not done again, interrupted
    ones go on from their checkpoint, and a failed one does not stop the others.

    Args:
        out: folder of the study; on a cluster, one that every worker sees under this path.
        models, objectives, seeds: what to combine.
        steps: optimiser steps, if not those of `BUDGET`.
        jobs: runs at a time on this machine (all cores if None); each uses one thread.
        backend: of BACKENDS: loky (processes on this machine), dask or ray.
        scheduler: address of the Dask scheduler, or of a Ray cluster.
    Raises:
        ValueError: unknown name (with the nearest), bad seed, steps or jobs, a backend without what
            it needs, workers with several threads.
        ImportError: the backend is not installed.
    """
    planned, out = grid(models, objectives, seeds, steps), Path(out).resolve()
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    with BACKENDS[backend](scheduler, jobs) as parallel:
        write_table(out)  # an unwritable folder shows now
        failures = _train_all(parallel, planned, out, progress)
    return Study(write_table(out), failures)


def _train_all(
    parallel: joblib.Parallel, planned: list[Experiment], out: Path, progress: bool
) -> list[Failure]:
    """Every run in a worker; the failures, in the order of the plan."""
    waiting, failures = dict(enumerate(planned)), {}
    jobs = [joblib.delayed(_job)(k, e, out / f"{e.name}-seed{e.seed}") for k, e in waiting.items()]
    bar = tqdm(total=len(planned), disable=not progress, unit="run", dynamic_ncols=True)
    with bar:
        try:
            for k, error in parallel(jobs):
                e = waiting.pop(k)
                if error:
                    failures[k] = Failure(e.name, e.seed, error)
                    bar.write(f"failed: {failures[k]}", file=sys.stderr)
                write_table(out)
                done = f"{e.name}, seed {e.seed}; {len(failures)} failed"
                bar.set_postfix_str(done, refresh=False)
                bar.update()
        # A worker died (out of memory, killed), which joblib answers by stopping the others.
        except Exception as error:
            for k, e in waiting.items():
                failures[k] = Failure(e.name, e.seed, f"stopped ({_text(error)})")
    return [failures[k] for k in sorted(failures)]


# ---------------------------------------------------------------- the table


def load(folder: Path) -> list[dict]:
    """The rows of all runs that ended in a study's folder, in the order of named runs and seeds.

    ValueError for a damaged row.
    """
    rows = []
    for path in Path(folder).glob(f"*/{ROW}"):
        row = files.read_json(path)
        if not isinstance(row, dict) or not {"run", "seed", "config"} <= row.keys():
            raise ValueError(f"{path} is not a row of a study")
        rows.append(row)
    order = {name: k for k, name in enumerate(runs.named_runs())}
    last = len(order)
    return sorted(rows, key=lambda row: (order.get(row["run"], last), row["run"], row["seed"]))


def to_csv(rows: Sequence[Mapping]) -> str:
    """Rows as CSV with a head; None is an empty cell."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_table(out: Path) -> list[dict]:
    """Write the table of a study's folder, and return its rows."""
    rows = load(out)
    files.write(out / f"{TABLE}.csv", to_csv(rows).encode())
    files.write_json(out / f"{TABLE}.json", rows)
    return rows
