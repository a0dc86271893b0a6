"""The study: what is trained, kept, gone on with and reported; the same rows from one process,
several, and a Dask cluster; its statistics.
"""

import csv
import importlib.util
import io
import itertools
import json
import math
import os
import platform
import sys
from dataclasses import dataclass, replace

import joblib
import numpy as np
import pytest
import scipy.stats
import torch

import tiny
import tutorial_dssm
from tutorial_dssm import experiments, files
from tutorial_dssm.__main__ import main
from tutorial_dssm.evaluation import scores
from tutorial_dssm.experiments import comparisons, named_runs, runs, storage, study, tables
from tutorial_dssm.experiments.runs import Experiment
from tutorial_dssm.learning.training import CHECKPOINT, MODEL, Run

GRID = dict(models=["dks", "ekvae"], objectives=["elbo-learned-noise"], seeds=[0])
NAMES = ["dks-elbo-learned-noise-seed0", "ekvae-elbo-learned-noise-seed0"]
HAS_DASK = importlib.util.find_spec("distributed") is not None
NEEDS_DASK = pytest.mark.skipif(
    not HAS_DASK, reason="needs the extra [study]: dask and distributed"
)


def own_budget(experiment, steps=None):
    """In the place of `study.equal_budget`: the miniature's own training."""
    return (
        experiment
        if steps is None
        else replace(experiment, training=replace(experiment.training, steps=steps))
    )


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The named runs in miniature, in an empty working folder.

    One job stays in this process, where they are.
    """
    tiny.install(monkeypatch)
    monkeypatch.setattr(study, "equal_budget", own_budget)
    monkeypatch.chdir(tmp_path)


def go(out, progress=False, **changes):
    return study.run(out, **{**GRID, "jobs": 1, "progress": progress, **changes})


def numbers(rows):
    """Rows without what a clock says."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


# --- one process ----------------------------------------------------------------------------------


def test_every_run_has_the_same_budget():
    grid = study.grid(study.MODELS, study.OBJECTIVES, [0, 1])
    assert len(grid) == len(study.MODELS) * 3 * 2 and {e.training for e in grid} == {study.BUDGET}
    for objective in study.OBJECTIVES:
        assert len({e.objective for e in grid if e.objective_name == objective}) == 1
    assert {e.training.steps for e in study.grid(["dks"], ["constrained"], [0], steps=7)} == {7}
    sizes = {
        (e.model.hidden, e.model.z_dim if hasattr(e.model, "z_dim") else e.model.stochastic)
        for e in grid
    }
    assert sizes == {(128, 3)}


@pytest.mark.slow
def test_a_study_of_two_runs(small, tmp_path):
    threads = torch.get_num_threads()
    done = go(tmp_path / "s")
    assert done.failures == [] and torch.get_num_threads() == threads
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [*NAMES, "study.csv", "study.json"]
    for row, name in zip(done.rows, NAMES):
        folder = tmp_path / "s" / name
        assert (
            sorted(p.name for p in folder.iterdir()) == [CHECKPOINT, MODEL, study.ROW]
            and files.read_json(folder / study.ROW) == row
        )
        trained = experiments.load_run(folder)
        expected = experiments.evaluate(trained)
        assert {k: row[k] for k in expected} == expected, "every number of evaluate"
        assert trained.experiment == experiments.get(expected["run"]) and row[
            "config"
        ] == study.config_hash(trained.experiment)
        assert (row["model"], row["objective"], row["seed"]) == (
            name.split("-")[0],
            "elbo-learned-noise",
            0,
        )
        assert row["seconds"] == float(files.read_tensors(folder / CHECKPOINT)[0]["seconds"]) > 0
        assert row["nan"] is False and row["error"] == ""
        versions = [row[k] for k in ("torch", "numpy", "package", "python")]
        assert versions == [
            torch.__version__,
            np.__version__,
            tutorial_dssm.__version__,
            platform.python_version(),
        ]
    assert files.read_json(tmp_path / "s" / "study.json") == study.load(tmp_path / "s") == done.rows


def test_the_csv_is_the_json(small, tmp_path):
    rows = go(tmp_path, models=["dks"]).rows
    with open(tmp_path / "study.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 1 and list(table[0]) == list(rows[0])
    assert table[0] == {k: str(v) for k, v in rows[0].items()}
    tricky = [
        {"run": "a", "error": 'ValueError: "x", y', "rate": None},
        {"run": "b", "error": "", "rate": 1.5},
    ]
    assert list(csv.reader(io.StringIO(study.to_csv(tricky)))) == [
        ["run", "error", "rate"],
        ["a", 'ValueError: "x", y', ""],
        ["b", "", "1.5"],
    ]


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(small, tmp_path, monkeypatch):
    go(tmp_path, models=["dks"])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / NAMES[0]).iterdir()}
    trained = []
    run = runs.run
    monkeypatch.setattr(runs, "run", lambda e, *a, **k: trained.append(e.name) or run(e, *a, **k))
    done = go(tmp_path)
    assert trained == ["ekvae-elbo-learned-noise"] and len(done.rows) == 2
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / NAMES[0]).iterdir()} == before
    assert [row["run"] for row in go(tmp_path, models=["ekvae"]).rows] == [
        "dks-elbo-learned-noise",
        "ekvae-elbo-learned-noise",
    ], "the folder's table"
    assert trained == ["ekvae-elbo-learned-noise"]


@pytest.mark.slow
def test_a_trained_run_that_was_not_evaluated_is_evaluated(small, tmp_path, monkeypatch):
    first = go(tmp_path, models=["dks"]).rows
    (tmp_path / NAMES[0] / study.ROW).unlink()
    monkeypatch.setattr(Run, "train_step", lambda *_: pytest.fail("trained again"))
    assert go(tmp_path, models=["dks"]).rows == first, "seconds too: they are those of the training"


@pytest.mark.slow
def test_an_interrupted_study_goes_on_from_the_checkpoint(small, tmp_path, monkeypatch):
    whole = go(tmp_path / "whole").rows
    step, count = Run.train_step, [0]

    def stops(self, *arguments):
        count[0] += 1
        if (
            count[0] == 13 + 8
        ):  # in the 8th step of the second run; its last checkpoint is of step 5
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Run, "train_step", stops)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "s")
    assert [row["run"] for row in files.read_json(tmp_path / "s" / "study.json")] == [
        "dks-elbo-learned-noise"
    ], "the table is up to date"
    count[0] = -100
    done = go(tmp_path / "s")
    assert count[0] == -100 + 13 - 5 and numbers(done.rows) == numbers(whole)


def test_a_failed_run_does_not_stop_the_others(small, tmp_path, monkeypatch, capsys):
    e = tiny.EXPERIMENTS["dks-elbo-learned-noise"]
    monkeypatch.setitem(
        tiny.EXPERIMENTS, e.name, replace(e, training=replace(e.training, batch=21))
    )
    done = go(tmp_path, progress=True)
    assert [row["run"] for row in done.rows] == ["ekvae-elbo-learned-noise"]
    message = (
        "dks-elbo-learned-noise, seed 0: "
        "ValueError: batch 21 is larger than the training set of 20 sequences"
    )
    assert [str(f) for f in done.failures] == [message]
    err = capsys.readouterr().err
    assert f"failed: {message}" in err and "2/2" in err and "1 failed" in err


def test_a_run_that_diverges_is_an_outcome(small, tmp_path, monkeypatch):
    """It has a row, flagged, without numbers; it is reported each time, and not trained again."""
    e = tiny.EXPERIMENTS["dks-elbo-learned-noise"]
    monkeypatch.setitem(
        tiny.EXPERIMENTS,
        e.name,
        replace(e, training=replace(e.training, learning_rate=1e30)),
    )
    done = go(tmp_path)
    assert [(row["run"], row["nan"]) for row in done.rows] == [
        ("dks-elbo-learned-noise", True),
        ("ekvae-elbo-learned-noise", False),
    ]
    row = done.rows[0]
    assert row["error"].startswith("FloatingPointError: ") and all(
        row[f] is None for f in scores.names(["sin", "cos", "velocity"])
    )
    assert row.keys() == done.rows[1].keys() and row["seconds"] > 0
    monkeypatch.setattr(Run, "train_step", lambda *_: pytest.fail("trained again"))
    again = go(tmp_path)
    assert again == done and len(again.failures) == 1


def test_a_number_that_is_not_finite_is_flagged_and_left_out(small, tmp_path, monkeypatch):
    evaluate = storage.evaluate
    monkeypatch.setattr(
        storage,
        "evaluate",
        lambda trained: evaluate(trained) | {"mse_forecast": math.inf, "elbo": math.nan},
    )
    (row,) = go(tmp_path, models=["dks"]).rows
    assert (
        row["nan"] is True
        and row["error"] == ""
        and row["mse_forecast"] is None
        and row["elbo"] is None
        and row["rate"] is not None
    )
    json.loads(
        (tmp_path / "study.json").read_text(),
        parse_constant=lambda text: pytest.fail(f"{text} is not JSON"),
    )


def test_a_model_of_pairs_has_no_tighter_bound(small, tmp_path):
    (row,) = go(tmp_path, models=["e2c"]).rows
    assert (
        row["iwae"] is None
        and row["iwae_se"] is None
        and row["nan"] is False
        and row["elbo"] is not None
    )


def test_missing_frames_do_not_count_in_the_tighter_bound(small, monkeypatch):
    splits = tiny.DATA_SETS["pendulum"].splits()
    test, experiment = splits.test, tiny.EXPERIMENTS["dks-elbo"]
    trained = experiments.Trained(experiment, *runs.build(experiment))
    mask = torch.ones(test.x.shape[:2], dtype=torch.bool)
    mask[:, 1:3] = False

    def bound(fill, mask):
        x = test.x.masked_fill(~mask.unsqueeze(-1), fill)
        hidden = splits._replace(test=replace(test, x=x, mask=mask))
        monkeypatch.setattr(runs, "make_data", lambda name: hidden)
        return study.tighter_bound(trained, K=3)

    assert bound(math.nan, mask) == bound(0.5, mask)
    assert bound(0.5, mask) != bound(0.5, torch.ones_like(mask))


def test_another_run_in_the_folder(small, tmp_path):
    first = go(tmp_path, models=["dks"]).rows
    done = go(tmp_path, models=["dks"], steps=14)
    assert (
        len(done.failures) == 1
        and "holds another run" in done.failures[0].error
        and done.rows == first
    )
    (tmp_path / NAMES[0] / study.ROW).unlink()
    done = go(tmp_path, models=["dks"], steps=14)
    assert "training.steps is 13 there, 14 asked for" in done.failures[0].error and done.rows == []


def test_the_hash_names_everything_that_decides_the_outcome():
    import hashlib

    e = experiments.get("ekvae-constrained")
    text = json.dumps(e.to_dict(), sort_keys=True)
    assert study.config_hash(e) == hashlib.sha256(text.encode()).hexdigest()[:12]
    others = [
        replace(e, seed=1),
        replace(e, data="gymnasium"),
        replace(e, model=replace(e.model, bases=31)),
        replace(e, training=replace(e.training, steps=1)),
        replace(e, objective=replace(e.objective, rate=0.5)),
    ]
    assert len({study.config_hash(v) for v in (e, *others)}) == 6


# --- several processes, a cluster -----------------------------------------------------------------


@dataclass(frozen=True)
class Deadly(Experiment):
    """Kills the process that asks for its config."""

    def to_dict(self):
        os._exit(3)


@pytest.fixture
def little(monkeypatch):
    """Small networks and three steps on the book's data: what workers are sent is the whole
    experiment, so they need no patch.
    """

    def shrink(e):
        return replace(
            tiny.shrink(e),
            model=replace(tiny.shrink(e).model, x_dim=256),
            training=replace(tiny.TRAINING, steps=3),
        )

    monkeypatch.setattr(study, "equal_budget", own_budget)

    few = {name: shrink(e) for name, e in named_runs().items()}
    monkeypatch.setattr(runs, "named_runs", lambda: few)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Rows of a study in this process, made once."""
    kept = []

    def rows():
        if not kept:
            kept.extend(go(tmp_path_factory.mktemp("reference")).rows)
        return kept

    return rows


@pytest.mark.slow
def test_processes_give_the_rows_of_one_process(little, reference, tmp_path):
    done = go(tmp_path, jobs=2)
    assert done.failures == [] and numbers(done.rows) == numbers(reference())


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_the_study_can_go_on(little, tmp_path, monkeypatch):
    e = runs.named_runs()["dks-elbo-learned-noise"]
    with monkeypatch.context() as patch:
        patch.setitem(runs.named_runs(), e.name, Deadly(**vars(e)))
        done = go(tmp_path, jobs=2)
        assert (
            e.name in [f.name for f in done.failures]
            and "TerminatedWorkerError" in done.failures[0].error
        )
    assert len(done.rows) + len(done.failures) == 2
    done = go(tmp_path, jobs=2)
    assert done.failures == [] and len(done.rows) == 2


@pytest.mark.slow
@NEEDS_DASK
def test_a_dask_cluster_of_two_workers_gives_the_same_rows(little, reference, tmp_path):
    import distributed

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        done = go(
            tmp_path, jobs=None, backend="dask", scheduler=cluster.scheduler_address, seeds=[0, 1]
        )
        assert done.failures == [] and len(done.rows) == 4
        assert numbers(row for row in done.rows if row["seed"] == 0) == numbers(reference())
        with pytest.raises(ValueError, match="leave jobs out"):
            go(tmp_path, jobs=2, backend="dask", scheduler=cluster.scheduler_address)


@pytest.mark.slow
def test_ray_gives_the_same_rows(little, reference, tmp_path):
    """On this machine alone; Ray is large and not among the pinned requirements, so this runs where
    someone has installed it.
    """
    ray = pytest.importorskip("ray", reason="needs ray: pip install ray")
    try:
        done = go(tmp_path, jobs=2, backend="ray")
    finally:
        ray.shutdown()
    assert done.failures == [] and numbers(done.rows) == numbers(reference())


@NEEDS_DASK
def test_workers_with_several_threads_are_refused(small, tmp_path):
    """Two builds at once in one process would share torch's global random state."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        pytest.raises(ValueError, match="one thread"),
    ):
        go(tmp_path / "s", jobs=None, backend="dask", scheduler=cluster.scheduler_address)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "backend, module, message",
    [
        ("dask", "distributed", 'pip install "tutorial-dssm[study]"'),
        ("ray", "ray", "pip install ray"),
    ],
)
def test_a_backend_that_is_not_installed(small, tmp_path, monkeypatch, backend, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as error:
        go(tmp_path / "s", jobs=None, backend=backend, scheduler="tcp://127.0.0.1:8786")
    assert message in str(error.value) and not (tmp_path / "s").exists()


# --- the door, the command line -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, seeds",
    [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("0,2,7-9", [0, 2, 7, 8, 9]), ("2-3, 1-2", [1, 2, 3])],
)
def test_seeds(text, seeds):
    assert study.parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "-1", "4-0", "0-", "a", "0..4", "1,,2", "0-99999999", "1.5", "²"]
)
def test_seeds_that_are_none(text):
    with pytest.raises(ValueError, match="seeds must"):
        study.parse_seeds(text)


@pytest.mark.parametrize(
    "message, words",
    [
        (
            "unknown run 'dkss-constrained'; did you mean 'dks-constrained'?",
            ["--models", "dks", "dkss", "--objectives", "constrained"],
        ),
        (
            "unknown run 'dks-constraint'; did you mean 'dks-constrained'?",
            ["--models", "dks", "--objectives", "constraint"],
        ),
        ("seeds must look like 0-4", ["--models", "dks", "--seeds", "0:4"]),
        ("at least one model", ["--models", "--objectives", "constrained"]),
        ("steps must be positive, got 0", ["--models", "dks", "--steps", "0"]),
        ("jobs must be at least 1, got 0", ["--models", "dks", "--jobs", "0"]),
        ("needs the address of its scheduler", ["--models", "dks", "--backend", "dask"]),
        (
            "a scheduler needs the backend dask or ray",
            ["--models", "dks", "--scheduler", "tcp://here:8786"],
        ),
        ("cannot write", ["--models", "dks", "--jobs", "1", "--out", "file"]),
    ],
)
def test_expected_mistakes_take_one_line_and_touch_nothing(message, words, small, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    code = main(["study", *words])
    out, err = capsys.readouterr()
    assert (
        code == 1
        and out == ""
        and err.startswith("error: ")
        and err.count("\n") == 1
        and message in err
    ), err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_the_command_line(small, tmp_path, capsys, monkeypatch):
    words = [
        "study",
        "--models",
        "dks",
        "--objectives",
        "elbo-learned-noise",
        "constrained",
        "--seeds",
        "0-1",
        "--jobs",
        "1",
        "--out",
        "s",
    ]
    assert main(words) == 0
    out, err = capsys.readouterr()
    rows = study.load(tmp_path / "s")
    assert [(r["run"], r["seed"]) for r in rows] == [
        (f"dks-{o}", k) for o in ("elbo-learned-noise", "constrained") for k in (0, 1)
    ]
    assert (
        out == f"{tables.study_table(rows)}\n\n4 runs in s/study.csv and .json\n" and "4/4" in err
    )
    e = tiny.EXPERIMENTS["dks-elbo"]
    monkeypatch.setitem(
        tiny.EXPERIMENTS, "dks-elbo", replace(e, training=replace(e.training, batch=21))
    )
    code = main([*words[:4], "elbo", "constrained", *words[6:]])
    out, err = capsys.readouterr()
    assert code == 1 and "4 runs in" in out
    assert (
        err.splitlines()[-1].startswith("error: 2 failed: dks-elbo, seed 0: ValueError: batch 21")
        and "dks-elbo, seed 1" in err.splitlines()[-1]
    )


def test_the_defaults_are_named_runs():
    assert (
        len(study.grid(study.MODELS, study.OBJECTIVES, study.parse_seeds(study.SEEDS))) == 7 * 3 * 5
    )


# --- statistics -----------------------------------------------------------------------------------


def names_of(run):
    """Model and objective of a named run; of another name nothing."""
    e = named_runs().get(run)
    return {"model": e.model_name, "objective": e.objective_name} if e else {}


def rows_of(values, key="mse_open_loop"):
    """{run: values by seed} -> rows; None is a run that broke down."""
    return [
        {"run": run} | names_of(run) | {"seed": k, key: v, "nan": v is None}
        for run, vs in values.items()
        for k, v in enumerate(vs)
    ]


A, B = [0.5, 0.2, 0.9, 0.4, 0.3], [0.1, 0.25, 0.3, 0.1, 0.05]


def test_a_summary_is_that_of_numpy_and_counts_what_is_missing():
    s = comparisons.summarise(rows_of({"a": [*A, None, math.nan], "b": B}), "a", "mse_open_loop")
    assert s.mean == pytest.approx(np.mean(A)) and s.sd == pytest.approx(np.std(A, ddof=1))
    assert (s.worst, s.worst_seed, s.seeds, s.nans) == (0.9, 2, 5, 1)
    s = comparisons.summarise(rows_of({"a": A}, "r2_velocity"), "a", "r2_velocity")
    assert (s.worst, s.worst_seed) == (0.2, 1), "of R², the smallest is the worst"
    s = comparisons.summarise(rows_of({"a": [1.0]}, "rate"), "a", "rate")
    assert s.mean == 1.0 and math.isnan(s.sd) and math.isnan(s.worst) and s.worst_seed is None
    s = comparisons.summarise(rows_of({"a": [None, None]}), "a", "mse_open_loop")
    assert math.isnan(s.mean) and s.seeds == 0 and s.nans == 2
    with pytest.raises(ValueError, match="no row of the run 'c'"):
        comparisons.summarise(rows_of({"a": A}), "c", "rate")


def test_a_comparison_is_the_paired_t_interval_of_scipy():
    rows = rows_of({"dks-constrained": [*A, 7.0], "dks-elbo-learned-noise": [*B, None]})[::-1]
    p = comparisons.balancing(rows, "dks", "mse_open_loop")
    expected = scipy.stats.ttest_rel(A, B).confidence_interval(0.95)
    assert (p.low, p.high) == pytest.approx(
        (expected.low, expected.high)
    ) and p.mean == pytest.approx(np.mean(A) - np.mean(B))
    assert (
        p.seeds == [0, 1, 2, 3, 4]
        and p.differences == pytest.approx(np.subtract(A, B))
        and p.signs == [1, -1, 1, 1, 1]
    )
    p = comparisons.compare(
        rows, "dks-constrained", "dks-elbo-learned-noise", "mse_open_loop", log=True
    )
    expected = scipy.stats.ttest_rel(np.log(A), np.log(B)).confidence_interval(0.95)
    assert (p.low, p.high) == pytest.approx((expected.low, expected.high))


def test_seeds_are_paired_by_their_number():
    rows = [
        {"run": "ekvae-constrained", "seed": k, "rate": v}
        for k, v in ((4, 1.0), (2, 5.0), (9, 0.0))
    ]
    rows += [
        {"run": "dks-constrained", "seed": k, "rate": v} for k, v in ((2, 5.0), (4, 3.0), (1, 0.0))
    ]
    p = comparisons.kalman_posterior(rows, "rate")
    assert (p.seeds, p.differences, p.signs, p.mean) == ([2, 4], [0.0, -2.0], [0, -1], -1.0)
    one = comparisons.compare(rows[:1] + rows[4:5], "ekvae-constrained", "dks-constrained", "rate")
    assert one.mean == -2.0 and math.isnan(one.low) and math.isnan(one.high)
    with pytest.raises(ValueError, match="no seed has rate of both"):
        comparisons.kalman_posterior(rows[:1] + rows[3:4], "rate")
    with pytest.raises(ValueError, match="no seed has rate of both"):
        comparisons.kalman_posterior(rows, "rate", "annealed")


def test_the_tables_say_what_the_rows_say():
    rows = rows_of(
        {
            "dks-constrained": [0.75, 1.0],
            "dks-elbo-learned-noise": [0.5, 0.0],
            "ekvae-constrained": [None],
        },
        "r2_velocity",
    )
    lines = tables.study_table(rows, ["r2_velocity"]).splitlines()
    assert lines[0] == r"| run | seeds | NaN | $R^2$ $\dot\varphi$ |"
    assert lines[2:] == [
        "| `dks-elbo-learned-noise` | 2 | 0 | 0.250 ± 0.354 (0.000) |",
        "| `dks-constrained` | 2 | 0 | 0.875 ± 0.177 (0.750) |",
        "| `ekvae-constrained` | 1 | 1 | – |",
    ]
    expected = scipy.stats.ttest_rel([0.75, 1.0], [0.5, 0.0]).confidence_interval(0.95)
    lines = tables.comparison_table(rows, ["r2_velocity", "rate"]).splitlines()
    assert lines[2:] == [
        "| `dks-constrained` − `dks-elbo-learned-noise` "
        f"| +0.625 [{expected.low:.3f}, {expected.high:.3f}] ++ | – |",
        "| `ekvae-constrained` − `dks-constrained` | – | – |",
    ]
    assert tables.comparison_table([]).count("\n") == 1


def test_the_shipped_rows_can_be_summarised():
    table = tables.study_table(experiments.load_results())
    assert "`dks-constrained`" in table and "nan" not in table.lower().replace("| nan |", "")
    assert "`dks-constrained` − `dks-elbo-learned-noise`" in tables.comparison_table(
        experiments.load_results()
    )


def test_joblib_sends_the_job_by_name_so_workers_need_this_package_only():
    import pickle

    assert (
        pickle.loads(pickle.dumps(joblib.delayed(study._job)(0, experiments.get("dks-elbo"), "x")))[
            0
        ]
        is study._job
    )


def test_the_shipped_table_is_of_the_runs_that_this_code_would_make():
    rows = storage.load_study()
    assert {(row["model"], row["objective"], row["seed"]) for row in rows} >= set(
        itertools.product(study.MODELS, study.OBJECTIVES, range(5))
    )
    for row in rows:
        assert row["config"] == study.config_hash(
            study.equal_budget(experiments.get(row["run"], row["seed"]))
        )
        assert row["nan"] is False and (row["iwae"] is None) == (row["model"] == "e2c")
        assert (
            row["iwae"] is None
            or row["iwae"] > row["elbo"] - 3 * (row["iwae_se"] ** 2 + row["elbo_se"] ** 2) ** 0.5
        )
    with open(experiments.PRETRAINED / "study.csv", newline="") as file:
        assert [row["config"] for row in csv.DictReader(file)] == [row["config"] for row in rows]


def test_the_runs_that_chose_the_settings_are_three_for_each_model_and_objective():
    tried = storage.load_tuning()
    assert {(row["model"], row["objective"]) for row in tried} == set(
        itertools.product(study.MODELS, study.OBJECTIVES)
    )
    assert (
        len({(row["model"], row["objective"], row["setting"]) for row in tried}) == len(tried) == 63
    )
    assert not {row["seed"] for row in tried} & set(study.parse_seeds(study.SEEDS))
