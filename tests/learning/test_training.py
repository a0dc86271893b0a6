"""The training loop: the same run ends bit for bit alike however it was interrupted; nothing leaves
the device; the door.
"""

import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

import tiny
from meta_device import OnTheDevice
from tutorial_dssm import files
from tutorial_dssm.experiments.runs import build
from tutorial_dssm.learning import training
from tutorial_dssm.learning.training import (
    CHECKPOINT,
    METRICS,
    MODEL,
    Run,
    TrainingConfig,
    choose_device,
    train,
)
from tutorial_dssm.models import dks
from tutorial_dssm.models.base import SequentialModel

DATA = tiny.DATA_SETS["pendulum"].splits()
EKVAE, DKS = tiny.EXPERIMENTS["ekvae-constrained"], tiny.EXPERIMENTS["dks-elbo-learned-noise"]
BOTH = pytest.mark.parametrize("experiment", [EKVAE, DKS], ids=lambda e: e.name)


def new_run(experiment, device="cpu"):
    return Run(*build(experiment), experiment.training, experiment.seed, torch.device(device))


def start(experiment, folder, data=DATA, **options):
    """Train in a folder; the run."""
    run = new_run(experiment)
    train(
        run,
        data.train,
        data.validation,
        folder,
        experiment.to_dict(),
        **{"progress": False} | options,
    )
    return run


def contents(folder):
    """All tensors of the finished run, but for the time it took."""
    checkpoint, model = (files.read_tensors(folder / name)[0] for name in (CHECKPOINT, MODEL))
    del checkpoint["seconds"]
    return {f"{i}.{k}": v for i, part in enumerate((checkpoint, model)) for k, v in part.items()}


def assert_same(folder, expected):
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert [k for k, v in expected.items() if not torch.equal(found[k], v)] == []
    assert sorted(p.name for p in folder.iterdir()) == [CHECKPOINT, MODEL]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Contents of the two runs, trained in one go."""
    result = {}
    for experiment in (EKVAE, DKS):
        folder = tmp_path_factory.mktemp(experiment.name)
        start(experiment, folder)
        result[experiment.name] = contents(folder)
    return result


# --- the same run ---------------------------------------------------------------------------------


@BOTH
def test_the_same_seed_is_the_same_run(experiment, uninterrupted, tmp_path):
    torch.manual_seed(99)  # the global random state must not matter
    state = torch.get_rng_state()
    start(experiment, tmp_path, progress=True)
    assert_same(tmp_path, uninterrupted[experiment.name])
    assert torch.equal(state, torch.get_rng_state()), "training used the global random state"


@BOTH
def test_another_seed_is_another_run(experiment, uninterrupted, tmp_path):
    start(replace(experiment, seed=1), tmp_path)
    found, expected = contents(tmp_path), uninterrupted[experiment.name]
    assert found.keys() == expected.keys()
    assert not any(
        torch.equal(found[k], v)
        for k, v in expected.items()
        if k.startswith("1.model.") and v.ndim and v.any() and "H" not in k
    )


def test_snapshots_change_nothing_in_the_weights(uninterrupted, tmp_path):
    start(replace(EKVAE, training=replace(EKVAE.training, snapshot_every=1)), tmp_path)
    found, expected = contents(tmp_path), uninterrupted[EKVAE.name]
    assert all(torch.equal(found[k], v) for k, v in expected.items() if "snapshot" not in k)
    assert found["0.snapshot_steps"].tolist() == list(range(14))


def test_history_and_snapshots(uninterrupted):
    """Rows every `log_every` steps and at the end; snapshots at the start, every `snapshot_every`
    steps and at the end.
    """
    found = uninterrupted[EKVAE.name]
    assert found["0.history"][:, 0].tolist() == [2, 4, 6, 8, 10, 12, 13] and found[
        "0.history"
    ].shape[1] == 1 + len(METRICS)
    assert METRICS == ("loss", "distortion", "rate", "mse", "weight", "sigma", "constraint")
    column = dict(zip(METRICS, found["0.history"][:, 1:].unbind(1)))
    assert torch.allclose(column["sigma"], (EKVAE.objective.target_mse / column["weight"]).sqrt())
    assert found["0.snapshot_steps"].tolist() == [0, 4, 8, 12, 13]
    assert found["0.snapshots"].shape == (5, 3, 5, EKVAE.model.z_dim)
    model, _ = build(EKVAE)
    first = model.infer(
        DATA.validation.x[:3], DATA.validation.u[:3], torch.Generator().manual_seed(0)
    ).mean
    assert torch.equal(found["0.snapshots"][0], first)


def test_seconds_are_counted_over_all_sessions(tmp_path):
    def slow(run):
        time.sleep(0.02)
        if run.step == 7:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        start(EKVAE, tmp_path, on_step=lambda run: slow(run) if run.step < 99 else None)
    before = float(files.read_tensors(tmp_path / CHECKPOINT)[0]["seconds"])
    run = start(EKVAE, tmp_path)
    assert before > 0 and run.seconds > before
    assert float(files.read_tensors(tmp_path / CHECKPOINT)[0]["seconds"]) == run.seconds


# --- interruptions --------------------------------------------------------------------------------


class Interrupt:
    """Sends a signal at the n-th call of some function, in the midst of whatever is going on."""

    def __init__(self, n, number=signal.SIGINT, times=1):
        self.n, self.number, self.times, self.calls = n, number, times, 0

    def __call__(self):
        self.calls += 1
        if self.calls == self.n:
            for _ in range(self.times):
                signal.raise_signal(self.number)


MOMENTS = {
    "in the forward pass": (SequentialModel, "noise"),
    "before the optimiser's step": (torch.optim.Adam, "step"),
    "while a row of the history is made": (training, "_log"),
    "in a snapshot": (training, "_snapshot"),
    "while a checkpoint is written": (os, "fsync"),
    "just before a checkpoint is renamed": (os, "replace"),
}


@pytest.fixture
def ctrl_c_works():
    """Ctrl-C raises KeyboardInterrupt, whatever started these tests."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("moment", list(MOMENTS))
def test_ctrl_c_at_any_moment(
    experiment, moment, uninterrupted, tmp_path, monkeypatch, ctrl_c_works
):
    """The step is finished and saved; the same call goes on from there and ends like the run that
    was never interrupted.
    """
    owner, name = MOMENTS[moment]
    for n in (2, 3):
        original = getattr(owner, name)
        interrupt = Interrupt(n)

        def interrupted(*args, original=original, interrupt=interrupt, **kwargs):
            interrupt()
            return original(*args, **kwargs)

        steps = []
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                start(
                    experiment,
                    tmp_path / str(n),
                    on_step=lambda run, steps=steps: steps.append(run.step),
                )
        assert (
            int(files.read_tensors(tmp_path / str(n) / CHECKPOINT)[0]["step"]) == steps[-1] < 13
        ), "steps that were made are lost"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        start(experiment, tmp_path / str(n))
        assert_same(tmp_path / str(n), uninterrupted[experiment.name])


def test_a_second_ctrl_c_acts_at_once(uninterrupted, tmp_path, monkeypatch, ctrl_c_works):
    """Half a step is then lost, not saved."""
    step = training.Run.train_step
    interrupt = Interrupt(8, times=2)

    def interrupted(run, *args):
        report = step(run, *args)
        interrupt()
        return report

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(EKVAE, tmp_path)
    assert int(files.read_tensors(tmp_path / CHECKPOINT)[0]["step"]) == 5
    start(EKVAE, tmp_path)
    assert_same(tmp_path, uninterrupted[EKVAE.name])


LONG = replace(EKVAE, training=replace(EKVAE.training, steps=250))


def stopped_process(folder, number):
    """Train LONG by the command line in another process, send it a signal soon after a checkpoint;
    (exit code, step saved, stderr).
    """
    script, checkpoint = Path(tiny.__file__), folder / CHECKPOINT
    command = [sys.executable, script, "train", LONG.name, "--steps", "250", "--out", folder]

    def saved():
        return int(files.read_tensors(checkpoint)[0]["step"]) if checkpoint.exists() else 0

    before = saved()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and saved() == before:
        time.sleep(0.01)
    time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    return process.returncode, saved(), err


@pytest.mark.slow
def test_a_process_is_interrupted_goes_on_and_is_killed(tmp_path):
    """Ctrl-C loses nothing, a kill the steps since the last checkpoint; what comes out in the end
    is the uninterrupted run.
    """
    code, first, err = stopped_process(tmp_path / "run", signal.SIGINT)
    assert code == 130 and err.splitlines()[-1].startswith("interrupted") and "Traceback" not in err
    code, second, err = stopped_process(tmp_path / "run", signal.SIGKILL)
    assert code == -signal.SIGKILL and err.count("\n") <= 1
    assert 0 < first < second < 250 and second % 5 == 0
    start(LONG, tmp_path / "run")
    start(LONG, tmp_path / "whole")
    assert_same(tmp_path / "run", contents(tmp_path / "whole"))


def test_sigterm_is_held_back_and_handed_on(uninterrupted, tmp_path):
    """To whoever would have had it: by default it ends the process, here it raises."""

    def end(number, frame):
        raise SystemExit(143)

    old = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(SystemExit):
            start(
                EKVAE,
                tmp_path,
                on_step=lambda run: run.step == 7 and signal.raise_signal(signal.SIGTERM),
            )
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, old)
    assert int(files.read_tensors(tmp_path / CHECKPOINT)[0]["step"]) == 7
    start(EKVAE, tmp_path)
    assert_same(tmp_path, uninterrupted[EKVAE.name])


def test_training_outside_the_main_thread(uninterrupted, tmp_path):
    thread = threading.Thread(target=start, args=(EKVAE, tmp_path))
    thread.start()
    thread.join()
    assert_same(tmp_path, uninterrupted[EKVAE.name])


def test_a_finished_run_is_not_redone(tmp_path, monkeypatch):
    start(EKVAE, tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    monkeypatch.setattr(Run, "train_step", lambda *_: pytest.fail("a step of a finished run"))
    run = start(EKVAE, tmp_path)
    assert run.step == 13 and len(run.history) == 7 and len(run.snapshots) == 5
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before


# --- malformed input, full disks ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "other, difference",
    [
        (replace(EKVAE, seed=1), "seed is 0 there, 1 asked for"),
        (replace(EKVAE, data="gymnasium"), "data is 'pendulum' there, 'gymnasium' asked for"),
        (
            replace(EKVAE, training=replace(EKVAE.training, steps=14)),
            "training.steps is 13 there, 14 asked for",
        ),
        (DKS, "model."),
    ],
)
@pytest.mark.parametrize("file", [CHECKPOINT, MODEL])
def test_a_folder_with_another_run_is_refused(other, difference, file, tmp_path):
    start(EKVAE, tmp_path)
    (tmp_path / ({CHECKPOINT: MODEL, MODEL: CHECKPOINT}[file])).unlink()
    before = (tmp_path / file).read_bytes()
    with pytest.raises(ValueError, match="holds another run .*choose another folder") as error:
        start(other, tmp_path)
    assert difference in str(error.value)
    assert (tmp_path / file).read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def damaged(tensors):
    return b"\x00" * 50


def incomplete(tensors):
    return {k: v for k, v in tensors.items() if k != "generator"}


def of_another_size(tensors):
    return {k: v[..., :1] if k == "model.transition.F" else v for k, v in tensors.items()}


@pytest.mark.parametrize(
    "change, message",
    [
        (damaged, "damaged"),
        (incomplete, "does not fit this run"),
        (of_another_size, "does not fit this run"),
    ],
)
def test_a_checkpoint_that_cannot_be_used(change, message, tmp_path):
    start(EKVAE, tmp_path)
    (tmp_path / MODEL).unlink()
    tensors, config = files.read_tensors(tmp_path / CHECKPOINT)
    changed = change(tensors)
    if isinstance(changed, bytes):
        (tmp_path / CHECKPOINT).write_bytes(changed)
    else:
        files.write_tensors(tmp_path / CHECKPOINT, changed, config)
    with pytest.raises(ValueError, match=message) as error:
        start(EKVAE, tmp_path)
    assert "\n" not in str(error.value)


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_shows_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ValueError, match="No space left"):
        start(EKVAE, tmp_path, on_step=lambda run: pytest.fail("a step was made"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_costs_the_steps_since_the_last_checkpoint(
    uninterrupted, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="No space left"):
        start(
            EKVAE,
            tmp_path,
            on_step=lambda run: run.step == 6 and patch.setattr(os, "fsync", no_space),
        )
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
    assert int(files.read_tensors(tmp_path / CHECKPOINT)[0]["step"]) == 5
    (tmp_path / f".{CHECKPOINT}.left{files.PART}").write_bytes(b"by a kill")
    start(EKVAE, tmp_path)
    assert_same(tmp_path, uninterrupted[EKVAE.name])


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="cannot write"):
        start(EKVAE, tmp_path / "file" / "run")


def test_weights_that_are_no_longer_finite_are_never_saved(uninterrupted, tmp_path):
    def diverge(run):
        if run.step == 7:
            with torch.no_grad():
                run.model.decoder[0].weight[0, 0] = math.nan

    with pytest.raises(
        FloatingPointError, match="not finite at step 10; the last checkpoint is from before"
    ):
        start(EKVAE, tmp_path, on_step=diverge)
    assert all(
        torch.isfinite(v).all() for v in files.read_tensors(tmp_path / CHECKPOINT)[0].values()
    )
    start(EKVAE, tmp_path)
    assert_same(tmp_path, uninterrupted[EKVAE.name])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: replace(d, x=d.x.masked_fill(d.x == d.x[3, 2, 1], math.nan)), "finite"),
        (lambda d: replace(d, u=d.u * math.inf), "finite"),
        (lambda d: replace(d, u=d.u[:, :-1]), "u must be"),
        (lambda d: replace(d, x=d.x[..., :-1]), "x must be"),
        (lambda d: replace(d, x=d.x[:, :0], u=d.u[:, :0]), "T >= 1"),
        (
            lambda d: replace(d, x=d.x[:7], u=d.u[:7]),
            "batch 8 is larger than the training set of 7",
        ),
    ],
)
def test_malformed_data_are_refused_before_anything_is_written(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        start(EKVAE, tmp_path / "run", DATA._replace(train=change(DATA.train)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", list(vars(TrainingConfig())))
def test_the_config_refuses_settings_without_meaning(field):
    with pytest.raises(ValueError, match=field):
        TrainingConfig(**{field: 0})


def test_choose_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="no CUDA device"):
        choose_device("cuda")
    with pytest.raises(ValueError, match="must be auto, cpu or cuda"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda") and choose_device(
        "cpu"
    ) == torch.device("cpu")


# --- one step -------------------------------------------------------------------------------------


def test_learning_rates_follow_their_schedule():
    run = new_run(EKVAE)
    c, batch = EKVAE.training, (DATA.train.x[:8], DATA.train.u[:8])
    for step in range(c.steps):
        run.train_step(*batch, run.generator)
        fraction = (
            c.final_fraction + (1 - c.final_fraction) * (1 + math.cos(math.pi * step / c.steps)) / 2
        )
        warm = [0.25, 0.5, 0.75, 1.0][min(step, 3)]  # in `noise_warmup` = 4 steps
        rates = {id(p): g["lr"] for g in run.optimizer.param_groups for p in g["params"]}
        for name, p in [*run.model.named_parameters(), *run.objective.named_parameters()]:
            noise = name.endswith(("log_q", "log_r"))
            assert rates[id(p)] == pytest.approx(
                fraction * (c.noise_learning_rate * warm if noise else c.learning_rate)
            )


def test_a_batch_is_drawn_without_replacement(monkeypatch, tmp_path):
    step, batches = Run.train_step, []

    def record(run, x, u, generator, mask=None):
        rows = [
            next(
                i
                for i in range(20)
                if torch.equal(DATA.train.x[i], s) and torch.equal(DATA.train.u[i], v)
            )
            for s, v in zip(x, u)
        ]
        batches.append(rows)
        return step(run, x, u, generator, mask)

    monkeypatch.setattr(Run, "train_step", record)
    start(EKVAE, tmp_path)
    assert (
        all(len(set(rows)) == 8 for rows in batches)
        and len({tuple(rows) for rows in batches}) == 13
    )
    assert {i for rows in batches for i in rows} == set(range(20))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(tiny.EXPERIMENTS))
def test_a_step_lowers_the_loss(name):
    """Gradient and sign, for every named run: repeated steps on the same batch and noise."""
    experiment = replace(tiny.EXPERIMENTS[name], training=replace(tiny.TRAINING, steps=1000))
    run = new_run(experiment)
    run.objective.eval()
    losses = [
        float(
            run.train_step(
                DATA.train.x, DATA.train.u, torch.Generator().manual_seed(0)
            ).loss.detach()
        )
        for _ in range(25)
    ]
    assert losses[-1] < losses[0] and all(math.isfinite(v) for v in losses)


class NoCopies(TorchFunctionMode):
    """Refuses tensors that are made from numbers of the host: on a GPU, a copy at every step."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in (torch.tensor, torch.as_tensor, torch.asarray), (
            "a tensor is made from Python numbers inside the step"
        )
        return function(*args, **kwargs or {})


def meta_step(experiment, T=5, adam=True, masked=False):
    """A full training step where no tensor has values: what is left on the CPU, and every
    `.item()`, raises.
    """
    run = new_run(experiment, "meta")
    x, u = torch.empty(8, T, 36, device="meta"), torch.empty(8, T, 1, device="meta")
    mask = torch.ones(8, T, dtype=torch.bool, device="meta") if masked else None
    step = run.optimizer.step
    run.optimizer.step = lambda: None  # Adam counts its steps on the host, by design of PyTorch
    with OnTheDevice(), NoCopies():
        report = run.train_step(x, u, None, mask)
    assert all(v.device.type == "meta" and v.shape == () for v in report)
    if adam:
        run.optimizer.step = step
        run.train_step(x, u, None)
    return run


@BOTH
def test_a_step_with_missing_frames_stays_on_the_device(experiment):
    meta_step(experiment, masked=True)


@pytest.mark.slow
@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("name", list(tiny.EXPERIMENTS))
def test_a_step_stays_on_the_device(name, T):
    run = meta_step(tiny.EXPERIMENTS[name], T)
    assert run.step == 2 and all(
        v.device.type == "meta"
        for v in [*run.model.state_dict().values(), *run.objective.state_dict().values()]
    )


@pytest.mark.parametrize(
    "fault",
    [
        lambda z: z + torch.ones(3),  # left on the CPU
        lambda z: z * torch.tensor(2.0, device="meta"),  # copied to the device at every step
        lambda z: z * z.sum().item(),  # waits for the device
    ],
)
def test_the_check_on_meta_can_fail(fault, monkeypatch):
    transition = dks.DKS.decode
    monkeypatch.setattr(dks.DKS, "decode", lambda model, z: transition(model, fault(z)))
    with pytest.raises((AssertionError, RuntimeError)):
        meta_step(DKS)


@pytest.mark.filterwarnings("ignore:.*which is a no-op")
def test_a_checkpoint_goes_back_to_the_device(tmp_path):
    """Weights, moments and history to the model's device; Adam's counters and the snapshots stay on
    the host.
    """
    start(EKVAE, tmp_path)
    run = meta_step(EKVAE, adam=False)
    run.restore(files.read_tensors(tmp_path / CHECKPOINT)[0])
    slots = run.optimizer.state.values()
    assert {v["exp_avg"].device.type for v in slots} == {"meta"} and {
        v["step"].device.type for v in slots
    } == {"cpu"}
    assert {v.device.type for v in run.history} == {"meta"} and {
        v.device.type for v in run.snapshots
    } == {"cpu"}
