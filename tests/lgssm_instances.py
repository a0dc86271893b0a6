"""Linear-Gaussian instances that several tests share: random models, draws from them, masks.

Everything is float64, and the same for the same seed.
"""

import torch

from tutorial_dssm.models.lgssm import LGSSM, LGSSMConfig, covariance
from tutorial_dssm.probability.kalman import ExtendedModel, StateSpaceModel

DOUBLE = {"dtype": torch.float64}


def seeded(seed=0):
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    """Standard normal numbers."""
    return torch.randn(*shape, generator=seeded(seed), **DOUBLE)


def random_covariance(generator, *batch, n):
    """Full covariances [*batch, n, n] with eigenvalues above 0.2."""
    root = torch.randn(*batch, n, n, generator=generator, **DOUBLE) / n**0.5
    return root @ root.mT + 0.2 * torch.eye(n, **DOUBLE)


def positive(root):
    """A covariance from any [..., n, n], for finite differences: it stays symmetric."""
    return root @ root.mT + 0.3 * torch.eye(root.shape[-1], dtype=root.dtype)


# --- state-space models, as `kalman` takes them ---------------------------------------------------


def random_model(generator, B, T, n, A):
    """A model whose every tensor varies over series and, but for the first state, over time.

    All covariances are full, the dynamics are stable (spectral radius about 0.9).
    """

    def draw(*shape):
        return torch.randn(*shape, generator=generator, **DOUBLE)

    orthogonal = torch.linalg.qr(draw(B, T - 1, n, n)).Q
    return StateSpaceModel(
        F=0.9 * orthogonal + 0.05 * draw(B, T - 1, n, n),
        b=draw(B, T - 1, n),
        Q=random_covariance(generator, B, T - 1, n=n),
        H=draw(B, T, A, n),
        R=random_covariance(generator, B, T, n=A),
        m1=draw(B, n),
        P1=random_covariance(generator, B, n=n),
    )


def each(model, change):
    """The model with `change` made to every tensor; an offset None stays."""
    return StateSpaceModel(*(None if v is None else change(v) for v in model))


def as_extended(model):
    """A `random_model` for the extended filter, whose inputs are the steps 0 … T-2."""

    def linearise(mean, t):
        return model.F[:, t], model.b[:, t], model.Q[:, t]

    return ExtendedModel(linearise, model.H, model.R, model.m1, model.P1)


def spread(model, B, T):
    """A shared model written out for every series and step; None becomes an offset of 0."""
    n = len(model.m1)
    steps = {"F": T - 1, "b": T - 1, "Q": T - 1, "H": T, "R": T}
    full = model._replace(b=torch.zeros(n).to(model.F) if model.b is None else model.b)

    def over_time(name, steps):
        value = getattr(full, name)
        return value.repeat(B, steps, *[1] * value.ndim)

    matrices = {name: over_time(name, steps) for name, steps in steps.items()}
    return full._replace(**matrices, m1=full.m1.repeat(B, 1), P1=full.P1.repeat(B, 1, 1))


def constant_velocity():
    """A slow, nearly undriven motion seen through strong noise, one model for all series and steps.

    Little is forgotten, so rounding errors pile up.
    """
    dt = 0.1
    return StateSpaceModel(
        F=torch.tensor([[1.0, dt], [0.0, 1.0]], **DOUBLE),
        Q=1e-4 * torch.tensor([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], **DOUBLE),
        H=torch.tensor([[1.0, 0.0]], **DOUBLE),
        R=torch.eye(1, **DOUBLE),
        m1=torch.zeros(2, **DOUBLE),
        P1=10 * torch.eye(2, **DOUBLE),
    )


def simulate(model, generator):
    """States [B, T, n] and observations [B, T, A] of a `random_model`, drawn step by step."""

    def draw(cov):
        noise = torch.randn(cov.shape[:-1], generator=generator, dtype=cov.dtype)
        return (torch.linalg.cholesky(cov) @ noise.unsqueeze(-1)).squeeze(-1)

    z = [model.m1 + draw(model.P1)]
    for t in range(model.H.shape[1] - 1):
        mean = (model.F[:, t] @ z[-1].unsqueeze(-1)).squeeze(-1) + model.b[:, t]
        z.append(mean + draw(model.Q[:, t]))
    z = torch.stack(z, 1)
    return z, (model.H @ z.unsqueeze(-1)).squeeze(-1) + draw(model.R)


def problem(B=3, T=6, n=3, A=2, seed=0):
    """A random model, and one path of states and of observations per series."""
    generator = seeded(seed)
    model = random_model(generator, B, T, n, A)
    return model, *simulate(model, generator)


# --- the learnable model --------------------------------------------------------------------------


def make_lgssm(X=2, U=1, n=3, seed=0, **config):
    """An `LGSSM` with every parameter random, Q and P1 correlated, stable dynamics."""
    model = LGSSM(LGSSMConfig(X, U, n, **config)).double()
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(0.7 * normal(*p.shape, seed=100 * seed + i))
        model.F.copy_(0.9 * torch.linalg.qr(normal(n, n, seed=seed)).Q)
        model.log_r.sub_(1)
    return model


@torch.no_grad()
def lgssm_sequences(model, B=4, T=6, seed=50):
    """Sequences x [B, T, X] drawn from the model itself, and their controls u [B, T, U]."""
    u = normal(B, T, model.u_dim, seed=seed)
    L = torch.linalg.cholesky(covariance(model.log_p1, model.lower_p1)[0])
    z1 = model.m1 + normal(B, model.z_dim, seed=seed + 1) @ L.T
    z = model.predict(z1, u, sample=True, generator=seeded(seed + 2))
    noise = normal(B, T, model.x_dim, seed=seed + 3) * (0.5 * model.log_r).exp()
    return model.decode(z) + noise, u


# --- masks ----------------------------------------------------------------------------------------


def mask_of(missing, x):
    """None, or a mask of x [B, T, X] in which "frames" [B, T] or "entries" [B, T, X] are missing.

    Among them the first frame of one series, the last of another, and all of the last series, if
    there is more than one step.
    """
    if missing is None:
        return None
    mask = torch.rand(x.shape, generator=seeded(7)) > 0.3
    if missing == "frames":
        mask = mask[..., 0].contiguous()
    mask[0, 0] = False
    mask[1, -1] = False
    if x.shape[1] > 1:
        mask[-1] = False
    return mask


def entries(mask, x):
    """The mask of every entry of x [B, T, X]."""
    if mask is None:
        return torch.ones_like(x, dtype=torch.bool)
    return (mask if mask.ndim == 3 else mask.unsqueeze(-1)).expand_as(x)
