"""The named runs, and the command line that trains, evaluates and draws them; the shipped weights
and table.
"""

import errno
import inspect
import json
import os
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch

import tiny
from tutorial_dssm import evaluation, experiments, files
from tutorial_dssm.__main__ import main
from tutorial_dssm.data import DATA, DataSet, gymnasium
from tutorial_dssm.evaluation import scores
from tutorial_dssm.experiments import named_runs
from tutorial_dssm.experiments.runs import build, from_dict, get, run
from tutorial_dssm.experiments.storage import load, load_pretrained, load_run, load_training_record
from tutorial_dssm.learning.objectives import OBJECTIVES
from tutorial_dssm.learning.training import CHECKPOINT, MODEL
from tutorial_dssm.models import MODELS

NAMES = list(named_runs())
KEYS = {
    "r2_sin",
    "r2_cos",
    "r2_velocity",
    "mse_smoothed",
    "mse_open_loop",
    "mse_forecast",
    "distortion",
    "rate",
    "elbo",
    "seed",
    "steps",
}
KEYS |= {
    "run",
    "model",
    "objective",
    "data",
    "r2_sin_knn",
    "r2_cos_knn",
    "r2_velocity_knn",
    "distortion_se",
    "rate_se",
    "elbo_se",
    "sigma",
}
SHIPPED = (
    "dks-elbo-learned-noise",
    "dks-constrained",
    "ekvae-elbo-learned-noise",
    "ekvae-constrained",
)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The named runs in miniature, in an empty working folder."""
    tiny.install(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(capsys):
    """The command line in this process: exit code, standard output, lines of standard error."""

    def call(*words):
        capsys.readouterr()
        try:
            code = main([str(w) for w in words])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err.splitlines()

    return call


@pytest.fixture
def refused(command, tmp_path):
    """One line on standard error that says so, exit code 1, nothing printed and no file touched."""

    def call(message, *words):
        before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
        code, out, err = command(*words)
        assert (
            code == 1
            and out == ""
            and len(err) == 1
            and err[0].startswith("error: ")
            and message in err[0]
        ), (code, out, err)
        assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before

    return call


# --- experiments ----------------------------------------------------------------------------------


def test_the_named_runs():
    """Every model under every objective, but for those that need what a model does not give."""
    pairs = [
        (m, o)
        for m, recipe in MODELS.items()
        for o, goal in OBJECTIVES.items()
        if recipe.model.has_step_rates or not goal.objective.needs_step_rates
    ]
    assert ("rssm", "balanced") in pairs and ("dks", "balanced") not in pairs
    assert [(e.model_name, e.objective_name) for e in named_runs().values()] == pairs
    for (m, o), (name, e) in zip(pairs, named_runs().items()):
        assert name == e.name == f"{m}-{o}" and e.seed == 0 and e.data == "pendulum"
        assert getattr(e.objective, "damping", None) == {"rewo": True, "constrained": False}.get(o)


def test_every_model_has_a_named_run_of_its_own_type():
    built = {type(build(e)[0]) for e in tiny.EXPERIMENTS.values()}
    assert built == {recipe.model for recipe in MODELS.values()}
    assert all(type(build(e)[0].config) is type(e.model) for e in tiny.EXPERIMENTS.values())


def test_get():
    e = get("dks-rewo", seed=3, steps=70, data="gymnasium")
    assert (e.name, e.seed, e.training.steps, e.data) == ("dks-rewo", 3, 70, "gymnasium")
    assert replace(e, seed=0, data="pendulum", training=named_runs()["dks-rewo"].training) == get(
        "dks-rewo"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("ekvae-constraint",),
            "unknown run 'ekvae-constraint'; did you mean 'ekvae-constrained'?",
        ),
        (("EKVAE",), "did you mean"),
        (("dks-elbo", 0, None, "pendulums"), "did you mean 'pendulum'"),
        (("dks-elbo", -1), "seed must be between 0"),
        (("dks-elbo", 2**63), "seed must be between 0"),
        (("dks-elbo", 0, 0), "steps must be positive"),
        (("dks-elbo", 0, -5), "steps must be positive"),
    ],
)
def test_get_refuses(arguments, message):
    with pytest.raises(ValueError) as error:
        get(*arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_comes_back_from_json(name):
    e = get(name, seed=2**63 - 1, steps=7, data="gymnasium")
    assert from_dict(json.loads(json.dumps(e.to_dict()))) == e


def changed(path, value):
    config = get("ekvae-constrained").to_dict()
    *parents, last = path.split(".")
    part = config
    for key in parents:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return config


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("model_name", "ekvea", "did you mean 'ekvae'"),
        ("objective_name", "lagrangian", "did you mean"),
        ("model_name", None, "'model_name'"),
        ("objective_name", 5, "another version"),
        ("model", None, "'model'"),
        # this version has a setting that the other had not
        ("model.z_dim", None, "model.z_dim is None there"),
        ("model.layers", 4, "layers"),  # and the other way round
        ("objective", [1], "another version"),
        ("training.steps", -1, "steps must be positive"),
        ("seed", "zero", "another version"),
        ("data", "mnist", "'mnist'"),
        ("extra", 1, "extra"),
    ],
)
def test_a_config_of_another_version_is_refused(path, value, message):
    with pytest.raises(ValueError, match="of another version of this package") as error:
        from_dict(changed(path, value))
    assert message in str(error.value)


def test_build_is_decided_by_the_seed_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    (a, _), (b, _), (c, _) = (build(get("dks-elbo", seed)) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state()), "the global random state was changed"
    assert all(torch.equal(v, w) for v, w in zip(a.state_dict().values(), b.state_dict().values()))
    assert not torch.equal(a.decoder[0].weight, c.decoder[0].weight)


@pytest.mark.slow
def test_a_run_starts_from_the_frames_it_is_trained_on(tmp_path):
    """Before the first step the frame path is at the principal components; a run that goes on does
    not start again.
    """
    steps, experiment = [], get("dks-elbo", steps=1)
    state = run(
        experiment,
        tmp_path,
        progress=False,
        on_step=lambda r: steps.append(r.model.frame_path.linear.weight.clone()),
    )
    model, _ = build(experiment)
    before = model.frame_path.linear.weight.clone()
    model.initialise(experiments.make_data("pendulum").train.x)
    start = model.frame_path.linear.weight
    reach = 1.01 * experiment.training.learning_rate  # of Adam's first step
    assert (before - start).abs().max() > 2 * reach and 0 < (steps[0] - start).abs().max() <= reach
    again = run(experiment, tmp_path, progress=False)
    assert torch.equal(again.model.frame_path.linear.weight, state.model.frame_path.linear.weight)


@pytest.mark.slow
def test_the_data_are_those_of_the_book():
    splits = experiments.make_data("pendulum")
    assert all(
        s.x.shape == (500, 15, 256) and s.u.shape == (500, 15, 1) and s.state.shape == (500, 15, 2)
        for s in splits
    )
    long = experiments.make_long_data("pendulum", 3)
    assert long.x.shape == (3, evaluation.FORECAST_FRAMES + evaluation.FORECAST_STEPS, 256)
    starts = torch.cat([d.state[:, 0] for d in (*splits, experiments.make_long_data("pendulum"))])
    assert len(starts.unique(dim=0)) == len(starts) == 1700, "a sequence of one split is in another"


@pytest.mark.slow
def test_what_was_trained_is_what_is_loaded(small, tmp_path):
    state = run(get("ekvae-elbo-learned-noise"), tmp_path / "run", progress=False)
    trained = load(str(tmp_path / "run"))
    assert trained.experiment == get("ekvae-elbo-learned-noise") and not trained.model.training
    assert all(
        torch.equal(v, trained.model.state_dict()[k]) for k, v in state.model.state_dict().items()
    )
    assert (
        torch.equal(trained.objective.noise(), state.objective.noise())
        and float(trained.objective.noise().detach()) != 0.3
    )
    record = load_training_record(tmp_path / "run")
    assert torch.equal(record.history, torch.stack(state.history)) and torch.equal(
        record.snapshots, torch.stack(state.snapshots)
    )
    assert record.snapshot_steps.tolist() == state.snapshot_steps
    assert experiments.evaluate(trained) == experiments.evaluate(load_run(tmp_path / "run")), (
        "evaluation must not be left to chance"
    )


def test_what_cannot_be_loaded(small, tmp_path):
    def refuses(message, action, *arguments):
        with pytest.raises(ValueError, match=message):
            action(*arguments)

    refuses("holds no run", load, str(tmp_path))
    refuses("no such folder", load, str(tmp_path / "nowhere"))
    refuses("did you mean 'ekvae-rewo'", load_pretrained, "ekvae-reewo")
    refuses("ships no weights of dks-annealed: train it", load_pretrained, "dks-annealed")
    refuses("no such file", load_training_record, tmp_path)

    run(get("dks-elbo"), tmp_path, progress=False)
    refuses("holds no history", load_training_record_without_history, tmp_path)
    tensors, config = files.read_tensors(tmp_path / MODEL)
    files.write_tensors(
        tmp_path / MODEL, {k: v for k, v in tensors.items() if "decoder" not in k}, config
    )
    refuses("does not fit dks-elbo of this version", load_run, tmp_path)
    files.write_tensors(
        tmp_path / MODEL, tensors, config | {"model": config["model"] | {"hidden": 9}}
    )
    refuses("does not fit dks-elbo of this version", load_run, tmp_path)
    files.write_tensors(tmp_path / MODEL, tensors, config | {"model": {}})
    refuses("of another version of this package", load_run, tmp_path)
    (tmp_path / MODEL).write_bytes(b"gone")
    refuses("damaged", load_run, tmp_path)
    (tmp_path / MODEL).unlink()
    refuses("an unfinished run: train it to the end", load_run, tmp_path)


def load_training_record_without_history(folder):
    path = folder / CHECKPOINT
    good = path.read_bytes()
    tensors, config = files.read_tensors(path)
    files.write_tensors(path, {k: v for k, v in tensors.items() if k != "history"}, config)
    try:
        load_training_record(folder)
    finally:
        path.write_bytes(good)


# --- command line ---------------------------------------------------------------------------------


def test_list(command):
    code, out, err = command("list")
    assert code == 0 and err == [] and [line.split()[0] for line in out.splitlines()] == NAMES


@pytest.mark.slow
def test_train_and_evaluate(small, command, tmp_path):
    code, out, err = command("train", "ekvae-constrained", "--seed", 2, "--steps", 6)
    assert code == 0 and "runs/ekvae-constrained-seed2" in out and "6/6" in err[-1]
    folder = tmp_path / "runs" / "ekvae-constrained-seed2"
    assert sorted(p.name for p in folder.iterdir()) == [CHECKPOINT, MODEL]

    before = (folder / MODEL).stat().st_mtime_ns
    code, out, _ = command("train", "ekvae-constrained", "--seed", 2, "--steps", 6)
    assert code == 0 and "finished" in out and (folder / MODEL).stat().st_mtime_ns == before

    code, out, err = command("evaluate", folder, "--json")
    numbers = json.loads(out)
    assert code == 0 and err == [] and numbers.keys() == KEYS
    assert (numbers["run"], numbers["seed"], numbers["steps"], numbers["data"]) == (
        "ekvae-constrained",
        2,
        6,
        "pendulum",
    )
    assert numbers["elbo"] == -(numbers["distortion"] + numbers["rate"])
    words = {"run", "model", "objective", "seed", "steps", "data"}
    assert all(isinstance(numbers[k], float) for k in KEYS - words)
    assert numbers == experiments.evaluate(load_run(folder))

    code, out, err = command("evaluate", folder)
    assert (
        code == 0 and err == [] and [line.split()[0] for line in out.splitlines()] == list(numbers)
    )


def test_evaluation_is_on_the_held_out_sequences(small, tmp_path, monkeypatch):
    """Of the test split, not of training or validation, and of the run's own data set."""
    run(get("dks-elbo", data="gymnasium"), tmp_path, progress=False)
    seen = []
    zeros = evaluation.Evaluation({}, {}, *[0.0] * 10)
    monkeypatch.setattr(
        scores, "evaluate", lambda model, sigma, data, long: seen.append(data) or zeros
    )
    experiments.evaluate(load_run(tmp_path))
    assert torch.equal(seen[0].x, tiny.DATA_SETS["gymnasium"].splits().test.x)


def test_train_on_the_frames_of_gymnasium(small, command, tmp_path, monkeypatch):
    pytest.importorskip("gymnasium")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    few = DataSet(gymnasium.make_gym_sequences, n=8, length=3, n_test=6)
    monkeypatch.setitem(DATA, "gymnasium", few)
    code, _, err = command(
        "train", "dks-elbo", "--steps", 2, "--data", "gymnasium", "--out", tmp_path / "run"
    )
    assert code == 0, err
    assert load_run(tmp_path / "run").experiment.data == "gymnasium"


def test_gymnasium_that_is_not_installed(small, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.setitem(DATA, "gymnasium", DataSet(gymnasium.make_gym_sequences))
    refused("pip install gymnasium pygame", "train", "dks-elbo", "--data", "gymnasium")


@pytest.mark.parametrize(
    "message, words",
    [
        ("unknown command 'trian'; did you mean 'train'?", ["trian", "dks-elbo"]),
        ("unknown run 'dks-elbow'; did you mean 'dks-elbo'?", ["train", "dks-elbow"]),
        ("unknown run 'dks-elbow'; did you mean 'dks-elbo'?", ["evaluate", "dks-elbow"]),
        ("no such folder: runs/dks-elbo-seed0", ["evaluate", "runs/dks-elbo-seed0"]),
        ("ships no weights of dks-annealed", ["evaluate", "dks-annealed", "--json"]),
        ("ships no weights of dks-annealed", ["figures", "dks-annealed", "--out", "images"]),
        ("seed must be between 0 and 2**63 - 1, got -1", ["train", "dks-elbo", "--seed", "-1"]),
        ("seed must be between 0", ["train", "dks-elbo", "--seed", "9" * 30]),
        (
            "unknown data set 'pendulums'; did you mean",
            ["train", "dks-elbo", "--data", "pendulums"],
        ),
        ("cannot use the module 'no_such_module'", ["--use", "no_such_module", "list"]),
        ("cannot use the module ''", ["--use"]),
        ("steps must be positive, got 0", ["train", "dks-elbo", "--steps", "0"]),
        ("threads must be at least 1, got 0", ["train", "dks-elbo", "--threads", "0"]),
        (
            "cannot write file/run/checkpoint.safetensors",
            ["train", "dks-elbo", "--out", "file/run"],
        ),
        ("cannot write file/checkpoint.safetensors", ["train", "dks-elbo", "--out", "file"]),
        ("no run", ["evaluate", "."]),
    ],
)
def test_expected_mistakes_take_one_line(message, words, small, refused, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(message, *words)


@pytest.mark.parametrize(
    "word, words",
    [
        ("subcommand", []),
        ("--sed", ["train", "dks-elbo", "--sed", "1"]),
        ("abc", ["train", "dks-elbo", "--seed", "abc"]),
        ("gpu", ["train", "dks-elbo", "--device", "gpu"]),
        ("required", ["train"]),
        ("required", ["figures", "dks-elbo"]),
        ("1.5", ["train", "dks-elbo", "--steps", "1.5"]),
    ],
)
def test_malformed_options_take_code_two(word, words, small, command, tmp_path):
    code, out, err = command(*words)
    assert code == 2 and out == "" and word in "\n".join(err) and list(tmp_path.iterdir()) == []


def test_a_graphics_card_that_is_not_there(small, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused("PyTorch finds no CUDA device", "train", "dks-elbo", "--device", "cuda")


def test_another_run_in_the_folder(small, command, refused, tmp_path):
    assert command("train", "dks-elbo", "--out", tmp_path / "run")[0] == 0
    for words in (
        ["dks-elbo", "--seed", 1],
        ["dks-elbo", "--steps", 14],
        ["dks-elbo", "--data", "gymnasium"],
        ["dks-rewo"],
    ):
        refused("holds another run", "train", *words, "--out", tmp_path / "run")
    (tmp_path / "run" / MODEL).unlink()
    refused(
        "holds another run (seed is 0 there, 1 asked for)",
        "train",
        "dks-elbo",
        "--seed",
        1,
        "--out",
        tmp_path / "run",
    )
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"gone")
    refused("is damaged or not a safetensors file", "train", "dks-elbo", "--out", tmp_path / "run")


def test_a_full_disk(small, command, tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    code, out, err = command("train", "dks-elbo", "--out", tmp_path / "run")
    assert (
        code == 1
        and out == ""
        and err == [f"error: cannot write {tmp_path}/run/{CHECKPOINT}: No space left on device"]
    )
    assert list((tmp_path / "run").iterdir()) == []


def test_a_run_that_diverges(small, command, tmp_path, monkeypatch):
    e = tiny.EXPERIMENTS["dks-elbo"]
    hot = replace(e, training=replace(e.training, learning_rate=1e30))
    monkeypatch.setitem(tiny.EXPERIMENTS, "dks-elbo", hot)
    code, out, err = command("train", "dks-elbo", "--out", tmp_path)
    assert code == 1 and out == "" and "finite" in err[-1] and err[-1].startswith("error: ")
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.slow
def test_a_fresh_process():
    """Installed entry point, exit code and streams as a shell sees them."""
    process = subprocess.run(
        [sys.executable, "-m", "tutorial_dssm", "evaluate", "nothing"],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1 and process.stdout == ""
    assert (
        process.stderr.startswith("error: unknown run 'nothing'; did you mean")
        and process.stderr.count("\n") == 1
    )


# --- what the package ships -----------------------------------------------------------------------


def test_the_results_table_is_complete():
    """Seeds 0-4 of the four runs, every number of `evaluate --json`, and the time it took."""
    rows = experiments.load_results()
    assert {(row["run"], row["seed"]) for row in rows} >= {
        (name, seed) for name in SHIPPED for seed in range(5)
    }
    assert len({(row["run"], row["seed"]) for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() >= KEYS - {"data"} | {"seconds"} and row["run"] in NAMES
        assert row["seconds"] > 0 and row["steps"] == named_runs()[row["run"]].training.steps
        assert row["elbo"] == pytest.approx(-(row["distortion"] + row["rate"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_give_their_row_of_the_table(name):
    trained = load_pretrained(name)
    assert trained.experiment == get(name), "the weights are of the named run, seed 0"
    result = experiments.evaluate(trained)
    (row,) = (row for row in experiments.load_results() if row["run"] == name and row["seed"] == 0)
    assert {key: result[key] for key in ("model", "objective")} == {
        key: row[key] for key in ("model", "objective")
    }
    for key in KEYS - {"run", "model", "objective", "data"}:
        tolerance = dict(abs=2e-3) if key.startswith("r2_") else dict(rel=0.02, abs=1e-6)
        assert result[key] == pytest.approx(row[key], **tolerance), key


def test_every_shipped_file_of_weights_loads():
    paths = sorted(experiments.PRETRAINED.glob("**/*.safetensors"))
    assert {p.stem for p in paths} >= set(SHIPPED)
    for path in paths:
        tensors, config = files.read_tensors(path)
        assert from_dict(config).name == path.stem.removesuffix(experiments.HISTORY)
        assert all(torch.isfinite(v).all() for v in tensors.values())


def test_every_setting_says_what_it_is():
    """One comment a field."""
    for name in ("dks-constrained", "ekvae-elbo", "dks-annealed", "dks-elbo-learned-noise"):
        e = named_runs()[name]
        for config in (e.model, e.objective, e.training):
            parents = [c for c in type(config).__mro__ if c is not object]
            lines = "\n".join(map(inspect.getsource, parents)).splitlines()
            for field in fields(config):
                start = f"{field.name}:"
                k = next(k for k, line in enumerate(lines) if line.strip().startswith(start))
                assert "  # " in lines[k] or lines[k - 1].strip().startswith("# "), field.name


def test_only_a_model_with_a_filter_step_can_be_compiled(tmp_path):
    with pytest.raises(ValueError, match="no inner step to compile"):
        experiments.run(
            experiments.get("dks-constrained", steps=1),
            tmp_path / "run",
            progress=False,
            compiled=True,
        )
    assert not (tmp_path / "run").exists()
