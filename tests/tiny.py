"""The named runs in miniature, for tests: small images, small networks, few steps.

Run as a script it is the command line of these runs.
"""

import signal
import sys
from dataclasses import replace

import torch

from tutorial_dssm import __main__, experiments
from tutorial_dssm.data import pendulum
from tutorial_dssm.learning.training import TrainingConfig

IMAGE = pendulum.PendulumConfig(image_size=6)
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


EXPERIMENTS = {name: shrink(e) for name, e in experiments.EXPERIMENTS.items()}


def make_data(name):
    """20 training, 10 validation and 10 test sequences of 5 frames; another data set for another
    name.
    """
    return pendulum.make_splits(
        experiments.DATA.index(name), n=20, length=5, config=IMAGE, n_test=10
    )


def make_long_data(name, n=4):
    return pendulum.make_sequences(n, 110, torch.Generator().manual_seed(1), IMAGE)


REPLACED = {"EXPERIMENTS": EXPERIMENTS, "make_data": make_data, "make_long_data": make_long_data}


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell may have started us with Ctrl-C ignored
    for name, value in REPLACED.items():
        setattr(experiments, name, value)
    sys.exit(__main__.main())
