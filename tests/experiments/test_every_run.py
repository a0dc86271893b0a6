"""What every named run promises: a step on another device, resume, evaluation."""

import math

import pytest
import torch

import tiny
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments.runs import build, run
from tutorial_dssm.learning.training import CHECKPOINT, MODEL, Run
from tutorial_dssm.models import MODELS

CONSTRAINED = [name for name in tiny.EXPERIMENTS if name.endswith("-constrained")]


@pytest.mark.slow
@pytest.mark.parametrize("name", tiny.EXPERIMENTS)
def test_a_training_step_of_every_run_on_the_meta_device(name):
    """What is not moved to the model's device raises here as it would on a GPU."""
    e = tiny.EXPERIMENTS[name]
    state = Run(*build(e), e.training, 0, torch.device("meta"))
    x, u = (torch.empty(4, 5, n, device="meta") for n in (36, 1))
    report = state.train_step(x, u, None)
    assert all(v.is_meta and v.shape == () for v in report)
    assert all(p.grad is None or p.grad.is_meta for p in state.model.parameters())
    assert state.model.infer(x, u).mean.is_meta


@pytest.mark.slow
@pytest.mark.parametrize("name", CONSTRAINED)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name, tmp_path, monkeypatch):
    tiny.install(monkeypatch)
    experiment = tiny.EXPERIMENTS[name]

    def stop(state):
        if state.step == 8:
            raise KeyboardInterrupt

    def train(folder, **options):
        run(experiment, tmp_path / folder, "cpu", progress=False, **options)

    def tensors(folder, file):
        return files.read_tensors(tmp_path / folder / file)[0]

    train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=stop)
    assert int(tensors("stopped", CHECKPOINT)["step"]) == 5, "the last checkpoint"
    train("stopped")
    for file in (CHECKPOINT, MODEL):
        whole, resumed = tensors("whole", file), tensors("stopped", file)
        assert whole.keys() == resumed.keys()
        different = [k for k, v in whole.items() if not torch.equal(v, resumed[k])]
        assert set(different) <= {"seconds"}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONSTRAINED)
def test_every_run_can_be_evaluated_or_says_why_not(name, monkeypatch):
    tiny.install(monkeypatch)
    experiment = tiny.EXPERIMENTS[name]
    trained = experiments.Trained(experiment, *build(experiment))
    if "predict" in MODELS[experiment.model_name].model.cannot:
        with pytest.raises(ValueError, match="single frames"):
            experiments.evaluate(trained)
    else:
        row = experiments.evaluate(trained)
        assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))
