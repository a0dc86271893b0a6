"""Deep variational Bayes smoother (Karl et al. 2017b): transition times inverse measurement."""

from dataclasses import dataclass

from torch import Tensor, nn

from ..networks.layers import GaussianHead
from ..networks.recurrent import read_backwards
from .base import MODELS, Recipe, blank_missing
from .dvbf import DVB, DVBConfig


@dataclass(frozen=True)
class DVBSConfig(DVBConfig):
    """Sizes and starting values of the deep variational Bayes smoother: the shared ones, and
    whether it has a frame path.
    """

    # add to the mean of the inverse measurement what frames say without a network (`FramePath`)
    frame_path: bool = True


class DVBS(DVB):
    """Smoother (Karl et al. 2017b): q(z_t | z_{t-1}, x_{t:T}, u_{t-1:T}) ∝ p(z_t | z_{t-1},
    u_{t-1}) N(z_t; μ_t, s_t), and p(z_1) N(z_1; μ_1, s_1).

    The second factor, the inverse measurement, has mean μ_t and variances s_t from the backward GRU
    of the DKS, its mean with the frame path added. It stands for p(x_{t:T} | z_t, u_{t:T}), by
    which the transition is multiplied in the true conditional. The product has mean f + k (μ - f)
    and variance (1 - k) q with the gain k = q/(q + s); as a posterior of the noise, m = k (μ -
    f)/√q and v = 1 - k. Where a frame is missing the GRU sees zeros in the place of its features.
    """

    def __init__(self, config: DVBSConfig = DVBSConfig()):
        super().__init__(config)
        if not config.frame_path:
            self.frame_path = None
        self.gru = nn.GRU(config.hidden + config.u_dim, config.hidden, batch_first=True)
        self.head = GaussianHead(config.hidden, config.z_dim, config.var0, config.gain)

    def evidence(
        self, x: Tensor, u: Tensor, mask: Tensor | None = None
    ) -> list[tuple[Tensor, ...]]:
        """The inverse measurements: mean μ_t and variance s_t [B, Z]."""
        g = read_backwards(self.gru, blank_missing(self.encoder(x), mask), u)
        mean, var = self.head(g)
        if self.frame_path:
            mean = mean + self.frame_path(x, mask)
        return list(zip(mean.unbind(1), var.unbind(1)))

    def noise_posterior(
        self, evidence: tuple[Tensor, ...], z: Tensor | None, f: Tensor, q: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `DVB`."""
        mean, var = evidence
        return q.sqrt() * (mean - f) / (q + var), var / (q + var)


MODELS.add("dvbf-smoothing", Recipe(DVBS, DVBSConfig()))
# nothing in it is slow or linear at the start
MODELS.add(
    "dvbf-smoothing-classic",
    Recipe(DVBS, DVBSConfig(frame_path=False, gain=1.0, q0_hidden=0.1)),
)
