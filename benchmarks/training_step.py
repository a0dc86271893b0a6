"""One training step (forward, backward, Adam) beside the same model's encoder and decoder alone,
and the memory of a training run.

    python benchmarks/training_step.py [--json] [--write] [--no-compile] [--no-memory]

A batch is [250, 15, 256], the networks are 2 x 128, everything runs on one thread. The floor is
the same step with the latent variables taken straight from the encoder: what any autoencoder of
this size has to pay. A ratio says what the dynamics cost. "ekvae compiled" is EKVAE with its
filter step compiled (the first call takes 20 s or more; without a compiler the row is that of the
uncompiled step, after a warning). "small mixture" has a transition that mixes 16 base matrices by
a network of width 64, half of the book's in both. The memory is the largest resident size of
`python -m tutorial_dssm train ekvae-constrained`, with a few steps only.
"""

import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from timing import command_line, interleave, report
from tutorial_dssm.learning.objectives import ConstrainedConfig, make_objective
from tutorial_dssm.learning.training import Run, TrainingConfig
from tutorial_dssm.models import MODELS

RESULT = Path(__file__).parent / "results" / "training_step.md"
KINDS = ("ekvae", "dks", "dkf", "dvbf", "dvbf-smoothing", "kvae", "rssm", "e2c", "vae", "vhp")
MAIN = KINDS[:2]  # also compiled and with a small mixture


def batch(B=250, T=15, X=256):
    """Random frames x [B, T, X] and controls u [B, T, 1]: the time of a step does not depend on
    what they show.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.rand(B, T, X, generator=generator), torch.randn(B, T, 1, generator=generator)


def new_model(kind, **sizes):
    """A registered model with the settings of the book, and random weights."""
    recipe = MODELS[kind]
    torch.manual_seed(0)
    return recipe.model(replace(recipe.config, **sizes))


def training_step(kind, x, u, compiled=False, **sizes):
    """A function that makes one step of the training that the book uses."""
    model = new_model(kind, **sizes)
    if compiled:
        model.compile_step()
    run = Run(model, make_objective(ConstrainedConfig()), TrainingConfig(), 0, torch.device("cpu"))

    def step():
        run.step = 0  # the schedule has an end, the benchmark must not reach it
        run.train_step(x, u, run.generator)

    return step


def floor_step(kind, x, u):
    """A function that makes one step of the encoder and decoder alone."""
    model = new_model(kind)
    optimizer = torch.optim.Adam([*model.encoder.parameters(), *model.decoder.parameters()], 1e-3)
    latents = next(model.decoder.parameters()).shape[1]
    seen = torch.cat([x, x], -1) if kind == "e2c" else x  # it sees pairs

    def step():
        features = model.encoder(seen)
        if isinstance(features, tuple):  # an encoder that ends in a mean and a variance
            features, _ = features
        loss = ((x - model.decoder(features[..., :latents])) ** 2).sum((1, 2)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def training_memory() -> float:
    """Largest resident size in MB of a short run of the command line, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "tutorial_dssm",
            "train",
            "ekvae-constrained",
            "--steps",
            "20",
            "--out",
            f"{folder}/run",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1024)


def main():
    parser = command_line(__doc__, "the table of the book, benchmarks/results/training_step.md", 40)
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out the compiled filter step"
    )
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out the memory of a training run"
    )
    parser.add_argument("--models", nargs="*", choices=KINDS, help="some of the models (all)")
    options = parser.parse_args()
    # first, while no compiler has run as a child process
    memory = None if options.no_memory else training_memory()
    torch.set_num_threads(1)
    x, u = batch()
    kinds = options.models or KINDS
    steps = {kind: training_step(kind, x, u) for kind in kinds}
    if not options.no_compile and "ekvae" in kinds:
        steps["ekvae compiled"] = training_step("ekvae", x, u, compiled=True)
    steps |= {
        f"{kind}, small mixture": training_step(kind, x, u, mix_hidden=64, bases=16)
        for kind in MAIN
        if kind in kinds
    }
    floors = {f"{kind} floor": floor_step(kind, x, u) for kind in kinds}
    seconds = interleave(steps | floors, options.rounds, warmup=3, at_most=120)
    rows = []
    for name in steps:
        floor = seconds[f"{name.replace(',', ' ').split()[0]} floor"]  # "ekvae compiled": ekvae's
        rows.append(
            {
                "model": name,
                "step_ms": 1e3 * seconds[name],
                "floor_ms": 1e3 * floor,
                "ratio": seconds[name] / floor,
            }
        )
    if memory is not None:
        rows.append({"model": "ekvae-constrained, whole training run", "peak_memory_mb": memory})
    report(rows, options, RESULT)


if __name__ == "__main__":
    main()
