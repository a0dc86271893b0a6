"""Command line: list, train, evaluate, figures, study.

    python -m tutorial_dssm [--use MODULE] COMMAND ...

`--use MODULE`, before the command, imports a module first that registers models, objectives or data
sets of its own (more than once for several).
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from . import names
from .experiments import runs, storage, study, tables
from .learning import training

Name = tyro.conf.Positional[str]


def list_() -> None:
    """List the named runs, what each is, and which ship with weights."""
    shipped = storage.shipped()
    for name, run in runs.named_runs().items():
        line = f"{name:42} {run.training.steps:6d} steps"
        if name in shipped:  # the study's runs are shorter than the named ones
            steps = storage.load_pretrained(name).experiment.training.steps
            line += f"   weights shipped, of {steps} steps"
        print(line)


def train(
    name: Name,
    seed: int = 0,
    steps: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    out: Path | None = None,
    data: str = "pendulum",
    threads: int | None = None,
    compile: bool = False,
    preset: Literal["small", "full"] = "small",
) -> None:
    """Train a named run, or go on where it was interrupted.

    Args:
        name: a name of `list`.
        seed: of the initial weights, batches and noise.
        steps: optimiser steps, if not those of the named run.
        device: auto takes a GPU where there is one.
        out: folder of the run; runs/NAME-seedN if not given (runs/NAME-full-seedN in the full
            preset).
        data: a registered data set: pendulum (the book's simulator), gymnasium (frames of
            Pendulum-v1; needs gymnasium and pygame), or one of a module named by --use.
        threads: CPU threads (PyTorch's choice if not given).
        compile: compile the filter step of an EKVAE (20 s at the start, then faster; equal up to
            rounding).
        preset: full takes 64 x 64 frames, convolutions and 2000 sequences of 50 steps: for a GPU,
            and for dks, rssm, kvae and ekvae.
    """
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    experiment = runs.get(name, seed, steps, data, preset)
    full = "-full" if preset == "full" else ""
    folder = out or Path("runs") / f"{name}{full}-seed{seed}"
    if (folder / training.MODEL).exists() and storage.load_run(folder).experiment == experiment:
        print(f"{folder} holds this run, finished.")
        return
    runs.run(experiment, folder, device, compiled=compile)
    print(f"Trained {name} (seed {seed}) in {folder}")


def evaluate(
    run: Name,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Evaluate a run on the held-out sequences of its data: 500, or 200 in the full preset.

    Args:
        run: a folder of `train`, or the name of shipped weights.
        json_: print one JSON object instead of a table.
        device: auto takes a GPU where there is one.
    """
    result = storage.evaluate(storage.load(run, device))
    if json_:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:18} {value:.5g}" if isinstance(value, float) else f"{key:18} {value}")


def figures(run: Name, out: Path) -> None:
    """Draw every figure of a run as PNG.

    Args:
        run: a folder of `train`, or the name of shipped weights.
        out: folder for the images.
    """
    from .figures.runs import save_all  # matplotlib takes a second to load

    for path in save_all(run, out):
        print(path)


def study_(
    out: Path = Path("runs/study"),
    models: tuple[str, ...] = study.MODELS,
    objectives: tuple[str, ...] = study.OBJECTIVES,
    seeds: str = study.SEEDS,
    steps: int | None = None,
    jobs: int | None = None,
    backend: Literal["loky", "dask", "ray"] = "loky",
    scheduler: str | None = None,
) -> None:
    """Train and evaluate models x objectives x seeds on all cores or a cluster.

    What is finished is not done again.

    Args:
        out: folder of the study: a folder a run, and the table as study.csv and study.json. On a
            cluster, all workers must see it.
        models: first parts of the names of `list`.
        objectives: last parts of the names of `list`.
        seeds: such as 0-4 or 0,2,7-9.
        steps: optimiser steps, if not the 1500 of the study.
        jobs: runs at a time (all cores if not given); each uses one thread.
        backend: processes on this machine (loky), or a cluster: dask (needs the extra [study]) or
            ray.
        scheduler: address of the Dask scheduler or Ray cluster.
    """
    done = study.run(
        out, models, objectives, study.parse_seeds(seeds), steps, jobs, backend, scheduler
    )
    print(tables.study_table(done.rows))
    print(f"\n{len(done.rows)} runs in {out / study.TABLE}.csv and .json")
    if done.failures:
        raise ValueError(f"{len(done.failures)} failed: {'; '.join(map(str, done.failures))}")


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "train": train,
    "evaluate": evaluate,
    "figures": figures,
    "study": study_,
}


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code.

    Expected mistakes give one line and code 1, malformed options tyro's box and code 2.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        while arguments[:1] == ["--use"]:
            names.use(arguments[1] if len(arguments) > 1 else "")
            arguments = arguments[2:]
        if arguments and not arguments[0].startswith("-"):
            names.check("command", arguments[0], COMMANDS)
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="python -m tutorial_dssm", args=arguments, description=__doc__
        )
    except BrokenPipeError:  # the reader of our output has seen enough, as `list | head` does
        sys.stdout = None
        return 0
    except (ValueError, ImportError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
