"""A convolutional encoder and decoder of flat square frames, in the place of the two perceptrons.

The channels, and kernels of 4 with stride 2, are those of the encoder of Ha & Schmidhuber (2018),
which Hafner et al. (2019) use for 64 x 64 frames. Here every layer has a padding of 1, so that it
halves (or doubles) the side exactly, and the decoder is the mirror image of the encoder.
"""

import math

from torch import Tensor, nn

CHANNELS = (32, 64, 128, 256)  # of the four layers; the last has a sixteenth of the side


def image_side(x_dim: int) -> int:
    """Pixels a side of a square frame of x_dim pixels.

    ValueError unless that is a multiple of 16.
    """
    side = math.isqrt(max(x_dim, 0))
    if side == 0 or side**2 != x_dim or side % 2 ** len(CHANNELS):
        raise ValueError(
            "convolutions need square frames whose side is a multiple of 16 "
            f"(x_dim = 4096 is 64 x 64), got x_dim = {x_dim}"
        )
    return side


class Convolutions(nn.Module):
    """Flat frames [..., X] -> features [..., F], with any leading axes; F = 256 (side / 16)²."""

    def __init__(self, x_dim: int, activation: type[nn.Module]):
        super().__init__()
        self.side = image_side(x_dim)
        self.features = CHANNELS[-1] * (self.side // 16) ** 2
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip((1, *CHANNELS[:-1]), CHANNELS):
            layers += [nn.Conv2d(fan_in, fan_out, 4, 2, 1), activation()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        images = x.reshape(-1, 1, self.side, self.side)
        return self.layers(images).reshape(*x.shape[:-1], self.features)


class TransposedConvolutions(nn.Module):
    """Features [..., F] -> flat frames [..., X], the mirror image of `Convolutions`, with relu
    between the layers and nothing after the last.
    """

    def __init__(self, x_dim: int):
        super().__init__()
        self.x_dim = x_dim
        self.side = image_side(x_dim) // 16
        self.features = CHANNELS[-1] * self.side**2
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(CHANNELS[:0:-1], CHANNELS[-2::-1]):
            layers += [nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(CHANNELS[0], 1, 4, 2, 1))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        maps = features.reshape(-1, CHANNELS[-1], self.side, self.side)
        return self.layers(maps).reshape(*features.shape[:-1], self.x_dim)


def conv_encoder(x_dim: int, hidden: int, activation: type[nn.Module]) -> nn.Sequential:
    """x [..., X] -> [..., hidden]: convolutions, a layer of `hidden`, and a linear last layer, as
    the perceptron's.
    """
    convolutions = Convolutions(x_dim, activation)
    return nn.Sequential(
        convolutions,
        nn.Linear(convolutions.features, hidden),
        activation(),
        nn.Linear(hidden, hidden),
    )


def conv_decoder(n: int, hidden: int, x_dim: int) -> nn.Sequential:
    """[..., n] -> x [..., X]: a layer of `hidden`, one of features, transposed convolutions."""
    convolutions = TransposedConvolutions(x_dim)
    return nn.Sequential(
        nn.Linear(n, hidden),
        nn.ReLU(),
        nn.Linear(hidden, convolutions.features),
        nn.ReLU(),
        convolutions,
    )
