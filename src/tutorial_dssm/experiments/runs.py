"""Runs: model x objective x data x seed, each a frozen dataclass, and those that have a name."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..data import DATA, SequenceData, Splits
from ..evaluation.scores import FORECAST_FRAMES, FORECAST_STEPS
from ..learning.objectives import OBJECTIVES, ConstrainedConfig, Objective
from ..learning.training import Run, TrainingConfig, choose_device, difference, train
from ..models import MODELS, Model
from ..names import check

PRESETS = ("small", "full")


@dataclass(frozen=True)
class Experiment:
    """One run, complete: everything that decides its outcome on one machine."""

    model_name: str  # of MODELS
    objective_name: str  # of OBJECTIVES
    model: Any  # the model's config, a frozen dataclass
    objective: Any  # the objective's
    training: TrainingConfig = TrainingConfig()
    data: str = "pendulum"  # of DATA
    seed: int = 0  # of initial weights, batches and noise

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return f"{self.model_name}-{self.objective_name}"

    def to_dict(self) -> dict:
        """As plain values, for JSON."""
        return asdict(self)


# ---------------------------------------------------------------- the named runs

# What the search on seeds 10-14 chose for each model (chapter 8, "The search, honestly") stands in
# the model's own file; all objectives of a model share its settings. Here is what it chose of
# training and constraint, where that is not the default of all.
_SMOOTHER = TrainingConfig(steps=6000, noise_learning_rate=0.01, noise_warmup=2500)
_TRAINING = {"dks": _SMOOTHER, "dks-classic": _SMOOTHER}
_EKVAE = ConstrainedConfig()
_OBJECTIVES = {
    ("ekvae", "constrained"): _EKVAE,
    ("ekvae", "rewo"): replace(_EKVAE, lambda0=1.0, damping=True),
}


def _combine(model_name: str, objective_name: str) -> Experiment:
    """The named run of a registered model under a registered objective."""
    goal = OBJECTIVES[objective_name].config
    return Experiment(
        model_name,
        objective_name,
        MODELS[model_name].config,
        _OBJECTIVES.get((model_name, objective_name), goal),
        _TRAINING.get(model_name, TrainingConfig()),
    )


def named_runs() -> dict[str, Experiment]:
    """Every registered model under every objective that it can be trained with, by name."""
    runs = [
        _combine(m, o)
        for m, recipe in MODELS.items()
        for o, goal in OBJECTIVES.items()
        if recipe.model.has_step_rates or not goal.objective.needs_step_rates
    ]
    return {run.name: run for run in runs}


# The full preset: 64 x 64 frames, convolutions, 2000 sequences of 50 steps. It is meant for a GPU,
# and not tuned; what follows is arithmetic. The constraint is the same share of the frames'
# variance (0.048 at 16 x 16 pixels and width 0.22, 0.038 at 64 x 64 and 0.15, angles spread
# evenly). The first λ is divided by the 16 times more pixels over which squared error sums, so that
# the share of the rate in a frame's loss is the same (REWO starts at λ = 1). Sequences of 50 steps
# end near the bottom, where friction takes them: half of all frames are there, and the ring of the
# first two principal components is bent.
FULL_MODELS = ("dks", "rssm", "kvae", "ekvae")
_FULL_OBJECTIVES: dict[str, Callable[[Any], Any]] = {
    "constrained": lambda c: replace(c, target_mse=0.79 * c.target_mse, lambda0=c.lambda0 / 16),
    "rewo": lambda c: replace(c, target_mse=0.79 * c.target_mse),
}


def _full(run: Experiment) -> Experiment:
    """A named run in the full preset. ValueError for a model that has none."""
    if run.model_name not in FULL_MODELS:
        raise ValueError(
            f"{run.name} has no full preset; the models that have one are {', '.join(FULL_MODELS)}"
        )
    change = _FULL_OBJECTIVES.get(run.objective_name, lambda c: c)
    return replace(
        run,
        model=replace(run.model, network="conv"),
        objective=change(run.objective),
        training=replace(run.training, batch=50, snapshot_sequences=50),
        data=f"{run.data}-full",
    )


def _check_seed(seed: int) -> None:
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be between 0 and 2**63 - 1, got {seed!r}")


def get(
    name: str,
    seed: int = 0,
    steps: int | None = None,
    data: str = "pendulum",
    preset: str = "small",
) -> Experiment:
    """A named run with another seed, length or data set, small or in the full preset (for a GPU).

    The model takes the sizes of frames and controls from the data set.

    ValueError for an unknown name (with the nearest), a model without a full preset, steps < 1 or a
    seed outside 0 … 2⁶³ - 1.
    """
    runs = named_runs()
    check("run", name, runs)
    check("data set", data, DATA)
    check("preset", preset, PRESETS)
    _check_seed(seed)
    run = replace(runs[name], seed=seed, data=data)
    if preset == "full":
        run = _full(run)
    if steps is not None:
        run = replace(run, training=replace(run.training, steps=steps))
    sizes = DATA[run.data]
    return replace(run, model=replace(run.model, x_dim=sizes.x_dim, u_dim=sizes.u_dim))


def from_dict(config: dict) -> Experiment:
    """The inverse of `Experiment.to_dict`; ValueError for a config of another version."""
    try:
        known = _combine(config["model_name"], config["objective_name"])
        run = replace(
            known,
            model=type(known.model)(**config["model"]),
            objective=type(known.objective)(**config["objective"]),
            training=TrainingConfig(**config["training"]),
            data=config["data"],
            seed=config["seed"],
        )
        check("data set", run.data, DATA)
        _check_seed(run.seed)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the config is of another version of this package ({error})") from error
    if run.to_dict() != config:  # a setting that this version added has no value there
        what = difference(config, run.to_dict())
        raise ValueError(f"the config of {run.name} is of another version of this package ({what})")
    return run


# ---------------------------------------------------------------- data, weights, training


def make_data(name: str) -> Splits:
    """Train, validation and test sequences of a registered data set.

    ValueError for an unknown name, with the nearest.
    """
    return DATA[name].splits()


def make_long_data(name: str, n: int | None = None) -> SequenceData:
    """Held-out sequences long enough for the forecast: frames to look at, and steps to predict."""
    return DATA[name].long(FORECAST_FRAMES + FORECAST_STEPS, n)


def build(experiment: Experiment) -> tuple[Model, Objective]:
    """Model and objective with initial weights from the seed.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        # The CPU's generator: the weights are made there.
        torch.default_generator.manual_seed(experiment.seed)
        model = MODELS[experiment.model_name].build(experiment.model)
        objective = OBJECTIVES[experiment.objective_name].objective(experiment.objective)
    return model, objective


def run(
    experiment: Experiment,
    folder: Path,
    device: str = "auto",
    progress: bool = True,
    on_step: Callable[[Run], None] = lambda run: None,
    compiled: bool = False,
) -> Run:
    """Train an experiment in a folder, or go on where it stopped; a finished one is only loaded.

    Errors as `training.train`.

    `compiled` compiles the step of the model's filter; ValueError for a model that has none.
    """
    where = choose_device(device)
    model, objective = build(experiment)
    if compiled:
        model.compile_step()
    state = Run(model, objective, experiment.training, experiment.seed, where)
    data = make_data(experiment.data)
    train(state, data.train, data.validation, folder, experiment.to_dict(), progress, on_step)
    return state
