"""Locally linear transitions: base matrices mixed by a network."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from .layers import Tanh, mlp


class BaseMatrices(nn.Module):
    """K base matrices F [n, n], B [n, U] and diagonal Q [n], to be mixed by somebody's weights."""

    def __init__(self, n: int, u_dim: int, bases: int, q0: Sequence[float], floor: float = 1e-6):
        super().__init__()
        self.n, self.u_dim, self.floor = n, u_dim, floor
        self.F = nn.Parameter(torch.eye(n) + 0.1 * torch.randn(bases, n, n))
        self.B = nn.Parameter(0.1 * torch.randn(bases, n, u_dim))
        self.log_q = nn.Parameter(torch.tensor(q0).log().expand(bases, n).clone())

    def bases(self) -> Tensor:
        """F, B and the diagonal of Q of every base, side by side: [K, n·n + n·U + n]."""
        return torch.cat([self.F.flatten(1), self.B.flatten(1), self.log_q.exp() + self.floor], -1)

    def bases_full(self) -> Tensor:
        """As `bases` with Q as full matrices, transposed: [n·n + n·U + n·n, K].

        Made once per pass, used at every step of the filter.
        """
        Q = torch.diag_embed(self.log_q.exp() + self.floor)
        return torch.cat([self.F.flatten(1), self.B.flatten(1), Q.flatten(1)], -1).t()


class LocallyLinearTransition(BaseMatrices):
    """p(z' | z, u) = N(F(z, u) z + B(z, u) u, Q(z, u)): K base matrices of each kind, mixed by one
    softmax network.

    Watter et al. (2015), Karl et al. (2017a), Klushyn et al. (2021): the mixture "finds the best
    linearisation" at each state and control. Q is diagonal. The network's first layer is split into
    a part that sees z and a part that sees u, so that a loop over time may compute the second for
    all steps at once: `linearise` takes it ready made.

    Equations: ek-mixture
    """

    def __init__(
        self,
        n: int,
        u_dim: int,
        bases: int = 16,
        hidden: int = 64,
        q0: Sequence[float] = (0.1,),
        floor: float = 1e-6,
    ):
        super().__init__(n, u_dim, bases, q0, floor)
        self.from_z = nn.Linear(n, hidden, bias=False)
        self.from_u = nn.Linear(u_dim, hidden)
        self.mix = nn.Sequential(
            Tanh(), nn.Linear(hidden, hidden), Tanh(), nn.Linear(hidden, bases)
        )

    def weights(self, z: Tensor, u_part: Tensor) -> Tensor:
        """Mixture weights [..., K], summing to one; u_part = from_u(u) [..., hidden]."""
        return torch.softmax(self.mix(self.from_z(z) + u_part), -1)

    def linearise(
        self, z: Tensor, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """F [N, n, n], b = B u [N, n], Q [N, n, n] at z [N, n]; inputs = (u [N, U], from_u(u)
        [N, hidden], bases_full()).

        The three are views of one product whose batch axis is last in memory, as the filter wants
        it.
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


class RecurrentTransition(BaseMatrices):
    """p(z_{t+1} | z_t, u_t, a_{1:t}) = N(F_t z_t + B_t u_t, Q_t), base matrices mixed by α_{t+1} =
    softmax(mlp(a_t, u_t) + g RNN(a_{1:t}, u_{1:t})).

    The weights never see z. Fraccaro et al. (2017), "Dynamics parameter network", with an LSTM as
    there. The paper mixes F, B and the observation matrix and keeps Q fixed; here H is fixed and Q
    is mixed, as in the EKVAE. And the paper has the RNN alone, which soon remembers the velocity
    itself, so that z need not hold it; here what it adds starts at zero and moves slowly (g), and
    the last a alone mixes first.
    """

    NO_STATE = "z alone is no state, since the matrices depend on the auxiliary variables before"

    def __init__(
        self,
        n: int,
        a_dim: int,
        u_dim: int,
        bases: int,
        hidden: int,
        q0: Sequence[float],
        memory: bool,
        memory_gain: float,
    ):
        super().__init__(n, u_dim, bases, q0)
        self.from_last = mlp([a_dim + u_dim, hidden, hidden, bases], "tanh")
        self.memory = memory
        self.gain = memory_gain
        if memory:
            self.rnn = nn.LSTM(a_dim + u_dim, hidden)
            self.from_memory = nn.Linear(hidden, bases)
            nn.init.zeros_(self.from_memory.weight)
            nn.init.zeros_(self.from_memory.bias)

    def matrices(
        self, a: Tensor, u: Tensor, memory: tuple[Tensor, Tensor] | None = None
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor] | None]:
        """(F [T, B, n, n], b = B u [T, B, n], Q [T, B, n, n]) of t -> t+1 from a [T, B, A], u
        [T, B, U], time first, and the LSTM's memory after.
        """
        n = self.n
        inputs = torch.cat([a, u], -1)
        logits = self.from_last(inputs)
        if self.memory and len(a):
            features, memory = self.rnn(inputs, memory)
            logits = logits + self.gain * self.from_memory(features)
        # [T, n·n + n·U + n·n, B]: batch last, as the filter wants it
        mixed = self.bases_full() @ torch.softmax(logits, -1).mT
        F, G, Q = mixed.split([n * n, n * self.u_dim, n * n], 1)
        b = (G.unflatten(1, (n, self.u_dim)) * u.mT.unsqueeze(1)).sum(2)
        model = (
            F.unflatten(1, (n, n)).movedim(-1, 1),
            b.movedim(-1, 1),
            Q.unflatten(1, (n, n)).movedim(-1, 1),
        )
        return model, memory

    def forward(self, z: Tensor, u: Tensor) -> NoReturn:
        """ValueError: the next state is not a function of (z, u); see `matrices`."""
        raise ValueError(self.NO_STATE)
