"""Small networks that the models share: perceptrons and the Gaussian head."""

import torch
from torch import Tensor, nn

from ..names import check


def tanh(x: Tensor) -> Tensor:
    """tanh x = 2 σ(2 x) - 1: on a CPU, PyTorch's sigmoid takes a tenth of the time of its tanh."""
    return (2 * x).sigmoid_().mul(2).sub_(1)


class Tanh(nn.Module):
    """`tanh` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return tanh(x)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": Tanh,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
}


def mlp(sizes: list[int], activation: str = "relu") -> nn.Sequential:
    """A multilayer perceptron sizes[0] -> … -> sizes[-1] with a linear last layer.

    ValueError for an unknown activation.
    """
    check("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class GaussianHead(nn.Module):
    """Features [..., D] -> mean and variance [..., n] of a diagonal Gaussian.

    `var0` is the variance at the start of training; `gain` scales the means at the start (below 1
    where a linear path should lead).
    """

    def __init__(self, features: int, n: int, var0: float, gain: float = 1.0, floor: float = 1e-6):
        super().__init__()
        self.linear = nn.Linear(features, 2 * n)
        self.floor = floor
        with torch.no_grad():
            self.linear.weight[:n] *= gain
            self.linear.weight[n:] *= 0.1  # nearly the same variance everywhere at the start
            self.linear.bias[n:] = torch.tensor(var0).log()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """mean, variance, each [..., n]."""
        mean, log_var = self.linear(features).chunk(2, -1)
        return mean, log_var.exp() + self.floor
