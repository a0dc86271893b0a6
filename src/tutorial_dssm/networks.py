"""Small networks that the models share: perceptrons, the Gaussian head, the locally linear transition (floor 2)."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from .networks_conv import conv_decoder, conv_encoder


def tanh(x: Tensor) -> Tensor:
    """tanh x = 2 σ(2 x) - 1: on a CPU, PyTorch's sigmoid takes a tenth of the time of its tanh."""
    return (2 * x).sigmoid_().mul(2).sub_(1)


class Tanh(nn.Module):
    """`tanh` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return tanh(x)


ACTIVATIONS = {"relu": nn.ReLU, "tanh": Tanh, "silu": nn.SiLU, "softplus": nn.Softplus, "elu": nn.ELU}
NETWORKS = ("mlp", "conv")


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}")


def mlp(sizes: list[int], activation: str = "relu") -> nn.Sequential:
    """A multilayer perceptron sizes[0] -> … -> sizes[-1] with a linear last layer. ValueError for an unknown activation."""
    _check_known("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def frame_encoder(network: str, x_dim: int, hidden: int, activation: str) -> nn.Sequential:
    """Frames [..., X] -> features [..., hidden] with a linear last layer: a perceptron (mlp) or convolutions (conv).

    ValueError for an unknown network or activation, or frames that do not fit the convolutions.
    """
    _check_known("network", network, NETWORKS), _check_known("activation", activation, ACTIVATIONS)
    if network == "conv":
        return conv_encoder(x_dim, hidden, ACTIVATIONS[activation])
    return mlp([x_dim, hidden, hidden], activation)


def frame_decoder(network: str, n: int, hidden: int, x_dim: int) -> nn.Sequential:
    """States [..., n] -> mean frames [..., X], with relu: a perceptron (mlp) or transposed convolutions (conv). Errors as `frame_encoder`."""
    _check_known("network", network, NETWORKS)
    return conv_decoder(n, hidden, x_dim) if network == "conv" else mlp([n, hidden, hidden, x_dim])


class GaussianHead(nn.Module):
    """Features [..., D] -> mean and variance [..., n] of a diagonal Gaussian.

    `var0` is the variance at the start of training; `gain` scales the means at the start (below 1 where a linear path should lead).
    """

    def __init__(self, features: int, n: int, var0: float, gain: float = 1.0, floor: float = 1e-6):
        super().__init__()
        self.linear, self.floor = nn.Linear(features, 2 * n), floor
        with torch.no_grad():
            self.linear.weight[:n] *= gain
            self.linear.weight[n:] *= 0.1  # nearly the same variance everywhere at the start
            self.linear.bias[n:] = torch.tensor(var0).log()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """mean, variance, each [..., n]."""
        return self.split(self.linear(features))

    def split(self, outputs: Tensor, axis: int = -1) -> tuple[Tensor, Tensor]:
        """The layer's outputs, 2 n along an axis, as mean and variance."""
        mean, log_var = outputs.chunk(2, axis)
        return mean, log_var.exp() + self.floor


EXACT = 1024  # pixels up to which `principal_components` takes the whole covariance matrix


def leading_eigenvectors(frames: Tensor, n: int, spare: int = 8, iterations: int = 12) -> tuple[Tensor, Tensor]:
    """The n + spare largest eigenvalues, ascending, and eigenvectors [X, n + spare] of the covariance of frames [M, X], the last n of them good.

    Block power iteration (Halko, Martinsson & Tropp 2011, "randomized subspace iteration") from a fixed random start: it never makes the X x X
    matrix nor a copy of the frames, and an error in an eigenvector shrinks by (λ of the first one left out / its own λ) every time.
    """
    k, mean = min(n + spare, frames.shape[1]), frames.mean(0)
    Q = torch.randn(frames.shape[1], k, generator=torch.Generator().manual_seed(0), dtype=frames.dtype).to(frames.device)
    for _ in range(iterations):
        Y = frames @ Q - mean @ Q  # sums to 0 over the frames, so that the other factor needs no centring
        Q = torch.linalg.qr((Y.t() @ frames).t()).Q  # on a CPU a tenth of the time of frames.t() @ Y
    values, vectors = torch.linalg.eigh(torch.cov((frames @ Q).t()))
    return values, Q @ vectors


def principal_components(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """W [n, X] and b [n] such that W x + b are the first n principal components of frames x [N, T, X], each with unit variance, the largest last."""
    frames = x.flatten(0, -2)
    values, vectors = torch.linalg.eigh(torch.cov(frames.t())) if frames.shape[1] <= EXACT else leading_eigenvectors(frames, n)  # ascending
    W = (vectors[:, -n:] / values[-n:].sqrt()).t()
    return W, -W @ frames.mean(0)


class GaussianEncoder(nn.Module):
    """q(a | x) = N(W x + network(x), diag): a linear path beside two hidden layers (`frame_encoder`).

    At the start the linear path leads (the network's share of the mean is scaled down by `gain`), so the encoder begins as a linear projection,
    and under strong observation noise learns like principal component analysis, whose first two components of a rotating rod are a ring.

    Equations: ek-q
    """

    def __init__(self, x_dim: int, hidden: int, n: int, var0: float, activation: str = "relu", gain: float = 0.1, network: str = "mlp"):
        super().__init__()
        self.features = nn.Sequential(frame_encoder(network, x_dim, hidden, activation), ACTIVATIONS[activation]())
        self.head = GaussianHead(hidden, n, var0, gain)
        self.linear = nn.Linear(x_dim, n, bias=False)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from frames x [N, T, X]: the linear path becomes their first principal components, each with unit variance."""
        W, b = principal_components(x, self.linear.out_features)
        self.linear.weight.copy_(W), self.head.linear.bias[: len(b)].copy_(b)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mean, variance of a, each [..., n]; x [..., X]."""
        mean, var = self.head(self.features(x))
        return mean + self.linear(x), var


class FramePath(nn.Module):
    """What frames say about the state without a network: x [B, T, X] -> [B, T, Z].

    To the first `seen` coordinates a linear map a_t = W x_t + b; to the others the areas that it sweeps, the products
    a_t ∧ a_{t+1} = a_t a_{t+1}' - a_{t+1} a_t' (0 at t = T), mapped by a matrix that starts orthogonal times `gain`. A frame shows no velocity,
    and what is linear in two frames shows one whose sign turns with the angle; the product is the simplest thing that vanishes where
    nothing moves and changes sign when time runs backwards, as a velocity does. With `past` it looks at a_{t-1} ∧ a_t instead (0 at t = 1).

    Equations: ssm-reverse, ssm-area, bal-area
    """

    def __init__(self, x_dim: int, seen: int, z_dim: int, gain: float, past: bool = False):
        super().__init__()
        self.linear, self.hidden, self.past = nn.Linear(x_dim, seen), z_dim - seen, past
        self.register_buffer("pairs", torch.triu_indices(seen, seen, 1), persistent=False)
        self.areas = nn.Linear(self.pairs.shape[1], z_dim - seen, bias=False) if seen > 1 and z_dim > seen else None
        if self.areas:
            nn.init.orthogonal_(self.areas.weight, gain)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from frames x [N, T, X]: a becomes their first principal components, each with unit variance."""
        W, b = principal_components(x, self.linear.out_features)
        self.linear.weight.copy_(W), self.linear.bias.copy_(b)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        a, (i, j) = self.linear(x), self.pairs
        if not self.areas:
            return nn.functional.pad(a, (0, self.hidden))
        here, there = a[:, :-1], a[:, 1:]
        areas = self.areas(here[..., i] * there[..., j] - here[..., j] * there[..., i])
        return torch.cat([a, nn.functional.pad(areas, (0, 0, 1, 0) if self.past else (0, 0, 0, 1))], -1)


class LocallyLinearTransition(nn.Module):
    """p(z' | z, u) = N(F(z, u) z + B(z, u) u, Q(z, u)): K base matrices of each kind, mixed by one softmax network.

    Watter et al. (2015), Karl et al. (2017a), Klushyn et al. (2021): the mixture "finds the best linearisation" at each state and control.
    Q is diagonal. The network's first layer is split into a part that sees z and a part that sees u, so that the second is computed for
    all time steps at once outside the time loop.

    Equations: ek-mixture
    """

    def __init__(self, n: int, u_dim: int, bases: int = 16, hidden: int = 64, q0: Sequence[float] = (0.1,), floor: float = 1e-6):
        super().__init__()
        self.n, self.u_dim, self.floor = n, u_dim, floor
        self.F = nn.Parameter(torch.eye(n) + 0.1 * torch.randn(bases, n, n))
        self.B = nn.Parameter(0.1 * torch.randn(bases, n, u_dim))
        self.log_q = nn.Parameter(torch.tensor(q0).log().expand(bases, n).clone())
        self.from_z = nn.Linear(n, hidden, bias=False)
        self.from_u = nn.Linear(u_dim, hidden)
        self.mix = nn.Sequential(Tanh(), nn.Linear(hidden, hidden), Tanh(), nn.Linear(hidden, bases))

    def weights(self, z: Tensor, u_part: Tensor) -> Tensor:
        """Mixture weights [..., K], summing to one; u_part = from_u(u) [..., hidden]."""
        return torch.softmax(self.mix(self.from_z(z) + u_part), -1)

    def bases(self) -> Tensor:
        """F, B and the diagonal of Q of every base, side by side: [K, n·n + n·U + n]."""
        return torch.cat([self.F.flatten(1), self.B.flatten(1), self.log_q.exp() + self.floor], -1)

    def bases_full(self) -> Tensor:
        """As `bases` with Q as full matrices, transposed: [n·n + n·U + n·n, K]. Made once per pass, used at every step of the filter."""
        Q = torch.diag_embed(self.log_q.exp() + self.floor)
        return torch.cat([self.F.flatten(1), self.B.flatten(1), Q.flatten(1)], -1).t()

    def linearise(self, z: Tensor, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """F [N, n, n], b = B u [N, n], Q [N, n, n] at z [N, n]; inputs = (u [N, U], from_u(u) [N, hidden], bases_full()).

        The three are views of one product whose batch axis is last in memory, as the filter wants it.
        """
        u, u_part, bases = inputs
        n, N = self.n, z.shape[0]
        mixed = bases @ self.weights(z, u_part).t()  # [n·n + n·U + n·n, N]
        F, B, Q = mixed.split([n * n, n * self.u_dim, n * n])
        b = (B.view(n, self.u_dim, N) * u.t()).sum(1)
        return F.view(n, n, N).movedim(-1, 0), b.movedim(-1, 0), Q.view(n, n, N).movedim(-1, 0)

    def forward(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [..., n] of the next state; z [..., n], u [..., U]."""
        n = self.n
        mixed = self.weights(z, self.from_u(u)) @ self.bases()
        F, B, q = mixed.split([n * n, n * self.u_dim, n], -1)
        Fz = (F.unflatten(-1, (n, n)) * z.unsqueeze(-2)).sum(-1)
        Bu = (B.unflatten(-1, (n, self.u_dim)) * u.unsqueeze(-2)).sum(-1)
        return Fz + Bu, q
