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

from tutorial_dssm import evaluation, experiments, files, networks
from tutorial_dssm.__main__ import main
from tutorial_dssm.data import DATA, gymnasium, pendulum
from tutorial_dssm.data.pendulum import FULL_IMAGE
from tutorial_dssm.experiments import FULL_MODELS, build, from_dict, get, named_runs
from tutorial_dssm.experiments.memory import PeakBytes, training_memory
from tutorial_dssm.learning.training import CHECKPOINT, MODEL, Run
from tutorial_dssm.models import dks, ekvae, kvae, rssm
from tutorial_dssm.models.dks import DKS, DKSConfig
from tutorial_dssm.networks.convolutions import CHANNELS, Convolutions, TransposedConvolutions
from tutorial_dssm.networks.frames import frame_decoder, frame_encoder, principal_components
from tutorial_dssm.networks.layers import mlp

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


# --- convolutions ---------------------------------------------------------------------------------


def test_a_convolution_looks_at_rows_and_columns_of_the_frame():
    """First and last layer, pixel by pixel, from the definition; and the layers in between are as
    many as they should be.
    """
    x, encoder, decoder = (
        normal(3, 2, 32 * 32),
        Convolutions(32 * 32, nn.SiLU).double(),
        TransposedConvolutions(32 * 32).double(),
    )
    first = encoder.layers[0](x.reshape(-1, 1, 32, 32))
    image = nn.functional.pad(x[1, 1].reshape(32, 32), (1, 1, 1, 1))
    for c, i, j in ((0, 0, 0), (7, 3, 12), (31, 15, 15)):
        expected = (
            encoder.layers[0].weight[c, 0] * image[2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
        ).sum() + encoder.layers[0].bias[c]
        assert torch.isclose(first[3, c, i, j], expected)
    assert torch.equal(encoder(x)[1, 1], encoder.layers(x[1, 1].reshape(1, 1, 32, 32)).flatten())
    features = normal(3, 2, 1024)
    frame = decoder(features)[2, 0].reshape(32, 32)
    inner = decoder.layers[:-1](features[2, 0].reshape(1, 256, 2, 2))[0]
    last, spread = decoder.layers[-1], torch.zeros(34, 34, dtype=torch.float64)
    for i in range(16):
        for j in range(16):  # every value of the layer before lays its kernel down
            spread[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += (
                (inner[:, i, j, None, None] * last.weight[:, 0]).sum(0).detach()
            )
    assert torch.allclose(frame, spread[1:-1, 1:-1] + last.bias, atol=1e-12)
    assert (
        [m.out_channels for m in encoder.layers if isinstance(m, nn.Conv2d)]
        == list(CHANNELS)
        == [32, 64, 128, 256]
    )
    assert [m.in_channels for m in decoder.layers if isinstance(m, nn.ConvTranspose2d)] == [
        256,
        128,
        64,
        32,
    ]


@pytest.mark.parametrize("axes", [(), (3,), (3, 2), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("x_dim", [16 * 16, 64 * 64])
def test_encoder_and_decoder_take_any_leading_axes(axes, dtype, x_dim):
    encoder, decoder = (
        frame_encoder("conv", x_dim, 8, "silu").to(dtype),
        frame_decoder("conv", 3, 8, x_dim).to(dtype),
    )
    x, z = normal(*axes, x_dim, dtype=dtype), normal(*axes, 3, dtype=dtype)
    features, frames = encoder(x), decoder(z)
    assert (
        features.shape == (*axes, 8)
        and frames.shape == (*axes, x_dim)
        and features.dtype == frames.dtype == dtype
    )
    flat = encoder(x.reshape(-1, x_dim)), decoder(z.reshape(-1, 3))
    assert torch.equal(features, flat[0].reshape(features.shape)) and torch.equal(
        frames, flat[1].reshape(frames.shape)
    )
    *body, last = encoder
    assert isinstance(last, nn.Linear) and torch.equal(last(nn.Sequential(*body)(x)), features), (
        "as the perceptron: DKS fuses the last layer"
    )


def test_the_smoother_reads_convolutions_as_it_says():
    """The summary, whose input layer is fused with the encoder's last one, is the GRU run backwards
    over the encoded frames.
    """
    model = DKS(DKSConfig(x_dim=256, hidden=8, network="conv")).double()
    x, u = normal(3, 4, 256), normal(3, 4, 1, seed=1)
    expected = model.gru(torch.cat([model.encoder(x), u], -1).flip(1))[0].flip(1).transpose(0, 1)
    assert torch.allclose(model._summary(x, u), expected, atol=1e-12)


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


def test_the_perceptrons_are_what_they_were(monkeypatch):
    """Names, initial weights and outputs of the small runs, bit for bit, beside the two lines that
    the models had before.
    """
    old_encoder, old_decoder = (
        (lambda _, x, h, activation: mlp([x, h, h], activation)),
        (lambda _, n, h, x: mlp([n, h, h, x])),
    )
    x, u = SPLITS.train.x[..., :256], SPLITS.train.u
    for name in ("dkf-elbo", *(f"{m}-elbo" for m in FULL_MODELS)):
        new, _ = build(get(name, 3))
        assert new.config.network == "mlp"
        with monkeypatch.context() as patch:
            for module in (networks, dks, rssm, kvae, ekvae):
                patch.setattr(module, "frame_decoder", old_decoder)
                patch.setattr(module, "frame_encoder", old_encoder, raising=False)
            old, _ = build(get(name, 3))
        assert list(new.state_dict()) == list(old.state_dict())
        assert all(
            torch.equal(v, w) for v, w in zip(new.state_dict().values(), old.state_dict().values())
        )
        assert all(
            torch.equal(v, w) for v, w in zip(new.terms(x, u, seeded()), old.terms(x, u, seeded()))
        )
        assert not any(isinstance(m, nn.Conv2d) for m in new.modules())


@pytest.mark.parametrize("x_dim", [0, 36, 250, 257, 24 * 24, 64 * 32])
@pytest.mark.parametrize("config", [DKSConfig, rssm.RSSMConfig, kvae.KVAEConfig, ekvae.EKVAEConfig])
def test_frames_that_do_not_fit_the_convolutions(x_dim, config):
    with pytest.raises(ValueError, match=f"multiple of 16 .* got x_dim = {x_dim}$"):
        experiments.MODELS[config](config(x_dim=x_dim, network="conv"))


def test_unknown_networks():
    for make in (lambda: DKS(DKSConfig(network="cnn")), lambda: frame_decoder("cnn", 2, 8, 256)):
        with pytest.raises(ValueError, match="network must be one of mlp, conv, got 'cnn'"):
            make()
    with pytest.raises(ValueError, match="activation must be one of"):
        frame_encoder("conv", 256, 8, "rely")


# --- the start from data --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_principal_components_of_large_frames_are_the_exact_ones(n, monkeypatch):
    """Beside the eigenvectors of the whole covariance matrix; the global random state is left
    alone.
    """
    x = pendulum.make_sequences(
        60, 5, seeded(1), replace(FULL_IMAGE, image_size=33), torch.float64
    ).x  # 1089 pixels
    state = torch.get_rng_state()
    W, b = principal_components(x, n)
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(
        W, principal_components(x, n)[0]
    )
    monkeypatch.setattr(networks, "leading_eigenvectors", None)
    monkeypatch.setattr(networks, "EXACT", 1089)
    exact_W, exact_b = principal_components(x, n)
    sign = (W * exact_W).sum(1).sign()
    assert torch.allclose(W * sign[:, None], exact_W, atol=1e-5 * exact_W.abs().max())
    assert torch.allclose(b * sign, exact_b, atol=1e-5)


def test_components_of_large_frames_have_unit_variance_and_show_the_angle():
    """In float32, at the full size and length: the first two components of the rod are a ring, if a
    bent one.
    """
    data = pendulum.make_sequences(40, 50, seeded(1), FULL_IMAGE)
    W, b = principal_components(data.x, 2)
    a = data.x @ W.t() + b
    assert W.dtype == torch.float32 and torch.allclose(
        torch.cov(a.flatten(0, 1).t()), torch.eye(2), atol=1e-3
    )
    r2 = evaluation.knn_r2(a, data.state)
    assert min(r2.sin, r2.cos) > 0.99 and a.norm(dim=-1).min() > 0.3


def test_fewer_frames_than_vectors():
    x = pendulum.make_sequences(1, 5, seeded(1), FULL_IMAGE).x
    W, b = principal_components(x, 2)
    assert torch.allclose(torch.cov((x[0] @ W.t() + b).t()), torch.eye(2), atol=1e-3)


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


def test_every_setting_says_what_it_is():
    for config in (DKSConfig, rssm.RSSMConfig, kvae.KVAEConfig, ekvae.EKVAEConfig):
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
    monkeypatch.setitem(experiments.FULL, "ekvae-constrained", few(FULL["ekvae-constrained"]))
    words = ["train", "ekvae-constrained", "--preset", "full", "--steps", "1", "--device", "cpu"]
    assert main(words) == 0 and "runs/ekvae-constrained-full-seed0" in capsys.readouterr().out
    assert (tmp_path / "runs" / "ekvae-constrained-full-seed0" / MODEL).exists()
    assert main(words) == 0 and "finished" in capsys.readouterr().out
    assert main([*words, "--seed", "1", "--out", "runs/ekvae-constrained-full-seed0"]) == 1
    assert "holds another run (seed is 0 there, 1 asked for)" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["train", "ekvae-constrained", "--preset", "ful"])
    assert stop.value.code == 2
