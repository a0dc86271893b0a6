"""The one training loop: data -> model -> objective -> checkpoint."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import files
from ..data.sequences import SequenceData
from ..models.base import Model
from .objectives import Objective, Report
from .signals import HeldSignals

CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"
METRICS = Report._fields  # columns of the history
NOISES = ("log_q", "log_r")  # the model's own noise: logarithms of variances


@dataclass(frozen=True)
class TrainingConfig:
    """The optimiser and its schedule."""

    steps: int = 4000  # optimiser steps
    # sequences a step, drawn without replacement from the training set at every step
    batch: int = 100
    learning_rate: float = 1e-3  # of Adam
    # of the variances Q and R, which have orders of magnitude to go
    noise_learning_rate: float = 0.02
    # steps over which that rate rises from 0: the noise stays large until the latent space has its
    # shape
    noise_warmup: int = 1500
    final_fraction: float = 0.02  # the learning rates fall along a cosine to this fraction
    log_every: int = 10  # steps between two rows of the history
    snapshot_every: int = 250  # steps between two snapshots of the latent space
    snapshot_sequences: int = 150  # validation sequences in a snapshot
    checkpoint_every: int = 250  # steps between two checkpoints

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")


class Run:
    """The whole state of a training run: what a checkpoint holds, and all that it goes on from."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
    ):
        self.model, self.objective, self.config = model.to(device), objective.to(device), config
        named = [*model.named_parameters(), *objective.named_parameters()]
        noise = [p for name, p in named if name.rpartition(".")[2] in NOISES]
        rest = [p for name, p in named if name.rpartition(".")[2] not in NOISES]
        # Their rates are set at every step.
        self.optimizer = torch.optim.Adam([{"params": rest}, {"params": noise}])
        where = "cpu" if device.type == "meta" else device
        self.generator = torch.Generator(device=where).manual_seed(seed)
        self.step = 0
        self.seconds = 0.0  # spent training, over all sessions
        self.history: list[Tensor] = []  # rows [step, *METRICS], still on the device
        self.snapshots: list[Tensor] = []  # latent means [N, T, Z], first validation sequences
        self.snapshot_steps: list[int] = []

    def train_step(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None,
        mask: Tensor | None = None,
    ) -> Report:
        """One step on a batch: forward, backward, Adam at the scheduled rate.

        x [B, T, X], u [B, T, U], mask [B, T] (True = observed; what is masked does not count).
        """
        c = self.config
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / c.steps))
        fraction = c.final_fraction + (1 - c.final_fraction) * cosine
        rest, noise = self.optimizer.param_groups
        rest["lr"] = c.learning_rate * fraction
        noise["lr"] = c.noise_learning_rate * fraction * min(1.0, (self.step + 1) / c.noise_warmup)
        seen = x.shape[1] if mask is None else mask.sum() / len(mask)  # frames a sequence
        report = self.objective(self.model.terms(x, u, generator, mask=mask), seen * x.shape[2])
        self.optimizer.zero_grad(set_to_none=True)
        report.loss.backward()
        self.optimizer.step()
        self.step += 1
        return report

    def state(self) -> dict[str, Tensor]:
        """Everything as named tensors."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in slots.items()}
        tensors["generator"] = self.generator.get_state()
        tensors["step"] = torch.tensor(self.step)
        tensors["seconds"] = torch.tensor(self.seconds, dtype=torch.float64)
        tensors["snapshot_steps"] = torch.tensor(self.snapshot_steps, dtype=torch.int64)
        if self.history:
            tensors["history"] = torch.stack(self.history)
        if self.snapshots:
            tensors["snapshots"] = torch.stack(self.snapshots)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`; the tensors are on the CPU.

        Raises ValueError when they do not fit this run.
        """
        try:
            load_weights(self.model, self.objective, tensors)
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("adam."):
                    _, index, name = key.split(".")
                    slots.setdefault(int(index), {})[name] = value
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
            self.generator.set_state(tensors["generator"])
            self.step, self.seconds = int(tensors["step"]), float(tensors["seconds"])
            self.snapshot_steps = tensors["snapshot_steps"].tolist()
        except (KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"the checkpoint does not fit this run ({str(error).splitlines()[0]})"
            ) from error
        device = next(self.model.parameters()).device
        self.history = list(tensors["history"].to(device).unbind(0)) if "history" in tensors else []
        self.snapshots = list(tensors["snapshots"].unbind(0)) if "snapshots" in tensors else []


def load_weights(model: Model, objective: Objective, tensors: dict[str, Tensor]) -> None:
    """Put what `Run.state` has of model and objective into them.

    RuntimeError (of PyTorch) where names or shapes do not fit.
    """
    for name, module in (("model.", model), ("objective.", objective)):
        own = {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
        module.load_state_dict(own)


def choose_device(name: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    ValueError for another name, or "cuda" where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device cuda was asked for, but PyTorch finds no CUDA device here; "
            "use --device cpu or auto"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def train(
    run: Run,
    train_data: SequenceData,
    validation_data: SequenceData,
    folder: Path,
    config: dict,
    progress: bool = True,
    on_step: Callable[[Run], None] = lambda run: None,
) -> None:
    """Train a run to its last step, with checkpoints in `folder`; go on where it stopped.

    The same config and seed on the same machine end bit for bit alike, interrupted or not. An
    interruption (Ctrl-C, SIGTERM) finishes the step and saves a checkpoint first; a kill loses the
    steps since the last one. Data, batches and the whole step stay on the device; values come back
    to the host only for the bar, snapshots and checkpoints.

    Args:
        run: at step 0, on its device.
        train_data, validation_data: sequences; the validation set is only looked at in snapshots.
        folder: of the run; made if it is not there.
        config: JSON that identifies the run.
        progress: show a progress bar.
        on_step: called with the run after every step.
    Raises:
        ValueError: the folder holds a run with another config, data are malformed, or a file cannot
            be read or written.
        FloatingPointError: the loss is no longer finite. A checkpoint always holds finite weights.
    """
    folder, c = Path(folder), run.config
    device = next(run.model.parameters()).device
    _check_data(run, train_data, validation_data)
    train_data = replace(train_data, state=None, targets={})  # no step needs the truth
    train_data, validation_data = train_data.to(device), validation_data.to(device)
    _start_or_resume(run, train_data, folder, config)
    run.model.train()
    run.objective.train()
    with _progress_bar(run, progress) as bar, HeldSignals() as signals:
        while run.step < c.steps:
            start = time.perf_counter()
            _advance(run, train_data, validation_data, bar)
            run.seconds += time.perf_counter() - start
            on_step(run)
            stop = signals.caught
            if stop or run.step % c.checkpoint_every == 0 or run.step == c.steps:
                _save(run, folder, config)
            if stop:
                break
    if run.step == c.steps and not (folder / MODEL).exists():
        state = run.state().items()
        kept = {k: v for k, v in state if k.startswith(("model.", "objective."))}
        files.write_tensors(folder / MODEL, kept, config)


def _check_data(run: Run, train_data: SequenceData, validation_data: SequenceData) -> None:
    """ValueError for data that the model refuses, or too few sequences for a batch."""
    for data in (train_data, validation_data):
        run.model.check(data.x.cpu(), data.u.cpu(), None if data.mask is None else data.mask.cpu())
    if run.config.batch > len(train_data):
        raise ValueError(
            f"batch {run.config.batch} is larger than the training set "
            f"of {len(train_data)} sequences"
        )


def _start_or_resume(run: Run, data: SequenceData, folder: Path, config: dict) -> None:
    """Restore the checkpoint of the folder; where there is none, start from the data and save one.

    So an unwritable folder or a full disk shows at once, not after minutes of training.
    """
    files.remove_parts(folder / CHECKPOINT)
    files.remove_parts(folder / MODEL)
    if (folder / MODEL).exists():
        _check_same(folder, files.read_tensors(folder / MODEL)[1], config)
    if (folder / CHECKPOINT).exists():
        tensors, saved = files.read_tensors(folder / CHECKPOINT)
        _check_same(folder, saved, config)
        run.restore(tensors)
    else:
        run.model.initialise(data.x if data.mask is None else data.x[data.mask][None])
        _save(run, folder, config)


def _progress_bar(run: Run, progress: bool) -> tqdm:
    """A bar that writes often on a screen and seldom into a log."""
    on_screen = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        total=run.config.steps,
        initial=run.step,
        disable=not progress,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.1 if on_screen else 10,  # s
    )


def _advance(run: Run, train_data: SequenceData, validation_data: SequenceData, bar: tqdm) -> None:
    """One step with what is due after it: a history row, the bar, a snapshot."""
    c, device = run.config, train_data.x.device
    if run.step == 0:
        _snapshot(run, validation_data)
    order = torch.randperm(len(train_data), generator=run.generator, device=device)
    batch = train_data.rows(order[: c.batch])
    report = run.train_step(batch.x, batch.u, run.generator, batch.mask)
    values = torch.stack([v.detach() for v in report])
    if run.step % c.log_every == 0 or run.step == c.steps:
        _log(run, values)
    if run.step % 50 == 0 or run.step == c.steps:
        _show(run.step, dict(zip(METRICS, values.tolist())), bar)
    if run.step % c.snapshot_every == 0 or run.step == c.steps:
        _snapshot(run, validation_data)
    bar.update()


def _log(run: Run, values: Tensor) -> None:
    """A row of the history; nothing leaves the device."""
    run.history.append(torch.cat([values.new_full((1,), run.step), values]))


def _show(step: int, values: dict[str, float], bar: tqdm) -> None:
    """The metrics beside the bar. FloatingPointError where the loss is not finite."""
    if not math.isfinite(values["loss"]):
        raise FloatingPointError(
            f"the loss is {values['loss']} at step {step}; the last checkpoint is from before"
        )
    text = (
        "D {distortion:.0f}  R {rate:.1f}  λ {weight:.3g}  Ĉ/C₀-1 {constraint:+.2f}  mse {mse:.1e}"
    )
    bar.set_postfix_str(text.format(**values), refresh=False)


def _save(run: Run, folder: Path, config: dict) -> None:
    if not all(torch.isfinite(p).all() for p in run.model.parameters()):
        raise FloatingPointError(
            f"a weight is not finite at step {run.step}; the last checkpoint is from before"
        )
    files.write_tensors(folder / CHECKPOINT, run.state(), config)


@torch.no_grad()
def _snapshot(run: Run, data: SequenceData) -> None:
    """Latent means of the first validation sequences, kept on the host.

    Draws nothing from the run's generator.
    """
    part = data.rows(slice(run.config.snapshot_sequences))
    generator = torch.Generator(device=part.x.device).manual_seed(0)
    run.snapshots.append(run.model.infer(part.x, part.u, generator, mask=part.mask).mean.cpu())
    run.snapshot_steps.append(run.step)


def _check_same(folder: Path, saved: dict, wanted: dict) -> None:
    if saved != wanted:
        what = difference(saved, wanted)
        raise ValueError(
            f"{folder} holds another run ({what}); "
            "choose another folder, or remove it to start again"
        )


def difference(saved: dict, wanted: dict, path: str = "") -> str:
    """The first place where two nested configs differ, in words."""
    for key in sorted(set(saved) | set(wanted)):
        a, b = saved.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            if a != b:
                return difference(a, b, f"{path}{key}.")
        elif a != b:
            return f"{path}{key} is {a!r} there, {b!r} asked for"
    return "no difference"
