"""All figures of a run, drawn and saved; what stands in the way is said in one sentence."""

import json
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure

from tutorial_dssm import experiments
from tutorial_dssm.__main__ import main
from tutorial_dssm.experiments.runs import make_data
from tutorial_dssm.figures import runs

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A run of four steps, on real data."""
    folder = tmp_path_factory.mktemp("run")
    experiments.run(experiments.get("ekvae-constrained", steps=4), folder, "cpu", progress=False)
    return folder


@pytest.mark.slow
def test_save_all_writes_images_and_alternative_texts(short, tmp_path, capsys):
    out = tmp_path / "new"
    assert main(["figures", str(short), "--out", str(out)]) == 0
    images = sorted(out.glob("*.png"))
    assert sorted(capsys.readouterr().out.split()) == [str(path) for path in images]
    assert [path.stem for path in images] == [
        "forecast_error",
        "inference_process",
        "latent_over_training",
        "latent_space",
        "prediction_best",
        "prediction_typical",
        "prediction_worst",
        "rate_distortion",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in images)
    alt = json.loads((out / runs.ALT).read_text())
    assert set(alt) == {path.name for path in images}
    assert all(len(text) > 40 for text in alt.values())
    assert {path.suffix for path in out.iterdir()} == {".png", ".json"}


@pytest.mark.slow
def test_a_model_without_auxiliary_variables_has_no_figure_of_them():
    drawn = runs.draw_all("dks-constrained")
    assert "inference_process" not in drawn and "latent_space" in drawn


def test_missing_frames_cannot_be_drawn(monkeypatch):
    splits = make_data("pendulum")
    hidden = replace(splits.test, mask=torch.zeros(splits.test.x.shape[:2], dtype=torch.bool))
    monkeypatch.setattr(runs, "make_data", lambda name: splits._replace(test=hidden))
    with pytest.raises(ValueError, match="need every frame"):
        runs.draw_all("dks-constrained")


def test_sequences_are_chosen_by_rank():
    assert runs.ranked(torch.tensor([3.0, 1.0, 2.0, 9.0])) == {"best": 1, "typical": 2, "worst": 3}
    assert runs.ranked(torch.tensor([5.0])) == {"best": 0, "typical": 0, "worst": 0}


def test_save_all_says_what_is_wrong(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(runs, "draw_all", lambda run: {"one": (Figure(), "a figure")})
    assert main(["figures", "dks-constrained", "--out", str(tmp_path / "file" / "sub")]) == 1
    assert "cannot write" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["figures", str(tmp_path / "nothing"), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.glob("*.png"))
