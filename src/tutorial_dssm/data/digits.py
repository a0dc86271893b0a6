"""Frames that are no sequences: scikit-learn's handwritten digits."""

from typing import NamedTuple

import torch
from torch import Tensor


class Frames(NamedTuple):
    """Independent frames with a label each."""

    x: Tensor  # [N, X] in [0, 1]
    label: Tensor  # [N] for evaluation only: no model sees it


class FrameSplits(NamedTuple):
    """Frames to train on, and others to test on."""

    train: Frames
    test: Frames


def load_digits(n_test: int = 297, seed: int = 0) -> FrameSplits:
    """The 1797 handwritten digits of scikit-learn, 8 x 8 pixels in 17 grey values, shuffled.

    ValueError unless 1 <= n_test < 1797.
    """
    from sklearn import datasets  # a second of imports, which only the digits need

    data = datasets.load_digits()
    x, label = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    if not 1 <= n_test < len(x):
        raise ValueError(f"n_test must be between 1 and {len(x) - 1}, got {n_test}")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, train = order[:n_test], order[n_test:]
    return FrameSplits(Frames(x[train], label[train]), Frames(x[test], label[test]))
