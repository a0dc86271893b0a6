"""From frames to numbers and back: encoders, decoders, principal components, the frame path."""

import torch
from torch import Tensor, nn

from ..names import check
from .convolutions import conv_decoder, conv_encoder
from .layers import ACTIVATIONS, GaussianHead, mlp

NETWORKS = ("mlp", "conv")


def frame_encoder(network: str, x_dim: int, hidden: int, activation: str) -> nn.Sequential:
    """Frames [..., X] -> features [..., hidden] with a linear last layer: a perceptron (mlp) or
    convolutions (conv).

    ValueError for an unknown network or activation, or frames that do not fit the convolutions.
    """
    check("network", network, NETWORKS)
    check("activation", activation, ACTIVATIONS)
    if network == "conv":
        return conv_encoder(x_dim, hidden, ACTIVATIONS[activation])
    return mlp([x_dim, hidden, hidden], activation)


def frame_decoder(network: str, n: int, hidden: int, x_dim: int) -> nn.Sequential:
    """States [..., n] -> mean frames [..., X], with relu: a perceptron (mlp) or transposed
    convolutions (conv). Errors as `frame_encoder`.
    """
    check("network", network, NETWORKS)
    return conv_decoder(n, hidden, x_dim) if network == "conv" else mlp([n, hidden, hidden, x_dim])


EXACT = 1024  # pixels up to which `principal_components` takes the whole covariance matrix


def leading_eigenvectors(
    frames: Tensor, n: int, spare: int = 8, iterations: int = 12
) -> tuple[Tensor, Tensor]:
    """The n + spare largest eigenvalues, ascending, and eigenvectors [X, n + spare] of the
    covariance of frames [M, X], the last n of them good.

    Block power iteration (Halko, Martinsson & Tropp 2011, "randomized subspace iteration") from a
    fixed random start: it never makes the X x X matrix nor a copy of the frames, and an error in an
    eigenvector shrinks by (λ of the first one left out / its own λ) every time.
    """
    X = frames.shape[1]
    mean = frames.mean(0)
    generator = torch.Generator().manual_seed(0)
    Q = torch.randn(X, min(n + spare, X), generator=generator, dtype=frames.dtype)
    Q = Q.to(frames.device)
    for _ in range(iterations):
        # Y sums to 0 over the frames, so that the other factor needs no centring
        Y = frames @ Q - mean @ Q
        # (Y' frames)' takes a tenth of the time of frames' Y on a CPU
        Q = torch.linalg.qr((Y.t() @ frames).t()).Q
    values, vectors = torch.linalg.eigh(torch.cov((frames @ Q).t()))
    return values, Q @ vectors


def principal_components(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """W [n, X] and b [n] such that W x + b are the first n principal components of frames x
    [N, T, X], each with unit variance, the largest last.
    """
    frames = x.flatten(0, -2)
    if frames.shape[1] <= EXACT:
        values, vectors = torch.linalg.eigh(torch.cov(frames.t()))
    else:
        values, vectors = leading_eigenvectors(frames, n)
    # eigenvalues ascend: the last n are the largest
    W = (vectors[:, -n:] / values[-n:].sqrt()).t()
    return W, -W @ frames.mean(0)


class GaussianEncoder(nn.Module):
    """q(a | x) = N(W x + network(x), diag): a linear path beside two hidden layers
    (`frame_encoder`).

    At the start the linear path leads (the network's share of the mean is scaled down by `gain`),
    so the encoder begins as a linear projection, and under strong observation noise learns like
    principal component analysis, whose first two components of a rotating rod are a ring.

    Equations: ek-q
    """

    def __init__(
        self,
        x_dim: int,
        hidden: int,
        n: int,
        var0: float,
        activation: str = "relu",
        gain: float = 0.1,
        network: str = "mlp",
    ):
        super().__init__()
        self.features = nn.Sequential(
            frame_encoder(network, x_dim, hidden, activation), ACTIVATIONS[activation]()
        )
        self.head = GaussianHead(hidden, n, var0, gain)
        self.linear = nn.Linear(x_dim, n, bias=False)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from frames x [N, T, X]: the linear path becomes their first principal components,
        each with unit variance.
        """
        W, b = principal_components(x, self.linear.out_features)
        self.linear.weight.copy_(W)
        self.head.linear.bias[: len(b)].copy_(b)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mean, variance of a, each [..., n]; x [..., X]."""
        mean, var = self.head(self.features(x))
        return mean + self.linear(x), var


class FramePath(nn.Module):
    """What frames say about the state without a network: x [B, T, X] -> [B, T, Z].

    To the first `seen` coordinates a linear map a_t = W x_t + b; to the others the areas that it
    sweeps, the products a_t ∧ a_{t+1} = a_t a_{t+1}' - a_{t+1} a_t' (0 at t = T), mapped by a
    matrix that starts orthogonal times `gain`. A frame shows no velocity, and what is linear in two
    frames shows one whose sign turns with the angle; the product is the simplest thing that
    vanishes where nothing moves and changes sign when time runs backwards, as a velocity does. With
    `past` it looks at a_{t-1} ∧ a_t instead (0 at t = 1). A missing frame says nothing: a_t and the
    two areas that it bounds are 0.

    Equations: ssm-reverse, ssm-area, bal-area
    """

    pairs: Tensor  # [2, P] the pairs i < j of coordinates of a
    areas: nn.Linear | None  # [P] -> [Z - seen]; None where there is no area or nobody to see it

    def __init__(self, x_dim: int, seen: int, z_dim: int, gain: float, past: bool = False):
        super().__init__()
        self.linear = nn.Linear(x_dim, seen)
        self.hidden = z_dim - seen
        self.past = past
        self.register_buffer("pairs", torch.triu_indices(seen, seen, 1), persistent=False)
        self.areas = None
        if seen > 1 and z_dim > seen:
            self.areas = nn.Linear(self.pairs.shape[1], z_dim - seen, bias=False)
            nn.init.orthogonal_(self.areas.weight, gain)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from frames x [N, T, X]: a becomes their first principal components, each with unit
        variance.
        """
        W, b = principal_components(x, self.linear.out_features)
        self.linear.weight.copy_(W)
        self.linear.bias.copy_(b)

    def swept(self, a: Tensor, b: Tensor) -> Tensor:
        """The hidden coordinates [..., Z - seen] from the area a ∧ b; a, b [..., seen]."""
        if self.areas is None:
            return a.new_zeros(*a.shape[:-1], self.hidden)
        i, j = self.pairs
        return self.areas(a[..., i] * b[..., j] - a[..., j] * b[..., i])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class; mask [B, T], True = observed."""
        a = self.linear(x)
        if mask is not None:
            a = a.masked_fill(~mask.unsqueeze(-1), 0.0)
        areas = self.swept(a[:, :-1], a[:, 1:])
        none = areas.new_zeros(len(areas), 1, self.hidden)
        swept = [none, areas] if self.past else [areas, none]  # zeros at t = 1, or at t = T
        return torch.cat([a, torch.cat(swept, 1)], -1)
