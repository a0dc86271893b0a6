"""What a recurrent network reads off a sequence, forwards or backwards."""

import torch
from torch import Tensor, nn


def read_forwards(gru: nn.GRU, features: Tensor, u: Tensor) -> Tensor:
    """What features [B, T, F] and controls u [B, T, U] up to t say, for every t: [B, T, hidden].
    The GRU has batch_first and starts at zero.
    """
    return gru(torch.cat([features, u], -1))[0]


def read_backwards(gru: nn.GRU, features: Tensor, u: Tensor) -> Tensor:
    """What features and controls from t on say, for every t: the sequence read from its end."""
    return read_forwards(gru, features.flip(1), u.flip(1)).flip(1)
