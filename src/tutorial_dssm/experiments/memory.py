"""How much memory a training run needs, computed without allocating it."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..data import DATA
from ..learning.training import Run
from .runs import Experiment, build


class Memory(NamedTuple):
    """Bytes."""

    weights: int  # parameters and buffers of model and objective
    # the rest of what is alive at the peak of a training step: batch, activations, gradients,
    # Adam's two moments
    step: int
    data: int  # train and validation sequences, which stay on the device
    device: int  # the sum of these three
    host: int  # train, validation and test sequences, as they are made

    def __str__(self) -> str:
        return ", ".join(f"{name} {value / 1e9:.2f} GB" for name, value in self._asdict().items())


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of the tensors on `meta` that are made in its block and still alive.

    `peak` is the largest sum.
    """

    def __init__(self, known: list[torch.Tensor]):
        super().__init__()
        self.known = {t.untyped_storage()._cdata for t in known}
        self.alive: set[int] = set()
        self.total = self.peak = 0

    def __torch_dispatch__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = function(*args, **kwargs or {})
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known and key not in self.alive:
                    self.alive.add(key)
                    self.total += size
                    self.peak = max(self.peak, self.total)
                    weakref.finalize(storage, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self.alive.remove(key)
        self.total -= size


def training_memory(experiment: Experiment) -> Memory:
    """What training an experiment takes, from two steps on the `meta` device.

    There tensors have sizes and no values. Left out: what PyTorch, CUDA and its libraries take for
    themselves (contexts, workspaces of convolutions, unused parts of cached blocks), and, before
    the first step, a second copy of the training frames on the device, from which the model is
    initialised.
    """
    sizes = DATA[experiment.data]
    n, n_test, T = sizes.n, sizes.n_test, sizes.length
    run = Run(*build(experiment), experiment.training, experiment.seed, torch.device("meta"))
    B, X, U = experiment.training.batch, run.model.x_dim, run.model.u_dim
    x, u = torch.empty(B, T, X, device="meta"), torch.empty(B, T, U, device="meta")
    known = [x, u, *run.model.state_dict().values(), *run.objective.state_dict().values()]
    weights = sum(t.untyped_storage().nbytes() for t in known[2:])
    with PeakBytes(known) as used:
        run.train_step(x, u, None)
        run.train_step(x, u, None)  # from the second one on Adam's moments are there from its start
    sequence = 4 * T * (X + U + 2)  # float32: frames, controls, true states
    step, data = used.peak + x.nbytes + u.nbytes, (n + n_test) * sequence
    return Memory(weights, step, data, weights + step + data, (n + 2 * n_test) * sequence)
