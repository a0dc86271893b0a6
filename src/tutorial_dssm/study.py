"""The study: models x objectives x seeds, trained and evaluated on all cores or on a cluster, and what the runs say about each other (floor 4)."""

import csv
import hashlib
import io
import json
import math
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from . import __version__, bounds, evaluation, experiments, files, results
from .experiments import Experiment
from .models.e2c import E2C
from .objectives import AnnealedConfig, ConstrainedConfig, LearnedNoiseConfig
from .training import TrainingConfig

MODELS = ("dkf", "dks", "dvbf", "dvbf-smoothing", "kvae", "rssm", "ekvae")
OBJECTIVES = ("elbo-learned-noise", "annealed", "constrained")
ENDINGS = (*OBJECTIVES, "elbo", "rewo", "balanced")  # every objective of the named runs
SEEDS = "0-4"
BUDGET = TrainingConfig(steps=1500, noise_learning_rate=0.02, noise_warmup=600)  # of every run, whatever the model
BUDGET_OBJECTIVES = {  # chosen for all models together, on a seed that is not among the study's (book/make_tuning.py)
    "elbo-learned-noise": LearnedNoiseConfig(sigma0=1.0),
    "annealed": AnnealedConfig(steps=300),
    "constrained": ConstrainedConfig(target_mse=1.2e-3, lambda0=0.0072, rate_after=0.02),
}
ROW, TABLE = "row.json", "study"  # of one run, in its folder; of all, TABLE.csv and TABLE.json
KEYS = ("r2_velocity", "r2_velocity_knn", "mse_open_loop", "mse_forecast", "rate")  # columns of `study_table`
BROKEN = (FloatingPointError, np.linalg.LinAlgError, torch.linalg.LinAlgError)  # the numbers broke down: an outcome, not an accident


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
    """"0-4" or "0,2,7-9" -> sorted seeds, each once. ValueError when malformed or empty."""
    seeds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"seeds must look like 0-4 or 0,2,7-9, got {text!r}")
        first, last = int(first), int(last or first)
        if not first <= last < first + 10_000:
            raise ValueError(f"seeds must be ranges from low to high of at most 10000, got {text!r}")
        seeds.update(range(first, last + 1))
    return sorted(seeds)


def equal_budget(experiment: Experiment, steps: int | None = None) -> Experiment:
    """The run with the study's training and the study's settings of its objective, which are the same for all models."""
    objective = BUDGET_OBJECTIVES.get(split(experiment.name)[1], experiment.objective)
    return replace(experiment, training=BUDGET if steps is None else replace(BUDGET, steps=steps), objective=objective)


def grid(models: Sequence[str], objectives: Sequence[str], seeds: Iterable[int], steps: int | None = None) -> list[Experiment]:
    """All runs, at equal budget, seed by seed, so that every model has been seen once early on.

    ValueError as `experiments.get`, or for an empty grid.
    """
    seeds, names = list(dict.fromkeys(seeds)), dict.fromkeys(f"{m}-{o}" for m in models for o in objectives)
    if not names or not seeds:
        raise ValueError("a study needs at least one model, one objective and one seed")
    return [equal_budget(experiments.get(name, seed, steps), steps) for seed in seeds for name in names]


def split(run: str) -> tuple[str, str]:
    """<model>-<objective> -> (model, objective); the objective is the longest known one, "" where there is none."""
    objective = max((o for o in ENDINGS if run.endswith(f"-{o}")), key=len, default="")
    return run.removesuffix(f"-{objective}") if objective else run, objective


def config_hash(experiment: Experiment) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the experiment as JSON with sorted keys: names everything that decides its outcome."""
    return hashlib.sha256(json.dumps(experiment.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def run_one(experiment: Experiment, folder: Path) -> dict:
    """Train an experiment in a folder (or go on there), evaluate it on the CPU with one thread, and write its row; a finished one is only read.

    A run whose numbers break down has a row too: `nan` true, `error` the reason, no numbers. It is not tried again, since it would go the same way.
    ValueError when the folder holds another run; errors of `experiments.run` and `experiments.evaluate` other than `BROKEN`.
    """
    folder, config = Path(folder), config_hash(experiment)
    files.remove_parts(folder / ROW)
    if (folder / ROW).exists():
        row = files.read_json(folder / ROW)
        if not isinstance(row, dict) or row.get("config") != config:
            raise ValueError(f"{folder} holds another run than {config}; choose another folder, or remove it to start again")
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
    """The row of a run: names, configuration, versions, time, and every number of `experiments.evaluate` (None where it is not finite)."""
    seconds, error, numbers = [0.0], "", {}
    try:
        state = experiments.run(experiment, folder, "cpu", progress=False, on_step=lambda run: seconds.append(run.seconds))
        seconds.append(state.seconds)  # a run that was trained before takes no step
        trained = experiments.load_run(folder)
        numbers = experiments.evaluate(trained) | tighter_bound(trained)
    except BROKEN as problem:
        error = _text(problem)
    measured = {name: numbers.get(name) for name in (*(field.name for field in fields(evaluation.Evaluation)), "iwae", "iwae_se")}
    finite = {k: v if v is not None and math.isfinite(v) else None for k, v in measured.items()}
    broken = bool(error) or any(finite[k] is None for k in numbers.keys() & finite.keys())
    model, objective = split(experiment.name)
    return {
        "run": experiment.name, "model": model, "objective": objective, "seed": experiment.seed, "steps": experiment.training.steps,
        "data": experiment.data, "config": config, "nan": broken, "error": error, "seconds": seconds[-1], **finite,
        "torch": torch.__version__, "numpy": np.__version__, "package": __version__, "python": platform.python_version(),
    }  # fmt: skip


def tighter_bound(trained: experiments.Trained, sequences: int = 50, K: int = 100) -> dict[str, float]:
    """The importance-weighted bound with K draws at the run's own noise, on the first test sequences: its mean and standard error in nats.

    Nothing for E2C, whose loss is that of pairs of frames and bounds nothing.
    """
    if isinstance(trained.model, E2C):
        return {}
    data = experiments.make_data(trained.experiment.data).test
    bound = bounds.iwae(trained.model, data.x[:sequences], data.u[:sequences], trained.objective.noise(), K, torch.Generator().manual_seed(0))
    return {"iwae": float(bound.mean()), "iwae_se": float(bound.std() / len(bound) ** 0.5)}


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _job(k: int, experiment: Experiment, folder: Path) -> tuple[int, str]:
    """Run number k of the grid in a worker; its error, or "". Nothing but an interruption gets out."""
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
    """Run the grid, each run in OUT/<name>-seed<k>, and write OUT/study.csv and OUT/study.json after every run.

    Finished runs are not done again, interrupted ones go on from their checkpoint, and a failed one does not stop the others.

    Args:
        out: folder of the study; on a cluster, one that every worker sees under this path.
        models, objectives, seeds: what to combine.
        steps: optimiser steps, if not those of `BUDGET`.
        jobs: runs at a time on this machine (all cores if None); each uses one thread.
        backend: of joblib: loky (processes on this machine), dask or ray.
        scheduler: address of the Dask scheduler, or of a Ray cluster.
    Raises:
        ValueError: unknown name (with the nearest), bad seed, steps or jobs, a backend without what it needs, workers with several threads.
        ImportError: the backend is not installed.
    """
    planned, out = grid(models, objectives, seeds, steps), Path(out).resolve()
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    failures: dict[int, Failure] = {}
    waiting = dict(enumerate(planned))
    with _workers(backend, scheduler, jobs) as parallel:
        _write_table(out)  # an unwritable folder shows now
        tasks = [joblib.delayed(_job)(k, e, out / f"{e.name}-seed{e.seed}") for k, e in enumerate(planned)]
        bar = tqdm(total=len(planned), disable=not progress, unit="run", dynamic_ncols=True)
        with bar:
            try:
                for k, error in parallel(tasks):
                    e = waiting.pop(k)
                    if error:
                        failures[k] = Failure(e.name, e.seed, error)
                        bar.write(f"failed: {failures[k]}", file=sys.stderr)
                    _write_table(out)
                    bar.set_postfix_str(f"{e.name}, seed {e.seed}; {len(failures)} failed", refresh=False)
                    bar.update()
            except Exception as error:  # a worker died (out of memory, killed), which joblib answers by stopping the others
                for k, e in waiting.items():
                    failures[k] = Failure(e.name, e.seed, f"stopped ({_text(error)})")
    return Study(_write_table(out), [failures[k] for k in sorted(failures)])


@contextmanager
def _workers(backend: str, scheduler: str | None, jobs: int | None) -> Iterator[joblib.Parallel]:
    """A joblib `Parallel` on the backend asked for; errors as `run`."""
    experiments.check_name(backend, ("loky", "dask", "ray"))
    if scheduler and backend == "loky":
        raise ValueError("a scheduler needs the backend dask or ray")
    settings = {"n_jobs": jobs or -1, "return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "all"}
    if backend == "loky":
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield joblib.Parallel(**settings)
    elif backend == "dask":
        if not scheduler:
            raise ValueError("the backend dask needs the address of its scheduler (--scheduler tcp://HOST:8786)")
        if jobs is not None:
            raise ValueError("with the backend dask the number of jobs is that of the cluster's workers; leave jobs out")
        try:
            import distributed
        except ImportError as error:
            raise ImportError(f'the backend dask needs dask and distributed: pip install "tutorial-dssm[study]" ({error})') from error
        with distributed.Client(scheduler, timeout=20) as client:
            client.wait_for_workers(1, timeout=60)
            if max(client.nthreads().values()) > 1:  # threads share torch's global random state, from which initial weights come
                raise ValueError("every worker must have one thread: start them with `dask worker --nthreads 1 --nworkers N ADDRESS`")
            with joblib.parallel_config("dask"):
                yield joblib.Parallel(**settings)
    else:
        try:
            import ray
            from ray.util.joblib import register_ray
        except ImportError as error:
            raise ImportError(f"the backend ray needs Ray: pip install ray ({error})") from error
        ray.init(address=scheduler, ignore_reinit_error=True, log_to_driver=False)
        register_ray()
        with joblib.parallel_config("ray"):
            yield joblib.Parallel(**settings | {"return_as": "list"})  # Ray's backend has no generator: the bar moves at the end


# ---------------------------------------------------------------- the table


def load(folder: Path) -> list[dict]:
    """The rows of all runs that ended in a study's folder, in the order of `experiments.EXPERIMENTS` and seeds. ValueError for a damaged row."""
    rows = []
    for path in Path(folder).glob(f"*/{ROW}"):
        rows.append(row := files.read_json(path))
        if not isinstance(row, dict) or not {"run", "seed", "config"} <= row.keys():
            raise ValueError(f"{path} is not a row of a study")
    order = {name: k for k, name in enumerate(experiments.EXPERIMENTS)}
    return sorted(rows, key=lambda row: (order.get(row["run"], len(order)), row["run"], row["seed"]))


def to_csv(rows: Sequence[Mapping]) -> str:
    """Rows as CSV with a head; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_table(out: Path) -> list[dict]:
    rows = load(out)
    files.write(out / f"{TABLE}.csv", to_csv(rows).encode())
    files.write_json(out / f"{TABLE}.json", rows)
    return rows


# ---------------------------------------------------------------- what the rows say


class Summary(NamedTuple):
    """One measure of one run over its seeds; the statistics are over seeds with a finite number, NaN where there are too few."""

    mean: float
    sd: float  # sample standard deviation
    worst: float  # smallest or largest, whichever is worse; NaN for measures where neither is
    worst_seed: int | None
    seeds: int  # with a finite number
    nans: int  # seeds with a number that is not finite, or that broke down


class Paired(NamedTuple):
    """First run minus second run, seed by seed."""

    seeds: list[int]  # that both have, with finite numbers
    differences: list[float]
    signs: list[int]  # of the differences: 1, 0 or -1
    mean: float
    low: float  # 95 % t interval of the mean over seeds; NaN for one seed
    high: float


def _worst(key: str) -> str:
    """"min" where more is better, "max" where less is better, "" where neither is."""
    return next((m.worst for m in results.MEASURES if m.key == key), "min" if key.startswith("r2_") else "max" if key.startswith("mse_") else "")


def _values(rows: Iterable[Mapping], run: str, key: str) -> dict[int, float]:
    """Finite values of a measure by seed."""
    found = {row["seed"]: row.get(key) for row in rows if row["run"] == run}
    return {seed: value for seed, value in sorted(found.items()) if value is not None and math.isfinite(value)}


def summarise(rows: Sequence[Mapping], run: str, key: str) -> Summary:
    """A measure of a run over its seeds. ValueError when there is no row of that run."""
    own = [row for row in rows if row["run"] == run]
    if not own:
        raise ValueError(f"no row of the run {run!r}")
    values, pick = _values(own, run, key), {"min": min, "max": max}.get(_worst(key))
    worst_seed = pick(values, key=values.get) if pick and values else None
    return Summary(
        fmean(values.values()) if values else math.nan,
        stdev(values.values()) if len(values) > 1 else math.nan,
        math.nan if worst_seed is None else values[worst_seed],
        worst_seed,
        len(values),
        sum(bool(row.get("nan")) for row in own),
    )


def compare(rows: Sequence[Mapping], first: str, second: str, key: str, log: bool = False) -> Paired:
    """First minus second, paired over seeds: both runs of a seed saw the same data, and differ in what their names say.

    `log` compares natural logarithms (for errors, which span orders of magnitude: the exponential of a difference is a ratio).
    The interval is mean ± t sd/√n with t of n - 1 degrees of freedom. ValueError when no seed has finite numbers in both.
    """
    from scipy.special import stdtrit

    a, b = (_values(rows, run, key) for run in (first, second))
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise ValueError(f"no seed has {key} of both {first} and {second}")
    differences = [math.log(a[s] / b[s]) if log else a[s] - b[s] for s in seeds]
    n, mean = len(seeds), fmean(differences)
    half = float(stdtrit(n - 1, 0.975)) * stdev(differences) / n**0.5 if n > 1 else math.nan
    return Paired(seeds, differences, [(d > 0) - (d < 0) for d in differences], mean, mean - half, mean + half)


def balancing(rows: Sequence[Mapping], model: str, key: str, log: bool = False) -> Paired:
    """Does balancing help a model? Constrained minus the ELBO with learned noise."""
    return compare(rows, f"{model}-constrained", f"{model}-elbo-learned-noise", key, log)


def kalman_posterior(rows: Sequence[Mapping], key: str, objective: str = "constrained", log: bool = False) -> Paired:
    """Does the Kalman posterior win? The EKVAE minus the DKS under one objective.

    "At equal rate" is a condition, not something this subtracts: look at the same comparison with key "rate" beside it.
    """
    return compare(rows, f"ekvae-{objective}", f"dks-{objective}", key, log)


def _heads(keys: Sequence[str]) -> list[tuple[str, int]]:
    known = {"distortion": ("$D$", 0), "elbo": ("ELBO", 0), "iwae": ("IWAE", 0)} | {m.key: (m.head, m.digits) for m in results.MEASURES}
    return [known.get(key, (f"`{key}`", 3)) for key in keys]


def study_table(rows: Sequence[Mapping], keys: Sequence[str] = KEYS) -> str:
    """One line a run: seeds, NaN count, and each measure as mean ± standard deviation over seeds (worst seed in parentheses). Markdown."""
    body = []
    for name in results.runs(rows):
        cells = []
        for key, (_, digits) in zip(keys, _heads(keys)):
            s = summarise(rows, name, key)
            spread = f" ± {results.number(s.sd, digits)}" if s.seeds > 1 else ""
            worst = f" ({results.number(s.worst, digits)})" if s.worst_seed is not None and s.seeds > 1 else ""
            cells.append(results.number(s.mean, digits) + spread + worst)
        own = [row for row in rows if row["run"] == name]
        body.append([f"`{name}`", str(len(own)), str(sum(bool(row.get("nan")) for row in own)), *cells])
    return results.markdown(["run", "seeds", "NaN", *(head for head, _ in _heads(keys))], body)


def comparison_table(rows: Sequence[Mapping], keys: Sequence[str] = ("r2_velocity", "mse_open_loop", "rate")) -> str:
    """One line a comparison that the rows allow: mean difference over seeds [95 % interval] and the sign of each seed's. Markdown.

    First balancing, model by model, then the Kalman posterior against two network posteriors, objective by objective.
    """
    names = results.runs(rows)
    models, objectives = (list(dict.fromkeys(part)) for part in zip(*(split(name) for name in names))) if names else ((), ())
    pairs = [(f"{m}-constrained", f"{m}-elbo-learned-noise") for m in models]
    pairs += [(f"ekvae-{o}", f"{other}-{o}") for other in ("dks", "dvbf-smoothing") for o in objectives]
    body = []
    for first, second in pairs:
        if first not in names or second not in names:
            continue
        cells = []
        for key, (_, digits) in zip(keys, _heads(keys)):
            try:
                p = compare(rows, first, second, key)
            except ValueError:
                cells.append("–")
                continue
            signs = "".join({1: "+", 0: "0", -1: "−"}[s] for s in p.signs)
            interval = f" [{results.number(p.low, digits)}, {results.number(p.high, digits)}]" if len(p.seeds) > 1 else ""
            cells.append(f"{results.number(p.mean, digits, '+')}{interval} {signs}")
        body.append([f"`{first}` − `{second}`", *cells])
    return results.markdown(["difference", *(head for head, _ in _heads(keys))], body)
