"""The one training loop: data -> model -> objective -> checkpoint (floor 3)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from . import files
from .objectives import Objective, Report
from .pendulum import SequenceData

CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"
METRICS = Report._fields  # columns of the history


@dataclass(frozen=True)
class TrainingConfig:
    """The optimiser and its schedule."""

    steps: int = 3000  # optimiser steps
    batch: int = 250  # sequences a step, drawn without replacement from the training set at every step
    learning_rate: float = 1e-3  # of Adam
    noise_learning_rate: float = 5e-3  # of the variances Q and R, which have orders of magnitude to go
    final_fraction: float = 0.02  # the learning rates fall along a cosine to this fraction
    log_every: int = 10  # steps between two rows of the history
    snapshot_every: int = 250  # steps between two snapshots of the latent space
    snapshot_sequences: int = 150  # validation sequences in a snapshot
    checkpoint_every: int = 250  # steps between two checkpoints


class Run:
    """The whole state of a training run: what a checkpoint holds, and nothing else decides how the run goes on."""

    def __init__(self, model: nn.Module, objective: Objective, config: TrainingConfig, seed: int, device: torch.device):
        self.model, self.objective, self.config = model.to(device), objective.to(device), config
        noise = [p for name, p in model.named_parameters() if name.rpartition(".")[2] in ("log_q", "log_r")]
        chosen = {id(p) for p in noise}
        rest = [p for p in [*model.parameters(), *objective.parameters()] if id(p) not in chosen]
        self.optimizer = torch.optim.Adam(
            [{"params": rest, "base": config.learning_rate}, {"params": noise, "base": config.noise_learning_rate}], lr=config.learning_rate
        )
        self.generator = torch.Generator(device="cpu" if device.type == "meta" else device).manual_seed(seed)
        self.step = 0
        self.history: list[Tensor] = []  # rows [step, *METRICS], still on the device
        self.snapshots: list[Tensor] = []  # latent means [N, T, Z] of the first validation sequences
        self.snapshot_steps: list[int] = []
        self.seconds = 0.0

    def train_step(self, x: Tensor, u: Tensor, generator: Optional[torch.Generator]) -> Report:
        """One step on a batch x [B, T, X], u [B, T, U]: forward, backward, Adam at the scheduled rate."""
        c = self.config
        fraction = c.final_fraction + (1 - c.final_fraction) * 0.5 * (1 + math.cos(math.pi * self.step / c.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * fraction
        report = self.objective(self.model.terms(x, u, generator), x.shape[1] * x.shape[2])
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
        tensors["step"] = torch.tensor([self.step])
        tensors["seconds"] = torch.tensor([self.seconds], dtype=torch.float64)
        tensors["snapshot_steps"] = torch.tensor(self.snapshot_steps, dtype=torch.int64)
        if self.history:
            tensors["history"] = torch.stack(self.history)
        if self.snapshots:
            tensors["snapshots"] = torch.stack(self.snapshots)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`. Raises ValueError when the tensors do not fit this run."""
        try:
            for name, module in (("model.", self.model), ("objective.", self.objective)):
                module.load_state_dict({k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)})
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("adam."):
                    _, index, name = key.split(".")
                    slots.setdefault(int(index), {})[name] = value
            self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
            self.generator.set_state(tensors["generator"].cpu())
            self.step, self.seconds = int(tensors["step"]), float(tensors["seconds"])
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the checkpoint does not fit this run ({str(error).splitlines()[0]})") from error
        self.snapshot_steps = tensors["snapshot_steps"].tolist()
        self.history = list(tensors["history"].unbind(0)) if "history" in tensors else []
        self.snapshots = list(tensors["snapshots"].cpu().unbind(0)) if "snapshots" in tensors else []


def choose_device(name: str) -> torch.device:
    """"auto", "cpu" or "cuda" -> a device. ValueError for another name, or "cuda" where there is none."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but PyTorch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def train(
    run: Run, train_data: SequenceData, validation_data: SequenceData, folder: Path, config: dict, progress: bool = True, on_step: Callable = lambda run: None
) -> None:
    """Train a run to its last step, with checkpoints in `folder`; go on from the checkpoint there is.

    `config` (JSON) identifies the run: a folder that holds another config is refused with ValueError. The same config and seed on the same machine
    end bit for bit alike, interrupted or not. An interruption (Ctrl-C) saves a checkpoint first; a kill loses the steps since the last one.
    Data, batches and the whole step stay on the device; values come back to the host only for the bar, the history and checkpoints.
    """
    folder, c = Path(folder), run.config
    device = next(run.model.parameters()).device
    train_data, validation_data = train_data.to(device), validation_data.to(device)
    if c.batch > len(train_data.x):
        raise ValueError(f"batch {c.batch} is larger than the training set of {len(train_data.x)} sequences")
    if (folder / CHECKPOINT).exists():
        tensors, saved = files.read_tensors(folder / CHECKPOINT, device)
        if saved != config:
            raise ValueError(f"{folder} holds another run ({_difference(saved, config)}); choose another folder, or remove it to start again")
        run.restore(tensors)
    else:
        _save(run, folder, config)  # an unwritable folder or a full disk shows now, not after minutes of training
    run.model.train(), run.objective.train()
    bar = tqdm(total=c.steps, initial=run.step, disable=not progress, unit="step", dynamic_ncols=True)
    try:
        while run.step < c.steps:
            _advance(run, train_data, validation_data, bar, folder, config)
            on_step(run)
    except KeyboardInterrupt:
        _save(run, folder, config)
        raise
    finally:
        bar.close()
    tensors = {k: v for k, v in run.state().items() if k.startswith(("model.", "objective."))}
    files.write_tensors(folder / MODEL, tensors, config)


def _advance(run: Run, train_data: SequenceData, validation_data: SequenceData, bar: tqdm, folder: Path, config: dict) -> None:
    """One step with what is due after it: a history row, the bar, a snapshot, a checkpoint."""
    c = run.config
    if run.step == 0 and not run.snapshots:
        _snapshot(run, validation_data)
    chosen = torch.randperm(len(train_data.x), generator=run.generator, device=train_data.x.device)[: c.batch]
    report = run.train_step(train_data.x[chosen], train_data.u[chosen], run.generator)
    bar.update()
    if run.step % c.log_every == 0 or run.step == c.steps:
        run.history.append(torch.stack([torch.full_like(report.mse, run.step), *(v.detach() for v in report)]))
    if run.step % max(c.log_every, 50) == 0 or run.step == c.steps:
        values = dict(zip(METRICS, run.history[-1][1:].tolist()))
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is {values['loss']} at step {run.step}; the last checkpoint in {folder} is from before")
        bar.set_postfix_str("D {distortion:.0f}  R {rate:.1f}  λ {weight:.3g}  Ĉ/C₀-1 {constraint:+.2f}  mse {mse:.1e}".format(**values))
    if run.step % c.snapshot_every == 0 or run.step == c.steps:
        _snapshot(run, validation_data)
    if run.step % c.checkpoint_every == 0 or run.step == c.steps:
        run.seconds += bar.format_dict["elapsed"] - getattr(run, "_saved_at", 0.0)
        run._saved_at = bar.format_dict["elapsed"]
        _save(run, folder, config)


def _save(run: Run, folder: Path, config: dict) -> None:
    files.write_tensors(Path(folder) / CHECKPOINT, run.state(), config)


@torch.no_grad()
def _snapshot(run: Run, data: SequenceData) -> None:
    """Latent means of the first validation sequences, kept on the host; draws nothing from the run's generator."""
    n = run.config.snapshot_sequences
    generator = torch.Generator(device=data.x.device).manual_seed(0)
    run.snapshots.append(run.model.infer(data.x[:n], data.u[:n], generator).mean.cpu())
    run.snapshot_steps.append(run.step)


def _difference(saved: dict, wanted: dict, path: str = "") -> str:
    """The first place where two nested configs differ, in words."""
    for key in sorted(set(saved) | set(wanted)):
        a, b = saved.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            if a != b:
                return _difference(a, b, f"{path}{key}.")
        elif a != b:
            return f"{path}{key} is {a!r} there, {b!r} asked for"
    return "no difference"
