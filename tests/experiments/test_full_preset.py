"""The full preset: convolutions on 64 x 64 frames for dks, rssm, kvae and ekvae; what it needs;
that the small runs are what they were.
"""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from tutorial_dssm import experiments, files
from tutorial_dssm.__main__ import main
from tutorial_dssm.data import DATA, gymnasium, pendulum
from tutorial_dssm.data.pendulum import FULL_IMAGE
from tutorial_dssm.experiments import FULL_MODELS, build, from_dict, get, named_runs, runs
from tutorial_dssm.experiments.memory import PeakBytes, training_memory
from tutorial_dssm.learning.training import CHECKPOINT, MODEL, Run
from tutorial_dssm.models import MODELS

EACH = pytest.mark.parametrize("name", [f"{m}-constrained" for m in FULL_MODELS])
FEW = {
    "batch": 2,
    "log_every": 1,
    "snapshot_every": 1,
    "snapshot_sequences": 2,
    "checkpoint_every": 1,
}
FULL = [name for name, e in named_runs().items() if e.model_name in FULL_MODELS]
FEW_DATA = replace(DATA["pendulum-full"], n=4, length=5, n_test=5, n_long=2)
SPLITS = FEW_DATA.splits()


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@EACH
@pytest.mark.parametrize("T", [1, 4])
def test_models_with_convolutions_keep_the_interface(name, T):
    """At 16 x 16 pixels, in float64; the gradient reaches every weight of both networks."""
    model, _ = build(replace(get(name), model=replace(get(name).model, network="conv")))
    model, x, u = model.double(), normal(5, T, 256), normal(5, T, 1, seed=1)
    model.initialise(normal(20, 5, 256, seed=2))
    posterior, terms = model.infer(x, u, seeded()), model.terms(x, u, seeded())
    assert all(v.shape == (5, T, model.z_dim) and v.dtype == torch.float64 for v in posterior)
    assert terms.squared_error.shape == terms.rate.shape == (5,)
    frames = model.decode(posterior.mean)
    assert frames.shape == (5, T, 256) and torch.allclose(
        model.decode(posterior.mean[:, 0]), frames[:, 0], atol=1e-12
    )
    assert model.predict(posterior.mean[:, 0], u).shape == (5, T, model.z_dim)
    (terms.squared_error.sum() + terms.rate.sum()).backward()
    convolutions = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(convolutions) == 8 and all(
        m.weight.grad.abs().max() > 0 and m.bias.grad.abs().max() > 0 for m in convolutions
    )


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["pendulum", "gymnasium"])
def test_the_full_data_are_asked_for(source):
    """Sizes of what is made, without rendering 120 000 frames."""
    full, asked = DATA[f"{source}-full"], []
    counted = replace(full, make=lambda n, length, generator: asked.append((n, length)))
    counted.splits()
    counted.long(110)
    assert asked == [(2000, 50), (200, 50), (200, 50), (50, 110)] and full.x_dim == 64**2
    assert full.make.keywords in ({"image_size": 64}, {"config": FULL_IMAGE})
    for wrong in ("pendulum-fll", "pendulum-", "pendulums", "-full"):
        with pytest.raises(ValueError, match="unknown data set .* did you mean"):
            experiments.make_data(wrong)


def test_frames_are_rendered_in_parts(monkeypatch):
    """Large data sets would not fit into memory otherwise; the frames are the same."""
    whole = pendulum.make_sequences(7, 3, seeded(1), FULL_IMAGE)
    sizes, render = [], pendulum.render
    monkeypatch.setattr(
        pendulum, "render", lambda phi, config: sizes.append(len(phi)) or render(phi, config)
    )
    monkeypatch.setattr(pendulum, "RENDERED_AT_ONCE", 2 * 3 * 4096)
    parts = pendulum.make_sequences(7, 3, seeded(1), FULL_IMAGE)
    assert sizes == [2, 2, 2, 1]
    assert all(
        torch.allclose(getattr(whole, name), getattr(parts, name), atol=1e-7)
        for name in ("x", "u", "state")
    )
    monkeypatch.setattr(pendulum, "RENDERED_AT_ONCE", 1)
    assert pendulum.make_sequences(2, 3, seeded(1), FULL_IMAGE).x.shape == (2, 3, 4096)


@pytest.mark.gym
def test_large_frames_of_gymnasium(tmp_path):
    """A slow reference from the raw frame; nothing of the rod is cut off; small and large frames
    have different files.
    """
    pytest.importorskip("gymnasium")
    pytest.importorskip("pygame")
    large, small = (
        gymnasium.make_gym_sequences(
            12, 2, seeded(1), cache_dir=tmp_path, progress=False, image_size=s
        ).x
        for s in (64, 16)
    )
    assert (
        large.shape == (12, 2, 4096)
        and small.shape == (12, 2, 256)
        and len(list(tmp_path.iterdir())) == 2
    )
    again = gymnasium.make_gym_sequences(
        12, 2, seeded(1), cache_dir=tmp_path, progress=False, image_size=64
    ).x
    assert torch.equal(again, large) and large.min() == 0 and large.max() == 1
    brightness = large.sum(-1)
    assert brightness.std() / brightness.mean() < 0.02
    with gymnasium._pendulum() as (env, _):
        for angle in (0.0, 0.8, 1.6, 3.1, -1.6, 0.4):
            frame = gymnasium._frame(env, angle, 64)
            raw = env.render()[..., 1].astype(float)
            inside = np.zeros_like(raw, dtype=bool)
            inside[122:378, 122:378] = True
            assert (raw[~inside] == 255).all()
    for i, j in ((20, 30), (31, 31), (32, 33), (10, 28), (0, 0)):
        block = raw[122 + 4 * i : 126 + 4 * i, 122 + 4 * j : 126 + 4 * j]
        assert frame[64 * i + j] == pytest.approx(
            ((255 - block) / (255 - 77)).clip(0, 1).mean(), abs=1e-6
        )
    with pytest.raises(ValueError, match="image_size must be 16 or 64, got 32"):
        gymnasium.make_gym_sequences(1, 1, seeded(), cache_dir=tmp_path, image_size=32)


# --- the preset -----------------------------------------------------------------------------------


def test_the_named_runs_of_the_preset():
    """The same names; the model differs in frames and network, the rest as the comment says, and
    the small runs in nothing.
    """
    assert len(FULL) == 21  # five objectives each, and one more for the RSSM
    for name in FULL:
        full, small = get(name, preset="full"), get(name)
        assert full.name == name and full.data == "pendulum-full" and small.data == "pendulum"
        assert replace(full.model, x_dim=256, network="mlp") == small.model and (
            full.model.x_dim,
            full.model.network,
        ) == (4096, "conv")
        assert (
            full.training.batch == 50
            and replace(full.training, batch=100, snapshot_sequences=150) == small.training
        )
        if hasattr(full.objective, "target_mse"):
            assert (
                replace(
                    full.objective,
                    target_mse=small.objective.target_mse,
                    lambda0=small.objective.lambda0,
                )
                == small.objective
            )
        else:
            assert full.objective == small.objective


def test_the_constraint_is_the_same_share_of_the_frames():
    """Target over variance, and the weight of a frame's whole variance against its rate, are those
    of the small runs (REWO: the target only).
    """
    phi = torch.linspace(-math.pi, math.pi, 361, dtype=torch.float64)[:-1]
    small_var, full_var = (
        float(pendulum.render(phi, c).var(0).mean())
        for c in (pendulum.PendulumConfig(), FULL_IMAGE)
    )
    for m in FULL_MODELS:
        small, full = (get(f"{m}-constrained", preset=p).objective for p in ("small", "full"))
        assert full.target_mse / full_var == pytest.approx(small.target_mse / small_var, rel=0.01)
        share = [
            c.lambda0 * n * v / c.target_mse
            for c, n, v in ((small, 256, small_var), (full, 4096, full_var))
        ]
        assert share[1] == pytest.approx(share[0], rel=0.01)
        assert get(f"{m}-rewo", preset="full").objective.lambda0 == 1


@pytest.mark.parametrize("data", ["pendulum", "gymnasium"])
def test_a_config_comes_back_from_json(data):
    for name in FULL:
        e = get(name, seed=5, steps=7, data=data, preset="full")
        assert e.data == f"{data}-full" and (e.seed, e.training.steps) == (5, 7)
        assert from_dict(json.loads(json.dumps(e.to_dict()))) == e


@pytest.mark.parametrize(
    "change",
    [
        {"data": "pendulum-small"},
        {"data": "pendulum-fll"},
        {"data": 5},
        {"model_name": "vae"},
        {"data": "full"},
    ],
)
def test_a_config_that_is_not_of_this_version(change):
    with pytest.raises(ValueError, match="of another version of this package"):
        from_dict(get("dks-elbo", preset="full").to_dict() | change)


@pytest.mark.parametrize(
    "preset, hint", [("ful", "'full'"), ("smal", "'small'"), ("Full", "'full'"), ("", "")]
)
def test_an_unknown_preset(preset, hint):
    with pytest.raises(ValueError, match=f"unknown preset {preset!r}; did you mean {hint}"):
        get("dks-elbo", preset=preset)


OTHERS = sorted({e.model_name for e in named_runs().values()} - set(FULL_MODELS))


@pytest.mark.parametrize("model", OTHERS)
def test_a_model_without_the_preset(model, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        f"{model}-elbo has no full preset; the models that have one are dks, rssm, kvae, ekvae"
    )
    with pytest.raises(ValueError, match=message):
        get(f"{model}-elbo", preset="full")
    assert main(["train", f"{model}-elbo", "--preset", "full"]) == 1
    assert capsys.readouterr().err == f"error: {message}\n" and list(tmp_path.iterdir()) == []


def test_a_named_run_has_perceptrons_unless_asked():
    for config in (type(MODELS[name].config) for name in FULL_MODELS):
        assert [f.default for f in fields(config) if f.name == "network"] == ["mlp"]


# --- training, without values and with a few ------------------------------------------------------


def saved_bytes(experiment):
    """What one forward pass keeps for the backward pass, by PyTorch's own hooks."""
    run, saved = Run(*build(experiment), experiment.training, 0, torch.device("meta")), {}
    x, u = (torch.empty(50, 50, n, device="meta") for n in (4096, 1))

    def keep(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        report = run.objective(run.model.terms(x, u, None), 50 * 4096)
    assert report.loss.is_meta
    return sum(saved.values())


@pytest.mark.slow
@EACH
def test_a_step_at_full_size_without_values(name, monkeypatch):
    """Two training steps at batch 50 on `meta`, where what is not on the device raises, and the
    memory they take.
    """
    step, reports, e = Run.train_step, [], get(name, preset="full")
    monkeypatch.setattr(
        Run,
        "train_step",
        lambda run, x, u, generator, mask=None: reports.append(
            (x.shape, step(run, x, u, generator))
        ),
    )
    memory = training_memory(e)
    assert [shape for shape, _ in reports] == [(50, 50, 4096)] * 2
    assert all(v.is_meta and v.shape == () for _, report in reports for v in report)
    model, objective = build(e)
    assert memory.weights == sum(
        v.nbytes for part in (model, objective) for v in part.state_dict().values()
    )
    assert (
        memory.data == 2200 * 50 * (4096 + 1 + 2) * 4
        and memory.host == 2400 * 50 * (4096 + 1 + 2) * 4
    )
    assert memory.device == memory.weights + memory.step + memory.data
    if name.startswith(("dks", "rssm")):  # the others take longer and have the same convolutions
        saved = saved_bytes(e) + 2 * memory.weights  # and Adam's moments
        assert saved < memory.step < 1.6 * saved, (
            "the peak is what the backward pass needs, and a few temporary tensors"
        )
    assert memory.device < 5e9 and "GB" in str(memory)


@pytest.mark.slow
def test_the_peak_is_counted():
    """Bytes by hand: what is alive at a time counts, views and tensors changed in place do not
    count twice.
    """
    known = torch.empty(1000, device="meta")
    with PeakBytes([known]) as used:
        a = known * 2  # 4000
        b = a * 2  # 8000
        del a  # 4000
        c = b.view(10, 100).add_(1)[:5]  # no new memory
        known.add_(1)
        d = torch.cat([b, b])  # 12000
        assert used.peak == 12000
        del b
        e = torch.empty(100, device="meta")  # the storage of b lives on in c
        assert used.peak == 12400
        del c, d, e
        f = torch.empty(3100, device="meta")
    assert used.peak == 12400 and f.nbytes == used.total and len(used.alive) == 1


def few(experiment, steps=2):
    return replace(experiment, training=replace(experiment.training, steps=steps, **FEW))


@pytest.fixture
def few_frames(monkeypatch):
    monkeypatch.setitem(DATA, "pendulum-full", FEW_DATA)


@pytest.mark.slow
@EACH
def test_two_steps_on_the_cpu(name, few_frames, tmp_path):
    """Train, stop, go on, load, evaluate; 64 x 64 pixels, batch 2, 5 frames."""
    e = few(get(name, preset="full"))
    whole = experiments.run(e, tmp_path / "whole", "cpu", progress=False)
    assert whole.step == 2 and all(torch.isfinite(row).all() for row in whole.history)

    def stop(run):
        if run.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiments.run(e, tmp_path / "stopped", "cpu", progress=False, on_step=stop)
    assert int(files.read_tensors(tmp_path / "stopped" / CHECKPOINT)[0]["step"]) == 1
    experiments.run(e, tmp_path / "stopped", "cpu", progress=False)
    a, b = (
        {
            **files.read_tensors(tmp_path / k / CHECKPOINT)[0],
            **files.read_tensors(tmp_path / k / MODEL)[0],
        }
        for k in ("whole", "stopped")
    )
    assert (
        a.keys() == b.keys()
        and [k for k, v in a.items() if k != "seconds" and not torch.equal(v, b[k])] == []
    )

    trained = experiments.load_run(tmp_path / "whole")
    assert trained.experiment == e
    row = experiments.evaluate(trained)
    assert row["data"] == "pendulum-full" and all(
        math.isfinite(v) for v in row.values() if isinstance(v, float)
    )


def test_a_step_lowers_the_loss():
    e = few(get("rssm-elbo", preset="full"), 1000)
    run = Run(*build(e), e.training, 0, torch.device("cpu"))
    run.model.initialise(SPLITS.train.x)
    losses = [
        float(run.train_step(SPLITS.train.x[:2], SPLITS.train.u[:2], seeded()).loss.detach())
        for _ in range(6)
    ]
    assert losses[-1] < 0.9 * losses[0]


def test_the_command_line(few_frames, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    full = runs._full
    monkeypatch.setattr(runs, "_full", lambda run: few(full(run)))
    words = ["train", "ekvae-constrained", "--preset", "full", "--steps", "1", "--device", "cpu"]
    assert main(words) == 0 and "runs/ekvae-constrained-full-seed0" in capsys.readouterr().out
    assert (tmp_path / "runs" / "ekvae-constrained-full-seed0" / MODEL).exists()
    assert main(words) == 0 and "finished" in capsys.readouterr().out
    assert main([*words, "--seed", "1", "--out", "runs/ekvae-constrained-full-seed0"]) == 1
    assert "holds another run (seed is 0 there, 1 asked for)" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["train", "ekvae-constrained", "--preset", "ful"])
    assert stop.value.code == 2
