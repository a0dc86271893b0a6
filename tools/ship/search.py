"""One more trial of the search: a named run with changed settings, judged on validation sequences.

    python -m tools.ship.search dks-constrained --seed 10 --set model.gain=1.0

A setting is model.FIELD, objective.FIELD or training.FIELD, as `experiments.get(NAME)` has them;
--set may be given several times.
Trains in runs/search, or goes on where the trial stopped, and appends the trial to
`pretrained/search.json`. Trials on seeds 0 to 4 are refused: the book's tables are of these. The
trials from "prototype" to "third" were made by scripts of their time, before the settings were
frozen.
"""

import argparse
import ast
import hashlib
import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import torch

from tools.ship import provenance, rows
from tutorial_dssm import experiments, files, names
from tutorial_dssm.experiments.measures import HEADLINE, measure

ROWS = experiments.PRETRAINED / "search.json"
DIGITS = {key: measure(key).digits for key in HEADLINE}
KEY = ("source", "model", "settings", "seed", "steps")


def changed(experiment: experiments.Experiment, settings: Iterable[str]) -> experiments.Experiment:
    """The run with other settings, each "part.field=value". ValueError for one that it does not
    have, or that is no Python value.
    """
    for setting in settings:
        name, _, value = setting.partition("=")
        part, _, field = name.partition(".")
        if part not in ("model", "objective", "training"):
            raise ValueError(f"a setting must look like model.FIELD=VALUE, got {setting!r}")
        config = getattr(experiment, part)
        names.check("setting", field, [f.name for f in fields(config)])
        try:
            config = replace(config, **{field: ast.literal_eval(value)})
        except (SyntaxError, ValueError) as error:
            raise ValueError(
                f"{name} must be a number, text in quotes, True, False or None, got {value!r}"
            ) from error
        experiment = replace(experiment, **{part: config})
    return experiment


def trial(experiment: experiments.Experiment, settings: list[str], folder: Path) -> dict:
    """Train a run in a folder, and its row."""
    experiments.run(experiment, folder, "cpu")
    numbers = experiments.evaluate(experiments.load_run(folder), "validation")
    return {
        "model": experiment.model_name.upper(),
        "settings": ", ".join([experiment.objective_name, *settings]),
        "seed": experiment.seed,
        "steps": experiment.training.steps,
        **{key: round(numbers[key], digits) for key, digits in DIGITS.items()},
    }


def main(arguments: list[str]) -> int:
    """One trial; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a named run")
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--steps", type=int, help="if not those of the named run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.FIELD=VALUE",
        help="may be given several times",
    )
    parser.add_argument(
        "--source", default="later", help="the round of the search that the trial belongs to"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/search"), help="folder of the trials"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        if options.seed < 5:
            raise ValueError(
                f"seeds 0 to 4 are for the book's tables, choose another than {options.seed}"
            )
        experiment = changed(
            experiments.get(options.name, options.seed, options.steps), options.set
        )
        short = hashlib.sha256(repr(experiment).encode()).hexdigest()[:8]
        folder = options.out / f"{options.name}-{short}-seed{options.seed}"
        row = {"source": options.source, **trial(experiment, options.set, folder)}
        trials = rows.load(ROWS)
        if any(all(old[key] == row[key] for key in KEY) for old in trials):
            raise ValueError(f"this trial is there already: {row['settings']}, seed {row['seed']}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    files.write_json(ROWS, [*trials, row])
    command = "python -m tools.ship.search NAME --seed N --set PART.FIELD=VALUE"
    provenance.record([ROWS.name], f"{command} (the first 153 trials: scripts of their time)", None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
