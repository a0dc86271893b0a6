"""The named runs in miniature, for tests: small images, small networks, few steps.

Run as a script it is the command line of these runs.
"""

import signal
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from tutorial_dssm import __main__
from tutorial_dssm.data import DATA, DataSet, pendulum
from tutorial_dssm.experiments import named_runs, runs
from tutorial_dssm.learning.training import TrainingConfig

IMAGE = pendulum.PendulumConfig(image_size=6)
MAKE = partial(pendulum.make_sequences, config=IMAGE)
# 20 training, 10 validation and 10 test sequences of 5 frames; other sequences for another name
DATA_SETS = {
    name: DataSet(MAKE, n=20, n_test=10, n_long=4, length=5, x_dim=36, seed=seed)
    for seed, name in enumerate(("pendulum", "gymnasium"))
}
TRAINING = TrainingConfig(
    steps=13,
    batch=8,
    noise_warmup=4,
    log_every=2,
    snapshot_every=4,
    snapshot_sequences=3,
    checkpoint_every=5,
)
SIZES = {
    "x_dim": 36,
    "hidden": 8,
    "bases": 2,
    "mix_hidden": 4,
    "deterministic": 4,
    "prior_hidden": 4,
}


def shrink(experiment):
    """The same run with networks, batch and steps that take milliseconds."""
    sizes = {k: v for k, v in SIZES.items() if hasattr(experiment.model, k)}
    return replace(experiment, model=replace(experiment.model, **sizes), training=TRAINING)


EXPERIMENTS = {name: shrink(e) for name, e in named_runs().items()}


def install(monkeypatch):
    """Put the miniatures in the place of the named runs and their data."""
    monkeypatch.setattr(runs, "named_runs", lambda: EXPERIMENTS)
    for name, data in DATA_SETS.items():
        monkeypatch.setitem(DATA, name, data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    # A shell may have started us with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    install(pytest.MonkeyPatch())
    sys.exit(__main__.main())
