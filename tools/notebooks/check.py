"""Run chapters as a reader has them, away from this repository, and compare their outputs with the
stored ones.

    python -m tools.notebooks.check             every chapter
    python -m tools.notebooks.check 04 08       the chapters whose names start so
    python -m tools.notebooks.check --retrain   those with a switch RETRAIN, turned on: train for a
                                                few steps, compare nothing

Each chapter runs alone in a temporary folder, in the environment of `wheel_environment.py`. Its
processor time is printed; more than LIMIT seconds are an error.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tools.notebooks import wheel_environment
from tools.notebooks.execute import chosen

LIMIT = 90.0  # seconds of processor time for a chapter with shipped weights
TIMEOUT = 300  # seconds for one cell
HERE = Path(__file__).parent
SWITCH = re.compile(r"^RETRAIN = False\b", re.MULTILINE)
# Goes below the switch, into the copied notebook only: whatever the chapter trains, it trains for a
# few steps.
FEW_STEPS = """
def _few_steps(run):
    from dataclasses import replace

    def short_run(experiment, *arguments, **options):
        short = replace(experiment.training, steps=20, log_every=1, snapshot_every=2)
        return run(replace(experiment, training=short), *arguments, **options)

    return short_run

import tutorial_dssm.experiments
tutorial_dssm.experiments.run = _few_steps(tutorial_dssm.experiments.run)
del tutorial_dssm, _few_steps
"""


class Outcome(NamedTuple):
    """How a chapter went."""

    name: str
    problem: str  # what went wrong; empty when nothing did
    seconds: float  # processor time


def with_retraining(notebook: dict) -> dict:
    """A copy of a notebook that trains, for a few steps. ValueError when it has no switch, or more
    than one.
    """
    notebook = json.loads(json.dumps(notebook))
    cells = [
        c
        for c in notebook["cells"]
        if c["cell_type"] == "code" and SWITCH.search("".join(c["source"]))
    ]
    if len(cells) != 1:
        raise ValueError(f"expected one cell with RETRAIN = False, found {len(cells)}")
    cells[0]["source"] = SWITCH.sub("RETRAIN = True", "".join(cells[0]["source"])) + FEW_STEPS
    return notebook


def can_train(path: Path) -> bool:
    """Whether a notebook has the switch RETRAIN."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return any(c["cell_type"] == "code" and SWITCH.search("".join(c["source"])) for c in cells)


def check(path: Path, environment: Path, retrain: bool = False) -> Outcome:
    """Run one notebook in a temporary folder on the kernel of an environment (a folder that
    `wheel_environment.make` filled).
    """
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        notebook = json.loads(path.read_text(encoding="utf-8"))
        (here / path.name).write_text(
            json.dumps(with_retraining(notebook) if retrain else notebook), encoding="utf-8"
        )
        shutil.copy(HERE / "nbval_conftest.py", here / "conftest.py")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path.name]
        command += ["--nbval-lax" if retrain else "--nbval"]
        command += ["--nbval-kernel-name", wheel_environment.KERNEL]
        command += ["--nbval-cell-timeout", str(TIMEOUT)]
        command += ["--nbval-sanitize-with", str(HERE / "nbval_sanitize.cfg")]
        variables = {
            k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "MPLBACKEND")
        }
        variables["JUPYTER_PATH"] = str(environment / "jupyter")
        with open(here / "report.txt", "w+", encoding="utf-8") as report:
            process = subprocess.Popen(
                command, cwd=here, env=variables, stdout=report, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)  # with the time of its kernel
            process.returncode = os.waitstatus_to_exitcode(status)
            report.seek(0)
            problem = report.read() if process.returncode else ""
        seconds = usage.ru_utime + usage.ru_stime
        if not problem and not retrain and seconds > LIMIT:
            problem = f"it takes more than {LIMIT:.0f} s of processor time"
        if not problem and retrain and not list(here.glob("runs/*/model.safetensors")):
            problem = "RETRAIN = True has trained nothing into runs/"
        return Outcome(path.stem, problem, seconds)


def check_all(
    paths: Iterable[Path], environment: Path, retrain: bool, jobs: int
) -> Iterator[Outcome]:
    """`check` for each notebook, `jobs` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(partial(check, environment=environment, retrain=retrain), paths)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="beginnings of the chapters' names")
    parser.add_argument(
        "--retrain", action="store_true", help="train for a few steps where a chapter can"
    )
    parser.add_argument("--jobs", type=int, default=1, help="chapters at a time")
    options = parser.parse_args(arguments)
    paths = [
        path
        for path in chosen(options.names, from_text=False)
        if not options.retrain or can_train(path)
    ]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        wheel_environment.make(Path(folder))
        for outcome in check_all(paths, Path(folder), options.retrain, options.jobs):
            failed |= bool(outcome.problem)
            print(
                f"{outcome.name}: {outcome.seconds:.0f} s{', FAILED' if outcome.problem else ''}",
                flush=True,
            )
            if outcome.problem:
                print(outcome.problem, file=sys.stderr, flush=True)
    return int(failed or not paths)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
