"""Kalman filter and smoother beside statsmodels, simdkalman and dynamax.

    python benchmarks/kalman.py [--json] [--write]

Float64, one thread, `torch.inference_mode`. All peers that are installed run in turn on the same
data in the same process, which is pinned to one processor core; their smoothed means and
covariances must agree before anything is timed. Ours also returns the likelihood, the predicted
moments and the cross-covariances. The peers are given every advantage: statsmodels' objects are
built beforehand, simdkalman returns states only, dynamax is compiled beforehand.
"""

import os
from pathlib import Path

os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    JAX_PLATFORMS="cpu",
    TF_CPP_MIN_LOG_LEVEL="3",
)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np  # noqa: E402
import torch  # noqa: E402

from timing import command_line, interleave, report  # noqa: E402
from tutorial_dssm.probability.kalman import StateSpaceModel, kalman_filter, smooth  # noqa: E402

RESULT = Path(__file__).parent / "results" / "kalman.md"
SIZES = [(250, 15, 3, 2), (250, 100, 4, 2), (64, 1000, 4, 2)]  # B, T, dim z, dim a


def problem(B, T, n, A, shared):
    """A stable random model that does not change over time, and observations [B, T, A].

    The model is F, Q, H, R, m1, P1, with a leading [B] unless `shared`.
    """
    rng = np.random.default_rng(0)
    batch = () if shared else (B,)
    F = 0.95 * np.linalg.qr(rng.normal(size=(*batch, n, n)))[0]
    roots = {k: rng.normal(size=(*batch, k, k)) / k**0.5 for k in (n, A)}
    Q, R = (roots[k] @ roots[k].swapaxes(-1, -2) + 0.1 * np.eye(k) for k in (n, A))
    H = rng.normal(size=(*batch, A, n))
    P1 = np.broadcast_to(np.eye(n), (*batch, n, n)).copy()
    return (F, Q, H, R, np.zeros((*batch, n)), P1), rng.normal(size=(B, T, A))


def ours(model, a, shared):
    F, Q, H, R, m1, P1 = (torch.from_numpy(v) for v in model)
    if not shared:  # [B, …] -> [B, T = 1, …]: the same at every step
        F, Q, H, R = (v.unsqueeze(1) for v in (F, Q, H, R))
    model = StateSpaceModel(F, Q, H, R, m1, P1)
    a = torch.from_numpy(a)

    @torch.inference_mode()
    def run():
        smoothed = smooth(kalman_filter(a, model))
        return smoothed.mean, smoothed.cov

    return run


def statsmodels(model, a, shared):
    from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

    smoothers = []
    for i, y in enumerate(a):
        F, Q, H, R, m1, P1 = model if shared else [v[i] for v in model]
        smoother = KalmanSmoother(k_endog=y.shape[1], k_states=len(m1), k_posdef=len(m1))
        smoother.bind(y.copy())
        smoother["selection"] = np.eye(len(m1))
        smoother["transition"] = F
        smoother["state_cov"] = Q
        smoother["design"] = H
        smoother["obs_cov"] = R
        smoother.initialize_known(m1, P1)
        smoothers.append(smoother)

    def run():
        results = [s.smooth() for s in smoothers]
        means = np.stack([r.smoothed_state.T for r in results])
        covs = np.stack([r.smoothed_state_cov.transpose(2, 0, 1) for r in results])
        return means, covs

    return run


def simdkalman(model, a, shared):
    """`KalmanFilter.smooth` for a shared model, the library's primitives for a model per series.

    There `KalmanFilter.smooth` takes the batch axis of the model for the state (1.0.4).
    """
    import simdkalman
    from simdkalman.primitives import predict, priv_smooth, priv_update_with_nan_check

    F, Q, H, R, m1, P1 = model
    kf = simdkalman.KalmanFilter(F, Q, H, R)

    def run_shared():
        states = kf.smooth(a, initial_value=m1, initial_covariance=P1, observations=False).states
        return states.mean, states.cov

    def run_per_series():
        m, P = m1[..., None], P1
        filtered_means, filtered_covs = [], []
        for t in range(a.shape[1]):
            m, P, _ = priv_update_with_nan_check(m, P, H, R, a[:, t, :, None])
            filtered_means.append(m)
            filtered_covs.append(P)
            m, P = predict(m, P, F, Q)
        m, P = filtered_means[-1], filtered_covs[-1]
        means, covs = [m], [P]
        for filtered_mean, filtered_cov in zip(filtered_means[-2::-1], filtered_covs[-2::-1]):
            m, P, _ = priv_smooth(filtered_mean, filtered_cov, F, Q, m, P)
            means.append(m)
            covs.append(P)
        return np.stack(means[::-1], 1)[..., 0], np.stack(covs[::-1], 1)

    return run_shared if shared else run_per_series


def dynamax(model, a, shared):
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    from dynamax.linear_gaussian_ssm import lgssm_smoother
    from dynamax.linear_gaussian_ssm.inference import (
        ParamsLGSSM,
        ParamsLGSSMDynamics,
        ParamsLGSSMEmissions,
        ParamsLGSSMInitial,
    )

    def one(F, Q, H, R, m1, P1, y):
        n, A = len(m1), y.shape[1]
        initial = ParamsLGSSMInitial(m1, P1)
        dynamics = ParamsLGSSMDynamics(F, jnp.zeros(n), jnp.zeros((n, 0)), Q)
        emissions = ParamsLGSSMEmissions(H, jnp.zeros(A), jnp.zeros((A, 0)), R)
        posterior = lgssm_smoother(ParamsLGSSM(initial, dynamics, emissions), y)
        return posterior.smoothed_means, posterior.smoothed_covariances

    smoother = jax.jit(jax.vmap(one, in_axes=(None if shared else 0,) * 6 + (0,)))
    arguments = [jnp.asarray(v) for v in (*model, a)]
    return lambda: jax.block_until_ready(smoother(*arguments))


def candidates(size, shared):
    """The installed ones, checked against ours."""
    model, a = problem(*size, shared)
    found, reference = {}, None
    for make in (ours, statsmodels, simdkalman, dynamax):
        try:
            run = make(model, a, shared)
        except ImportError:
            continue
        answer = [np.asarray(v) for v in run()]
        reference = reference or answer
        for mine, theirs in zip(reference, answer):
            np.testing.assert_allclose(theirs, mine, rtol=1e-6, atol=1e-8, err_msg=make.__name__)
        found[make.__name__] = run
    return found


def main():
    written = "the table of the book, benchmarks/results/kalman.md"
    options = command_line(__doc__, written, 15).parse_args()
    torch.set_num_threads(1)
    rows = []
    for shared in (False, True):
        for size in SIZES:
            seconds = interleave(candidates(size, shared), options.rounds, warmup=1, at_most=20)
            mine = seconds.pop("ours")
            row = {"model": "shared" if shared else "per series"}
            row |= dict(zip(("B", "T", "nz", "na"), size))
            row["ours_ms"] = 1e3 * mine
            rows.append(row | {f"{name}_ratio": value / mine for name, value in seconds.items()})
    report(rows, options, RESULT)


if __name__ == "__main__":
    main()
