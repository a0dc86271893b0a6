"""The page "Extending": what a file outside the package registers can be listed, trained,
evaluated and studied from the command line, and loaded again.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent / "examples"
QUICK = ["--steps", "30", "--device", "cpu"]


def command(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The command line in a process of its own, which finds the example."""
    return subprocess.run(
        [sys.executable, "-m", "tutorial_dssm", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(EXAMPLES), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_what_is_registered_outside_is_listed(tmp_path):
    """Every model under every objective, the new ones among them."""
    listed = command(tmp_path, "--use", "toy", "list").stdout
    assert all(name in listed for name in ("drift-beta", "drift-constrained", "ekvae-beta"))
    assert "drift" not in command(tmp_path, "list").stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the example's model and objective on the example's data."""
    folder = tmp_path_factory.mktemp("outside")
    done = command(folder, "--use", "toy", "train", "drift-beta", "--data", "bump", *QUICK)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_it_is_trained_and_evaluated(trained):
    done = command(trained, "--use", "toy", "evaluate", "runs/drift-beta-seed0", "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row["run"], row["model"], row["objective"]) == ("drift-beta", "drift", "beta")
    assert row["data"] == "bump" and row["steps"] == 30 and row["sigma"] == pytest.approx(0.1)
    assert {key for key in row if key.startswith("r2")} == {"r2_position", "r2_position_knn"}


@pytest.mark.slow
def test_without_its_module_the_run_is_refused_in_words(trained):
    done = command(trained, "evaluate", "runs/drift-beta-seed0")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "unknown objective 'beta'" in done.stderr


@pytest.mark.slow
def test_workers_of_a_study_know_it(tmp_path):
    """Processes of their own, which import the module too; the model takes the size of the frames
    from the data, here those of the pendulum.
    """
    words = ["--models", "drift", "--objectives", "beta", "--seeds", "0-1", "--steps", "20"]
    done = command(tmp_path, "--use", "toy", "study", *words, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "runs" / "study" / "study.json").read_text())
    assert [(row["run"], row["seed"], row["nan"]) for row in rows] == [
        ("drift-beta", 0, False),
        ("drift-beta", 1, False),
    ]
