"""The named runs of the book: model x objective x data x seed, each a frozen dataclass."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..data import pendulum, sequences
from ..evaluation import scores
from ..learning.objectives import (
    AnnealedConfig,
    BalancedConfig,
    ConstrainedConfig,
    ELBOConfig,
    LearnedNoiseConfig,
    Objective,
    make_objective,
)
from ..learning.training import Run, TrainingConfig, choose_device, difference, train
from ..models.base import Model
from ..models.dkf import DKF, DKFConfig
from ..models.dks import DKS, DKSConfig
from ..models.dvbf import DVBF, DVBFConfig
from ..models.dvbs import DVBS, DVBSConfig
from ..models.e2c import E2C, E2CConfig
from ..models.ekvae import EKVAE, EKVAEConfig
from ..models.kvae import KVAE, KVAEConfig
from ..models.lgssm import LGSSM, LGSSMConfig
from ..models.rssm import RSSM, RSSMConfig
from ..models.vae import VAE, VAEConfig
from ..models.vhp import VHP, VHPConfig
from ..names import check
from ..probability import kalman

MODELS = {
    VAEConfig: VAE,
    VHPConfig: VHP,
    LGSSMConfig: LGSSM,
    E2CConfig: E2C,
    DKFConfig: DKF,
    DKSConfig: DKS,
    DVBFConfig: DVBF,
    DVBSConfig: DVBS,
    KVAEConfig: KVAE,
    RSSMConfig: RSSM,
    EKVAEConfig: EKVAE,
}


ModelConfig = (
    VAEConfig
    | VHPConfig
    | LGSSMConfig
    | E2CConfig
    | DKFConfig
    | DKSConfig
    | DVBFConfig
    | DVBSConfig
    | KVAEConfig
    | RSSMConfig
    | EKVAEConfig
)


ObjectiveConfig = (
    ELBOConfig | LearnedNoiseConfig | AnnealedConfig | ConstrainedConfig | BalancedConfig
)


DATA = ("pendulum", "gymnasium")


# Arguments of `make_splits` where they are not its defaults. The full one holds out fewer sequences
# than it trains on: 64 x 64 frames take room.
PRESETS = {"small": {}, "full": {"n": 2000, "length": 50, "n_test": 200}}


FULL_IMAGE = pendulum.PendulumConfig(
    image_size=64, rod_width=0.15
)  # the rod of 16 x 16 pixels is a blur at 64 x 64; 0.15 is 4.8 pixels there


DATA_SEED = 0  # one data set for all runs; a run's seed sets initial weights, batches and noise


@dataclass(frozen=True)
class Experiment:
    """One run, complete: everything that decides its outcome on one machine."""

    name: str  # <model>-<objective>
    model: ModelConfig
    objective: ObjectiveConfig
    training: TrainingConfig = TrainingConfig()
    data: str = "pendulum"  # one of DATA, with "-full" behind it for those of the full preset
    seed: int = 0

    def to_dict(self) -> dict:
        """As plain values, for JSON."""
        return asdict(self)


# What the search on seeds 10-14 chose for each model (chapter 8, "The search, honestly"); all
# objectives of a model share its model and training. "dks-classic" is the smoother without what the
# search added to it: its decoder sees all of z, and nothing in it is slow or linear at the start.
_MODELS = {
    "vae": VAEConfig(),
    "vhp": VHPConfig(),
    "lgssm": LGSSMConfig(),
    "e2c": E2CConfig(),
    "dkf": DKFConfig(),
    "dks": DKSConfig(),
    "dks-classic": DKSConfig(seen=3, frame_path=False, gain=1.0, q0_seen=0.1, q0_hidden=0.1),
    "dvbf": DVBFConfig(),
    "dvbf-smoothing": DVBSConfig(),
    "dvbf-smoothing-classic": DVBSConfig(frame_path=False, gain=1.0, q0_hidden=0.1),
    "kvae": KVAEConfig(),
    "kvae-markov": KVAEConfig(memory=False),
    "rssm": RSSMConfig(),
    "ekvae": EKVAEConfig(),
}


_DKS_TRAINING = TrainingConfig(steps=6000, noise_learning_rate=0.01, noise_warmup=2500)


_TRAINING = {"dks": _DKS_TRAINING, "dks-classic": _DKS_TRAINING}  # the others: TrainingConfig()


_CONSTRAINT = ConstrainedConfig(target_mse=1.2e-3, lambda0=0.0024, rate_after=0.02)


_CONSTRAINTS = {"ekvae": ConstrainedConfig()}  # the others: _CONSTRAINT


def _objectives(model: str) -> dict:
    """The objectives of a model, by name."""
    constraint = _CONSTRAINTS.get(model, _CONSTRAINT)
    objectives = {
        "elbo": ELBOConfig(),
        "elbo-learned-noise": LearnedNoiseConfig(),
        "annealed": AnnealedConfig(),
        "constrained": constraint,
        "rewo": replace(constraint, lambda0=1.0, damping=True),
    }
    return objectives | ({"balanced": BalancedConfig()} if model == "rssm" else {})


EXPERIMENTS = {
    f"{m}-{o}": Experiment(f"{m}-{o}", config, objective, _TRAINING.get(m, TrainingConfig()))
    for m, config in _MODELS.items()
    for o, objective in _objectives(m).items()
}


# The full preset: 64 x 64 frames, convolutions, 2000 sequences of 50 steps. It is meant for a GPU,
# and not tuned; what follows is arithmetic. The constraint is the same share of the frames'
# variance (0.048 at 16 x 16 pixels and width 0.22, 0.038 at 64 x 64 and 0.15, angles spread
# evenly). The first λ is divided by the 16 times more pixels over which squared error sums, so that
# the share of the rate in a frame's loss is the same (REWO starts at λ = 1). Sequences of 50 steps
# end near the bottom, where friction takes them: half of all frames are there, and the ring of the
# first two principal components is bent.
FULL_MODELS = ("dks", "rssm", "kvae", "ekvae")


_FULL_NETWORK = {"x_dim": FULL_IMAGE.image_size**2, "network": "conv"}


_FULL_TRAINING = {"batch": 50, "snapshot_sequences": 50}


def _full(experiment: Experiment) -> Experiment:
    """A named run in the full preset."""
    objective = experiment.objective
    if isinstance(objective, ConstrainedConfig):
        lambda0 = objective.lambda0 if objective.damping else objective.lambda0 / 16
        objective = replace(objective, target_mse=0.79 * objective.target_mse, lambda0=lambda0)
    training = replace(experiment.training, **_FULL_TRAINING)
    model = replace(experiment.model, **_FULL_NETWORK)
    return replace(
        experiment,
        model=model,
        objective=objective,
        training=training,
        data=f"{experiment.data}-full",
    )


FULL = {f"{m}-{o}": _full(EXPERIMENTS[f"{m}-{o}"]) for m in FULL_MODELS for o in _objectives(m)}


def get(
    name: str,
    seed: int = 0,
    steps: int | None = None,
    data: str = "pendulum",
    preset: str = "small",
) -> Experiment:
    """A named run with another seed, length or data set, small as in the book or in the full preset
    (for a GPU).

    ValueError for an unknown name (with the nearest), a model without a full preset, steps < 1 or a
    seed outside 0 … 2⁶³ - 1.
    """
    check("run", name, EXPERIMENTS)
    check("data set", data, DATA)
    check("preset", preset, PRESETS)
    if preset == "full" and name not in FULL:
        raise ValueError(
            f"{name} has no full preset; the models that have one are {', '.join(FULL_MODELS)}"
        )
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be between 0 and 2**63 - 1, got {seed}")
    experiment = FULL[name] if preset == "full" else EXPERIMENTS[name]
    training = experiment.training if steps is None else replace(experiment.training, steps=steps)
    return replace(
        experiment, seed=seed, data=f"{data}-full" if preset == "full" else data, training=training
    )


def source_and_preset(data: str) -> tuple[str, str]:
    """What the `data` of an experiment says: one of DATA and one of PRESETS.

    ValueError, with the nearest, for others.
    """
    source, dash, preset = data.partition("-")
    preset = preset if dash else "small"
    check("data set", source, DATA), check("preset", preset, PRESETS)
    return source, preset


def from_dict(config: dict) -> Experiment:
    """The inverse of `Experiment.to_dict`; ValueError when the config is of another version of the
    package.
    """
    try:
        source, preset = source_and_preset(config["data"])
        known = get(config["name"], config["seed"], data=source, preset=preset)
        parts = {
            part: type(getattr(known, part))(**config[part])
            for part in ("model", "objective", "training")
        }
        experiment = replace(known, **parts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the config is of another version of this package ({error})") from error
    if experiment.to_dict() != config:  # a setting that this version added has no value there
        what = difference(config, experiment.to_dict())
        raise ValueError(
            f"the config of {experiment.name} is of another version of this package ({what})"
        )
    return experiment


def make_data(name: str) -> sequences.Splits:
    """Train, validation and test sequences of an experiment's `data`: 500 each, T = 15, 16 x 16
    pixels.

    In the full preset 2000, 200 and 200 with T = 50 and 64 x 64 pixels.
    """
    source, preset = source_and_preset(name)
    if source == "gymnasium":
        from .pendulum_gym import make_gym_splits

        return make_gym_splits(DATA_SEED, **PRESETS[preset], **_image(source, preset))
    return pendulum.make_splits(DATA_SEED, **PRESETS[preset], **_image(source, preset))


def make_long_data(name: str, n: int | None = None) -> sequences.SequenceData:
    """Held-out sequences long enough for the forecast: 10 frames to look at, 100 to predict. 200 of
    them if n is not given, 50 in the full preset.
    """
    source, preset = source_and_preset(name)
    if n is None:
        n = 50 if preset == "full" else 200
    length = scores.FORECAST_FRAMES + scores.FORECAST_STEPS
    generator = sequences.split_generator(DATA_SEED, 3)
    if source == "gymnasium":
        from .pendulum_gym import make_gym_sequences

        return make_gym_sequences(n, length, generator, **_image(source, preset))
    return pendulum.make_sequences(n, length, generator, **_image(source, preset))


def _image(source: str, preset: str) -> dict:
    """The argument of a data set that says how large its frames are, where it is not the default."""
    if preset != "full":
        return {}
    return (
        {"image_size": FULL_IMAGE.image_size} if source == "gymnasium" else {"config": FULL_IMAGE}
    )


def build(experiment: Experiment) -> tuple[Model, Objective]:
    """Model and objective with initial weights from the seed; the global random state is left as it
    was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            experiment.seed
        )  # the CPU's, where the weights are made
        return MODELS[type(experiment.model)](experiment.model), make_objective(
            experiment.objective
        )


def run(
    experiment: Experiment,
    folder: Path,
    device: str = "auto",
    progress: bool = True,
    on_step=lambda run: None,
    compiled: bool = False,
) -> Run:
    """Train an experiment in a folder, or go on where it stopped; a finished one is only loaded.

    Errors as `training.train`.

    `compiled` compiles the filter step of an EKVAE (`kalman.compiled_filter_step`); ValueError for
    a model that has none.
    """
    where = choose_device(device)
    model, objective = build(experiment)
    if compiled:
        if not isinstance(model, EKVAE):
            raise ValueError(
                f"{experiment.name} has no filter step to compile; only the ekvae runs have"
            )
        model.step = kalman.compiled_filter_step()
    state = Run(model, objective, experiment.training, experiment.seed, where)
    data = make_data(experiment.data)
    model.initialise(data.train.x.to(where))
    train(state, data.train, data.validation, folder, experiment.to_dict(), progress, on_step)
    return state
