"""Sequences of frames under controls: what every data set of the package makes, and its splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..names import Registry


@dataclass(frozen=True, eq=False)
class SequenceData:
    """Sequences of one system: N sequences of T steps."""

    x: Tensor  # [N, T, X] observations in [0, 1]
    u: Tensor  # [N, T, U] controls, u_t acts between t and t+1
    dt: float  # s between two frames
    # [N, T, S] the true state where it is known. Evaluation and figures look at it, models do not.
    state: Tensor | None = None
    # What is regressed on latent states, by name: [N, T] each
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None  # [N, T] bool, False where a frame is missing (and may be NaN)

    def __len__(self) -> int:
        """N."""
        return len(self.x)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "SequenceData":
        """Every tensor changed in the same way."""
        return replace(
            self,
            x=change(self.x),
            u=change(self.u),
            state=None if self.state is None else change(self.state),
            targets={name: change(value) for name, value in self.targets.items()},
            mask=None if self.mask is None else change(self.mask),
        )

    def to(self, device: torch.device | str) -> "SequenceData":
        """The same data on another device."""
        return self._each(lambda v: v.to(device))

    def rows(self, index: slice | Tensor) -> "SequenceData":
        """Some of the sequences: a slice, or indices [M] on the device of the data."""
        return self._each(lambda v: v[index])

    def steps(self, first: int, last: int) -> "SequenceData":
        """Steps first … last - 1 of every sequence, counted from 0."""
        return self._each(lambda v: v[:, first:last])


class Splits(NamedTuple):
    """Independent train, validation and test sequences."""

    train: SequenceData
    validation: SequenceData
    test: SequenceData


Make = Callable[[int, int, torch.Generator], SequenceData]  # (sequences, steps, generator)


def split_generator(seed: int, split: int) -> torch.Generator:
    """One random stream per data set and split: the size of one split does not change another."""
    return torch.Generator().manual_seed(10 * seed + split)


def make_splits(
    make: Make, seed: int = 0, n: int = 500, length: int = 15, n_test: int = 500
) -> Splits:
    """Train (n), validation and test (n_test each) sequences, each from a seeded generator."""
    sizes = enumerate((n, n_test, n_test))
    return Splits(*(make(size, length, split_generator(seed, split)) for split, size in sizes))


@dataclass(frozen=True)
class DataSet:
    """A registered data set: how its sequences are made, how many there are, how large they are."""

    make: Make
    n: int = 500  # training sequences
    n_test: int = 500  # validation and test sequences, each
    n_long: int = 200  # sequences that are long enough for a forecast
    length: int = 15  # T
    x_dim: int = 256  # X
    u_dim: int = 1  # U
    seed: int = 0  # one data set for all runs: a run's seed sets initial weights, batches and noise

    def splits(self) -> Splits:
        """The sequences to train, to validate and to test on."""
        return make_splits(self.make, self.seed, self.n, self.length, self.n_test)

    def long(self, length: int, n: int | None = None) -> SequenceData:
        """Held-out sequences of another length, `n_long` of them unless n says otherwise."""
        return self.make(self.n_long if n is None else n, length, split_generator(self.seed, 3))


DATA: Registry[DataSet] = Registry("data set")
