"""What every model of the zoo promises, whatever it is: the interface, a step on another device,
resume, the door.
"""

import copy
import inspect
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments.runs import build
from tutorial_dssm.learning.training import CHECKPOINT, MODEL, Run, train
from tutorial_dssm.models.base import SequentialModel

DATA = tiny.make_data("pendulum")
X, U = DATA.train.x, DATA.train.u
ONE_EACH = {
    name.removesuffix("-constrained"): e
    for name, e in tiny.EXPERIMENTS.items()
    if name.endswith("-constrained")
}
ONE_EACH["ekvae-vhp"] = replace(
    ONE_EACH["ekvae"], name="ekvae-vhp", model=replace(ONE_EACH["ekvae"].model, vhp=True)
)
EACH = pytest.mark.parametrize("experiment", ONE_EACH.values(), ids=ONE_EACH)
SEQUENTIAL = pytest.mark.parametrize(
    "experiment", [e for k, e in ONE_EACH.items() if k not in ("vae", "vhp")], ids=lambda e: e.name
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def made(experiment):
    """Its model, started from the data as a run starts it."""
    model, _ = build(experiment)
    model.initialise(X)
    return model


@EACH
@pytest.mark.parametrize("T", [1, 2, 5])
def test_the_interface(experiment, T):
    model, x, u = made(experiment), X[:6, :T], U[:6, :T]
    posterior, terms = model.infer(x, u, seeded()), model.terms(x, u, seeded())
    assert (
        all(v.shape == (6, T, model.z_dim) and torch.isfinite(v).all() for v in posterior)
        and (posterior.var >= 0).all()
    )
    assert (
        terms.squared_error.shape == terms.rate.shape == (6,)
        and torch.isfinite(terms.rate).all()
        and (terms.squared_error > 0).all()
    )
    assert model.decode(posterior.mean).shape == (6, T, 36) and model.decode(
        posterior.mean[:, 0]
    ).shape == (6, 36)
    again = model.infer(x, u, seeded(1))
    assert torch.equal(again.mean, posterior.mean) and not torch.equal(
        again.sample, posterior.sample
    ), "the mean is not drawn, the sample is"


@SEQUENTIAL
def test_prediction(experiment):
    model, u = made(experiment), U[:6]
    assert isinstance(model, SequentialModel)
    z1 = model.infer(X[:6], u, seeded()).mean[:, 0]
    path = model.predict(z1, u)
    assert path.shape == (6, 5, model.z_dim) and torch.equal(path[:, 0], z1)
    assert torch.equal(path, model.predict(z1, torch.cat([u[:, :-1], u[:, -1:] + 1], 1))), (
        "u_T acts after the last state"
    )
    pushed = model.predict(z1, torch.cat([u[:, :2], u[:, 2:3] + 5, u[:, 3:]], 1))
    starts_without_control = experiment.name.startswith("lgssm")
    assert (
        torch.equal(pushed[:, :3], path[:, :3])
        and torch.equal(pushed, path) == starts_without_control
    )
    drawn = [model.predict(z1, u, sample=True, generator=seeded(s)) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    for bad_z1, bad_u in (
        (z1[0], u),
        (z1[:, :-1], u),
        (z1, u[:3]),
        (z1, u[:, :0]),
        (z1, u[..., 0]),
    ):
        with pytest.raises(ValueError, match="must be"):
            model.predict(bad_z1, bad_u)


@EACH
def test_randomness_comes_from_the_generator_alone(experiment):
    model, x, u = made(experiment), X[:6], U[:6]
    before, z1 = torch.get_rng_state(), torch.zeros(6, model.z_dim)

    def draws(seed):
        g = seeded(seed)
        path = (
            [model.predict(z1, u, sample=True, generator=g)]
            if isinstance(model, SequentialModel)
            else []
        )
        return [model.infer(x, u, g).sample, model.terms(x, u, g).squared_error, *path]

    first, again, other = draws(1), draws(1), draws(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again)) and not any(
        torch.equal(a, b) for a, b in zip(first, other)
    )
    assert torch.equal(before, torch.get_rng_state()), "the global random state was used"


@EACH
def test_a_sequence_does_not_know_its_batch(experiment):
    model, x, u = made(experiment).double(), X[:6].double(), U[:6].double()
    fixed, order, results = (
        torch.randn(6, 2000, generator=seeded(9), dtype=torch.float64),
        torch.tensor([4, 0, 2]),
        [],
    )
    for rows in (torch.arange(6), order):
        model.noise = lambda like, *shape, generator, rows=rows: fixed[
            rows, : math.prod(shape[1:])
        ].view(shape)
        results.append([*model.terms(x[rows], u[rows])[:2], *model.infer(x[rows], u[rows])])
    assert all(torch.allclose(a[order], b, rtol=0, atol=1e-9) for a, b in zip(*results))


@EACH
def test_a_copy_behaves_the_same(experiment):
    """Nothing of a model lives outside its parameters and buffers."""
    model = made(experiment)
    other, _ = build(replace(experiment, seed=7))
    other.load_state_dict(model.state_dict())
    for twin in (other, copy.deepcopy(model)):
        assert all(
            torch.equal(a, b)
            for a, b in zip(model.terms(X, U, seeded())[:2], twin.terms(X, U, seeded())[:2])
        )


@pytest.mark.parametrize("name", tiny.EXPERIMENTS)
def test_a_training_step_of_every_run_on_the_meta_device(name):
    """What is not moved to the model's device raises here as it would on a GPU."""
    e = tiny.EXPERIMENTS[name]
    run = Run(*build(e), e.training, 0, torch.device("meta"))
    x, u = (torch.empty(4, 5, n, device="meta") for n in (36, 1))
    report = run.train_step(x, u, None)
    assert all(v.is_meta and v.shape == () for v in report)
    assert (
        all(p.grad is None or p.grad.is_meta for p in run.model.parameters())
        and run.model.infer(x, u).mean.is_meta
    )


@EACH
def test_a_run_that_was_stopped_ends_as_one_that_was_not(experiment, tmp_path):
    def start(folder, on_step=lambda run: None):
        model, objective = build(experiment)
        model.initialise(X)
        run = Run(model, objective, experiment.training, experiment.seed, torch.device("cpu"))
        train(
            run,
            DATA.train,
            DATA.validation,
            folder,
            experiment.to_dict(),
            progress=False,
            on_step=on_step,
        )
        return {
            **files.read_tensors(folder / CHECKPOINT)[0],
            **files.read_tensors(folder / MODEL)[0],
        }

    def stop(run):
        if run.step == 8:
            raise KeyboardInterrupt

    whole = start(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "stopped", stop)
    assert (
        int(files.read_tensors(tmp_path / "stopped" / CHECKPOINT)[0]["step"]) == 5
    )  # the last checkpoint
    resumed = start(tmp_path / "stopped")
    assert (
        whole.keys() == resumed.keys()
        and [k for k, v in whole.items() if k != "seconds" and not torch.equal(v, resumed[k])] == []
    )


@SEQUENTIAL
def test_every_run_can_be_evaluated(experiment, monkeypatch):
    for name, value in tiny.REPLACED.items():
        monkeypatch.setattr(experiments, name, value)
    model, objective = build(experiment)
    row = experiments.evaluate(experiments.Trained(experiment, model, objective))
    assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))


def test_a_model_of_frames_is_not_evaluated_over_time():
    e = tiny.EXPERIMENTS["vhp-rewo"]
    with pytest.raises(ValueError, match="vhp-rewo is a model of single frames"):
        experiments.evaluate(experiments.Trained(e, *build(e)))


BAD = {
    "rank of x": (lambda x, u: (x[0], u), "x must be"),
    "size of x": (lambda x, u: (x[..., :4], u), "x must be"),
    "T = 0": (lambda x, u: (x[:, :0], u[:, :0]), "T >= 1"),
    "controls of another batch": (lambda x, u: (x, u[:1]), "u must be"),
    "rank of u": (lambda x, u: (x, u[..., 0]), "u must be"),
    "controls of another length": (lambda x, u: (x, u[:, :3]), "u must be"),
    "NaN frame": (lambda x, u: (x.masked_fill(x == x[0, 1, 2], math.nan), u), "finite"),
    "infinite control": (lambda x, u: (x, u.masked_fill(u == u[0, 1, 0], math.inf)), "finite"),
}


@EACH
@pytest.mark.parametrize("what", BAD)
def test_the_door(experiment, what):
    model, (change, message) = made(experiment), BAD[what]
    x, u = change(X[:4], U[:4])
    for method in (model.infer, model.terms):
        with pytest.raises(ValueError, match=message):
            method(x, u, seeded())


@pytest.mark.parametrize(
    "path",
    sorted(Path(inspect.getfile(SequentialModel)).parent.glob("*.py")),
    ids=lambda path: path.stem,
)
def test_a_model_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 150
