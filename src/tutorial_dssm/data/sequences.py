"""Sequences of frames under controls: what every data set of the package makes, and its splits."""

from typing import NamedTuple

import torch
from torch import Tensor


class SequenceData(NamedTuple):
    """Sequences of one system; N sequences of T steps."""

    x: Tensor  # [N, T, X] observations in [0, 1]
    u: Tensor  # [N, T, U] controls, u_t acts between t and t+1
    state: Tensor  # [N, T, 2] true (φ, φ̇), for evaluation only: no model sees it

    def to(self, device) -> "SequenceData":
        """The same data on another device."""
        return SequenceData(*(v.to(device) for v in self))


class Splits(NamedTuple):
    """Independent train, validation and test sequences."""

    train: SequenceData
    validation: SequenceData
    test: SequenceData


def split_generator(seed: int, split: int) -> torch.Generator:
    """One random stream per data set and split, so that the size of one split does not change
    another.
    """
    return torch.Generator().manual_seed(10 * seed + split)
