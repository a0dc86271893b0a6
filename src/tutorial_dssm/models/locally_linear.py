"""What models with a locally linear transition share: sizes, the transition, what the decoder sees,
and what frames say without a network.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ..networks.frames import FramePath
from ..networks.transitions import LocallyLinearTransition
from .base import SequentialModel


@dataclass(frozen=True)
class LocallyLinearConfig:
    """Sizes and starting values that these models share."""

    x_dim: int = 256  # size of a frame
    u_dim: int = 1  # size of a control
    z_dim: int = 3  # state z_t
    seen: int = 2  # its first coordinates, which the decoder sees: what one frame shows
    # width of the two hidden layers of encoder and decoder, and of a recurrent network
    hidden: int = 128
    bases: int = 32  # base matrices of the locally linear transition
    mix_hidden: int = 128  # width of the network that mixes them
    q0_seen: float = 0.1  # transition noise variance at the start, of the seen coordinates
    q0_hidden: float = 0.02  # and of the others: what a frame does not show starts out slow


class LocallyLinearModel(SequentialModel):
    """p(z_{t+1} | z_t, u_t) locally linear, p(x_t | z_t) by a decoder that sees the first `seen`
    coordinates only. A subclass adds encoder, decoder, frame path and posterior.
    """

    transition: LocallyLinearTransition
    decoder: nn.Module
    frame_path: FramePath | None

    def __init__(self, config: LocallyLinearConfig):
        c = config
        super().__init__(c.x_dim, c.u_dim, c.z_dim)
        self.config = config
        q0 = [c.q0_seen] * c.seen + [c.q0_hidden] * (c.z_dim - c.seen)
        self.transition = LocallyLinearTransition(c.z_dim, c.u_dim, c.bases, c.mix_hidden, q0)

    def initialise(self, x: Tensor) -> None:
        """See `Model`: the frame path starts at the principal components."""
        if self.frame_path is not None:
            self.frame_path.initialise(x)

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of the state. z [..., Z] -> [..., X]."""
        return self.decoder(z[..., : self.config.seen])
