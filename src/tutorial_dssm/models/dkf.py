"""Deep Kalman filter (Krishnan et al. 2015): the deep Kalman smoother with a forward recurrent
network, which has no future to look at.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.recurrent import read_forwards
from .base import MODELS, Recipe, blank_missing
from .dks import DKS, DKSConfig


@dataclass(frozen=True)
class DKFConfig(DKSConfig):
    """Sizes and starting values of the deep Kalman filter: those of the smoother."""


class DKF(DKS):
    """p(x_t | z_t) and p(z_{t+1} | z_t, u_t) of the DKS, with q(z_t | z_{t-1}, x_{1:t}, u_{1:t-1})
    from a forward GRU.

    Krishnan et al. (2015) let a forward network read the frames up to t ("q-RNN"); that z_{t-1}
    enters beside it is the left-to-right structured network of Krishnan et al. (2017) ("ST-L").
    Given z_{t-1} the frames before t say nothing more about z_t, and those after t do: the true
    posterior is the smoother's, p(z_t | z_{t-1}, x_{t:T}, u_{t-1:T-1}), and the filter's bound
    stays below log p(x | u) by what the future would add. u_t acts between t and t+1 and says
    nothing about z_t to one who has not seen x_{t+1}: at t the GRU reads u_{t-1}.
    """

    def __init__(self, config: DKFConfig = DKFConfig()):
        super().__init__(config)
        if self.frame_path:
            # the area swept since the last frame, not the one up to the next
            self.frame_path.past = True

    def summary(self, x: Tensor, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """g_t [B, T, hidden], what the frames up to t and the controls before t say."""
        before = torch.cat([torch.zeros_like(u[:, :1]), u[:, :-1]], 1)  # u_{t-1}; u_0 = 0
        return read_forwards(self.gru, blank_missing(self.encoder(x), mask), before)


MODELS.add("dkf", Recipe(DKF, DKFConfig()))
