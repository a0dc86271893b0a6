"""What the package ships: merged, never dropped, and each file with the command that made it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tools import ROOT
from tools.pages import tuning as tuning_page
from tools.ship import frames, gymnasium, provenance, rows, runs, search, study, tuning
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments import search as searched
from tutorial_dssm.experiments import storage
from tutorial_dssm.experiments import study as studies

NAMES = sorted(
    path.name for path in experiments.PRETRAINED.iterdir() if path.name != provenance.NAME
)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty folder that the producers fill in place of the package's own."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    for module in (experiments, storage):
        monkeypatch.setattr(module, "PRETRAINED", folder)
    for module in (frames, gymnasium, runs, search, study):
        monkeypatch.setattr(module, "ROWS", folder / module.ROWS.name)
    monkeypatch.setattr(study, "CSV", folder / study.CSV.name)
    return folder


def short(name: str, seed: int = 0, **changes) -> experiments.Experiment:
    """A named run of a few steps."""
    run = experiments.get(name, seed, steps=4, **changes)
    return replace(run, training=replace(run.training, log_every=1, snapshot_every=2))


# ---------------------------------------------------------------- where it comes from


def test_every_file_has_an_entry_and_every_entry_a_file():
    entries = provenance.load()
    assert sorted(entries) == NAMES
    assert not provenance.problems()
    for name, entry in entries.items():
        assert set(entry) == set(provenance.KEYS), name
        assert set(entry["versions"]) == {"python", "torch", "numpy", "package"}, name
        assert entry["seconds"] == provenance.UNKNOWN or entry["seconds"] > 0, name
        for part in entry["command"].split("python -m ")[1:]:
            module = part.split()[0]
            path = ROOT / f"{module.replace('.', '/')}.py"
            assert module == "tutorial_dssm" or path.exists(), f"{name}: {entry['command']}"


def test_a_change_without_its_command_is_found(shelf, capsys):
    (shelf / "a.json").write_text("[1]")
    (shelf / "b.json").write_text("[2]")
    provenance.record(["a.json"], "python -m tools.ship.runs runs", 1.0)
    assert provenance.main(["--check"]) == 1
    assert "b.json: no entry" in capsys.readouterr().err
    provenance.record(["b.json"], "python -m tools.ship.runs runs", None)
    assert provenance.main(["--check"]) == 0
    (shelf / "a.json").write_text("[3]")
    assert provenance.main(["--check"]) == 1
    assert "a.json: changed since it was shipped" in capsys.readouterr().err
    assert provenance.main([]) == 0 and provenance.main(["--check"]) == 0
    (shelf / "b.json").unlink()
    assert provenance.main(["--check"]) == 1
    assert "b.json: an entry" in capsys.readouterr().err


# ---------------------------------------------------------------- merging


def test_new_rows_replace_those_of_the_same_run_and_seed_and_no_others():
    old = [{"run": "dks-constrained", "seed": s, "v": 0} for s in range(3)] + [
        {"run": "lost", "seed": 0, "v": 0}
    ]
    new = [{"run": "dks-constrained", "seed": 1, "v": 1}, {"run": "dkf-elbo", "seed": 0, "v": 1}]
    found = [(row["run"], row["seed"], row["v"]) for row in rows.merged(old, new)]
    names = ("dkf-elbo", "dks-constrained", "dks-constrained", "dks-constrained", "lost")
    assert found == list(zip(names, (0, 0, 1, 2, 0), (1, 0, 1, 0, 0)))
    with pytest.raises(ValueError, match="the same run, seed"):
        rows.merged(old, new + new)


def test_shipping_runs_keeps_the_rows_that_were_there(shelf, tmp_path):
    for seed in (0, 1):
        experiments.run(
            short("dkf-elbo", seed),
            tmp_path / "runs" / f"dkf-elbo-seed{seed}",
            "cpu",
            progress=False,
        )
    experiments.run(short("vae-rewo"), tmp_path / "runs" / "vae-rewo-seed0", "cpu", progress=False)
    there = {"run": "ekvae-constrained", "seed": 3, "seconds": 1.0}
    files.write_json(runs.ROWS, [there, {"run": "dkf-elbo", "seed": 1, "seconds": 2.0}])
    assert runs.main([str(tmp_path / "runs")]) == 0
    shipped = files.read_json(runs.ROWS)
    assert [(row["run"], row["seed"]) for row in shipped] == [
        ("dkf-elbo", 0),
        ("dkf-elbo", 1),
        ("ekvae-constrained", 3),
    ]
    assert shipped[2] == there and shipped[1]["steps"] == 4
    assert sorted(path.name for path in shelf.glob("*.safetensors")) == [
        "dkf-elbo-history.safetensors",
        "dkf-elbo.safetensors",
    ]
    assert experiments.load_pretrained("dkf-elbo").experiment.training.steps == 4
    assert not provenance.problems()
    assert provenance.load()["dkf-elbo.safetensors"]["command"].startswith(
        "python -m tutorial_dssm train dkf-elbo --seed 0 &&"
    )


def test_shipping_frame_models_keeps_the_rows_that_were_there(shelf, tmp_path):
    experiments.run(short("vae-rewo"), tmp_path / "runs" / "vae-rewo-seed0", "cpu", progress=False)
    files.write_json(frames.ROWS, [{"run": "vhp-constrained", "seed": 2, "seconds": 1.0}])
    assert frames.main([str(tmp_path / "runs")]) == 0
    assert [(row["run"], row["seed"]) for row in files.read_json(frames.ROWS)] == [
        ("vae-rewo", 0),
        ("vhp-constrained", 2),
    ]
    assert (shelf / "vae-rewo.safetensors").exists() and not provenance.problems()


def test_shipping_a_study_keeps_the_rows_that_were_there(shelf, tmp_path):
    studies.run_one(
        studies.equal_budget(experiments.get("dkf-constrained"), 3),
        tmp_path / "study" / "dkf-constrained-seed0",
    )
    files.write_json(shelf / "results.json", [])
    provenance.record(["results.json"], "python -m tools.ship.runs runs", None)
    files.write_json(study.ROWS, [{"run": "dks-constrained", "seed": 4, "seconds": 1.0}])
    assert study.main([str(tmp_path / "study")]) == 0
    shipped = files.read_json(study.ROWS)
    assert [(row["run"], row["seed"]) for row in shipped] == [
        ("dkf-constrained", 0),
        ("dks-constrained", 4),
    ]
    assert study.CSV.read_text() == studies.to_csv(shipped)
    assert (shelf / "dkf-constrained.safetensors").exists() and not provenance.problems()


def test_the_shipped_study_is_the_same_in_both_formats():
    assert study.CSV.read_text(encoding="utf-8") == studies.to_csv(storage.load_study())


def test_gymnasium_rows_are_added(shelf, tmp_path, monkeypatch):
    """Which runs are trained, where, and what becomes of their rows; training is replaced."""
    trained = {}

    def run(experiment, folder, device):
        trained[folder] = experiment
        return SimpleNamespace(seconds=12.34)

    def evaluate(experiment):
        return {"run": experiment.name, "seed": experiment.seed, "data": experiment.data}

    monkeypatch.setattr(experiments, "run", run)
    monkeypatch.setattr(experiments, "load_run", trained.get)
    monkeypatch.setattr(experiments, "evaluate", evaluate)
    there = {"run": "ekvae-constrained", "seed": 0, "seconds": 1.0}
    files.write_json(gymnasium.ROWS, [there])
    assert gymnasium.main(["dkf-elbo", "--seeds", "2,4", "--out", str(tmp_path)]) == 0
    assert list(trained) == [tmp_path / f"dkf-elbo-gymnasium-seed{seed}" for seed in (2, 4)]
    new = [
        {"run": "dkf-elbo", "seed": seed, "data": "gymnasium", "seconds": 12.3} for seed in (2, 4)
    ]
    assert files.read_json(gymnasium.ROWS) == [*new, there]
    assert not provenance.problems()


# ---------------------------------------------------------------- the search and the tuning


def test_a_trial_is_a_named_run_with_changed_settings():
    named = experiments.get("dks-constrained", 10)
    other = search.changed(named, ["model.gain=1.5", "objective.damping=True"])
    assert other == replace(
        named,
        model=replace(named.model, gain=1.5),
        objective=replace(named.objective, damping=True),
    )
    for wrong, what in {
        "gain=1": "must look like model.FIELD=VALUE",
        "model.gian=1": "did you mean 'gain'",
        "model.gain=x": "must be a number",
    }.items():
        with pytest.raises(ValueError, match=what):
            search.changed(named, [wrong])


def test_a_trial_is_appended_once(shelf, tmp_path, capsys):
    files.write_json(search.ROWS, trials := searched.load_search())
    arguments = [
        "dks-constrained",
        "--seed",
        "10",
        "--steps",
        "3",
        "--set",
        "model.gain=1.5",
        "--out",
        str(tmp_path),
    ]
    assert search.main(arguments) == 0
    shipped = files.read_json(search.ROWS)
    assert shipped[:-1] == trials
    assert shipped[-1].keys() == trials[-1].keys()
    assert (shipped[-1]["settings"], shipped[-1]["steps"]) == ("constrained, model.gain=1.5", 3)
    trained = experiments.load_run(next(tmp_path.glob("dks-constrained-*")))
    assert trained.experiment.model.gain == 1.5
    assert shipped[-1]["r2_velocity"] == round(
        experiments.evaluate(trained, "validation")["r2_velocity"], 3
    )
    assert search.main(arguments) == 1 and "there already" in capsys.readouterr().err
    assert (
        search.main([*arguments, "--seed", "3"]) == 1
        and "for the book's tables" in capsys.readouterr().err
    )
    assert files.read_json(search.ROWS) == shipped


def test_the_study_uses_the_settings_that_its_tuning_chose(monkeypatch):
    tried = storage.load_tuning()
    assert {(row["run"], row["setting"]) for row in tried} == {
        (e.name, setting) for e, _, setting in tuning.candidates()
    }
    worse = [
        row | {"mse_open_loop": 1.0, "mse_forecast": 1.0} if row["setting"] == 0.0072 else row
        for row in json.loads(json.dumps(tried))
    ]
    monkeypatch.setattr(storage, "load_tuning", lambda: worse)
    with pytest.raises(ValueError, match="does not use the best setting of constrained"):
        tuning_page.made()
